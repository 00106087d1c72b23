"""Paths of leaves, patterns that select them, and the share of exact zeros in them."""

import re
from collections.abc import Hashable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from l1jax.annotations import Array, Float, PyTree

MAX_PATHS_SHOWN = 10  # in an error


class Sparsity(NamedTuple):
    """Shares of exact zeros, in [0, 1]."""

    total: Float[Array, ""]
    by_path: dict[str, Float[Array, ""]]


def path_name(path: tuple[Hashable, ...]) -> str:
    """Name a leaf by its keys, such as `hidden_0/kernel`.

    A leading `params` collection is dropped, and so is the `.value` of a box around the array, as
    NNX's `Param` and Linen's `Partitioned` are: the same pattern serves a model with and without.
    """
    if len(path) > 1 and path[-1] == jax.tree_util.GetAttrKey("value"):
        path = path[:-1]
    return jax.tree_util.keystr(path, simple=True, separator="/").removeprefix("params/")


def show_paths(paths: list[str]) -> str:
    """List paths for an error: the first few, and how many more there are."""
    more = len(paths) - MAX_PATHS_SHOWN
    if more > 0:
        return f"{paths[:MAX_PATHS_SHOWN]} and {more} more"
    return str(paths)


def select_leaves(tree: PyTree, pattern: str, name: str = "pattern") -> PyTree:
    """Tell for each leaf, in a tree of booleans, whether the pattern is found in its path.

    Args:
        tree: the tree.
        pattern: regular expression; "" selects every leaf.
        name: what an error calls it.

    Raises:
        ValueError: if `pattern` is no regular expression, or matches no path of a tree with leaves.
    """
    try:
        search = re.compile(pattern).search
    except (re.error, TypeError) as error:
        raise ValueError(
            f"`{name}` (={pattern!r}) must be a regular expression: {error}."
        ) from None
    paths = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
    selected = [search(path) is not None for path in paths]
    if paths and not any(selected):
        raise ValueError(
            f"`{name}` (={pattern!r}) must match at least one parameter path; the paths are "
            f"{show_paths(paths)}."
        )
    return jax.tree.structure(tree).unflatten(selected)


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
    selected = jax.tree.leaves(select_leaves(params, pattern))
    for (path, leaf), counts in zip(leaves, selected, strict=True):
        if counts:
            name = path_name(path)  # two leaves may share it: params/x and x
            zeros[name] = zeros.get(name, 0) + jnp.sum(jnp.asarray(leaf) == 0, dtype=float)
            sizes[name] = sizes.get(name, 0) + jnp.size(leaf)
    by_path = {name: zeros[name] / max(sizes[name], 1) for name in zeros}
    entries = max(sum(sizes.values()), 1)
    total = sum(by_path[name] * (sizes[name] / entries) for name in zeros)
    return Sparsity(jnp.asarray(total, float), by_path)
