"""Operations that move entries, or mix them along some axes only, as rows of the table."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np


class Moved(NamedTuple):
    """A node whose batch axis is not in front where the network computes it."""

    node: int
    batch: int  # its place among all axes; the others are in the node's order


def _reshape(table: Any, equation: Any, args: list[Any], out: Any) -> list[int]:
    if not isinstance(args[0], int) or equation.invars[0].aval.shape[0] != table.batch:
        raise table.refused(equation, "moves the batch axis")
    return [table.add("reshape", args[:1], out.shape[1:], out.dtype)]


def _broadcast_in_dim(table: Any, equation: Any, args: list[Any], out: Any) -> list[int]:
    dims, arg = equation.params["broadcast_dimensions"], args[0]
    if isinstance(arg, int):
        if dims[0] != 0:
            raise table.refused(equation, "moves the batch axis")
        kept = [d - 1 for d in dims[1:]]
    else:
        array = np.asarray(arg)
        if 0 in dims:  # an axis of length 1 becomes the batch's
            array, dims = array.squeeze(dims.index(0)), tuple(d for d in dims if d)
        arg, kept = table.constant(array, out.dtype), [d - 1 for d in dims]
    options = {"dims": tuple(kept)}
    return [table.add("broadcast_in_dim", (arg,), out.shape[1:], out.dtype, options=options)]


def _transpose(table: Any, equation: Any, args: list[Any], out: Any) -> int | Moved:
    arg, order = args[0], equation.params["permutation"]
    if not isinstance(arg, int | Moved):
        raise table.refused(equation, "moves the batch axis")
    node, batch = arg if isinstance(arg, Moved) else (arg, 0)
    others = [axis - (axis > batch) for axis in order if axis != batch]
    return _placed(table.transposed(node, others), order.index(batch))


def _placed(node: int, batch: int) -> int | Moved:
    return Moved(node, batch) if batch else node


def _dot_general(table: Any, equation: Any, args: list[Any], out: Any) -> int | Moved:
    """A matrix of constants along one axis, such as the weights of a bilinear resize."""
    contracting, batching = equation.params["dimension_numbers"]
    which = [i for i, arg in enumerate(args) if isinstance(arg, int | Moved)]
    if len(which) != 1:
        raise table.refused(equation, "multiplies activations with each other")
    x, matrix = args[which[0]], args[1 - which[0]]
    axes, rows = contracting[which[0]], contracting[1 - which[0]]
    node, batch = x if isinstance(x, Moved) else (x, 0)
    single = len(axes) == 1 and np.ndim(matrix) == 2 and not any(batching)
    if not single or axes[0] == batch or not jnp.issubdtype(out.dtype, jnp.floating):
        raise table.refused(equation, "is known of one axis times a matrix of constants only")
    axis = axes[0] - (axes[0] > batch)
    array = np.asarray(matrix) if rows[0] == 0 else np.asarray(matrix).T
    shape = [*table.nodes[node].shape]
    shape[axis] = array.shape[1]
    weights = table.constant(array, equation.invars[1 - which[0]].aval.dtype)
    options = {"axis": int(axis), "precision": _precision(equation.params["precision"])}
    made = table.add("matmul", (node, weights), shape, out.dtype, options=options)
    others = [a for a in range(len(shape)) if a != axis]
    if which[0] == 0:  # the new axis comes last
        batch -= batch > axes[0]
        return _placed(table.transposed(made, [*others, axis]), batch)
    batch += batch < axes[0]  # the new axis comes first
    return _placed(table.transposed(made, [axis, *others]), batch)


def _precision(value: Any) -> Any:
    """As strings."""
    if value is None:
        return None
    parts = value if isinstance(value, tuple) else (value, value)
    return tuple(str(getattr(part, "name", part)).lower() for part in parts)


def _concatenate(table: Any, equation: Any, args: list[Any], out: Any) -> list[int]:
    axis = equation.params["dimension"] - 1
    if axis < 0:
        raise table.refused(equation, "changes the batch axis")
    parts = [table.whole(arg, atom) for arg, atom in zip(args, equation.invars, strict=True)]
    return [table.add("concatenate", parts, out.shape[1:], out.dtype, options={"axis": axis})]


def _stack(table: Any, equation: Any, args: list[Any], out: Any) -> list[int]:
    axis = equation.params["axis"] - 1
    if axis < 0:
        raise table.refused(equation, "changes the batch axis")
    shape = list(out.shape[1:])
    shape[axis] = 1
    nodes = [table.whole(arg, atom) for arg, atom in zip(args, equation.invars, strict=True)]
    parts = [table.add("reshape", (i,), shape, out.dtype) for i in nodes]
    return [table.add("concatenate", parts, out.shape[1:], out.dtype, options={"axis": axis})]


def _taken(table: Any, index: int, axis: int, indices: Sequence[int]) -> int:
    """Add the choice of some indices of an axis."""
    node = table.nodes[index]
    shape = list(node.shape)
    if list(indices) == list(range(shape[axis])):
        return index
    shape[axis] = len(indices)
    chosen = tuple(map(int, indices))
    return table.add("take", (index,), shape, node.dtype, options={"axis": axis, "indices": chosen})


def _slice(table: Any, equation: Any, args: list[Any], out: Any) -> list[int]:
    starts, limits = equation.params["start_indices"], equation.params["limit_indices"]
    strides = equation.params["strides"] or (1,) * len(starts)
    index = args[0]
    if starts[0] or strides[0] != 1 or limits[0] != table.batch:
        raise table.refused(equation, "changes the batch axis")
    for axis, chosen in enumerate(map(range, starts[1:], limits[1:], strides[1:])):
        index = _taken(table, index, axis, chosen)
    return [index]


def _dynamic_slice(table: Any, equation: Any, args: list[Any], out: Any) -> list[int]:
    """A slice that starts at constants; they are clamped as JAX does."""
    index, *starts = args
    shape, sizes = equation.invars[0].aval.shape, equation.params["slice_sizes"]
    if not isinstance(index, int) or any(isinstance(start, int | Moved) for start in starts):
        raise table.refused(equation, "starts at a place that depends on the input")
    if sizes[0] != table.batch:
        raise table.refused(equation, "changes the batch axis")
    columns = zip(starts[1:], sizes[1:], shape[1:], strict=True)
    for axis, (start, size, length) in enumerate(columns):
        first = int(np.clip(start, 0, length - size))
        index = _taken(table, index, axis, range(first, first + size))
    return [index]


def _gather(table: Any, equation: Any, args: list[Any], out: Any) -> list[int]:
    """Entries along one axis at constant places, as a resize to the nearest pixel takes them."""
    index, places = args
    numbers, shape = equation.params["dimension_numbers"], equation.invars[0].aval.shape
    if not isinstance(index, int) or isinstance(places, int | Moved):
        raise table.refused(equation, "takes entries at places that depend on the input")
    (axis, *others) = numbers.start_index_map
    sizes = tuple(1 if a == axis else size for a, size in enumerate(shape))
    kept = tuple(a for a in range(len(shape)) if a != axis)
    single = not others and axis > 0 and np.ndim(places) == 2
    entries = tuple(equation.params["slice_sizes"]) == sizes
    placed = (tuple(numbers.collapsed_slice_dims), tuple(numbers.offset_dims)) == ((axis,), kept)
    if not (single and entries and placed):
        raise table.refused(equation, "takes entries along other than one axis")
    indices = np.asarray(places)[:, 0]
    if np.any((indices < 0) | (indices >= shape[axis])):
        raise table.refused(equation, "takes entries beyond the end of an axis")
    return [_taken(table, index, axis - 1, indices.tolist())]


def _rev(table: Any, equation: Any, args: list[Any], out: Any) -> list[int]:
    (index,) = args
    for dimension in equation.params["dimensions"]:
        if not dimension:
            raise table.refused(equation, "changes the order of the examples")
        size = table.nodes[index].shape[dimension - 1]
        index = _taken(table, index, dimension - 1, range(size)[::-1])
    return [index]


def _tile(table: Any, equation: Any, args: list[Any], out: Any) -> list[int]:
    """An array several times, one after the other."""
    (index,), repeats = args, equation.params["reps"]
    if len(repeats) != equation.invars[0].aval.ndim or repeats[0] != 1:
        raise table.refused(equation, "repeats the examples of a batch")
    for axis, count in enumerate(repeats[1:]):
        size = table.nodes[index].shape[axis]
        index = _taken(table, index, axis, [*range(size)] * count)
    return [index]


def _split(table: Any, equation: Any, args: list[Any], out: Any) -> list[int]:
    axis, ends = equation.params["axis"] - 1, np.cumsum(equation.params["sizes"])
    if axis < 0:
        raise table.refused(equation, "changes the batch axis")
    pairs = zip(equation.params["sizes"], ends.tolist(), strict=True)
    return [_taken(table, args[0], axis, range(end - size, end)) for size, end in pairs]


def _pad(table: Any, equation: Any, args: list[Any], out: Any) -> list[int]:
    config = equation.params["padding_config"]
    if any(config[0]) or any(c[2] or min(c) < 0 for c in config) or isinstance(args[1], int):
        raise table.refused(equation, "pads other than around an image with a constant")
    around = {
        "low": tuple(int(c[0]) for c in config[1:]),
        "high": tuple(int(c[1]) for c in config[1:]),
    }
    options = {**around, "value": np.asarray(args[1]).item()}
    return [table.add("pad", args[:1], out.shape[1:], out.dtype, options=options)]


def _integers(value: Any) -> Any:
    """As plain values, in tuples as deep as they are."""
    return tuple(map(_integers, value)) if isinstance(value, tuple | list) else int(value)


def _window(table: Any, equation: Any, args: list[Any], out: Any) -> list[int]:
    """A pooling: the largest entry of each window, or their sum."""
    params = equation.params
    names = ("window_dimensions", "window_strides", "padding", "base_dilation", "window_dilation")
    front, inside = zip(*((params[name][0], params[name][1:]) for name in names), strict=True)
    if front != (1, 1, (0, 0), 1, 1):
        raise table.refused(equation, "mixes the examples of a batch")
    options = {name: _integers(values) for name, values in zip(names, inside, strict=True)}
    return [table.add(equation.primitive.name, args, out.shape[1:], out.dtype, options=options)]


# The batch axis stays in front.
MOVEMENTS: dict[str, Callable[[Any, Any, list[Any], Any], list[int]]] = {
    "broadcast_in_dim": _broadcast_in_dim,
    "concatenate": _concatenate,
    "dynamic_slice": _dynamic_slice,
    "expand_dims": _reshape,
    "gather": _gather,
    "pad": _pad,
    "reduce_window_max": _window,
    "reduce_window_min": _window,
    "reduce_window_sum": _window,
    "reshape": _reshape,
    "rev": _rev,
    "slice": _slice,
    "split": _split,
    "squeeze": _reshape,
    "stack": _stack,
    "tile": _tile,
}
# It may be elsewhere, before or after.
MOVING_BATCH: dict[str, Callable[[Any, Any, list[Any], Any], int | Moved]] = {
    "dot_general": _dot_general,
    "transpose": _transpose,
}
