"""Record the layers of a network while it is traced.

In the jaxpr each call of a known layer becomes one primitive, in place of the layer's operations.
Its operands are the layer's inputs and the parameters that it really computes with: under
`nn.WeightNorm` and other wrappers these are not the parameters at its path.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching

from l1jax.models.layout.layer_kinds import ATTENTION, BY_TYPE, LINEAR, LayerKind
from l1jax.models.layout.node import PyTreeDef

# Fields that change nothing in inference, or are handled elsewhere.
IRRELEVANT = (
    "parent",
    "name",
    "features",
    "param_dtype",
    "use_running_average",
    "axis",
    "transpose_kernel",
)
# Fields of layers that cannot be compacted, but whose channels are those of the layer without them.
SAME_CHANNELS = ("spectral_norm", "transposed")
PLAIN = (bool, int, float, str, tuple, type(None))
DTYPE_FIELDS = ("dtype", "preferred_element_type")
# Arguments that say whether the layer is in training.
MODE_ARGUMENTS = ("train", "use_running_average")


@dataclasses.dataclass(frozen=True, eq=False)
class LayerCall:
    """One call of a layer."""

    # Path of the layer.
    name: str
    op: str
    # Its fields as plain values.
    options: Mapping[str, Any]
    # How many operands are inputs; the others are the layer's variables.
    input_count: int
    # Structure of the variables: {"params": …, "batch_stats": …}.
    variables: PyTreeDef
    # Axis of a batch norm's channels, where the batch axis is 0.
    axis: int | None = None


# Stands for a layer. The operations inside of the layer are traced, too, but nothing reads them.
LAYER = Primitive("l1jax_layer")
LAYER.def_abstract_eval(lambda *_, shape, dtype, call: ShapedArray(shape, dtype))


def unsupported_error(name: str, why: str) -> ValueError:
    """Make the error for a layer that compaction does not support; `why` follows the word "it"."""
    return ValueError(f"`{name or 'layer'}` cannot be compacted: it {why}.")


def _refuse_vmap(args: object, dims: object, *, call: LayerCall, **_: object) -> NoReturn:
    raise unsupported_error(call.name, "is called under `vmap`; call it on the whole batch instead")


def _refuse_jvp(args: object, tangents: object, *, call: LayerCall, **_: object) -> NoReturn:
    raise unsupported_error(call.name, "is differentiated inside of the network")


batching.primitive_batchers[LAYER] = _refuse_vmap
ad.primitive_jvps[LAYER] = _refuse_jvp


def record_layer(
    call: Callable[..., Any],
    args: Any,
    kwargs: Any,
    context: nn.module.InterceptorContext,
    any_layer: bool = False,
) -> Any:
    """Replace what a known layer computes by the primitive; an interceptor of Linen methods.

    Args:
        call: the method that is intercepted.
        args: its arguments.
        kwargs: its keyword arguments.
        context: the module and the name of its method.
        any_layer: whether a layer may have the options of `SAME_CHANNELS`.
    """
    module: Any = context.module
    with jax.named_scope(module.name or type(module).__name__):
        output = call(*args, **kwargs)
    if type(module) not in BY_TYPE or context.method_name != "__call__":
        return output
    op, kind = BY_TYPE[type(module)]
    name = "/".join(module.path)
    options = _options(module, kind, name, SAME_CHANNELS if any_layer else ())
    inputs = _inputs(module, kind, name, args, kwargs)
    variables = _variables(module, kind, name)
    axis = None
    if op == "batch_norm":
        axis = _axis(module, name, inputs[0])
    if op == "linen_conv_transpose" and module.transpose_kernel:
        if options["padding"] == "CIRCULAR":
            # Flax aligns the output in another way then.
            raise unsupported_error(
                name, "has `transpose_kernel` (=True) with `padding` (='CIRCULAR')"
            )
        # Its kernel is stored flipped and with its channels exchanged.
        kernel = variables["params"]["kernel"]
        spatial = tuple(range(kernel.ndim - 2))
        variables["params"]["kernel"] = jnp.flip(kernel, spatial).swapaxes(-1, -2)
    leaves, structure = jax.tree.flatten(variables)
    recorded = LayerCall(name, op, options, len(inputs), structure, axis)
    return LAYER.bind(*inputs, *leaves, shape=output.shape, dtype=output.dtype, call=recorded)


def _options(module: Any, kind: LayerKind, name: str, ignored: Sequence[str]) -> dict[str, Any]:
    """Return the fields that matter as plain values; the others must have their defaults.

    Args:
        module: the layer.
        kind: what is known of its type.
        name: the layer's path.
        ignored: fields that may have any value.

    Raises:
        ValueError: if a field that is not known is set.
    """
    for field in dataclasses.fields(module):
        known = field.name in (*kind.fields, *IRRELEVANT) or field.name.endswith("_init")
        if field.name in ignored or (known and field.name not in kind.required):
            continue
        value = getattr(module, field.name)
        required = kind.required.get(field.name, field.default)
        if not _same(value, required):
            must = "must be left at its default"
            if isinstance(required, PLAIN):
                must = f"must be {required!r}"
            given = f"`{field.name}` (={value!r})"
            raise ValueError(f"`{name}` cannot be compacted with {given}: it {must}.")
    options = {}
    for field in kind.fields:
        value = getattr(module, field)
        if field in DTYPE_FIELDS:
            if value is not None:
                value = jnp.dtype(value).name
        elif field == "precision":
            value = _precision(value, name)
        options[field] = _plain(value)
    return options


def _same(value: Any, default: Any) -> bool:
    if value is default:
        return True
    return isinstance(value, PLAIN) and isinstance(default, PLAIN) and value == default


def _precision(value: Any, name: str) -> Any:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, jax.lax.Precision):
        return value.name.lower()
    if isinstance(value, tuple):
        return tuple(_precision(part, name) for part in value)
    given = f"`precision` (={value!r})"
    raise ValueError(f"`{name}` cannot be compacted with {given}: it must be a string or None.")


def _plain(value: Any) -> Any:
    return tuple(_plain(part) for part in value) if isinstance(value, list | tuple) else value


def _inputs(module: Any, kind: LayerKind, name: str, args: Any, kwargs: Any) -> list[Any]:
    """Return the arrays that a layer is called with.

    Raises:
        ValueError: if there is an argument that is not known, such as a mask, or it is in training.
    """
    signature = inspect.signature(type(module).__call__)
    arguments = signature.bind(module, *args, **kwargs).arguments
    _, (_, x), *others = arguments.items()
    inputs = [x]
    for argument, value in others:
        if argument in kind.array_arguments:
            inputs.append(value)
        elif argument not in MODE_ARGUMENTS and value is not signature.parameters[argument].default:
            raise unsupported_error(name, f"is called with `{argument}`, which is not known here")
    train = arguments.get("train", False)
    average = arguments.get("use_running_average")
    if isinstance(module, nn.BatchNorm):
        if average is None:
            average = module.use_running_average
        train = not isinstance(average, bool | np.bool_) or not average
    if not isinstance(train, bool | np.bool_) or train:
        raise unsupported_error(
            name,
            "is in training; pass the argument that says otherwise, such as train=False",
        )
    return inputs


def _variables(module: Any, kind: LayerKind, name: str) -> dict[str, Any]:
    """Return the variables that a layer computes with inside of all its wrappers.

    Raises:
        ValueError: if something is missing or in a box.
    """
    variables: dict[str, Any] = {}
    for collection, names in (("params", kind.params), ("batch_stats", kind.batch_stats)):
        available = module.variables.get(collection, {})
        variables[collection] = {key: available[key] for key in names if key in available}
    leaves = jax.tree.leaves(variables, is_leaf=_is_boxed)
    if any(_is_boxed(leaf) for leaf in leaves):
        why = "has variables with partitioning; pass flax.linen.meta.unbox(variables)"
        raise unsupported_error(name, why)
    return jax.tree.map(jnp.asarray, variables)


def _is_boxed(leaf: object) -> bool:
    return isinstance(leaf, nn.meta.AxisMetadata)


def _axis(module: nn.BatchNorm, name: str, x: Any) -> int:
    axes = np.ravel(module.axis)
    axis = int(axes[0]) % x.ndim
    if len(axes) > 1 or axis == 0:
        why = "it must be one axis other than the batch's"
        raise ValueError(f"`{name}` cannot be compacted with `axis` (={module.axis!r}): {why}.")
    return axis


def check_rank(call: LayerCall, rank: int) -> None:
    """Check that a layer is called on enough axes, so that it does not use the batch axis itself.

    Raises:
        ValueError: if it is called on so few axes, the batch's among them.
    """
    needed = {"embed": 1, "take": 1, **dict.fromkeys(ATTENTION, 3)}.get(call.op, 2)
    if call.op in LINEAR and "kernel_size" in call.options:
        needed += 2 if call.op == "conv" else len(np.ravel(call.options["kernel_size"]))
    if rank < needed:
        why = f"is called on {rank} axes, the batch's among them, and needs {needed}"
        raise unsupported_error(call.name, why)
