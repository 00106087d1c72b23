"""Averages of parameters that keep exact zeros."""

import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike, PyTree


def sparse_average(average: PyTree, params: PyTree, decay: ArrayLike) -> PyTree:
    """Move an exponential average towards `params`, keeping every zero of `params` exactly zero.

    avg ← 0 where p = 0; p where avg = 0 (an entry that comes back starts afresh, not from its
    zero); decay·avg + (1 − decay)·p elsewhere.

    Args:
        average: the average so far; `params` at the start.
        params: the parameters now, a tree of the same structure.
        decay: in [0, 1); the share of the old average that is kept.
    """

    def move(a, p):
        mixed = a + (1 - decay) * (p - a)
        return jnp.where((p == 0) | (a == 0), p, mixed).astype(a.dtype)

    return jax.tree.map(move, average, params)
