"""Checks of networks that someone else wrote, by tracing them; nothing is computed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import PyTree

from l1jax.config.custom import describe
from l1jax.config.fields import InputError
from l1jax.models.network import AXIS, Network

BATCH = 4  # examples that networks are traced with
CALLBACKS = ("io_callback", "pure_callback")


def check_network(
    network: Any,
    twin: Any,
    name: str,
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
    classes: int = 0,
    packing: int = 1,
) -> None:
    """Check that a network is what `Network` says: shapes, types, purity, batch statistics.

    It is traced without computing anything, in inference and, within the mapped axis, in training.

    Args:
        network: the network.
        twin: the same, made once more; what its maker draws by itself is another program in it.
        name: what a message calls it, such as `generator`.
        inputs: shape of one input.
        outputs: shape of one output.
        classes: number of classes of a class-conditional network; 0 if it takes no labels.
        packing: inputs per output.

    Raises:
        InputError: naming the function and what is wrong with it.
    """
    for made in (network, twin):
        if not isinstance(made, Network):
            raise InputError(
                f"`{name}` (={type(made).__name__}) must be a Network, as `from_linen` makes it."
            )
    key = jax.eval_shape(lambda: jax.random.key(0))
    params, statistics = _check_init(network, twin, name, key)
    images = jax.ShapeDtypeStruct((BATCH * packing, *inputs), jnp.float32)
    label = None
    if classes:
        label = jax.ShapeDtypeStruct((BATCH * packing,), jnp.int32)
    wanted = jax.ShapeDtypeStruct((BATCH, *outputs), jnp.float32)
    for train in (False, True):
        call = _training_call if train else _inference_call
        arguments = (params, statistics, images, label, key)
        what = f"{name}.apply in {'training' if train else 'inference'}"
        functions = (call(network, what), call(twin, what))
        found, new_statistics = trace_both(functions, arguments, what)
        _check_output(found, wanted, what)
        _check_statistics(statistics, new_statistics, what)


def _check_init(network: Network, twin: Network, name: str, key: Any) -> tuple[PyTree, PyTree]:
    what = f"{name}.init"
    found = trace_both((network.init, twin.init), (key,), what)
    if not isinstance(found, tuple) or len(found) != 2:
        raise InputError(
            f"`{what}` must return parameters and batch statistics, and returns a "
            f"{type(found).__name__}."
        )
    for path, leaf in jax.tree_util.tree_leaves_with_path(found):
        entries = path[1:]
        shown = jax.tree_util.keystr(entries, simple=True, separator="/")
        named = [getattr(entry, "key", None) for entry in entries]
        if not named or not all(isinstance(key, str) and "/" not in key for key in named):
            raise InputError(
                f"`{what}` must return nested dictionaries whose keys are names without /, and has "
                f"{shown or 'an array alone'!r}."
            )
        if leaf.dtype != jnp.float32:
            raise InputError(
                f"`{what}` makes {shown!r} of {leaf.dtype}, and parameters and batch statistics "
                "must be float32: layers may compute in another type."
            )
    params, statistics = found
    if not jax.tree.leaves(params):
        raise InputError(f"`{what}` makes no parameters, so there is nothing to train.")
    return params, statistics


def trace_both(
    functions: tuple[Callable[..., Any], Callable[..., Any]], arguments: tuple[Any, ...], what: str
) -> Any:
    """Return the shapes of a function's outputs; it and its twin must be the same program.

    What is drawn from global random state, or from a counter, becomes another constant in the
    second program.

    Args:
        functions: what is traced, and the same made once more.
        arguments: types of its arguments.
        what: what a message calls the function.

    Raises:
        InputError: if it raises, draws from NumPy's global state, calls back into Python, or the
            programs differ.
    """
    programs = []
    shapes = None
    with no_global_randomness(what):
        for function in functions:
            try:
                program, shapes = jax.make_jaxpr(_untraced(function), return_shape=True)(*arguments)
            except InputError:
                raise
            except Exception as error:
                raise InputError(f"`{what}` fails with {describe(error)}.") from error
            programs.append(program)
    first, second = programs
    text = str(first)
    equal_constants = len(first.consts) == len(second.consts) and all(
        np.array_equal(a, b) for a, b in zip(first.consts, second.consts, strict=True)
    )
    if text != str(second) or not equal_constants:
        raise InputError(
            f"`{what}` is not pure: made twice, it computes two different things. Draw from the "
            "key that it gets, and keep nothing from call to call."
        )
    callback = next((name for name in CALLBACKS if f"{name}[" in text), None)
    if callback is not None:
        raise InputError(
            f"`{what}` is not pure: it has {callback}, whose results JAX cannot reproduce."
        )
    return shapes


def _untraced(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that does the same, and that JAX has not traced yet."""
    return lambda *arguments: function(*arguments)


@contextmanager
def no_global_randomness(what: str) -> Iterator[None]:
    """Raise if the block draws from NumPy's global random state.

    Args:
        what: what a message calls the block.

    Raises:
        InputError: if it does; the state is put back.
    """
    before = np.random.get_state()  # noqa: NPY002, which is what others may draw from
    yield
    after: Any = np.random.get_state()  # noqa: NPY002
    if any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True)):
        np.random.set_state(before)  # noqa: NPY002
        raise InputError(
            f"`{what}` draws from the global state of numpy.random, so a run could not be "
            "repeated: draw from the key that it gets."
        )


def _inference_call(network: Network, what: str) -> Callable[..., Any]:
    del what

    def call(params: Any, statistics: Any, inputs: Any, label: Any, key: Any) -> Any:
        del key  # inference has none
        return network.apply(params, statistics, inputs, False, label)

    return call


def _training_call(network: Network, what: str) -> Callable[..., Any]:
    """Return the forward pass of training, mapped over one device as `shard_map` does."""

    def local(params: Any, statistics: Any, inputs: Any, label: Any, key: Any) -> Any:
        outputs, new = network.apply(params, statistics, inputs, True, label, key)
        for path, leaf in jax.tree_util.tree_leaves_with_path(new):
            if AXIS in getattr(jax.typeof(leaf), "manual_axis_type").varying:  # noqa: B009
                name = jax.tree_util.keystr(path, simple=True, separator="/")
                raise InputError(
                    f"`{what}` returns other batch statistics ({name}) on each device: average "
                    f"them by jax.lax.pmean(…, {AXIS!r}), or give norms axis_name={AXIS!r}."
                )
        return outputs, new

    mesh = Mesh(np.asarray(jax.local_devices()[:1]), (AXIS,))
    label_spec = P(AXIS)
    specs = (P(), P(), P(AXIS), label_spec, P())
    return jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=(P(AXIS), P()))


def _check_output(found: Any, wanted: jax.ShapeDtypeStruct, what: str) -> None:
    shown = type(found).__name__
    if isinstance(found, jax.ShapeDtypeStruct):
        shown = f"{found.dtype}[{', '.join(map(str, found.shape))}]"
    needed = f"{wanted.dtype}[{', '.join(map(str, wanted.shape))}]"
    if shown != needed:
        raise InputError(
            f"`{what}` gives {shown} for a batch whose outputs must be {needed}: {BATCH} of them."
        )


def _check_statistics(before: PyTree, after: PyTree, what: str) -> None:
    def described(tree: PyTree) -> dict[str, str]:
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        return {jax.tree_util.keystr(path): f"{leaf.dtype}{leaf.shape}" for path, leaf in leaves}

    if described(before) != described(after):
        raise InputError(
            f"`{what}` returns batch statistics of other names, shapes or types than init made: "
            "return those that it got, or their successors."
        )
