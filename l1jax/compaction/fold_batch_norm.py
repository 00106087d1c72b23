"""Fold batch norms in inference into the layers in front of them.

In inference a batch norm computes scale · x + shift for each channel. Behind a linear layer this is
a linear layer again: its kernel is multiplied by the scale, and its bias becomes
scale · bias + shift. Other batch norms become affine layers.
"""

import numpy as np

from l1jax.compaction.constants import norm_scale_and_shift
from l1jax.compaction.graph import Graph, collapse
from l1jax.models.layout.layer_kinds import LINEAR
from l1jax.models.layout.node import Node


def fold_batch_norms(graph: Graph) -> Graph:
    """Fold every batch norm; class-conditional ones stay as they are."""
    graph = graph._replace(
        nodes=list(graph.nodes), params=dict(graph.params), batch_stats=dict(graph.batch_stats)
    )
    for i, node in enumerate(graph.nodes):
        if node.op == "batch_norm":
            _fold(graph, i, node)
    return graph


def _fold(graph: Graph, i: int, node: Node) -> None:
    params = graph.params.pop(node.name, {})
    scale, shift = norm_scale_and_shift(node, params, graph.batch_stats.pop(node.name))
    source = layer_in_front(graph, i)
    if source is None:
        graph.nodes[i] = node._replace(op="affine", options={"dtype": node.options["dtype"]})
        graph.params[node.name] = {"scale": scale, "bias": shift}
        return
    layer = graph.nodes[source]
    scale = _per_output(scale, node, layer)
    shift = _per_output(shift, node, layer)
    layer_params = graph.params[layer.name]
    bias = np.asarray(layer_params.get("bias", 0.0), np.float64)
    graph.params[layer.name] = {
        "kernel": np.asarray(layer_params["kernel"], np.float64) * scale,
        "bias": bias * scale + shift,
    }
    graph.nodes[source] = layer._replace(options={**layer.options, "use_bias": True})
    graph.nodes[i] = Node("reshape", node.inputs, node.shape, node.dtype)


def _per_output(values: np.ndarray, norm: Node, layer: Node) -> np.ndarray:
    """Convert values of the norm's channels to values of the layer's outputs.

    They differ where the layer's output is reshaped in between, as to a small image.
    """
    spread = np.broadcast_to(values, norm.shape).reshape(layer.shape)
    return np.broadcast_to(collapse(spread).reshape(-1), layer.shape[-1:])


def layer_in_front(graph: Graph, i: int) -> int | None:
    """Return the linear layer whose output only this norm reads, or None if there is none.

    Reshapes in between are allowed if each output of the layer belongs to one channel of the norm.

    Args:
        graph: the network.
        i: index of the norm.
    """
    norm = graph.nodes[i]
    source = norm.inputs[0]
    while graph.nodes[source].op == "reshape" and len(graph.consumers(source)) == 1:
        source = graph.nodes[source].inputs[0]
    layer = graph.nodes[source]
    if layer.op not in LINEAR or len(graph.consumers(source)) > 1:
        return None
    channels = np.arange(norm.shape[-1], dtype=float)
    spread = collapse(np.broadcast_to(channels, norm.shape).reshape(layer.shape))
    return source if spread.size in (1, layer.shape[-1]) else None
