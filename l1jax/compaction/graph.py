"""A network as a table: layers with parameters and, between them, operations on arrays.

The table is plain data. What its rows do is in `layers` and `operations`, two closed tables, so reading one never
executes anything that it brings along.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

Tree = dict[str, Any]  # of a layer: nested dicts of arrays
Masks = tuple[np.ndarray, ...]  # for each axis of an example, which of its indices


class Node(NamedTuple):
    """One operation.

    Shapes are those of one example; at run time a batch axis is in front. Constants have one entry on it,
    and those of shape () have none.
    """

    op: str
    inputs: tuple[int, ...]  # rows of the table, further up
    shape: tuple[int, ...]
    dtype: str
    name: str = ""  # path of its parameters and statistics
    options: Mapping[str, Any] = MappingProxyType({})


class Graph(NamedTuple):
    """Nodes in the order of computation, the last one the output, and what belongs to them by name."""

    nodes: list[Node]
    params: dict[str, Any]  # by the nodes' names: of a layer a tree, of a constant an array
    statistics: dict[str, Tree]
    copies: Mapping[str, str] = MappingProxyType(
        {}
    )  # names of layers' later calls → those of their first ones
    structure: Any = None  # of the outputs, a PyTreeDef; None for one array
    places: tuple[str, ...] = ()  # of each node: the modules around it, for messages

    def consumers(self, index: int) -> list[int]:
        """The nodes that read this one."""
        return [i for i, node in enumerate(self.nodes) if index in node.inputs]


def to_layout(nodes: Sequence[Node]) -> dict[str, Any]:
    """The table as plain JSON values."""
    rows = [
        {k: _plain(v) for k, v in node._asdict().items() if v or k in ("inputs", "shape")}
        for node in nodes
    ]
    return {"nodes": rows}


def from_layout(layout: Mapping[str, Any]) -> list[Node]:
    """The table from what `to_layout` gave."""
    return [
        Node(
            **{**row, "inputs": tuple(row["inputs"]), "shape": tuple(row["shape"])}
        )  # JSON has no tuples
        for row in layout["nodes"]
    ]


def cleaned(graph: Graph) -> Graph:
    """Without the nodes that nobody reads; inputs stay."""
    read = {len(graph.nodes) - 1}
    for i, node in reversed(list(enumerate(graph.nodes))):
        if i in read:
            read.update(node.inputs)
    order = [i for i, node in enumerate(graph.nodes) if i in read or node.op == "input"]
    place = {old: new for new, old in enumerate(order)}
    places = tuple(graph.places[i] for i in order if graph.places)
    nodes = [
        graph.nodes[i]._replace(inputs=tuple(place[j] for j in graph.nodes[i].inputs))
        for i in order
    ]
    names = {node.name for node in nodes}
    params, statistics = ({k: v for k, v in tree.items() if k in names} for tree in graph[1:3])
    return graph._replace(nodes=nodes, params=params, statistics=statistics, places=places)


def full(shape: Sequence[int]) -> Masks:
    """Everything."""
    return tuple(np.ones(n, bool) for n in shape)


def outer(masks: Masks) -> np.ndarray:
    """The entries whose index on each axis is in the mask."""
    entries = np.ones((), bool)
    for mask in masks:
        entries = entries[..., None] & mask
    return entries


def along_axes(entries: np.ndarray) -> Masks:
    """On each axis the indices that any entry has."""
    axes = range(entries.ndim)
    return tuple(np.asarray(entries.any(tuple(a for a in axes if a != axis))) for axis in axes)


def counts(masks: Masks) -> tuple[int, ...]:
    """The shape that is left."""
    return tuple(int(mask.sum()) for mask in masks)


def collapsed(array: np.ndarray) -> np.ndarray:
    """The array with one index on each axis along which it is constant, but for rounding."""
    for axis in range(array.ndim):
        first = array.take([0], axis) if array.shape[axis] else array
        same = array == first
        if array.dtype.kind == "f":
            with np.errstate(
                invalid="ignore"
            ):  # infinite ones are the same or not, and have no difference
                size = np.abs(np.where(np.isfinite(array), array, 0)).max(
                    axis, keepdims=True, initial=0
                )
                same |= np.abs(array - first) <= 1e-13 * size
        array = first if same.all() else array
    return array


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value
