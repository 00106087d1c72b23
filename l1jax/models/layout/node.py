"""One row of a layout, the table that describes a network, and the table as JSON.

A layout is plain data: each row names a layer or an operation, the rows that it reads and its
options. What a row does is defined by two closed tables, in `layer_kinds` and in `operations`, so
reading a layout never executes anything that the layout brings along.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

# A layer's parameters or batch statistics: nested dicts of arrays.
Tree = dict[str, Any]
# The structure of a tree. JAX has no stub for this class, so type checkers take it for a variable.
PyTreeDef: TypeAlias = jax.tree_util.PyTreeDef  # pyright: ignore[reportInvalidTypeForm]
# A layout as JSON values.
Layout = dict[str, Any]


class Node(NamedTuple):
    """One layer or operation.

    Shapes are those of one example; at run time a batch axis is in front. A constant has length 1
    on the batch axis, and a constant of shape () has no batch axis.
    """

    op: str
    # Indices of the nodes that this one reads; all of them come earlier in the table.
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: str
    # Path of the node's parameters and batch statistics; empty if it has none.
    name: str = ""
    options: Mapping[str, Any] = MappingProxyType({})


def to_layout(nodes: Sequence[Node]) -> Layout:
    """Convert nodes to JSON values."""
    rows = []
    for node in nodes:
        fields = node._asdict().items()
        rows.append({key: _to_json(v) for key, v in fields if v or key in ("inputs", "shape")})
    return {"nodes": rows}


def from_layout(layout: Mapping[str, Any]) -> list[Node]:
    """Convert JSON values that `to_layout` returned back to nodes."""
    nodes = []
    for row in layout["nodes"]:
        # JSON has no tuples.
        lists = {"inputs": tuple(row["inputs"]), "shape": tuple(row["shape"])}
        nodes.append(Node(**{**row, **lists}))
    return nodes


def dtype_name(dtype: DTypeLike) -> str:
    """Return the name that a layout has for a type, such as `float32`."""
    return jnp.dtype(dtype).name


def _to_json(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _to_json(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, tuple | list):
        return [_to_json(item) for item in value]
    return value
