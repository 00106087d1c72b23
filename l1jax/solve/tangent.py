"""The linear algebra on the support: Newton's direction, and derivatives of solutions.

At x = prox(z, t) the prox has the derivative D in z, the projection on the support for L1. In the
metric 1/t it is symmetric, and so is M = D − D² + D·tH·D with the Hessian H of the smooth part. On
the range of D, whose vectors Dw are the directions in which x can move along its support (along its
groups, or the surface of an L1 ball), M is D·t(H + ∇²R)·D with the Hessian of the penalty there.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from l1jax.annotations import Array, Float, Int
from l1jax.solve.problem import add_scaled, dot, multiply, scalar_dtype, select, subtract
from l1jax.solve.program import Leaves

Operator = Callable[[Leaves], Leaves]


class Tangent(NamedTuple):
    """The operators at a point, in coordinates divided by √t, in which they are symmetric."""

    roots: Leaves  # √t
    project: Operator  # E = t^(−1/2)·D·t^(1/2)
    normal: Operator  # M in these coordinates


def tangent_at(derivative: Operator, steps: Leaves, hessian: Operator) -> Tangent:
    """Return the operators at prox(z, t).

    Args:
        derivative: D, that of the prox at z.
        steps: t, a step per entry.
        hessian: v ↦ Hv.
    """
    roots = [jnp.sqrt(t) for t in steps]
    inverse_roots = [1 / r for r in roots]

    def project(v: Leaves) -> Leaves:
        return multiply(inverse_roots, derivative(multiply(roots, v)))

    def normal(v: Leaves) -> Leaves:
        once = project(v)
        curved = multiply(roots, hessian(multiply(roots, once)))
        return project(add_scaled(subtract(v, once), jnp.ones([], v[0].dtype), curved))

    return Tangent(roots, project, normal)


class ConjugateGradients(NamedTuple):
    """State of `solve_normal`."""

    count: Int[Array, ""]  # products so far
    solution: Leaves
    residual: Leaves
    direction: Leaves
    square: Float[Array, ""]  # of the residual's norm
    is_convex: Array  # whether all curvatures were positive


def solve_normal(
    normal: Operator, right: Leaves, tolerance: Array, max_steps: Array
) -> ConjugateGradients:
    """Solve Mw = b by conjugate gradients, which end where the curvature is not positive.

    If that is in the first step, the solution is b itself.

    Args:
        normal: v ↦ Mv, symmetric.
        right: b, in the range of M.
        tolerance: the residual's norm at the end, as a share of that of b.
        max_steps: the largest number of products with M.

    Source: Hestenes, Stiefel, J. Res. Natl. Bur. Stand. 49 (1952); Steihaug, SIAM J. Numer. Anal.
    20 (1983), for the end at negative curvature.
    """
    start = dot(right, right)
    eps = float(jnp.finfo(scalar_dtype(right)).eps)
    target = jnp.square(tolerance) * start

    def unfinished(carry: ConjugateGradients) -> Array:
        return carry.is_convex & (carry.square > target) & (carry.count < max_steps)

    def step(carry: ConjugateGradients) -> ConjugateGradients:
        image = normal(carry.direction)
        curvature = dot(carry.direction, image)
        # Below rounding the direction is noise from outside the range; the norm of M is about 1.
        positive = curvature > 4 * eps * dot(carry.direction, carry.direction)
        length = jnp.where(positive, carry.square / jnp.where(positive, curvature, 1), 0)
        solution = add_scaled(carry.solution, length, carry.direction)
        residual = add_scaled(carry.residual, -length, image)
        square = dot(residual, residual)
        ratio = square / jnp.where(carry.square > 0, carry.square, 1)
        direction = add_scaled(residual, ratio, carry.direction)
        at_once = ~positive & (carry.count == 0)
        return ConjugateGradients(
            count=carry.count + 1,
            solution=select(at_once, right, solution),
            residual=residual,
            direction=direction,
            square=square,
            is_convex=positive,
        )

    zeros = [jnp.zeros_like(b) for b in right]
    begin = ConjugateGradients(
        jnp.zeros([], jnp.int32), zeros, right, right, start, jnp.isfinite(start)
    )
    return jax.lax.while_loop(unfinished, step, begin)
