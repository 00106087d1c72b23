"""Lower the JAX operations that networks are made of to nodes of an ONNX graph.

What does not depend on the graph's inputs is computed before, and becomes a constant.
"""

import string
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from l1jax.config import InputError
from l1jax.serialization.onnx_builder import OnnxBuilder, Operand, Shape

# fmt: off
ALIKE = {  # ONNX's have the same meaning and operands
    "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "max": "Max", "min": "Min",
    "pow": "Pow", "neg": "Neg", "abs": "Abs", "exp": "Exp", "log": "Log", "sqrt": "Sqrt",
    "tanh": "Tanh", "logistic": "Sigmoid", "erf": "Erf", "floor": "Floor", "ceil": "Ceil",
    "cos": "Cos", "sin": "Sin",
    "eq": "Equal", "lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual",
    "and": "And", "or": "Or", "not": "Not",
}
# fmt: on
INT32 = 6  # ONNX's number of the type
SAME = {
    "stop_gradient",
    "copy",
    "copy_p",
    "optimization_barrier",
    "pvary",
    "pcast",
    "reduce_precision",
}


class Equation(NamedTuple):
    """One operation of a program."""

    name: str
    inputs: list[Operand]
    in_shapes: list[Shape]
    out_shape: Shape
    out_dtype: Any
    params: dict[str, Any]


def lower_all(graph: OnnxBuilder, equation: Equation, out_shapes: Sequence[Shape]) -> list[Operand]:
    """Append what computes all results of an operation.

    Args:
        graph: the graph so far.
        equation: the operation.
        out_shapes: of its results.

    Raises:
        NotImplementedError: if there is no such operation here.
    """
    if len(out_shapes) == 1:
        return [lower(graph, equation)]
    if equation.name != "split":
        raise NotImplementedError("several results")
    axis = np.array([equation.params["axis"]], np.int64)
    ends = np.cumsum([int(size) for size in equation.params["sizes"]])
    starts = np.concatenate([[0], ends[:-1]])
    return [
        graph.add("Slice", equation.inputs[0], np.array([start]), np.array([end]), axis)
        for start, end in zip(starts, ends, strict=True)
    ]


def lower(graph: OnnxBuilder, equation: Equation) -> Operand:
    """Append what computes an operation of one result.

    Raises:
        NotImplementedError: if there is no such operation here.
    """
    name = equation.name
    inputs = equation.inputs
    if name in ALIKE:
        return graph.add(ALIKE[name], *inputs)
    if name in SAME:
        return inputs[0]
    if name not in OPERATORS:
        raise NotImplementedError(name)
    return OPERATORS[name](graph, equation)


def _broadcast(graph: OnnxBuilder, e: Equation) -> Operand:
    axes = e.params["broadcast_dimensions"]
    placed = [1] * len(e.out_shape)
    for axis, size in zip(axes, e.in_shapes[0], strict=True):
        placed[axis] = size
    return graph.expand(graph.reshape(e.inputs[0], placed), placed, e.out_shape)


def _stack(graph: OnnxBuilder, e: Equation) -> Operand:
    axis = e.params["axis"]
    single = list(e.out_shape)
    single[axis] = 1
    return graph.add("Concat", *(graph.reshape(x, single) for x in e.inputs), axis=axis)


def _slice(graph: OnnxBuilder, e: Equation) -> Operand:
    starts = e.params["start_indices"]
    limits = e.params["limit_indices"]
    strides = e.params["strides"] or (1,) * len(starts)
    rows = []
    for axis, (start, limit, stride) in enumerate(zip(starts, limits, strides, strict=True)):
        if (start, limit, stride) != (0, e.in_shapes[0][axis], 1):
            rows.append((start, limit, axis, stride))
    if not rows:
        return e.inputs[0]
    columns = zip(*rows, strict=True)
    return graph.add("Slice", e.inputs[0], *(np.array(column, np.int64) for column in columns))


def _pad(graph: OnnxBuilder, e: Equation) -> Operand:
    low, high, inside = zip(*e.params["padding_config"], strict=True)
    if any(inside):
        raise NotImplementedError("pad between entries")
    return graph.add("Pad", e.inputs[0], np.array([*low, *high], np.int64), e.inputs[1])


