"""What each layer of a network is called with and computes with, seen while it is traced.

A layer's own operations are replaced by one primitive, whose operands are its inputs and the
parameters that it really computes with: under `nn.WeightNorm` and other wrappers these are not
those at its path.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching

from l1jax.models.layout.layer_kinds import BY_TYPE, LINEAR, LayerKind

# Fields that change nothing in inference, or are looked at elsewhere.
IRRELEVANT = (
    "parent",
    "name",
    "features",
    "param_dtype",
    "use_running_average",
    "axis",
    "transpose_kernel",
)
PLAIN = (bool, int, float, str, tuple, type(None))
TYPES = ("dtype", "preferred_element_type")
DIRECTIONS = ("train", "use_running_average")  # arguments that say whether this is inference


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer."""

    name: str  # its path
    op: str
    options: Mapping[str, Any]  # plain values
    inputs: int  # how many operands are arrays that it is called with; the others are its variables
    variables: Any  # the structure of these: {"params": …, "batch_stats": …}
    axis: int | None = None  # that of a batch norm's channels, the batch's own being 0


LAYER = Primitive("l1jax_layer")  # stands for a layer, whose own operations nobody reads then
LAYER.def_abstract_eval(lambda *_, shape, dtype, call: ShapedArray(shape, dtype))


def refusal(name: str, why: str) -> ValueError:
    """What to say of a layer that is not taken in."""
    return ValueError(f"`{name or 'layer'}` cannot be compacted: it {why}.")


def _mapped(args: Any, dims: Any, *, call: Call, **_: Any) -> Any:
    raise refusal(call.name, "is called under `vmap`; call it on the whole batch instead")


def _differentiated(args: Any, tangents: Any, *, call: Call, **_: Any) -> Any:
    raise refusal(call.name, "is differentiated inside of the network")


batching.primitive_batchers[LAYER] = _mapped
ad.primitive_jvps[LAYER] = _differentiated


def record(
    call: Callable[..., Any],
    args: Any,
    kwargs: Any,
    context: nn.module.InterceptorContext,
) -> Any:
    """Put the primitive in the place of what a known layer computes; a Linen interceptor."""
    module: Any = context.module
    with jax.named_scope(module.name or type(module).__name__):
        output = call(*args, **kwargs)
    if type(module) not in BY_TYPE or context.method_name != "__call__":
        return output
    op, kind = BY_TYPE[type(module)]
    name = "/".join(module.path)
    options = _options(module, kind, name)
    inputs = _inputs(module, kind, name, args, kwargs)
    variables = _variables(module, kind, name)
    axis = None
    if op == "batch_norm":
        axis = _axis(module, name, inputs[0])
    if op == "linen_conv_transpose" and module.transpose_kernel:  # its kernel is stored otherwise
        if options["padding"] == "CIRCULAR":  # which Flax aligns in another way then
            raise refusal(name, "has `transpose_kernel` (=True) with `padding` (='CIRCULAR')")
        kernel = variables["params"]["kernel"]
        spatial = tuple(range(kernel.ndim - 2))
        variables["params"]["kernel"] = jnp.flip(kernel, spatial).swapaxes(-1, -2)
    leaves, structure = jax.tree.flatten(variables)
    found = Call(name, op, options, len(inputs), structure, axis)
    return LAYER.bind(*inputs, *leaves, shape=output.shape, dtype=output.dtype, call=found)


def _options(module: Any, kind: LayerKind, name: str) -> dict[str, Any]:
    """The fields that matter, as plain values; all others have their defaults or change nothing.

    Raises:
        ValueError: if a field that is not known is set.
    """
    for field in dataclasses.fields(module):
        known = field.name in (*kind.fields, *IRRELEVANT) or field.name.endswith("_init")
        if known and field.name not in kind.required:
            continue
        value, wanted = getattr(module, field.name), kind.required.get(field.name, field.default)
        if not _same(value, wanted):
            plain = isinstance(wanted, PLAIN)
            must = f"must be {wanted!r}" if plain else "must be left at its default"
            given = f"`{field.name}` (={value!r})"
            raise ValueError(f"`{name}` cannot be compacted with {given}: it {must}.")
    options = {}
    for field in kind.fields:
        value = getattr(module, field)
        if field in TYPES:
            value = None if value is None else jnp.dtype(value).name
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
    """The arrays that a layer is called with, in inference.

    Raises:
        ValueError: if there is an argument that is not known, such as a mask, or it is in training.
    """
    signature = inspect.signature(type(module).__call__)
    given = signature.bind(module, *args, **kwargs).arguments
    _, first, *others = given.items()
    inputs = [first[1]]
    for argument, value in others:
        if argument in kind.array_arguments:
            inputs.append(value)
        elif argument not in DIRECTIONS and value is not signature.parameters[argument].default:
            raise refusal(name, f"is called with `{argument}`, which is not known here")
    train = given.get("train", False)
    average = given.get("use_running_average")
    if isinstance(module, nn.BatchNorm):
        average = module.use_running_average if average is None else average
        train = not isinstance(average, bool | np.bool_) or not average
    if not isinstance(train, bool | np.bool_) or train:
        raise refusal(
            name,
            "is in training; pass the argument that says otherwise, such as train=False",
        )
    return inputs


def _variables(module: Any, kind: LayerKind, name: str) -> dict[str, Any]:
    """What a layer computes with, inside of all wrappers.

    Raises:
        ValueError: if something is missing or in a box.
    """
    found: dict[str, Any] = {"params": {}, "batch_stats": {}}
    for collection, wanted in (("params", kind.params), ("batch_stats", kind.batch_stats)):
        own = module.variables.get(collection, {})
        found[collection] = {key: own[key] for key in wanted if key in own}
    boxed = jax.tree.leaves(found, is_leaf=lambda leaf: isinstance(leaf, nn.meta.AxisMetadata))
    if any(isinstance(leaf, nn.meta.AxisMetadata) for leaf in boxed):
        why = "has variables with partitioning; pass flax.linen.meta.unbox(variables)"
        raise refusal(name, why)
    return jax.tree.map(jnp.asarray, found)


def _axis(module: nn.BatchNorm, name: str, x: Any) -> int:
    axes = np.ravel(module.axis)
    axis = int(axes[0]) % x.ndim
    if len(axes) > 1 or axis == 0:
        why = "it must be one axis other than the batch's"
        raise ValueError(f"`{name}` cannot be compacted with `axis` (={module.axis!r}): {why}.")
    return axis


def check_rank(call: Call, rank: int) -> None:
    """Refuse a layer that would take the batch's axis for one of its own.

    Raises:
        ValueError: if it is called on so few axes, the batch's among them.
    """
    needed = 1 if call.op in ("embed", "take") else 2
    if call.op in LINEAR and "kernel_size" in call.options:
        needed += 2 if call.op == "conv" else len(np.ravel(call.options["kernel_size"]))
    if rank < needed:
        why = f"is called on {rank} axes, the batch's among them, and needs {needed}"
        raise refusal(call.name, why)
