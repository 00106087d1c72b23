"""Remove from a graph what is constant and what nothing reads.

An example: a dense layer computes four hidden units, and a second one reads them.

    hidden = dense(x)       kernel 3 × 4; column 1 is zero, so unit 1 is constant: its bias, 0.5
    image = dense(hidden)   kernel 4 × 2; row 3 is zero, so nothing reads unit 3

`find_constants` finds that unit 1 is 0.5, and `find_live_entries` that only the units 0 and 2 must
be computed. `REWRITERS` then builds the smaller graph node by node:

    hidden = dense(x)       kernel 3 × 2, the columns 0 and 2
    image = dense(hidden)   kernel 2 × 2, the rows 0 and 2; bias + 0.5 · row 1 of the old kernel
"""

from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Array

from l1jax.compaction.connections import norm_groups
from l1jax.compaction.constants import find_constants
from l1jax.compaction.graph import Graph, Masks, full_masks, remove_unread, selected_shape
from l1jax.compaction.live_entries import find_live_entries, input_demand
from l1jax.compaction.rewriter import Rewriter
from l1jax.compaction.shrink_linear import rewrite_linear
from l1jax.models.layout.layer_kinds import ATTENTION, DIAGONAL, GROUPED, LAYERS, LINEAR, MIXING
from l1jax.models.layout.node import Node
from l1jax.models.layout.operations import ELEMENTWISE


def shrink(graph: Graph) -> Graph:
    """Remove every channel that is constant or that nothing reads.

    What a layer reads of constants becomes part of its bias, exactly. Where that sum is not the
    same at every pixel, as at the borders of a convolution that pads with zeros, the layer gets one
    more input channel instead, which is 1 everywhere and stands for all constant channels: it is
    padded just as they were. Constants that themselves differ from pixel to pixel become a map that
    is added to the layer's output.
    """
    constants = find_constants(graph)
    live = find_live_entries(graph, constants)
    rewriter = Rewriter(graph, constants, live)
    for i, node in enumerate(graph.nodes):
        if node.op == "input":
            rewriter.rewritten[i] = rewriter.add(node)
        elif all(mask.any() for mask in live[i]):
            rewriter.rewritten[i] = _rewrite(rewriter, i, node)
    last = len(graph.nodes) - 1
    if graph.nodes[last].op != "tuple":
        # The output must be the last node, so it is copied by a reshape to its own shape.
        index = rewriter.operand(last, full_masks(graph.nodes[last].shape))
        output = rewriter.nodes[index]
        rewriter.nodes.append(Node("reshape", (index,), output.shape, output.dtype))
    return remove_unread(
        graph._replace(
            nodes=rewriter.nodes,
            params=rewriter.params,
            batch_stats=rewriter.batch_stats,
            places=(),
        )
    )


def _rewrite(rewriter: Rewriter, i: int, node: Node) -> int:
    """Add the live entries of an original node to the smaller graph and return the new node."""
    if node.op in LINEAR:
        return rewrite_linear(rewriter, i, node)
    demands = input_demand(node, rewriter.live[i], rewriter.graph, rewriter.constants)
    rewrite = REWRITERS.get(node.op, _rewrite_operation)
    return rewrite(rewriter, i, node, demands)


def _rewrite_operation(rewriter: Rewriter, i: int, node: Node, demands: list[Masks]) -> int:
    """Rewrite an operation whose options do not depend on the entries that are left."""
    inputs = rewriter.operands(node, demands)
    return rewriter.add(node._replace(inputs=inputs, shape=selected_shape(rewriter.live[i])))


def _rewrite_broadcasting(rewriter: Rewriter, i: int, node: Node, demands: list[Masks]) -> int:
    """Rewrite an operation that broadcasts its operands, so constants can stay short."""
    inputs = rewriter.operands(node, demands, keep_short=True)
    return rewriter.add(node._replace(inputs=inputs, shape=selected_shape(rewriter.live[i])))


def _rewrite_concatenate(rewriter: Rewriter, i: int, node: Node, demands: list[Masks]) -> int:
    """Leave out the parts of which nothing is left."""
    inputs = []
    for j, demand in zip(node.inputs, demands, strict=True):
        if all(mask.any() for mask in demand):
            inputs.append(rewriter.operand(j, demand))
    if len(inputs) == 1:
        return inputs[0]
    shape = selected_shape(rewriter.live[i])
    return rewriter.add(node._replace(inputs=tuple(inputs), shape=shape))