def _dot(graph: OnnxBuilder, e: Equation) -> Operand:
    (left, right), (left_batch, right_batch) = e.params["dimension_numbers"]
    ranks = [len(shape) for shape in e.in_shapes]
    if not left_batch and tuple(left) == (ranks[0] - 1,) and (tuple(right), ranks[1]) == ((0,), 2):
        return graph.add("MatMul", *e.inputs)
    letters = iter(string.ascii_lowercase)
    first = [next(letters) for _ in range(ranks[0])]
    second = [next(letters) for _ in range(ranks[1])]
    for i, j in (*zip(left, right, strict=True), *zip(left_batch, right_batch, strict=True)):
        second[j] = first[i]
    free = [c for i, c in enumerate(first) if i not in (*left, *left_batch)]
    free += [c for j, c in enumerate(second) if j not in (*right, *right_batch)]
    out = [first[i] for i in left_batch] + free
    return graph.add(
        "Einsum", *e.inputs, equation=f"{''.join(first)},{''.join(second)}->{''.join(out)}"
    )


def _iota(graph: OnnxBuilder, e: Equation) -> Operand:
    """Count along one axis, whose size is not known before the graph runs."""
    axis = e.params["dimension"]
    size = graph.reshape(graph.sizes(e.out_shape[axis : axis + 1]), ())
    counted = graph.add("Range", np.array(0, np.int64), size, np.array(1, np.int64))
    placed = [1] * len(e.out_shape)
    placed[axis] = e.out_shape[axis]
    counted = graph.expand(graph.reshape(counted, placed), placed, e.out_shape)
    return graph.add("Cast", counted, to=_onnx_type(e.out_dtype))


def _convolution(graph: OnnxBuilder, e: Equation) -> Operand:
    """Add a convolution, or a transposed one where zeros enlarge the image."""
    p = e.params
    numbers = p["dimension_numbers"]
    kernel_sizes = [e.in_shapes[1][axis] for axis in numbers.rhs_spec[2:]]
    enlarged = max(p["lhs_dilation"]) > 1
    groups = p["feature_group_count"]
    x = graph.add("Transpose", e.inputs[0], perm=list(numbers.lhs_spec))
    shared = {"group": groups, "kernel_shape": kernel_sizes}
    low, high = zip(*p["padding"], strict=True)
    kernel = e.inputs[1]
    if p["batch_group_count"] != 1:
        raise NotImplementedError("convolution with groups of the batch")
    if not enlarged:
        kernel = _transposed(graph, kernel, numbers.rhs_spec)
        options = {
            "strides": list(p["window_strides"]),
            "dilations": list(p["rhs_dilation"]),
            "pads": [*low, *high],
        }
        y = graph.add("Conv", x, kernel, **options, **shared)
    else:
        pads = [
            size - 1 - pad
            for side in (low, high)
            for size, pad in zip(kernel_sizes, side, strict=True)
        ]
        plain = groups == 1 and max(*p["window_strides"], *p["rhs_dilation"]) == 1
        if not plain or min(pads) < 0 or isinstance(kernel, str):
            raise NotImplementedError(
                "transposed convolution with groups, strides, more padding, or no fixed kernel"
            )
        outputs, inputs, *spatial = numbers.rhs_spec
        mirrored = np.flip(kernel, tuple(spatial)).transpose(inputs, outputs, *spatial)
        graph.made_of(mirrored, graph.sources(kernel))
        y = graph.add(
            "ConvTranspose", x, mirrored, strides=list(p["lhs_dilation"]), pads=pads, **shared
        )
    return graph.add("Transpose", y, perm=np.argsort(numbers.out_spec).tolist())


def _transposed(graph: OnnxBuilder, x: Operand, axes: Sequence[int]) -> Operand:
    if isinstance(x, str):
        return graph.add("Transpose", x, perm=list(axes))
    return graph.made_of(x.transpose(axes), graph.sources(x))


