"""Inference batch norm taken in by the layer in front of it, or reduced to a scale and a shift."""

from typing import Any

import numpy as np

from l1jax.compaction import layers
from l1jax.compaction.analysis import affine
from l1jax.compaction.graph import Graph, Node, collapsed


def fold(graph: Graph) -> Graph:
    """Fold every batch norm in inference; class-conditional ones stay."""
    graph = graph._replace(
        nodes=list(graph.nodes), params=dict(graph.params), statistics=dict(graph.statistics)
    )
    for i, node in enumerate(graph.nodes):
        if node.op == "batch_norm":
            _fold(graph, i, node)
    return graph


def _fold(graph: Graph, i: int, node: Node) -> None:
    scale, shift = affine(node, graph.params.pop(node.name, {}), graph.statistics.pop(node.name))
    source = layer_in_front(graph, i)
    if source is None:
        graph.nodes[i] = node._replace(op="affine", options={"dtype": node.options["dtype"]})
        graph.params[node.name] = {"scale": scale, "bias": shift}
        return
    layer = graph.nodes[source]
    per_output = [
        collapsed(np.broadcast_to(v, node.shape).reshape(layer.shape)).reshape(-1)
        for v in (scale, shift)
    ]
    scale, shift = (np.broadcast_to(v, layer.shape[-1:]) for v in per_output)
    params: dict[str, Any] = graph.params[layer.name]
    bias = np.asarray(params.get("bias", 0.0), np.float64)
    graph.params[layer.name] = {
        "kernel": np.asarray(params["kernel"], np.float64) * scale,
        "bias": bias * scale + shift,
    }
    graph.nodes[source] = layer._replace(options={**layer.options, "use_bias": True})
    graph.nodes[i] = Node("reshape", node.inputs, node.shape, node.dtype)


def layer_in_front(graph: Graph, i: int) -> int | None:
    """The linear layer whose output this norm alone reads, be it reshaped; None if there is none."""
    source = graph.nodes[i].inputs[0]
    while graph.nodes[source].op == "reshape" and len(graph.consumers(source)) == 1:
        source = graph.nodes[source].inputs[0]
    layer = graph.nodes[source]
    if layer.op not in layers.LINEAR or len(graph.consumers(source)) > 1:
        return None
    channels = np.arange(graph.nodes[i].shape[-1], dtype=float)
    spread = collapsed(np.broadcast_to(channels, graph.nodes[i].shape).reshape(layer.shape))
    return source if spread.size in (1, layer.shape[-1]) else None
