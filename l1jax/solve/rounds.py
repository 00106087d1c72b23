"""The solver: rounds of accelerated steps, each followed by a step of Newton on the support."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from l1jax.annotations import Array, Bool, Float, Int
from l1jax.solve.accelerated import Iterate, accelerate, slack
from l1jax.solve.metric import equilibrate
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
from l1jax.solve.tangent import solve_normal, tangent_at

FIRST_STEPS = 10  # accelerated steps of the first round
MOST_STEPS = 200  # and of the longest
FIRST_PRODUCTS = 50  # products with the Hessian in the first Newton step
MOST_PRODUCTS = 3200
PATIENCE = 8  # rounds without progress after which it has stalled


class Point(NamedTuple):
    """A point, and how good it is."""

    x: Leaves
    objective: Float[Array, ""]
    distance: Float[Array, ""]  # of the gradient to optimality


class Progress(NamedTuple):
    """State of the solver between rounds."""

    iterate: Iterate
    best: Point
    steps: Int[Array, ""]  # gradients and products with the Hessian so far
    accelerated: Int[Array, ""]  # steps of the next round
    products: Int[Array, ""]  # at most, in its Newton step
    stalled: Int[Array, ""]  # rounds since the last progress


class Search(NamedTuple):
    """The result of a line search."""

    point: Point  # the current one if none is better
    found: Bool[Array, ""]
    tries: Int[Array, ""]


class Solved(NamedTuple):
    """The best point that was found, and how."""

    point: Point
    scale: Float[Array, ""]  # what distances are relative to
    steps: Int[Array, ""]
    converged: Bool[Array, ""]
    prox_steps: Leaves  # steps of a prox in which the problem is well scaled


def solve(problem: Problem, start: Leaves, tolerance: Array, max_steps: Array) -> Solved:
    """Minimise until the distance to optimality is below the tolerance times the scale.

    Args:
        problem: what is minimised.
        start: where to begin.
        tolerance: as a share of the scale: the norm of the gradient at zero, or at `start` if it is
            not finite and positive there.
        max_steps: the largest number of gradients and Hessian products, checked between rounds.
    """
    dtype = scalar_dtype(start)
    eps = float(jnp.finfo(dtype).eps)
    loss, gradient, scale = _begin(problem, start)
    objective = (loss + problem.penalty(start)).astype(dtype)
    first = Point(start, objective, problem.distance(start, gradient))
    target = tolerance * scale
    metric, curvature = equilibrate(problem, start)
    usable = jnp.isfinite(curvature) & (curvature > 0)
    curvature = jnp.where(usable, curvature, 1).astype(dtype)
    count = jnp.zeros([], jnp.int32)
    progress = Progress(
        iterate=Iterate(
            x=start,
            previous=start,
            objective=objective,
            momentum=jnp.ones([], dtype),
            curvature=curvature,
            last_point=start,
            last_gradient=gradient,
        ),
        best=first,
        steps=count,
        accelerated=count + FIRST_STEPS,
        products=count + FIRST_PRODUCTS,
        stalled=count,
    )
    largest = curvature / eps**2

    def unfinished(progress: Progress) -> Array:
        possible = (progress.stalled < PATIENCE) & (progress.iterate.curvature < largest)
        possible &= jnp.isfinite(loss)  # or every step would be refused
        return ~(progress.best.distance <= target) & (progress.steps < max_steps) & possible

    def next_round(progress: Progress) -> Progress:
        return _round(problem, metric, target, progress)

    end = jax.lax.while_loop(unfinished, next_round, progress)
    return Solved(
        end.best,
        scale,
        end.steps,
        (end.best.distance <= target) & jnp.isfinite(end.best.objective),
        step_sizes(metric, end.iterate.curvature),
    )


def _round(problem: Problem, metric: Leaves, target: Array, progress: Progress) -> Progress:
    """Take accelerated steps, then one of Newton, and keep what is better."""
    before = progress.iterate
    eased = before._replace(curvature=0.7 * before.curvature)
    ran = accelerate(problem, metric, eased, progress.accelerated)
    newton = _newton(problem, metric, target, ran, progress.products)
    new = newton.point
    nearer = newton.lower & (new.distance < progress.best.distance)
    best = _select_point(nearer, new, progress.best)
    improved = (best.distance < 0.9 * progress.best.distance) | (
        ran.objective < before.objective - 4 * newton.rounding
    )
    longer = jnp.clip(2 * progress.accelerated, FIRST_STEPS, MOST_STEPS)
    more_products = jnp.minimum(2 * progress.products, MOST_PRODUCTS)
    iterate = ran._replace(
        x=select(newton.succeeded, new.x, ran.x),
        previous=select(newton.succeeded, new.x, ran.previous),
        objective=jnp.where(newton.succeeded, new.objective, ran.objective),
        momentum=jnp.where(newton.succeeded, 1, ran.momentum).astype(ran.momentum.dtype),
        curvature=jnp.where(newton.lower, ran.curvature, 2 * ran.curvature),
    )
    return Progress(
        iterate=iterate,
        best=best,
        steps=progress.steps + progress.accelerated + newton.steps,
        accelerated=jnp.where(newton.much_nearer, 2, longer),
        products=jnp.where(newton.cut_off & newton.succeeded, more_products, progress.products),
        stalled=jnp.where(improved, 0, progress.stalled + 1),
    )


class _Newton(NamedTuple):
    """A proximal gradient step, and a step of Newton from there."""

    point: Point  # after both, or after the first if the second is not better
    lower: Bool[Array, ""]  # whether the first did not raise the objective
    succeeded: Bool[Array, ""]  # and the second is better
    much_nearer: Bool[Array, ""]  # and the second is much nearer to optimality
    cut_off: Bool[Array, ""]  # whether more products with the Hessian would help
    steps: Int[Array, ""]
    rounding: Float[Array, ""]  # how much the objective may seem to rise


def _newton(
    problem: Problem, metric: Leaves, target: Array, ran: Iterate, max_products: Array
) -> _Newton:
    """Take a proximal gradient step, then one of Newton along the support that it gives.

    Args:
        problem: what is minimised.
        metric: of the step.
        target: the distance that is wanted in the end.
        ran: where the accelerated steps ended.
        max_products: the largest number of products with the Hessian.
    """
    steps = step_sizes(metric, ran.curvature)
    z = subtract(ran.x, multiply(steps, jax.grad(problem.smooth)(ran.x)))
    x, derivative = jax.linearize(lambda z: problem.prox(z, steps), z)
    linearised = problem.linearise(x)
    gradient = linearised.gradient
    penalty = problem.penalty(x)
    rounding = slack(linearised.value, penalty)
    current = Point(x, linearised.value + penalty, problem.distance(x, gradient))

    tangent = tangent_at(derivative, steps, linearised.hessian)
    # The slope of f + R along the support; (z − x)/t is in ∂R(x).
    slope = [g + (a - b) / t for g, a, b, t in zip(gradient, z, x, steps, strict=True)]
    right = tangent.project([-s * r for s, r in zip(slope, tangent.roots, strict=True)])
    wanted = jnp.clip(0.1 * target / jnp.maximum(current.distance, target), 1e-5, 0.1)
    solved = solve_normal(tangent.normal, right, wanted, max_products)
    direction = multiply(tangent.roots, solved.solution)
    search = _search(problem, z, steps, direction, current, rounding)

    lower = ~(current.objective > ran.objective + rounding) & jnp.isfinite(current.objective)
    succeeded = lower & search.found
    return _Newton(
        point=search.point,
        lower=lower,
        succeeded=succeeded,
        much_nearer=succeeded & (search.point.distance < 0.3 * current.distance),
        cut_off=solved.is_convex & (solved.count >= max_products),
        steps=solved.count + search.tries + 2,
        rounding=rounding,
    )


def _search(
    problem: Problem,
    z: Leaves,
    steps: Leaves,
    direction: Leaves,
    current: Point,
    rounding: Array,
) -> Search:
    """Go along prox(z + share·direction), with smaller and smaller shares, until it is better.

    Args:
        problem: what is minimised.
        z: whose prox is the current point.
        steps: those of the prox.
        direction: where z moves.
        current: the current point.
        rounding: how much the objective may seem to rise by rounding.
    """

    def attempt(share: Array) -> Point:
        x = problem.prox(add_scaled(z, share, direction), steps)
        loss, gradient = jax.value_and_grad(problem.smooth)(x)
        return Point(x, loss + problem.penalty(x), problem.distance(x, gradient))

    def is_better(point: Point) -> Array:
        falls = point.objective < current.objective - rounding
        nearer = (point.objective <= current.objective + rounding) & (
            point.distance < current.distance
        )
        return (falls | nearer) & jnp.isfinite(point.distance)

    def unfinished(carry: tuple[Array, Point]) -> Array:
        count, point = carry
        return (count == 0) | ((count < 5) & ~is_better(point))

    def shorten(carry: tuple[Array, Point]) -> tuple[Array, Point]:
        count, _ = carry
        return count + 1, attempt(jnp.asarray(0.25, rounding.dtype) ** count)

    start = (jnp.zeros([], jnp.int32), current)
    count, point = jax.lax.while_loop(unfinished, shorten, start)
    found = is_better(point)
    return Search(_select_point(found, point, current), found, count)


def _begin(problem: Problem, start: Leaves) -> tuple[Array, Leaves, Array]:
    """Return the loss and the gradient at the start, and the scale of distances.

    The scale is the norm of the gradient at zero, or at the start if that is no use.
    """
    both = [jnp.stack([jnp.zeros_like(x), x]) for x in start]
    losses, gradients = jax.lax.map(jax.value_and_grad(problem.smooth), both)
    at_zero = [g[0] for g in gradients]
    gradient = [g[1] for g in gradients]
    here = jnp.sqrt(dot(gradient, gradient))
    there = jnp.sqrt(dot(at_zero, at_zero))
    eps = float(jnp.finfo(here.dtype).eps)
    usable = jnp.isfinite(there) & (there > 64 * eps * here)  # it is 0 at zero factors
    scale = jnp.where(usable, there, here)
    return losses[1], gradient, jnp.where((scale > 0) & jnp.isfinite(scale), scale, 1)


def _select_point(condition: Array, a: Point, b: Point) -> Point:
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)
