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
    """Name a leaf by its keys, such as `hidden_0/kernel`.

    A leading `params` collection is dropped, and so is the `.value` of a box around the array, as
    NNX's `Param` and Linen's `Partitioned` are: the same pattern serves the model with and without.
    """
    if len(path) > 1 and path[-1] == jax.tree_util.GetAttrKey("value"):
        path = path[:-1]
    return jax.tree_util.keystr(path, simple=True, separator="/").removeprefix("params/")


def some(paths: list[str]) -> str:
    """A list of paths for an error: the first few, and how many more there are."""
    more = len(paths) - 10
    return f"{paths[:10]} and {more} more" if more > 0 else str(paths)


def selected(tree: PyTree, pattern: str) -> PyTree:
    """A tree of booleans: whether the pattern is found in the leaf's path; "" selects every leaf.

    Raises:
        ValueError: if `pattern` is no regular expression, or matches no path of a tree with leaves.
    """
    try:
        search = re.compile(pattern).search
    except (re.error, TypeError) as error:
        raise ValueError(
            f"`pattern` (={pattern!r}) must be a regular expression: {error}."
        ) from None
    found = jax.tree_util.tree_map_with_path(
        lambda path, _: search(path_name(path)) is not None, tree
    )
    paths = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
    if paths and not any(jax.tree.leaves(found)):
        raise ValueError(
            f"`pattern` (={pattern!r}) must match at least one parameter path; the paths are {some(paths)}."
        )
    return found


def sparsity(params: PyTree, pattern: str = "") -> Sparsity:
    """Count the entries that are exactly zero; works under `jit`.

    Args:
        params: a tree of arrays.
        pattern: regular expression, searched in the leaf's path; by default every leaf counts.

    Returns:
        The fraction over all entries that count (0 if there are none), and the fraction per path.

    Raises:
        ValueError: if `pattern` is no regular expression, or matches no path of a tree with leaves.

    >>> params = {"kernel": jnp.array([0.0, 0.5, 0.0, 2.0]), "bias": jnp.ones(2)}
    >>> float(l1jax.sparsity(params, "kernel").total), round(float(l1jax.sparsity(params).total), 3)
    (0.5, 0.333)
    """
    zeros: dict[str, Array] = {}
    sizes: dict[str, int] = {}
    leaves = jax.tree_util.tree_leaves_with_path(params)
    for (path, leaf), counts in zip(
        leaves, jax.tree.leaves(selected(params, pattern)), strict=True
    ):
        if counts:
            name = path_name(path)  # two leaves may share it: params/x and x
            zeros[name] = zeros.get(name, 0) + jnp.sum(jnp.asarray(leaf) == 0, dtype=float)
            sizes[name] = sizes.get(name, 0) + jnp.size(leaf)
    by_path = {name: zeros[name] / max(sizes[name], 1) for name in zeros}
    entries = max(sum(sizes.values()), 1)
    total = sum(by_path[name] * (sizes[name] / entries) for name in zeros)
    return Sparsity(jnp.asarray(total, float), by_path)
