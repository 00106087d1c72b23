"""A smooth function plus a convex one with a prox, of a list of arrays; arithmetic on such lists.

A concave part of the penalty, such as that of `mcp`, belongs to the smooth function: fixed points
stay the same, and the prox is well defined at any step.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from l1jax.annotations import Array, Float
from l1jax.penalties import Penalty, convex_part, leaf_penalties
from l1jax.penalties.coupled_leaves import leaf_distances, leaf_proxes, leaf_values
from l1jax.penalties.leafwise import is_leafwise
from l1jax.penalties.numerics import tree_norm
from l1jax.solve.program import Leaves, Program


class Problem(NamedTuple):
    """f + R: what is minimised, with f smooth."""

    smooth: Callable[[Leaves], Float[Array, ""]]  # f
    penalty: Callable[[Leaves], Float[Array, ""]]  # R
    prox: Callable[[Leaves, Leaves], Leaves]  # of R, at a point with a step per entry
    distance: Callable[[Leaves, Leaves], Float[Array, ""]]  # of −∇f to ∂R, at a point
    takes_metric: bool  # whether the prox takes a step per entry

    def linearise(self, at: Leaves) -> "Linearised":
        """Return f, its gradient and the products with its Hessian at a point."""

        def both(x: Leaves) -> tuple[Array, Leaves]:
            return jax.value_and_grad(self.smooth)(x)

        try:
            (value, gradient), derivative = jax.linearize(both, at)
            return Linearised(value, gradient, lambda direction: derivative(direction)[1])
        except TypeError:  # a function with a `custom_vjp` has no derivative in forward mode
            (value, gradient), transposed = jax.vjp(both, at)
            zero = jnp.zeros_like(value)
            return Linearised(value, gradient, lambda direction: transposed((zero, direction))[0])


class Linearised(NamedTuple):
    """f at a point, to second order."""

    value: Float[Array, ""]
    gradient: Leaves
    hessian: Callable[[Leaves], Leaves]  # v ↦ Hv


def make_problem(program: Program, data: list[Array], penalty: Penalty) -> Problem:
    """Return the problem of a loss and a penalty.

    Args:
        program: the loss.
        data: what it reads beside the optimised leaves.
        penalty: a penalty of the tree of parameters.
    """
    if not (is_leafwise(penalty) or hasattr(penalty, "per_leaf")):
        return _whole_tree_problem(program, data, penalty)

    def per_leaf(leaves: Leaves) -> list[Penalty | None]:
        """Return the penalty of each leaf that is optimised."""
        found = leaf_penalties(penalty, program.tree(leaves))
        return [p for p, other in zip(found, program.others, strict=True) if other is None]

    def convex_per_leaf(leaves: Leaves) -> list[Penalty | None]:
        return [None if p is None else convex_part(p) for p in per_leaf(leaves)]

    def smooth(leaves: Leaves) -> Array:
        value = program.loss(leaves, data)
        concave = []
        for whole in per_leaf(leaves):
            is_concave = whole is not None and convex_part(whole) is not whole
            concave.append(whole if is_concave else None)
        convex = [None if whole is None else convex_part(whole) for whole in concave]
        columns = zip(leaf_values(concave, leaves), leaf_values(convex, leaves), strict=True)
        for whole_value, convex_value in columns:
            value += (whole_value - convex_value).astype(value.dtype)
        return value

    def value(leaves: Leaves) -> Array:
        values = leaf_values(convex_per_leaf(leaves), leaves)
        return jnp.asarray(sum(values), scalar_dtype(leaves))

    def prox(leaves: Leaves, steps: Leaves) -> Leaves:
        return leaf_proxes(convex_per_leaf(leaves), leaves, steps)

    def distance(leaves: Leaves, gradient: Leaves) -> Array:
        parts = leaf_distances(convex_per_leaf(leaves), leaves, gradient)
        return tree_norm(parts).astype(scalar_dtype(leaves))

    return Problem(smooth, value, prox, distance, takes_metric=True)


def _whole_tree_problem(program: Program, data: list[Array], penalty: Penalty) -> Problem:
    """Return the problem of a penalty that is not written for single leaves."""

    def smooth(leaves: Leaves) -> Array:
        return program.loss(leaves, data)

    def value(leaves: Leaves) -> Array:
        return penalty.value(program.tree(leaves)).astype(scalar_dtype(leaves))

    def prox(leaves: Leaves, steps: Leaves) -> Leaves:
        step = jnp.max(jnp.stack([jnp.max(s, initial=0) for s in steps]))  # they are equal
        return _optimised(program, penalty.prox(program.tree(leaves), step))

    def distance(leaves: Leaves, gradient: Leaves) -> Array:
        found = penalty.distance(program.tree(leaves), program.tree(gradient))
        return found.astype(scalar_dtype(leaves))

    return Problem(smooth, value, prox, distance, takes_metric=False)


def scalar_dtype(leaves: Leaves) -> jnp.dtype:
    """Return the dtype of sums over all leaves."""
    return jnp.result_type(*leaves)


def dot(a: Leaves, b: Leaves) -> Float[Array, ""]:
    """Return Σ aᵢbᵢ over all leaves."""
    dtype = scalar_dtype(a)
    return jnp.asarray(sum(jnp.sum(x * y).astype(dtype) for x, y in zip(a, b, strict=True)), dtype)


def add_scaled(a: Leaves, factor: Array, b: Leaves) -> Leaves:
    """Return a + factor·b.

    Args:
        a: the leaves.
        factor: one number.
        b: as many leaves.
    """
    return [x + factor.astype(x.dtype) * y for x, y in zip(a, b, strict=True)]


def multiply(a: Leaves, b: Leaves) -> Leaves:
    """Return the product, entry by entry."""
    return [x * y for x, y in zip(a, b, strict=True)]


def subtract(a: Leaves, b: Leaves) -> Leaves:
    """Return a − b."""
    return [x - y for x, y in zip(a, b, strict=True)]


def select(condition: Array, a: Leaves, b: Leaves) -> Leaves:
    """Return a where the condition holds, b elsewhere.

    Args:
        condition: one boolean.
        a: the leaves.
        b: as many leaves.
    """
    return [jnp.where(condition, x, y) for x, y in zip(a, b, strict=True)]


def step_sizes(metric: Leaves, curvature: Array) -> Leaves:
    """Return 1/(curvature·metric), the step of each entry."""
    return [1 / (curvature.astype(d.dtype) * d) for d in metric]


def _optimised(program: Program, tree: object) -> Leaves:
    pairs = zip(jax.tree.leaves(tree), program.others, strict=True)
    return [leaf for leaf, other in pairs if other is None]
