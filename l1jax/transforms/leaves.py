"""What the transformations share: checks of their arguments, and prox steps leaf by leaf."""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from l1jax.annotations import Array, ArrayLike, PyTree
from l1jax.penalties import Penalty, check_number, convex_part, path_name, select_leaves
from l1jax.penalties.coupled_leaves import (
    is_coupled,
    joint_leaves,
    joint_prox,
    leaf_proxes,
    leaf_subgradients,
)
from l1jax.penalties.leafwise import array_prox
from l1jax.penalties.numerics import upcast
from l1jax.transforms.floating_leaves import as_array


def require_params(params: optax.Params | None, reason: str) -> optax.Params:
    """Return `params`, or raise `ValueError` with the reason why `update` needs them."""
    if params is None:
        raise ValueError(f"`params` (=None) must be given to `update`: {reason}.")
    return params


def require_params_like(
    params: optax.Params | None, updates: optax.Updates, reason: str
) -> optax.Params:
    """Return `params` if the updates have the same leaves and shapes.

    Args:
        params: what `update` was given.
        updates: the updates that it was given.
        reason: why it needs the parameters, for the error.

    Raises:
        ValueError: if there are no parameters, or the updates are not like them.
    """
    params = require_params(params, reason)
    pairs = itertools.zip_longest(_shapes(updates), _shapes(params), fillvalue=_LeafShape("", None))
    for found, expected in pairs:
        if found.shape != expected.shape:
            raise ValueError(
                f"`updates` must be a tree like `params`, but have {found.describe()} where these "
                f"have {expected.describe()}."
            )
    return params


class _LeafShape(NamedTuple):
    """A leaf as an error names it; without a shape where a tree has no further leaf."""

    path: str
    shape: tuple[int, ...] | None

    def describe(self) -> str:
        if self.shape is None:
            return "nothing"
        return f"{self.path or 'an array'} of shape {self.shape}"


def _shapes(tree: PyTree) -> list[_LeafShape]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [_LeafShape(path_name(path), jnp.shape(leaf)) for path, leaf in leaves]


def select_floating_leaves(tree: PyTree, pattern: str) -> PyTree:
    """Tell for each leaf, in a tree of booleans, whether the pattern selects it.

    Raises:
        ValueError: if the pattern is no regular expression or matches no leaf, or if a leaf that it
            selects is not of floating point.
    """
    selected = select_leaves(tree, pattern)
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    for (path, leaf), is_selected in zip(leaves, jax.tree.leaves(selected), strict=True):
        if is_selected and not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise ValueError(
                f"{path_name(path) or 'the array'} has dtype {jnp.result_type(leaf)}, but must be "
                "of floating point; leave the leaf out by `pattern`."
            )
    return selected


def check_rate(learning_rate: PyTree) -> None:
    """Raise if a concrete learning rate is negative or not finite; schedules and tracers pass."""
    if not callable(learning_rate):
        check_number("learning_rate", learning_rate, remedy="it is the step of the prox")


def schedule_value(value: optax.ScalarOrSchedule, count: ArrayLike) -> Array:
    """Return a schedule's value after `count` updates, or the scalar itself."""
    if callable(value):
        return jnp.asarray(value(count))
    return jnp.asarray(value)


def copy_leaves(params: PyTree) -> PyTree:
    """Copy the parameters to new buffers.

    A state that starts from the parameters may be donated together with them.
    """
    return jax.tree.map(lambda p: jnp.array(as_array(p), copy=True), params)


def prox_leaves(penalties: list[Penalty | None], points: PyTree, steps: PyTree) -> PyTree:
    """Take the prox of the leaves that have a penalty, and return the others as they are.

    Args:
        penalties: the penalty of each leaf.
        points: the tree whose prox is taken.
        steps: a tree like `points`; each leaf is the step of its prox, and broadcasts to it.
    """
    leaves, treedef = jax.tree.flatten(points)
    return treedef.unflatten(leaf_proxes(penalties, leaves, jax.tree.leaves(steps)))


def prox_update(penalty: Penalty | None, u: Array, p: Array, step: ArrayLike) -> Array:
    """Return prox(p + u, step) − p of one leaf, or u where it has no penalty.

    Args:
        penalty: the penalty of the leaf.
        u: its update.
        p: the parameter.
        step: the step of the prox, one number or an array like `p`.
    """
    if penalty is None:
        return u
    return difference(array_prox(penalty, upcast(p) + upcast(u), step), p, u)


def prox_updates(
    penalties: list[Penalty | None], updates: PyTree, params: PyTree, step: ArrayLike
) -> PyTree:
    """Return `prox_update` of every leaf.

    Args:
        penalties: the penalty of each leaf.
        updates: a tree of updates.
        params: the parameters, a tree like the updates.
        step: the step of every prox.
    """
    leaves, treedef = jax.tree.flatten(updates)
    parameters = jax.tree.leaves(params)
    columns = zip(penalties, leaves, parameters, strict=True)
    new: list[Array | None] = []
    points: list[Array | None] = []
    for penalty, u, p in columns:
        coupled = is_coupled(penalty)
        new.append(None if coupled else prox_update(penalty, u, p, step))
        points.append(upcast(p) + upcast(u) if coupled else None)
    for joint in joint_leaves(penalties, points):
        proxes = joint_prox(joint, [step] * len(leaves))
        for i, prox in zip(joint.indices, proxes, strict=True):
            new[i] = difference(prox, parameters[i], leaves[i])
    return treedef.unflatten(new)


def difference(new: Array, p: Array, u: Array) -> Array:
    """Return new − p in the dtype of the update `u`, at least float32 before it is rounded.

    Args:
        new: the parameter after the update, at least float32.
        p: the parameter before it.
        u: the update that the result replaces.
    """
    return (new - upcast(p)).astype(u.dtype)  # p + (−0.0 − p) is 0.0


class Linearised(NamedTuple):
    """A problem whose loss includes the smooth, concave part of each penalty."""

    penalties: list[Penalty | None]  # the convex part of each leaf's penalty
    grads: PyTree  # the gradient of the loss with these concave parts


def linearise_concave(penalties: list[Penalty | None], grads: PyTree, params: PyTree) -> Linearised:
    """Count the smooth, concave part of each penalty as a part of the loss.

    Args:
        penalties: the penalty of each leaf.
        grads: the gradient of the loss.
        params: where it was taken, a tree like the gradient.
    """

    convex_parts = [None if penalty is None else convex_part(penalty) for penalty in penalties]
    pairs = zip(penalties, convex_parts, strict=True)
    is_concave = [penalty is not convex for penalty, convex in pairs]
    leaves, treedef = jax.tree.flatten(grads)
    points = [upcast(p) for p in jax.tree.leaves(params)]

    def slopes(of: list[Penalty | None]) -> list[Array]:
        """Return the subgradients of the leaves whose penalty has a concave part."""
        chosen = [p if concave else None for p, concave in zip(of, is_concave, strict=True)]
        return leaf_subgradients(chosen, points)

    columns = zip(is_concave, leaves, slopes(penalties), slopes(convex_parts), strict=True)
    with_concave = [
        (upcast(g) + (whole - convex)).astype(g.dtype) if concave else g
        for concave, g, whole, convex in columns
    ]
    return Linearised(convex_parts, treedef.unflatten(with_concave))
