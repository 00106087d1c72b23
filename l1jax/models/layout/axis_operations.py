"""Operations that mix the entries along some axes only: poolings, and products with a matrix."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Shaped

from l1jax.models.layout.node import Node

POOLINGS: dict[str, Callable[..., Array]] = {
    "reduce_window_max": jax.lax.max,
    "reduce_window_min": jax.lax.min,
    "reduce_window_sum": jax.lax.add,
}


def pool(node: Node, x: Shaped[Array, "batch ..."]) -> Shaped[Array, "batch ..."]:
    """Apply a pooling to arrays with a batch axis."""
    options = node.options
    return jax.lax.reduce_window(
        x,
        np.array(_neutral_element(node.op, x.dtype), x.dtype),
        POOLINGS[node.op],
        (1, *options["window_dimensions"]),
        (1, *options["window_strides"]),
        ((0, 0), *(tuple(pair) for pair in options["padding"])),
        (1, *options["base_dilation"]),
        (1, *options["window_dilation"]),
    )


def _neutral_element(op: str, dtype: jnp.dtype) -> float:
    """Return the value that changes no result of a pooling; `lax.reduce_window` starts with it."""
    if op == "reduce_window_sum":
        return 0
    if jnp.issubdtype(dtype, jnp.floating):
        lowest, highest = -np.inf, np.inf
    else:
        lowest, highest = jnp.iinfo(dtype).min, jnp.iinfo(dtype).max
    return lowest if op == "reduce_window_max" else highest


def multiply_along_axis(
    node: Node, x: Shaped[Array, "batch ..."], matrix: Shaped[Array, "_ rows columns"]
) -> Shaped[Array, "batch ..."]:
    """Multiply the axis `node.options["axis"]` of each example by a constant matrix.

    Args:
        node: the node of the layout.
        x: its input, one row for each example.
        matrix: the constant.
    """
    axis = 1 + node.options["axis"]
    precision = node.options["precision"]
    if precision is not None:
        precision = tuple(precision)
    dtype = jnp.promote_types(jnp.promote_types(x.dtype, matrix.dtype), node.dtype)
    y = jnp.tensordot(
        x,
        matrix[0],
        axes=((axis,), (0,)),
        precision=precision,
        preferred_element_type=dtype,
    )
    return jnp.moveaxis(y, -1, axis)