def _rewrite_reshape(rewriter: Rewriter, i: int, node: Node, demands: list[Masks]) -> int:
    inputs = rewriter.operands(node, demands)
    shape = selected_shape(rewriter.live[i])
    if rewriter.nodes[inputs[0]].shape == shape:
        return inputs[0]
    return rewriter.add(node._replace(inputs=inputs, shape=shape))


def _rewrite_take(rewriter: Rewriter, i: int, node: Node, demands: list[Masks]) -> int:
    """Renumber the selected indices among those that are left."""
    live = rewriter.live[i]
    axis = node.options["axis"]
    new_index = np.cumsum(demands[0][axis]) - 1
    indices = new_index[np.array(node.options["indices"])[live[axis]]]
    options = {**node.options, "indices": tuple(indices.tolist())}
    inputs = rewriter.operands(node, demands)
    return rewriter.add(node._replace(inputs=inputs, shape=selected_shape(live), options=options))


def _rewrite_pad(rewriter: Rewriter, i: int, node: Node, demands: list[Masks]) -> int:
    """Pad only as far as the padding is live."""
    live = rewriter.live[i]
    low = zip(live, node.options["low"], strict=True)
    high = zip(live, node.options["high"], strict=True)
    options = {
        **node.options,
        "low": tuple(int(mask[:width].sum()) for mask, width in low),
        "high": tuple(int(mask[len(mask) - width :].sum()) for mask, width in high),
    }
    inputs = rewriter.operands(node, demands)
    return rewriter.add(node._replace(inputs=inputs, shape=selected_shape(live), options=options))


def _rewrite_layer(rewriter: Rewriter, i: int, node: Node, demands: list[Masks]) -> int:
    """Rewrite a layer that is not linear, such as a norm or an embedding, with fewer channels."""
    channels = rewriter.live[i][-1]
    if node.op in DIAGONAL:
        # Each channel is computed from its input channel, even if its scale is zero.
        demands = [(*demands[0][:-1], channels), *demands[1:]]

    def cut(leaf: Array | np.ndarray) -> np.ndarray | Array:
        return leaf if node.op in MIXING else np.asarray(leaf)[..., channels]

    rewriter.params[node.name] = jax.tree.map(cut, rewriter.graph.params[node.name])
    if node.name in rewriter.graph.batch_stats:
        batch_stats = rewriter.graph.batch_stats[node.name]
        rewriter.batch_stats[node.name] = jax.tree.map(cut, batch_stats)
    options = dict(node.options)
    if node.op in GROUPED and options.get("group_size") is None:
        groups = channels.reshape(norm_groups(node), -1)
        options["num_groups"] = int(groups.any(1).sum())
    inputs = rewriter.operands(node, demands)
    shape = selected_shape(rewriter.live[i])
    return rewriter.add(node._replace(inputs=inputs, shape=shape, options=options))


def _rewrite_attention(rewriter: Rewriter, i: int, node: Node, demands: list[Masks]) -> int:
    """Leave out heads of keys and values with all queries that read them."""
    count = node.options["key_value_heads"]
    left = int(rewriter.live[i][-1].reshape(count, -1).any(1).sum())
    heads = node.options["heads"] // count * left
    options = {**node.options, "heads": heads, "key_value_heads": left}
    inputs = rewriter.operands(node, demands)
    shape = selected_shape(rewriter.live[i])
    return rewriter.add(node._replace(inputs=inputs, shape=shape, options=options))


# How each kind of node is rewritten; linear layers apart, `_rewrite_operation` does all others.
REWRITERS: dict[str, Callable[[Rewriter, int, Node, list[Masks]], int]] = {
    **dict.fromkeys(LAYERS, _rewrite_layer),
    **dict.fromkeys(ATTENTION, _rewrite_attention),
    **dict.fromkeys(ELEMENTWISE, _rewrite_broadcasting),
    "broadcast_in_dim": _rewrite_broadcasting,
    "concatenate": _rewrite_concatenate,
    "pad": _rewrite_pad,
    "reshape": _rewrite_reshape,
    "take": _rewrite_take,
}
