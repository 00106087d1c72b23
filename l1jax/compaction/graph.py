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

    def consumers(self, index: int) -> list[int]:
        """The nodes that read this one."""
        return [i for i, node in enumerate(self.nodes) if index in node.inputs]


def to_layout(nodes: Sequence[Node]) -> dict[str, Any]:
    """The table as plain JSON values."""
    rows = [{k: _plain(v) for k, v in node._asdict().items() if v or k in ("inputs", "shape")} for node in nodes]
    return {"nodes": rows}


def from_layout(layout: Mapping[str, Any]) -> list[Node]:
    """The table from what `to_layout` gave."""
    return [
        Node(**{**row, "inputs": tuple(row["inputs"]), "shape": tuple(row["shape"])})  # JSON has no tuples
        for row in layout["nodes"]
    ]


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
        if array.dtype == bool:
            same = bool((array == first).all())
        else:
            same = bool(np.all(np.abs(array - first) <= 1e-13 * np.abs(array).max(initial=0)))
        array = first if same else array
    return array


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value
