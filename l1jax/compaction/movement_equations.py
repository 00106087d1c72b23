"""Add the equations that move entries, or mix them along some axes only, to a graph.

Each function takes the graph, the equation, the values of its arguments and the shape of its first
output, and returns the values of its outputs. It raises a ValueError if that is not supported.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray
from jax.extend.core import JaxprEqn

from l1jax.compaction.graph_builder import GraphBuilder, MovedBatch, Value, array_type


def _reshape(
    builder: GraphBuilder, equation: JaxprEqn, args: list[Value], out: ShapedArray
) -> list[int]:
    index = args[0]
    sizes = array_type(equation.invars[0]).shape
    if not isinstance(index, int) or sizes[0] != builder.batch_size:
        raise builder.unsupported_error(equation, "moves the batch axis")
    return [builder.add("reshape", (index,), out.shape[1:], out.dtype)]


def _broadcast_in_dim(
    builder: GraphBuilder, equation: JaxprEqn, args: list[Value], out: ShapedArray
) -> list[int]:
    dims = equation.params["broadcast_dimensions"]
    arg = args[0]
    if isinstance(arg, int):
        if dims[0] != 0:
            raise builder.unsupported_error(equation, "moves the batch axis")
        dims = dims[1:]
    else:
        array = np.asarray(arg)
        if 0 in dims:
            # An axis of length 1 becomes the batch axis.
            array = array.squeeze(dims.index(0))
            dims = [dim for dim in dims if dim]
        arg = builder.constant(array, out.dtype)
    options = {"dims": tuple(dim - 1 for dim in dims)}
    return [builder.add("broadcast_in_dim", (arg,), out.shape[1:], out.dtype, options=options)]


def _transpose(
    builder: GraphBuilder, equation: JaxprEqn, args: list[Value], out: ShapedArray
) -> int | MovedBatch:
    arg = args[0]
    if not isinstance(arg, int | MovedBatch):
        raise builder.unsupported_error(equation, "moves the batch axis")
    order = equation.params["permutation"]
    node, batch_axis = _split_moved(arg)
    others = [axis - (axis > batch_axis) for axis in order if axis != batch_axis]
    return _with_batch_axis(builder.transpose(node, others), order.index(batch_axis))


def _split_moved(value: int | MovedBatch) -> MovedBatch:
    return value if isinstance(value, MovedBatch) else MovedBatch(value, 0)


def _with_batch_axis(node: int, batch_axis: int) -> int | MovedBatch:
    return MovedBatch(node, batch_axis) if batch_axis else node


def _dot_general(
    builder: GraphBuilder, equation: JaxprEqn, args: list[Value], out: ShapedArray
) -> int | MovedBatch:
    """Multiply one axis by a matrix of constants, such as the weights of a bilinear resize."""
    contracting, batching = equation.params["dimension_numbers"]
    variable = [(i, arg) for i, arg in enumerate(args) if isinstance(arg, int | MovedBatch)]
    if len(variable) != 1:
        raise builder.unsupported_error(equation, "multiplies activations with each other")
    x_position, x = variable[0]
    matrix_position = 1 - x_position
    matrix = np.asarray(args[matrix_position])
    axes = contracting[x_position]
    node, batch_axis = _split_moved(x)
    single = len(axes) == 1 and matrix.ndim == 2 and not any(batching)
    if not single or axes[0] == batch_axis or not jnp.issubdtype(out.dtype, jnp.floating):
        raise builder.unsupported_error(
            equation, "is known of one axis times a matrix of constants only"
        )
    axis = axes[0] - (axes[0] > batch_axis)
    if contracting[matrix_position][0] != 0:
        matrix = matrix.T
    shape = [*builder.nodes[node].shape]
    shape[axis] = matrix.shape[1]
    weights = builder.constant(matrix, array_type(equation.invars[matrix_position]).dtype)
    options = {"axis": int(axis), "precision": _precision(equation.params["precision"])}
    product = builder.add("matmul", (node, weights), shape, out.dtype, options=options)
    others = [other for other in range(len(shape)) if other != axis]
    if x_position == 0:
        # The new axis comes last.
        batch_axis -= batch_axis > axes[0]
        return _with_batch_axis(builder.transpose(product, [*others, axis]), batch_axis)
    # The new axis comes first.
    batch_axis += batch_axis < axes[0]
    return _with_batch_axis(builder.transpose(product, [axis, *others]), batch_axis)


def _precision(value: object) -> tuple[str, ...] | None:
    """Convert the precision of both operands to strings."""
    if value is None:
        return None
    parts = value if isinstance(value, tuple) else (value, value)
    return tuple(str(getattr(part, "name", part)).lower() for part in parts)


def _concatenate(
    builder: GraphBuilder, equation: JaxprEqn, args: list[Value], out: ShapedArray
) -> list[int]:
    axis = equation.params["dimension"] - 1
    if axis < 0:
        raise builder.unsupported_error(equation, "changes the batch axis")
    parts = builder.as_nodes(equation, args)
    return [builder.add("concatenate", parts, out.shape[1:], out.dtype, options={"axis": axis})]


def _stack(
    builder: GraphBuilder, equation: JaxprEqn, args: list[Value], out: ShapedArray
) -> list[int]:
    axis = equation.params["axis"] - 1
    if axis < 0:
        raise builder.unsupported_error(equation, "changes the batch axis")
    shape = list(out.shape[1:])
    shape[axis] = 1
    nodes = builder.as_nodes(equation, args)
    parts = [builder.add("reshape", (i,), shape, out.dtype) for i in nodes]
    return [builder.add("concatenate", parts, out.shape[1:], out.dtype, options={"axis": axis})]


def _slice(
    builder: GraphBuilder, equation: JaxprEqn, args: list[Value], out: ShapedArray
) -> list[int]:
    starts = equation.params["start_indices"]
    limits = equation.params["limit_indices"]
    strides = equation.params["strides"] or (1,) * len(starts)
    if starts[0] or strides[0] != 1 or limits[0] != builder.batch_size:
        raise builder.unsupported_error(equation, "changes the batch axis")
    (index,) = builder.as_nodes(equation, args)
    for axis, chosen in enumerate(map(range, starts[1:], limits[1:], strides[1:])):
        index = builder.take(index, axis, chosen)
    return [index]


def _dynamic_slice(
    builder: GraphBuilder, equation: JaxprEqn, args: list[Value], out: ShapedArray
) -> list[int]:
    """Add a slice that starts at constants, which are clamped as JAX does."""
    index, *starts = args
    shape = array_type(equation.invars[0]).shape
    sizes = equation.params["slice_sizes"]
    if not isinstance(index, int) or any(isinstance(start, int | MovedBatch) for start in starts):
        raise builder.unsupported_error(equation, "starts at a place that depends on the input")
    if sizes[0] != builder.batch_size:
        raise builder.unsupported_error(equation, "changes the batch axis")
    columns = zip(starts[1:], sizes[1:], shape[1:], strict=True)
    for axis, (start, size, length) in enumerate(columns):
        first = int(np.clip(start, 0, length - size))
        index = builder.take(index, axis, range(first, first + size))
    return [index]


def _gather(
    builder: GraphBuilder, equation: JaxprEqn, args: list[Value], out: ShapedArray
) -> list[int]:
    """Take entries along one axis at constant places, as a resize to the nearest pixel does."""
    index, places = args
    numbers = equation.params["dimension_numbers"]
    shape = array_type(equation.invars[0]).shape
    if not isinstance(index, int) or isinstance(places, int | MovedBatch):
        raise builder.unsupported_error(
            equation, "takes entries at places that depend on the input"
        )
    (axis, *others) = numbers.start_index_map
    sizes = tuple(1 if a == axis else size for a, size in enumerate(shape))
    kept = tuple(a for a in range(len(shape)) if a != axis)
    single = not others and axis > 0 and np.ndim(places) == 2
    entries = tuple(equation.params["slice_sizes"]) == sizes
    placed = (tuple(numbers.collapsed_slice_dims), tuple(numbers.offset_dims)) == ((axis,), kept)
    if not (single and entries and placed):
        raise builder.unsupported_error(equation, "takes entries along other than one axis")
    indices = np.asarray(places)[:, 0]
    if np.any((indices < 0) | (indices >= shape[axis])):
        raise builder.unsupported_error(equation, "takes entries beyond the end of an axis")
    return [builder.take(index, axis - 1, indices.tolist())]


def _rev(
    builder: GraphBuilder, equation: JaxprEqn, args: list[Value], out: ShapedArray
) -> list[int]:
    (index,) = builder.as_nodes(equation, args)
    for dimension in equation.params["dimensions"]:
        if not dimension:
            raise builder.unsupported_error(equation, "changes the order of the examples")
        size = builder.nodes[index].shape[dimension - 1]
        index = builder.take(index, dimension - 1, range(size)[::-1])
    return [index]


def _tile(
    builder: GraphBuilder, equation: JaxprEqn, args: list[Value], out: ShapedArray
) -> list[int]:
    """Repeat an array, one copy after the other."""
    (index,) = builder.as_nodes(equation, args)
    repeats = equation.params["reps"]
    if len(repeats) != array_type(equation.invars[0]).ndim or repeats[0] != 1:
        raise builder.unsupported_error(equation, "repeats the examples of a batch")
    for axis, count in enumerate(repeats[1:]):
        size = builder.nodes[index].shape[axis]
        index = builder.take(index, axis, [*range(size)] * count)
    return [index]


def _split(
    builder: GraphBuilder, equation: JaxprEqn, args: list[Value], out: ShapedArray
) -> list[int]:
    axis = equation.params["axis"] - 1
    ends = np.cumsum(equation.params["sizes"])
    if axis < 0:
        raise builder.unsupported_error(equation, "changes the batch axis")
    (index,) = builder.as_nodes(equation, args)
    pairs = zip(equation.params["sizes"], ends.tolist(), strict=True)
    return [builder.take(index, axis, range(end - size, end)) for size, end in pairs]


def _pad(
    builder: GraphBuilder, equation: JaxprEqn, args: list[Value], out: ShapedArray
) -> list[int]:
    config = equation.params["padding_config"]
    if any(config[0]) or any(c[2] or min(c) < 0 for c in config) or isinstance(args[1], int):
        raise builder.unsupported_error(equation, "pads other than around an image with a constant")
    around = {
        "low": tuple(int(c[0]) for c in config[1:]),
        "high": tuple(int(c[1]) for c in config[1:]),
    }
    options = {**around, "value": np.asarray(args[1]).item()}
    index = builder.as_node(args[0], out.dtype)
    return [builder.add("pad", (index,), out.shape[1:], out.dtype, options=options)]


def _integers(value: object) -> object:
    """Convert numbers, in tuples of any depth, to plain integers."""
    if isinstance(value, tuple | list):
        return tuple(_integers(item) for item in value)
    return int(value)  # type: ignore[call-overload]


def _window(
    builder: GraphBuilder, equation: JaxprEqn, args: list[Value], out: ShapedArray
) -> list[int]:
    """Add a pooling: the largest or smallest entry of each window, or their sum."""
    params = equation.params
    names = ("window_dimensions", "window_strides", "padding", "base_dilation", "window_dilation")
    front, inside = zip(*((params[name][0], params[name][1:]) for name in names), strict=True)
    if front != (1, 1, (0, 0), 1, 1):
        raise builder.unsupported_error(equation, "mixes the examples of a batch")
    options = {name: _integers(values) for name, values in zip(names, inside, strict=True)}
    inputs = builder.as_nodes(equation, args)
    return [builder.add(equation.primitive.name, inputs, out.shape[1:], out.dtype, options=options)]


# Operations that keep the batch axis in front.
MOVEMENTS: dict[str, Callable[[GraphBuilder, JaxprEqn, list[Value], ShapedArray], list[int]]] = {
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
# Operations that may move the batch axis, or undo such a move.
MOVING_BATCH: dict[
    str, Callable[[GraphBuilder, JaxprEqn, list[Value], ShapedArray], int | MovedBatch]
] = {
    "dot_general": _dot_general,
    "transpose": _transpose,
}
