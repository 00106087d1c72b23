"""Constants and masks of operations that mix the entries along some axes only.

These are poolings and products with a constant matrix.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Shaped

from l1jax.compaction.graph import Masks
from l1jax.models.layout.axis_operations import pool
from l1jax.models.layout.node import Node


def pooled_axes(node: Node) -> list[bool]:
    """Return which axes of an example a pooling mixes; it leaves the others as they are."""
    names = ("window_dimensions", "window_strides", "padding", "base_dilation")
    columns = zip(*(node.options[name] for name in names), strict=True)
    unmixed = (1, 1, 0, 0, 1)
    return [(size, stride, *padding, base) != unmixed for size, stride, padding, base in columns]


def fill_pooled_axes(node: Node, masks: Masks, sizes: Sequence[int]) -> Masks:
    """Select all indices of the axes that a pooling mixes.

    Args:
        node: the pooling.
        masks: selected indices of each axis, which stay as they are on axes that are not mixed.
        sizes: shape of what the pooling returns, or of what it reads.
    """
    filled = []
    for is_mixed, mask, size in zip(pooled_axes(node), masks, sizes, strict=True):
        filled.append(np.ones(size, bool) if is_mixed else mask)
    return tuple(filled)


def pool_constants(
    node: Node, known: Bool[np.ndarray, "..."], value: Shaped[np.ndarray, "..."]
) -> tuple[Bool[np.ndarray, "..."], Shaped[np.ndarray, "..."]]:
    """Return what is constant after a pooling: where all entries along the mixed axes are.

    Args:
        node: the pooling.
        known: which entries of its input are constant.
        value: the values of these.

    Returns:
        Which entries of the output are constant, and their values.
    """
    axes = tuple(axis for axis, is_mixed in enumerate(pooled_axes(node)) if is_mixed)
    all_known = known.all(axes, keepdims=True)
    if not all_known.any():
        return np.broadcast_to(all_known, node.shape), np.zeros(node.shape, value.dtype)
    inputs = np.where(all_known, value, np.zeros((), value.dtype))
    with jax.enable_x64(True):
        pooled = np.asarray(pool(node, jnp.asarray(inputs)[None]))[0]
    return np.broadcast_to(all_known, node.shape), pooled


def product_input_demand(
    node: Node, demand: Masks, matrix: Shaped[np.ndarray, "rows columns"]
) -> list[Masks]:
    """Return what a product reads of its input and of its matrix.

    These are the rows of the matrix that are not zero in the columns that are needed.

    Args:
        node: the product.
        demand: which entries of the output are needed.
        matrix: the constant factor.
    """
    axis = node.options["axis"]
    rows = np.any(matrix[:, demand[axis]] != 0, axis=1)
    return [(*demand[:axis], rows, *demand[axis + 1 :]), (rows, demand[axis])]


def product_constants(
    node: Node,
    known: Bool[np.ndarray, "..."],
    value: Shaped[np.ndarray, "..."],
    matrix: Shaped[np.ndarray, "rows columns"],
) -> tuple[Bool[np.ndarray, "..."], Shaped[np.ndarray, "..."]]:
    """Return what is constant after a product: where every entry with a nonzero weight is.

    Args:
        node: the product.
        known: which entries of its input are constant.
        value: the values of these.
        matrix: the constant factor.

    Returns:
        Which entries of the output are constant, and their values.
    """
    axis = node.options["axis"]
    connected = (matrix != 0).astype(np.float64)
    unknown_terms = np.moveaxis(~known, axis, -1).astype(np.float64) @ connected
    products = np.moveaxis(np.where(known, value, 0), axis, -1) @ matrix
    return np.moveaxis(unknown_terms == 0, -1, axis), np.moveaxis(products, -1, axis)
