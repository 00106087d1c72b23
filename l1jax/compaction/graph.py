"""The graph that compaction works on: nodes, their parameters, and masks over their entries."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped

from l1jax.models.layout.node import Node, PyTreeDef, Tree

# For each axis of an example, which of its indices are selected.
Masks = tuple[np.ndarray, ...]


class Graph(NamedTuple):
    """Nodes in the order of computation, the last one the output, and their parameters."""

    nodes: list[Node]
    # By the nodes' names: a tree for a layer, an array for a constant.
    params: dict[str, Any]
    batch_stats: dict[str, Tree]
    # The name of each later call of a layer, and the name of the layer's first call.
    copies: Mapping[str, str] = MappingProxyType({})
    # Structure of the outputs; None for a single array.
    structure: PyTreeDef | None = None
    # For each node the modules around it, for messages.
    places: tuple[str, ...] = ()

    def consumers(self, index: int) -> list[int]:
        """Return the nodes that read this one."""
        return [i for i, node in enumerate(self.nodes) if index in node.inputs]


def remove_unread(graph: Graph) -> Graph:
    """Remove the nodes that no other node reads, except inputs and the output."""
    read = {len(graph.nodes) - 1}
    for i in reversed(range(len(graph.nodes))):
        if i in read:
            read.update(graph.nodes[i].inputs)
    order = [i for i, node in enumerate(graph.nodes) if i in read or node.op == "input"]
    new_index = {old: new for new, old in enumerate(order)}
    nodes = []
    for i in order:
        node = graph.nodes[i]
        nodes.append(node._replace(inputs=tuple(new_index[j] for j in node.inputs)))
    names = {node.name for node in nodes}
    return graph._replace(
        nodes=nodes,
        params={name: value for name, value in graph.params.items() if name in names},
        batch_stats={name: value for name, value in graph.batch_stats.items() if name in names},
        places=tuple(graph.places[i] for i in order if graph.places),
    )


def full_masks(shape: Sequence[int]) -> Masks:
    """Select all indices of every axis."""
    return tuple(np.ones(size, bool) for size in shape)


def outer(masks: Masks) -> Bool[np.ndarray, "..."]:
    """Return the entries whose index on every axis is selected."""
    entries = np.ones((), bool)
    for mask in masks:
        entries = entries[..., None] & mask
    return entries


def project(entries: Bool[np.ndarray, "..."]) -> Masks:
    """Select on every axis the indices that any of the entries has."""
    masks = []
    for axis in range(entries.ndim):
        others = tuple(other for other in range(entries.ndim) if other != axis)
        masks.append(np.asarray(entries.any(others)))
    return tuple(masks)


def selected_shape(masks: Masks) -> tuple[int, ...]:
    """Return how many indices are selected on each axis."""
    return tuple(int(mask.sum()) for mask in masks)


def collapse(array: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
    """Keep one index of each axis along which the array is constant up to rounding."""
    for axis in range(array.ndim):
        first = array.take([0], axis) if array.shape[axis] else array
        same = array == first
        if array.dtype.kind == "f":
            # The difference of two infinite values is not a number; they are equal or they are not.
            with np.errstate(invalid="ignore"):
                finite = np.where(np.isfinite(array), array, 0)
                size = np.abs(finite).max(axis, keepdims=True, initial=0)
                same |= np.abs(array - first) <= 1e-13 * size
        if same.all():
            array = first
    return array
