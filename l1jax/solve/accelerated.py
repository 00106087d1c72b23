"""Accelerated proximal gradient steps whose step size and restarts need no numbers."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from l1jax.annotations import Array, Float, Int
from l1jax.solve.problem import (
    Problem,
    add_scaled,
    dot,
    multiply,
    scalar_dtype,
    select,
    step_sizes,
    subtract,
)
from l1jax.solve.program import Leaves

ROUNDING = 8.0  # how many units in the last place the objective may be off


class Iterate(NamedTuple):
    """What the accelerated steps carry."""

    x: Leaves
    previous: Leaves
    objective: Float[Array, ""]
    momentum: Float[Array, ""]
    curvature: Float[Array, ""]  # L: the step is 1/L in the metric
    last_point: Leaves  # where the last gradient was taken
    last_gradient: Leaves


def accelerate(problem: Problem, metric: Leaves, start: Iterate, count: Int[Array, ""]) -> Iterate:
    """Take accelerated proximal gradient steps in a diagonal metric.

    A step is taken again with a shorter length if the loss lies above its quadratic bound, and
    without momentum if the objective rises or momentum led to where the loss is not finite. The
    bound says nothing where differences of the loss are below rounding; there L follows the
    gradient's differences. Momentum starts anew, too, when it points uphill.

    Args:
        problem: what is minimised.
        metric: the weight of each entry, as in Σ dᵢδᵢ².
        start: where to go on.
        count: how many steps.

    Source: Beck, Teboulle, SIAM J. Imaging Sci. 2 (2009), section 4; O'Donoghue, Candès, Found.
    Comput. Math. 15 (2015), section 3.2, for the restarts.
    """
    eps = float(jnp.finfo(scalar_dtype(start.x)).eps)

    def step(carry: Iterate) -> Iterate:
        next_momentum = (1 + jnp.sqrt(1 + 4 * jnp.square(carry.momentum))) / 2
        ahead = (carry.momentum - 1) / next_momentum
        point = add_scaled(carry.x, ahead, subtract(carry.x, carry.previous))
        loss, gradient = jax.value_and_grad(problem.smooth)(point)
        steps = step_sizes(metric, carry.curvature)
        new = problem.prox(subtract(point, multiply(steps, gradient)), steps)
        new_loss = problem.smooth(new)
        penalty = problem.penalty(new)
        objective = new_loss + penalty

        change = subtract(new, point)
        size = dot(multiply(metric, change), change)
        rise = new_loss - loss - dot(gradient, change)
        rounding = ROUNDING * eps * (jnp.abs(loss) + jnp.abs(new_loss))
        within = rise <= carry.curvature / 2 * size + rounding
        inside = jnp.isfinite(loss)
        overshoots = inside & ~(within & jnp.isfinite(new_loss))
        uphill = ~(inside & (objective <= carry.objective + slack(new_loss, penalty)))
        needed = 2.1 * rise / jnp.where(size > 0, size, 1)
        raised = jnp.clip(needed, 1.5 * carry.curvature, 10 * carry.curvature)
        raised = jnp.where(jnp.isfinite(needed), raised, 10 * carry.curvature)
        measured = _secant(metric, subtract(point, carry.last_point), gradient, carry.last_gradient)
        measured = jnp.where(inside, measured, 0)

        progress = subtract(new, carry.x)
        turns = dot(multiply(metric, change), progress) < 0
        rejected = overshoots | uphill
        momentum = jnp.where(uphill | turns, 1, next_momentum)
        # After an overshoot the same step is tried again; when uphill, it is without momentum.
        kept = select(overshoots, carry.previous, carry.x)
        return Iterate(
            x=select(rejected, carry.x, new),
            previous=kept,
            objective=jnp.where(rejected, carry.objective, objective),
            momentum=jnp.where(overshoots, carry.momentum, momentum),
            curvature=jnp.where(overshoots, raised, jnp.maximum(carry.curvature, measured)),
            last_point=select(inside, point, carry.last_point),
            last_gradient=select(inside, gradient, carry.last_gradient),
        )

    def body(carry: tuple[Array, Iterate]) -> tuple[Array, Iterate]:
        done, iterate = carry
        return done + 1, step(iterate)

    _, end = jax.lax.while_loop(
        lambda carry: carry[0] < count, body, (jnp.zeros_like(count), start)
    )
    return end


def slack(loss: Array, penalty: Array) -> Array:
    """Return how much loss + penalty may seem to rise by rounding alone.

    The two may be much larger than their sum, as those of concave penalties are.
    """
    size = jnp.abs(loss) + jnp.abs(penalty)
    eps = float(jnp.finfo(size.dtype).eps)
    return jnp.where(jnp.isfinite(size), ROUNDING * eps * size, 0)


def _secant(metric: Leaves, change: Leaves, gradient: Leaves, last_gradient: Leaves) -> Array:
    """Return the curvature between the points of two gradients, 0 where it is below rounding."""
    difference = subtract(gradient, last_gradient)
    along = dot(difference, change)
    eps = float(jnp.finfo(scalar_dtype(metric)).eps)
    magnitude = [jnp.abs(g) + jnp.abs(h) for g, h in zip(gradient, last_gradient, strict=True)]
    rounding = 64 * eps * dot(magnitude, [jnp.abs(x) for x in change])
    size = dot(multiply(metric, change), change)
    measured = along / jnp.where(size > 0, size, 1)
    return jnp.where((along > rounding) & (size > 0) & jnp.isfinite(measured), measured, 0)
