"""From one array to trees: what lets the methods of a penalty be written for a single array.

A penalty's class writes `value` (a scalar), `prox`, `subgradient` and `distance` (one number per
entry or per group) for one array, each under the decorator below that lets it take a whole tree.
The methods meet arrays of at least float32, with the penalty's own fields in the same dtype, and
they need not care for the sign of a zero: their result is rounded once to the dtype of the leaf,
and −0.0 becomes 0.0.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from l1jax.annotations import Array, ArrayLike, Float, PyTree
from l1jax.penalties.base import Penalty, broadcast_leaves, leaf_penalties
from l1jax.penalties.checks import ONE_STRENGTH, check_broadcasts
from l1jax.penalties.numerics import sum_leaves, tree_norm
from l1jax.penalties.sparsity import path_name

ArrayMethod = Callable[..., Array]
"""A method of a penalty, and what it takes after `self`: arrays of one leaf."""
TreeMethod = TypeVar("TreeMethod", bound=Callable[..., PyTree])


def tree_value(method: ArrayMethod) -> Callable[[Any, PyTree], Float[Array, ""]]:
    """Let the `value` of one array take a tree, and return the sum over its leaves."""

    def value(self: Penalty, x: PyTree) -> Float[Array, ""]:
        values = _map_leaves(method, self, x)
        for leaf in jax.tree.leaves(values):
            if leaf.ndim:
                raise ValueError(
                    f"`strength` of shape {leaf.shape} must be one number; {ONE_STRENGTH}."
                )
        return sum_leaves(values)

    return _remember(method, value)


def tree_prox(method: ArrayMethod) -> Callable[[Any, PyTree, PyTree], PyTree]:
    """Let the `prox` of one array take a tree and the steps of its leaves."""

    def prox(self: Penalty, x: PyTree, step: PyTree) -> PyTree:
        return _round_like(x, _map_leaves(method, self, x, step=step))

    return _remember(method, prox)


def tree_subgradient(method: ArrayMethod) -> Callable[[Any, PyTree], PyTree]:
    """Let the `subgradient` at one array take a tree."""

    def subgradient(self: Penalty, x: PyTree) -> PyTree:
        return _round_like(x, _map_leaves(method, self, x))

    return _remember(method, subgradient)


def tree_distance(method: ArrayMethod) -> Callable[[Any, PyTree, PyTree], Float[Array, ""]]:
    """Let the `distance` of one array take a tree, and return the norm over all its entries."""

    def distance(self: Penalty, x: PyTree, grad: PyTree) -> Float[Array, ""]:
        return tree_norm(_map_leaves(method, self, x, grad=grad))

    return _remember(method, distance)


def is_leafwise(penalty: object) -> bool:
    """Tell whether a penalty is written for one array, with the decorators of this module."""
    return hasattr(getattr(type(penalty), "prox", None), "array_method")


def array_distance(penalty: Penalty, x: Array, grad: Array) -> Array:
    """Return the distances of one array before `distance` takes their norm.

    Args:
        penalty: written for one array, with the decorators of this module.
        x: the array, in the dtype of the penalty's fields.
        grad: the gradient of the loss there.

    Returns:
        One distance per entry, or per group.
    """
    return type(penalty).distance.array_method(penalty, x, grad)  # pyright: ignore


def array_prox(penalty: Penalty, x: Array, step: ArrayLike) -> Array:
    """Return the prox of one array, without its checks and the pass over the signs of zeros.

    Args:
        penalty: the penalty of the array.
        x: the array, at least float32.
        step: one number or an array like `x`.
    """
    if not is_leafwise(penalty):
        return penalty.prox(x, step)
    return on_array(type(penalty).prox.array_method, penalty, x, step)  # pyright: ignore


def on_array(
    method: ArrayMethod, penalty: Penalty | None, leaf: ArrayLike, *others: ArrayLike
) -> Array:
    """Call a method of a penalty in the leaf's dtype, or in float32 if that is wider.

    Args:
        method: a method that is written for one array.
        penalty: its `self`, whose fields are converted to that dtype, too.
        leaf: the array that decides about the dtype.
        *others: the method's further arguments.
    """
    dtype = jnp.promote_types(jnp.result_type(leaf), jnp.float32)
    converted = jax.tree.map(lambda number: jnp.asarray(number, dtype), penalty)
    return method(converted, *(jnp.asarray(array, dtype) for array in (leaf, *others)))


def _remember(method: ArrayMethod, tree_method: TreeMethod) -> TreeMethod:
    """Give the method of trees the name and the docstring of that of one array, and the latter."""
    functools.update_wrapper(tree_method, method)
    tree_method.array_method = method  # pyright: ignore[reportFunctionMemberAccess]
    return tree_method


def _map_leaves(method: ArrayMethod, penalty: Penalty, x: PyTree, **others: PyTree) -> PyTree:
    """Call a method on each leaf, with its penalty and its parts of the other trees."""
    leaves, treedef = jax.tree_util.tree_flatten_with_path(x)
    penalties = leaf_penalties(penalty, x)
    arguments = [broadcast_leaves(name, tree, x) for name, tree in others.items()]
    results = []
    for leaf_penalty, (path, leaf), *rest in zip(penalties, leaves, *arguments, strict=True):
        for name, other in zip(others, rest, strict=True):
            place = path_name(path) or "the array"
            check_broadcasts(
                name, other, jnp.shape(leaf), place, "give one number, or one per entry"
            )
        results.append(on_array(method, leaf_penalty, leaf, *rest))
    return treedef.unflatten(results)


def _round_like(x: PyTree, tree: PyTree) -> PyTree:
    """Round each leaf to the dtype of its leaf in `x`, and turn −0.0 into 0.0."""

    def round_leaf(like: ArrayLike, leaf: Array) -> Array:
        leaf = leaf.astype(jnp.result_type(like))
        return jnp.where(leaf == 0, jnp.zeros_like(leaf), leaf)  # after the rounding to 0, too

    return jax.tree.map(round_leaf, x, tree)
