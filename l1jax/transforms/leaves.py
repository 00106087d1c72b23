"""Leaves of parameter trees: which a pattern selects, and prox steps leaf by leaf."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, PyTree

from l1jax.penalties import Penalty, check_number, convex_part, path_name, selected
from l1jax.penalties.base import prox_of_leaf
from l1jax.transforms.floats import as_array


def required(params: optax.Params | None, reason: str) -> Any:
    """Return `params`, or say why `update` needs them."""
    if params is None:
        raise ValueError(f"`params` (=None) must be given to `update`: {reason}.")
    return params


def matched(params: optax.Params | None, updates: optax.Updates, reason: str) -> Any:
    """Return `params`, or say why `update` needs them, or where the updates are not like them."""
    params = required(params, reason)
    for u, p in itertools.zip_longest(
        _shapes(updates), _shapes(params), fillvalue=("nothing", None)
    ):
        if u[1] != p[1]:
            raise ValueError(
                f"`updates` must be a tree like `params`, but have {_show(*u)} where these have {_show(*p)}."
            )
    return params


def _shapes(tree: PyTree) -> list[tuple[str, tuple[int, ...] | None]]:
    return [
        (path_name(path), jnp.shape(leaf))
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def _show(path: str, shape: tuple[int, ...] | None) -> str:
    return path if shape is None else f"{path or 'an array'} of shape {shape}"


def floating(tree: PyTree, pattern: str) -> PyTree:
    """A tree of booleans: which leaves the pattern selects; refuse those that are not of floating point."""
    found = selected(tree, pattern)
    for (path, leaf), chosen in zip(
        jax.tree_util.tree_leaves_with_path(tree), jax.tree.leaves(found), strict=True
    ):
        if chosen and not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise ValueError(
                f"{path_name(path) or 'the array'} has dtype {jnp.result_type(leaf)}, but must be of floating point; "
                "leave the leaf out by `pattern`."
            )
    return found


def check_rate(learning_rate: Any) -> None:
    """Refuse a concrete learning rate that is negative or not finite; schedules and tracers pass."""
    if not callable(learning_rate):
        check_number("learning_rate", learning_rate, remedy="it is the step of the prox")


def copied(params: PyTree) -> PyTree:
    """The same in buffers of its own: a state may be donated together with the parameters that it starts from."""
    return jax.tree.map(lambda p: jnp.array(as_array(p), copy=True), params)


def wide(x: Array) -> Array:
    """At least float32: half precision would lose small steps and sums."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def prox_leaves(penalties: list[Penalty | None], points: PyTree, steps: PyTree) -> PyTree:
    """The prox of the leaves that have a penalty, the others as they are."""
    leaves, treedef = jax.tree.flatten(points)
    columns = zip(penalties, leaves, jax.tree.leaves(steps), strict=True)
    return treedef.unflatten(
        [penalty.prox(x, step) if penalty else x for penalty, x, step in columns]
    )


def prox_update(penalty: Penalty | None, u: Array, p: Array, step: ArrayLike) -> Array:
    """prox(p + u, step) − p of one leaf, u where it has no penalty."""
    if penalty is None:
        return u
    moved = prox_of_leaf(penalty, wide(p) + wide(u), step)
    return (moved - wide(p)).astype(u.dtype)  # p + (−0.0 − p) is 0.0


def prox_updates(
    penalties: list[Penalty | None], updates: PyTree, params: PyTree, step: ArrayLike
) -> PyTree:
    """`prox_update` of every leaf, with one step."""
    leaves, treedef = jax.tree.flatten(updates)
    columns = zip(penalties, leaves, jax.tree.leaves(params), strict=True)
    return treedef.unflatten([prox_update(penalty, u, p, step) for penalty, u, p in columns])


def linearise_concave(
    penalties: list[Penalty | None], grads: PyTree, params: PyTree
) -> tuple[list[Penalty | None], PyTree]:
    """Count the smooth, concave part of each penalty as part of the loss: its convex part, and both gradients' sum."""
    convex = [penalty and convex_part(penalty) for penalty in penalties]

    def add(penalty: Penalty | None, part: Penalty | None, g: Array, p: Array) -> Array:
        if penalty is None or part is None or part is penalty:
            return g
        return (wide(g) + (penalty.subgradient(wide(p)) - part.subgradient(wide(p)))).astype(
            g.dtype
        )

    leaves, treedef = jax.tree.flatten(grads)
    columns = (penalties, convex, leaves, jax.tree.leaves(params))
    return convex, treedef.unflatten([add(*row) for row in zip(*columns, strict=True)])


def at(value: optax.ScalarOrSchedule, count: Array) -> Array:
    """A schedule's value at `count`, or the scalar itself."""
    return jnp.asarray(value(count) if callable(value) else value)
