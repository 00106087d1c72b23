"""Operations that mix entries along some axes alone: poolings, and products with a matrix."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from l1jax.compaction.graph import Masks, Node

WINDOWS: dict[str, Any] = {
    "reduce_window_max": jax.lax.max,
    "reduce_window_min": jax.lax.min,
    "reduce_window_sum": jax.lax.add,
}


def mixed(node: Node) -> list[bool]:
    """Of a pooling: which axes of an example it mixes; the others it leaves as they are."""
    names = ("window_dimensions", "window_strides", "padding", "base_dilation", "window_dilation")
    columns = zip(*(node.options[name] for name in names), strict=True)
    alone = (1, 1, 0, 0, 1)  # size of the window, stride, padding, dilation of what it reads
    return [(size, stride, *padding, base) != alone for size, stride, padding, base, _ in columns]


def filled(node: Node, masks: Masks, shape: Sequence[int] | None = None) -> Masks:
    """All indices of the mixed axes, of the pooling or of what it reads; of the others these."""
    sizes = node.shape if shape is None else shape
    parts = zip(mixed(node), masks, sizes, strict=True)
    return tuple(np.ones(size, bool) if mixes else mask for mixes, mask, size in parts)


def windowed(node: Node, x: Any) -> Any:
    """A pooling of arrays with a batch axis."""
    options = node.options
    start: Any = 0
    if node.op != "reduce_window_sum":
        floating = jnp.issubdtype(x.dtype, jnp.floating)
        limits = (-np.inf, np.inf) if floating else (jnp.iinfo(x.dtype).min, jnp.iinfo(x.dtype).max)
        start = limits[node.op == "reduce_window_min"]
    return jax.lax.reduce_window(
        x,
        np.array(start, x.dtype),
        WINDOWS[node.op],
        (1, *options["window_dimensions"]),
        (1, *options["window_strides"]),
        ((0, 0), *(tuple(pair) for pair in options["padding"])),
        (1, *options["base_dilation"]),
        (1, *options["window_dilation"]),
    )


def pooled(node: Node, known: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is known of a pooling: where everything along its mixed axes is."""
    over = tuple(axis for axis, mixes in enumerate(mixed(node)) if mixes)
    everywhere = known.all(over, keepdims=True)
    if not everywhere.any():
        return np.broadcast_to(everywhere, node.shape), np.zeros(node.shape, value.dtype)
    given = np.where(everywhere, value, np.zeros((), value.dtype))
    with jax.enable_x64(True):
        found = np.asarray(windowed(node, jnp.asarray(given)[None]))[0]
    return np.broadcast_to(everywhere, node.shape), found


def multiplied(node: Node, x: Any, matrix: Any) -> Any:
    """One axis times a matrix, which has a batch axis of its own."""
    axis, precision = 1 + node.options["axis"], node.options["precision"]
    kind = jnp.promote_types(jnp.promote_types(x.dtype, matrix.dtype), node.dtype)
    weights = matrix[0]
    if precision is not None:
        precision = tuple(precision)
    y = jnp.tensordot(
        x,
        weights,
        axes=((axis,), (0,)),
        precision=precision,
        preferred_element_type=kind,
    )
    return jnp.moveaxis(y, -1, axis)


def factors(node: Node, kept: Masks, matrix: np.ndarray) -> list[Masks]:
    """What a product reads: the rows of the matrix that are not zero in these columns."""
    axis = node.options["axis"]
    rows = np.any(matrix[:, kept[axis]] != 0, axis=1)
    return [(*kept[:axis], rows, *kept[axis + 1 :]), (rows, kept[axis])]


def product(
    node: Node,
    known: np.ndarray,
    value: np.ndarray,
    matrix: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """What is known of a product: where everything that has a weight is."""
    axis = node.options["axis"]
    connected = (matrix != 0).astype(np.float64)
    unknown = np.moveaxis(~known, axis, -1).astype(np.float64) @ connected
    found = np.moveaxis(np.where(known, value, 0), axis, -1) @ matrix
    return np.moveaxis(unknown == 0, -1, axis), np.moveaxis(found, -1, axis)
