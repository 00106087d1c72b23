"""Counting exact zeros."""

import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree


class Sparsity(NamedTuple):
    """Exact-zero fractions, in [0, 1]."""

    total: Float[Array, ""]
    by_path: dict[str, Float[Array, ""]]


def path_name(path: tuple[Any, ...]) -> str:
    """Name a leaf by its keys, such as `hidden_0/kernel`; a leading `params` collection is dropped."""
    return jax.tree_util.keystr(path, simple=True, separator="/").removeprefix("params/")


def sparsity(params: PyTree, pattern: str = "") -> Sparsity:
    """Count the entries that are exactly zero; works under `jit`.

    Args:
        params: a tree of arrays.
        pattern: regular expression, searched in the leaf's path; by default every leaf counts.

    Returns:
        The fraction over all entries that count (0 if there are none), and the fraction per path.
    """
    leaves = {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    leaves = {name: jnp.asarray(leaf) for name, leaf in leaves.items() if re.search(pattern, name)}
    by_path = {name: jnp.sum(leaf == 0, dtype=float) / max(leaf.size, 1) for name, leaf in leaves.items()}
    entries = max(sum(leaf.size for leaf in leaves.values()), 1)
    total = sum(by_path[name] * (leaf.size / entries) for name, leaf in leaves.items())
    return Sparsity(jnp.asarray(total, float), by_path)
