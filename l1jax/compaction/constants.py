"""Find the entries of a network's arrays that are constant, whatever its input is.

One pass from the inputs to the output is exact for a network without loops: an entry is constant if
everything that it reads with a nonzero weight is. For example, a hidden unit whose incoming weights
are all zero always has the value of its bias, and relu of it is constant, too.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Shaped

from l1jax.compaction.connections import connections, norm_groups, scaled_channels
from l1jax.compaction.graph import Graph, collapse
from l1jax.compaction.mixed_axes import pool_constants, product_constants
from l1jax.models.layout.axis_operations import POOLINGS
from l1jax.models.layout.layer_kinds import (
    ATTENTION,
    DIAGONAL,
    GROUPED,
    LINEAR,
    LOOKUP,
    build_layer,
)
from l1jax.models.layout.node import Node, Tree
from l1jax.models.layout.operations import ELEMENTWISE, REDUCTIONS, numpy_dtype

Entries = Bool[np.ndarray, "..."]
Values = Shaped[np.ndarray, "..."]


class Constants(NamedTuple):
    """Which entries of one example are constant; an axis of length 1 stands for all its indices."""

    known: Entries
    # Their values in float64, or in the node's own type if that is no float; 0 elsewhere.
    value: Values

    def expand(self, shape: tuple[int, ...]) -> "Constants":
        """Return the same with all indices of every axis."""
        return Constants(np.broadcast_to(self.known, shape), np.broadcast_to(self.value, shape))


class Inputs(NamedTuple):
    """What a rule needs to know about the inputs of a node."""

    graph: Graph
    constants: list[Constants]
    shapes: list[tuple[int, ...]]

    def expand(self, which: int) -> Constants:
        """Return an input's constants with all indices of every axis."""
        return self.constants[which].expand(self.shapes[which])


def find_constants(graph: Graph) -> list[Constants]:
    """Find the constant entries of every node."""
    constants: list[Constants] = []
    for node in graph.nodes:
        shapes = [graph.nodes[i].shape for i in node.inputs]
        inputs = Inputs(graph, [constants[i] for i in node.inputs], shapes)
        rule = RULES.get(node.op, _nothing_constant)
        # Entries that are not constant are computed with 0, which may be outside of the domain.
        with np.errstate(all="ignore"):
            constants.append(rule(node, inputs))
    return constants


def _collapsed(known: Entries, value: Values) -> Constants:
    """Constants in their shortest form."""
    zero = np.zeros((), value.dtype)
    return Constants(collapse(known), collapse(np.where(known, value, zero)))


def _nothing_constant(node: Node, inputs: Inputs) -> Constants:
    shape = (1,) * len(node.shape)
    return Constants(np.zeros(shape, bool), np.zeros(shape, numpy_dtype(node.dtype)))


def _constant(node: Node, inputs: Inputs) -> Constants:
    value = node.options.get("value")
    if value is None:
        value = inputs.graph.params[node.name]
    array = np.asarray(value).astype(numpy_dtype(node.dtype))
    return _collapsed(np.ones(array.shape, bool), array)


def _reshape(node: Node, inputs: Inputs) -> Constants:
    known, value = inputs.expand(0)
    return _collapsed(known.reshape(node.shape), value.reshape(node.shape))


def _broadcast_in_dim(node: Node, inputs: Inputs) -> Constants:
    def place(array: Values) -> Values:
        """Give the array's axes their places among those of the node."""
        sizes = [1] * len(node.shape)
        for dim, size in zip(node.options["dims"], array.shape, strict=True):
            sizes[dim] = size
        return array.reshape(sizes)

    known, value = inputs.constants[0]
    return Constants(place(known), place(value))


def _transpose(node: Node, inputs: Inputs) -> Constants:
    known, value = inputs.constants[0]
    order = node.options["order"]
    return Constants(known.transpose(order), value.transpose(order))


def _concatenate(node: Node, inputs: Inputs) -> Constants:
    parts = [inputs.expand(which) for which in range(len(node.inputs))]
    axis = node.options["axis"]
    known = np.concatenate([part.known for part in parts], axis)
    return _collapsed(known, np.concatenate([part.value for part in parts], axis))