def _gather(graph: OnnxBuilder, e: Equation) -> Operand:
    """Take entries along one axis, such as rows of a table, or a slice with a fixed start."""
    numbers = e.params["dimension_numbers"]
    sizes = tuple(e.params["slice_sizes"])
    shape, index_shape = e.in_shapes
    index = e.inputs[1]
    axis, *other_axes = numbers.start_index_map
    collapsed = tuple(numbers.collapsed_slice_dims)
    offsets = tuple(numbers.offset_dims)
    single_entries = (*shape[:axis], 1, *shape[axis + 1 :])
    whole_rows = sizes == single_entries and collapsed == (axis,)
    num_index_axes = len(index_shape) - 1
    indexed = range(axis, axis + num_index_axes)
    is_in_place = offsets == tuple(i for i in range(len(e.out_shape)) if i not in indexed)
    if not other_axes and num_index_axes and whole_rows and is_in_place:
        return _gather_rows(graph, e, axis)
    is_slice = len(index_shape) == 1 and offsets == tuple(range(len(e.out_shape)))
    if isinstance(index, str) or not is_slice:
        raise NotImplementedError("along more than one axis")
    axes = list(numbers.start_index_map)
    ends = index + [sizes[axis] for axis in axes]
    bounds = [np.asarray(bound, np.int64) for bound in (index, ends, axes)]
    part = graph.add("Slice", e.inputs[0], *bounds)
    if not collapsed:
        return part
    return graph.reshape(part, e.out_shape)


def _gather_rows(graph: OnnxBuilder, e: Equation, axis: int) -> Operand:
    """Take entries of one axis; indices beyond its ends are clamped, as JAX does."""
    shape, index_shape = e.in_shapes
    index = graph.reshape(e.inputs[1], index_shape[:-1])
    first = np.array([0], np.int32)
    last = np.array([shape[axis] - 1], np.int32)
    below_end = graph.add("Min", graph.add("Cast", index, to=INT32), last)
    return graph.add("Gather", e.inputs[0], graph.add("Max", below_end, first), axis=axis)


def _cast(graph: OnnxBuilder, e: Equation) -> Operand:
    return graph.add("Cast", e.inputs[0], to=_onnx_type(e.out_dtype))


def _onnx_type(dtype: Any) -> int:
    """Return ONNX's number of a type."""
    from onnx import helper

    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def _power(graph: OnnxBuilder, e: Equation) -> Operand:
    return graph.add("Pow", e.inputs[0], np.array(e.params["y"], e.out_dtype))


def _reduce(kind: str) -> Callable[[OnnxBuilder, Equation], Operand]:
    return lambda graph, e: graph.add(
        kind, e.inputs[0], np.array(e.params["axes"], np.int64), keepdims=0
    )


OPERATORS: dict[str, Callable[[OnnxBuilder, Equation], Operand]] = {
    "broadcast_in_dim": _broadcast,
    "concatenate": lambda graph, e: graph.add("Concat", *e.inputs, axis=e.params["dimension"]),
    "conv_general_dilated": _convolution,
    "convert_element_type": _cast,
    "dot_general": _dot,
    "erfc": lambda graph, e: graph.add(
        "Sub", np.array(1, e.out_dtype), graph.add("Erf", *e.inputs)
    ),
    "gather": _gather,
    "iota": _iota,
    "integer_pow": _power,
    "pad": _pad,
    "reduce_max": _reduce("ReduceMax"),
    "reduce_sum": _reduce("ReduceSum"),
    "reshape": lambda graph, e: graph.reshape(e.inputs[0], e.out_shape),
    "log1p": lambda graph, e: graph.add(
        "Log", graph.add("Add", np.array(1, e.out_dtype), *e.inputs)
    ),
    "ne": lambda graph, e: graph.add("Not", graph.add("Equal", *e.inputs)),
    "rsqrt": lambda graph, e: graph.add("Reciprocal", graph.add("Sqrt", *e.inputs)),
    "select_n": lambda graph, e: graph.add("Where", e.inputs[0], e.inputs[2], e.inputs[1]),
    "slice": _slice,
    "square": lambda graph, e: graph.add("Mul", e.inputs[0], e.inputs[0]),
    "squeeze": lambda graph, e: graph.reshape(e.inputs[0], e.out_shape),
    "stack": _stack,
    "transpose": lambda graph, e: graph.add(
        "Transpose", e.inputs[0], perm=list(e.params["permutation"])
    ),
}


def refusal(equation: Equation, error: NotImplementedError, where: str) -> InputError:
    """Make the error for an operation that is not supported.

    Args:
        equation: the operation.
        error: what is missing.
        where: the layer that it is in.
    """
    place = ""
    if where:
        place = f" in the layer {where}"
    return InputError(
        f"`--onnx` knows no form of JAX's {equation.name} ({error}){place}: export StableHLO "
        "instead."
    )
