"""Find the entries that the output depends on, so that all others can be removed.

One pass from the output to the inputs is exact for a network without loops: an entry is needed if
an entry that is computed reads it with a nonzero weight, and an entry is live, that is, computed,
if it is needed and not constant.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from l1jax.compaction.connections import connections, norm_groups, scaled_channels, whole_groups
from l1jax.compaction.constants import Constants, constant_channels
from l1jax.compaction.graph import Graph, Masks, full_masks, outer, project
from l1jax.compaction.mixed_axes import fill_pooled_axes, product_input_demand
from l1jax.models.layout.axis_operations import POOLINGS
from l1jax.models.layout.layer_kinds import ATTENTION, DIAGONAL, GROUPED, LAYERS, LINEAR, MIXING
from l1jax.models.layout.node import Node
from l1jax.models.layout.operations import ELEMENTWISE, REDUCTIONS

# Constants are left out of an axis and filled in later if they are at least this share of it.
MIN_SHARE_TO_FILL_IN = 0.25


class Context(NamedTuple):
    """What the rules need to know about a node's surroundings."""

    graph: Graph
    # Of the node's inputs.
    constants: list[Constants]
    shapes: list[tuple[int, ...]]


def find_live_entries(graph: Graph, constants: list[Constants]) -> list[Masks]:
    """Find for each node the indices of each axis that must be computed.

    A layer may have constant outputs that are needed beside outputs that are not constant, as in a
    sum whose other term varies. Filling them in later is a pass over the array, so a few of them
    are computed like the others.

    Args:
        graph: the network.
        constants: of each node, as `find_constants` returns them.

    Returns:
        For each node a mask for each axis; the masks are empty if nothing must be computed.
    """
    demands: list[Masks | None] = [None] * len(graph.nodes)
    demands[-1] = full_masks(graph.nodes[-1].shape)
    live: list[Masks] = [()] * len(graph.nodes)
    for i in reversed(range(len(graph.nodes))):
        node = graph.nodes[i]
        demand = demands[i]
        live[i] = _nothing(node)
        if demand is None or node.op == "constant":
            continue
        entries = np.asarray(outer(demand) & ~constants[i].known)
        if not entries.any():
            continue
        wanted = []
        for variable, needed in zip(project(entries), demand, strict=True):
            constant = needed & ~variable
            fill_in = constant.sum() >= MIN_SHARE_TO_FILL_IN * needed.sum()
            wanted.append(variable if fill_in else needed)
        live[i] = _computed_entries(node, tuple(wanted), graph)
        read = input_demand(node, live[i], graph, constants)
        for j, masks in zip(node.inputs, read, strict=True):
            demands[j] = _union(demands[j], masks)
    return live


def _nothing(node: Node) -> Masks:
    masks = tuple(np.zeros(size, bool) for size in node.shape)
    return masks or (np.zeros(1, bool),)


def _union(masks: Masks | None, others: Masks) -> Masks:
    if masks is None:
        return others
    return tuple(mask | other for mask, other in zip(masks, others, strict=True))


def _computed_entries(node: Node, wanted: Masks, graph: Graph) -> Masks:
    """Extend the wanted entries to those that can be computed without the others."""
    if node.op == "input" or node.op in MIXING:
        return full_masks(node.shape)
    if node.op in GROUPED:
        return (*full_masks(node.shape[:-1]), whole_groups(wanted[-1], norm_groups(node)))
    if node.op in LAYERS:
        return (*full_masks(node.shape[:-1]), wanted[-1])
    if node.op in ATTENTION:
        heads = node.options["key_value_heads"]
        return (*full_masks(node.shape[:-1]), whole_groups(wanted[-1], heads))
    if node.op in POOLINGS:
        return fill_pooled_axes(node, wanted, node.shape)
    if node.op == "reshape":
        return _closed_under_reshape(wanted, node.shape, graph.nodes[node.inputs[0]].shape)
    return wanted


def _closed_under_reshape(
    masks: Masks, shape: tuple[int, ...], input_shape: tuple[int, ...]
) -> Masks:
    """Extend masks until the same entries can be selected by masks before the reshape."""
    while True:
        before = project(outer(masks).reshape(input_shape))
        extended = project(outer(before).reshape(shape))
        if all(np.array_equal(a, b) for a, b in zip(masks, extended, strict=True)):
            return masks
        masks = extended


def input_demand(node: Node, live: Masks, graph: Graph, constants: list[Constants]) -> list[Masks]:
    """Return what a node reads of each of its inputs.

    A linear layer does not read constant channels: its bias takes them in.

    Args:
        node: the node.
        live: which of its entries are computed.
        graph: the network.
        constants: of each node of the network.
    """
    shapes = [graph.nodes[i].shape for i in node.inputs]
    context = Context(graph, [constants[i] for i in node.inputs], shapes)
    rule = RULES.get(node.op, _everything)
    return rule(node, live, context)