def _take(node: Node, inputs: Inputs) -> Constants:
    known, value = inputs.expand(0)
    indices = node.options["indices"]
    axis = node.options["axis"]
    return _collapsed(known.take(indices, axis), value.take(indices, axis))


def _pad(node: Node, inputs: Inputs) -> Constants:
    known, value = inputs.expand(0)
    widths = list(zip(node.options["low"], node.options["high"], strict=True))
    padded_known = np.pad(known, widths, constant_values=True)
    return _collapsed(padded_known, np.pad(value, widths, constant_values=node.options["value"]))


def _matmul(node: Node, inputs: Inputs) -> Constants:
    known, value = inputs.expand(0)
    return _collapsed(*product_constants(node, known, value, inputs.expand(1).value))


def _pool(node: Node, inputs: Inputs) -> Constants:
    known, value = inputs.expand(0)
    return _collapsed(*pool_constants(node, known, value))


def _reduce(node: Node, inputs: Inputs) -> Constants:
    known, value = inputs.expand(0)
    reduced = REDUCTIONS[node.op](np, value, **node.options)
    value = np.asarray(reduced).astype(numpy_dtype(node.dtype))
    return _collapsed(np.asarray(known.all(node.options["axes"])), value)


def _elementwise(node: Node, inputs: Inputs) -> Constants:
    """Take an entry as constant where all operands are, or where a factor is a constant zero."""
    rank = len(node.shape)
    operands = []
    for operand in inputs.constants:
        if operand.known.ndim != rank:
            # Numbers have no axes.
            shape = (1,) * rank
            operand = Constants(operand.known.reshape(shape), operand.value.reshape(shape))
        operands.append(operand)
    computed = ELEMENTWISE[node.op](np, *(operand.value for operand in operands), **node.options)
    value = np.asarray(computed).astype(numpy_dtype(node.dtype))
    all_known = np.broadcast_arrays(*(operand.known for operand in operands))
    known = np.asarray(np.logical_and.reduce(all_known))
    if node.op == "mul":
        for operand in operands:
            known = known | (operand.known & (operand.value == 0))
    return _collapsed(np.asarray(known), value)


def _embed(node: Node, inputs: Inputs) -> Constants:
    """Take a channel as constant if all rows of the table have the same number in it."""
    table = np.asarray(inputs.graph.params[node.name]["embedding"], np.float64)
    shape = (1,) * (len(node.shape) - 1) + node.shape[-1:]
    return _collapsed((table == table[0]).all(0).reshape(shape), table[0].reshape(shape))


def _linear(node: Node, inputs: Inputs) -> Constants:
    """Take a channel as constant if every channel that it reads is constant at every pixel."""
    params = inputs.graph.params[node.name]
    shape = inputs.shapes[0]
    constant_inputs = constant_channels(inputs.constants[0], shape)
    connected = connections(node, params)
    known = ~np.any(connected & ~constant_inputs[:, None], axis=0)
    value = np.zeros(node.shape[-1:])
    if known.any():
        read = constant_inputs & np.any(connected[:, known], axis=1)
        x = np.where(read, np.broadcast_to(inputs.constants[0].value, shape), 0)
        if np.any(x):
            value = evaluate_layer(node, params, x)
        elif "bias" in params:
            value = np.asarray(params["bias"], np.float64)
    rank = len(node.shape)
    return _collapsed(
        known.reshape((1,) * (rank - 1) + known.shape),
        value.reshape((1,) * (rank - value.ndim) + value.shape),
    )


def constant_channels(x: Constants, shape: tuple[int, ...]) -> Bool[np.ndarray, " channels"]:
    """Return which channels of an array of this shape are constant at every pixel."""
    pixels = tuple(range(len(shape) - 1))
    return np.asarray(np.broadcast_to(x.known, shape).all(pixels))


def _diagonal(node: Node, inputs: Inputs) -> Constants:
    """Take a channel as constant if its input is, or is not read.

    The channel of a class-conditional norm must also be the same for all classes.
    """
    params = inputs.graph.params[node.name]
    batch_stats = inputs.graph.batch_stats.get(node.name, {})
    read = scaled_channels(node, params)
    x = inputs.constants[0]
    known = x.known | ~read
    value = np.where(x.known, x.value, 0)
    if node.op == "basis":
        kernel = np.asarray(params["kernel"], np.float64)[:, :, 0]
        return _collapsed(known[None, None], kernel * value)
    scale, shift = norm_scale_and_shift(node, params, batch_stats)
    if scale.ndim > 1:
        same_scale = (scale == scale[0]).all(0)
        same_shift = (shift == shift[0]).all(0)
        known = known & (same_scale | ~read) & same_shift
        scale = scale[0]
        shift = shift[0]
    return _collapsed(known, value * scale + shift)


