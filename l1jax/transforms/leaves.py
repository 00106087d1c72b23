"""Leaves of parameter trees: which a pattern selects, and prox steps leaf by leaf."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from l1jax.penalties import Penalty, path_name


def required(params: optax.Params | None, reason: str) -> Any:
    """Return `params`, or say why `update` needs them."""
    if params is None:
        raise ValueError(f"`params` (=None) must be given to `update`: {reason}.")
    return params


def selected(tree: PyTree, pattern: str) -> PyTree:
    """A tree of booleans: whether the pattern is found in the leaf's path; "" selects every leaf.

    Raises:
        ValueError: if `pattern` is no regular expression, or matches no path of a tree with leaves.
    """
    try:
        search = re.compile(pattern).search
    except re.error as error:
        raise ValueError(f"`pattern` (={pattern!r}) must be a regular expression: {error}.") from None
    found = jax.tree_util.tree_map_with_path(lambda path, _: search(path_name(path)) is not None, tree)
    paths = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
    if paths and not any(jax.tree.leaves(found)):
        raise ValueError(f"`pattern` (={pattern!r}) must match at least one parameter path; the paths are {paths}.")
    return found


def wide(x: Array) -> Array:
    """At least float32: half precision would lose small steps and sums."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def prox_leaves(penalties: list[Penalty | None], points: PyTree, steps: PyTree) -> PyTree:
    """The prox of the leaves that have a penalty, the others as they are."""
    leaves, treedef = jax.tree.flatten(points)
    columns = zip(penalties, leaves, jax.tree.leaves(steps), strict=True)
    return treedef.unflatten([penalty.prox(x, step) if penalty else x for penalty, x, step in columns])


def prox_updates(penalties: list[Penalty | None], updates: PyTree, params: PyTree, steps: PyTree) -> PyTree:
    """prox(p + u, step) − p for the leaves that have a penalty, u for the others."""

    def move(penalty: Penalty | None, u: Array, p: Array, step: Any) -> Array:
        if penalty is None:
            return u
        return (penalty.prox(wide(p) + wide(u), step) - wide(p)).astype(u.dtype)

    leaves, treedef = jax.tree.flatten(updates)
    columns = (penalties, leaves, jax.tree.leaves(params), jax.tree.leaves(steps))
    return treedef.unflatten([move(*row) for row in zip(*columns, strict=True)])


def at(value: optax.ScalarOrSchedule, count: Array) -> Array:
    """A schedule's value at `count`, or the scalar itself."""
    return jnp.asarray(value(count) if callable(value) else value)