def _everything(node: Node, live: Masks, context: Context) -> list[Masks]:
    return [full_masks(shape) for shape in context.shapes]


def _reshape(node: Node, live: Masks, context: Context) -> list[Masks]:
    return [project(outer(live).reshape(context.shapes[0]))]


def _broadcast_in_dim(node: Node, live: Masks, context: Context) -> list[Masks]:
    masks = []
    for dim, size in zip(node.options["dims"], context.shapes[0], strict=True):
        repeated = size == 1 and node.shape[dim] != 1
        masks.append(np.ones(1, bool) if repeated else live[dim])
    return [tuple(masks)]


def _transpose(node: Node, live: Masks, context: Context) -> list[Masks]:
    order = node.options["order"]
    return [tuple(live[order.index(axis)] for axis in range(len(live)))]


def _concatenate(node: Node, live: Masks, context: Context) -> list[Masks]:
    axis = node.options["axis"]
    start = 0
    demands = []
    for shape in context.shapes:
        part = live[axis][start : start + shape[axis]]
        start += shape[axis]
        masks = (*live[:axis], part, *live[axis + 1 :])
        if not part.any():
            masks = tuple(np.zeros_like(mask) for mask in masks)
        demands.append(masks)
    return demands


def _take(node: Node, live: Masks, context: Context) -> list[Masks]:
    axis = node.options["axis"]
    mask = np.zeros(context.shapes[0][axis], bool)
    mask[np.array(node.options["indices"])[live[axis]]] = True
    return [(*live[:axis], mask, *live[axis + 1 :])]


def _pad(node: Node, live: Masks, context: Context) -> list[Masks]:
    columns = zip(live, node.options["low"], context.shapes[0], strict=True)
    return [tuple(mask[low : low + size] for mask, low, size in columns)]


def _matmul(node: Node, live: Masks, context: Context) -> list[Masks]:
    matrix = context.constants[1].expand(context.shapes[1]).value
    return product_input_demand(node, live, matrix)


def _elementwise(node: Node, live: Masks, context: Context) -> list[Masks]:
    """Read the same entries of each operand, whose axes may have length 1 or be missing."""
    demands = []
    for shape in context.shapes:
        masks = []
        for mask, size in zip(live, shape, strict=False):
            repeated = size == 1 and len(mask) != 1
            masks.append(np.ones(1, bool) if repeated else mask)
        demands.append(tuple(masks))
    return demands


def _pool(node: Node, live: Masks, context: Context) -> list[Masks]:
    return [fill_pooled_axes(node, live, context.shapes[0])]


def _reduce(node: Node, live: Masks, context: Context) -> list[Masks]:
    remaining = iter(live)
    masks = []
    for axis, size in enumerate(context.shapes[0]):
        reduced = axis in node.options["axes"]
        masks.append(np.ones(size, bool) if reduced else next(remaining))
    return [tuple(masks)]


def _linear(node: Node, live: Masks, context: Context) -> list[Masks]:
    read = connections(node, context.graph.params[node.name])[:, live[-1]].any(1)
    read = read & ~constant_channels(context.constants[0], context.shapes[0])
    return _channels(read, context)


def _diagonal(node: Node, live: Masks, context: Context) -> list[Masks]:
    read = live[-1] & scaled_channels(node, context.graph.params[node.name])
    return _channels(read, context)


def _group_norm(node: Node, live: Masks, context: Context) -> list[Masks]:
    """Read the groups that are live, even where their scale is zero."""
    return _channels(live[-1], context)


def _attention(node: Node, live: Masks, context: Context) -> list[Masks]:
    """Read the heads that are live, at all positions."""
    heads = np.asarray(live[-1].reshape(node.options["key_value_heads"], -1).any(1))
    demands = []
    for shape in context.shapes:
        channels = np.repeat(heads, shape[-1] // len(heads))
        demands.append((*full_masks(shape[:-1]), channels))
    return demands


def _channels(read: np.ndarray, context: Context) -> list[Masks]:
    """Demand these channels of the first input, and all of the others, such as labels."""
    first, *others = context.shapes
    return [(*full_masks(first[:-1]), read), *(full_masks(shape) for shape in others)]


# What each kind of node reads of its inputs.
RULES: dict[str, Callable[[Node, Masks, Context], list[Masks]]] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(POOLINGS, _pool),
    **dict.fromkeys(REDUCTIONS, _reduce),
    **dict.fromkeys(ATTENTION, _attention),
    **dict.fromkeys(LINEAR, _linear),
    **dict.fromkeys(DIAGONAL, _diagonal),
    **dict.fromkeys(GROUPED, _group_norm),
    "broadcast_in_dim": _broadcast_in_dim,
    "concatenate": _concatenate,
    "matmul": _matmul,
    "pad": _pad,
    "reshape": _reshape,
    "take": _take,
    "transpose": _transpose,
}