def _group_norm(node: Node, inputs: Inputs) -> Constants:
    """Take a channel as constant if its whole group is, or if it is scaled by zero."""
    params = inputs.graph.params[node.name]
    x = inputs.expand(0)
    by_channel = constant_channels(inputs.constants[0], inputs.shapes[0])
    groups = by_channel.reshape(norm_groups(node), -1)
    in_constant_group = np.broadcast_to(groups.all(1, keepdims=True), groups.shape).reshape(-1)
    known = in_constant_group | ~scaled_channels(node, params)
    value = np.zeros((1,) * len(node.shape))
    if known.any():
        value = evaluate_layer(node, params, np.where(in_constant_group, x.value, 0))
    known, value = np.broadcast_arrays(known, value)
    return _collapsed(known, value)


def _attention(node: Node, inputs: Inputs) -> Constants:
    """Take a channel as constant if its values are one number at all positions."""
    values = inputs.expand(2)
    same = values.known.all(0) & (values.value == values.value[0]).all(0)
    count = node.options["key_value_heads"]
    repeats = node.options["heads"] // count

    def per_query(array: Values) -> Values:
        """Repeat the channels of each head of values for every head of queries that reads it."""
        heads = array.reshape(1, count, 1, -1)
        return np.broadcast_to(heads, (1, count, repeats, heads.shape[-1])).reshape(1, -1)

    return _collapsed(per_query(same), per_query(values.value[0]))


# How each kind of node makes constants from the constants of its inputs.
RULES: dict[str, Callable[[Node, Inputs], Constants]] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(POOLINGS, _pool),
    **dict.fromkeys(REDUCTIONS, _reduce),
    **dict.fromkeys(LOOKUP, _embed),
    **dict.fromkeys(ATTENTION, _attention),
    **dict.fromkeys(LINEAR, _linear),
    **dict.fromkeys(DIAGONAL, _diagonal),
    **dict.fromkeys(GROUPED, _group_norm),
    "broadcast_in_dim": _broadcast_in_dim,
    "concatenate": _concatenate,
    "constant": _constant,
    "matmul": _matmul,
    "pad": _pad,
    "reshape": _reshape,
    "take": _take,
    "transpose": _transpose,
}


def norm_scale_and_shift(
    node: Node, params: Tree, batch_stats: Tree
) -> tuple[Float[np.ndarray, "... channels"], Float[np.ndarray, "... channels"]]:
    """Reduce a norm in inference to a scale and a shift of each channel, and class if conditional.

    Args:
        node: the norm.
        params: its parameters, `scale` and `bias`, each of which may be missing.
        batch_stats: its running mean and variance; empty if it is an affine layer.
    """
    channels = node.shape[-1]
    scale = np.asarray(params.get("scale", 1.0), np.float64) * np.ones(channels)
    shift = np.asarray(params.get("bias", 0.0), np.float64) * np.ones(channels)
    moments: Mapping[str, Any] = batch_stats.get("moments", batch_stats)
    if moments:
        mean = np.asarray(moments["mean"], np.float64)
        variance = np.asarray(moments["var"], np.float64)
        scale = scale / np.sqrt(variance + node.options.get("epsilon", 1e-5))
        shift = shift - scale * mean
    return scale, shift


def evaluate_layer(node: Node, params: Tree, x: Values, bias: bool = True) -> Values:
    """Compute a layer's output for one example in float64.

    Args:
        node: the layer.
        params: its parameters.
        x: the example.
        bias: whether the layer adds its bias.
    """
    options = {**node.options, "dtype": None}
    if "preferred_element_type" in options:
        options["preferred_element_type"] = None
    if not bias:
        options["use_bias"] = False
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
        module = build_layer(node._replace(options=options), train=False)
        apply = jax.jit(lambda params, x: module.apply({"params": params}, x))
        return np.asarray(apply(exact, np.asarray(x, np.float64)[None]))[0]
