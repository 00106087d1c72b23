"""Solve penalised linear models accurately.

Accelerated proximal gradients find the zeros, and Newton's method the other coefficients.
"""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from l1jax.config import InputError
from l1jax.penalties import Penalty, scaled
from l1jax.penalties.numerics import with_exact_products

CompiledFamily: TypeAlias = Literal["squared", "logistic"]
STEPS_PER_ROUND = 50  # accelerated steps in a round, before its Newton step
MAX_ROUNDS = 200


class Family(NamedTuple):
    """A loss ℓ(η, y) of one example's linear predictor η, convex, with its derivatives in η."""

    loss: Callable[[Array, Array], Array]
    slope: Callable[[Array, Array], Array]
    curvature: Callable[[Array, Array], Array]
    largest_curvature: float


FAMILIES: dict[CompiledFamily, Family] = {
    "squared": Family(
        lambda eta, y: jnp.square(eta - y) / 2,
        lambda eta, y: eta - y,
        lambda eta, y: jnp.ones_like(eta),
        1.0,
    ),
    "logistic": Family(
        lambda eta, y: jax.nn.softplus(eta) - y * eta,
        lambda eta, y: jax.nn.sigmoid(eta) - y,
        lambda eta, y: jax.nn.sigmoid(eta) * jax.nn.sigmoid(-eta),
        0.25,
    ),
}


class Coefficients(NamedTuple):
    """A linear model η = xβ + b, or a direction in its parameters."""

    slopes: Float[Array, " features"]  # β
    intercept: Float[Array, ""]  # b


class Fit(NamedTuple):
    """The solver's current solution."""

    coefficients: Coefficients
    # L: steps of 1/L in the metric of the columns' variances do not overshoot.
    curvature: Float[Array, ""]
    distance: Float[Array, ""]  # to optimality, as a share of the gradient's norm at 0


class Problem(NamedTuple):
    """The loss Σ wᵢ ℓ(xᵢβ + b, yᵢ) with weights of sum 1, its columns centred without a copy."""

    predict: Callable[[Coefficients], Float[Array, " examples"]]
    transpose: Callable[[Float[Array, " examples"]], Coefficients]
    metric: Coefficients
    target: Float[Array, " examples"]
    weights: Float[Array, " examples"]
    means: Float[Array, " features"]
    scale: Float[Array, ""]  # of distances to optimality: the gradient's norm at 0


@with_exact_products
def solve_path(
    features: ArrayLike,
    target: ArrayLike,
    weights: ArrayLike,
    strengths: ArrayLike,
    penalty: Penalty,
    family: CompiledFamily = "squared",
    intercept: bool = True,
    tolerance: float = 1e-10,
) -> Fit:
    """Minimise Σ wᵢ ℓ(xᵢβ + b, yᵢ)/Σ wᵢ + strength·R(β) for each strength.

    Each strength starts from the solution of the one before it, which is fast from strong to weak.
    The function is pure and can be compiled and mapped by `vmap`, over the weights for instance;
    pass it the arrays as arguments, because XLA is slow to compile large constants. Columns that
    are far from 0, compared with how much they vary, cost digits: centre them before. It computes
    in the precision of the arrays, at least float32. If an input is not finite, the distance is not
    finite either; `fit_path` refuses such inputs.

    Args:
        features: x.
        target: y; 0 or 1 in the logistic family.
        weights: w ≥ 0: 0 leaves an example out.
        strengths: multiply the penalty's own; with `l1(1.0)` they are λ.
        penalty: R, convex.
        family: ℓ, (η − y)²/2 or log(1 + exp η) − yη.
        intercept: whether there is b, which is not penalised.
        tolerance: the largest distance of the gradient to optimality, as a share of its norm at 0.

    Returns:
        The solutions; all leaves lead with the strengths.

    Raises:
        InputError: if the family is unknown or the shapes do not go together.
    """
    if family not in FAMILIES:
        raise InputError(f"`family` (={family!r}) must be one of {', '.join(FAMILIES)}.")
    arrays = [jnp.asarray(values) for values in (features, target, weights, strengths)]
    dtype = functools.reduce(jnp.promote_types, (array.dtype for array in arrays), jnp.float32)
    features, target, weights, strengths = (array.astype(dtype) for array in arrays)
    if (
        features.ndim != 2
        or not features.size
        or not target.shape == weights.shape == features.shape[:1]
    ):
        raise InputError(
            f"`features`, `target` and `weights` (of shapes {features.shape}, {target.shape}, "
            f"{weights.shape}) must be a matrix and two vectors with a number for each of its rows."
        )
    if strengths.ndim != 1:
        raise InputError(f"`strengths` (of shape {strengths.shape}) must be a vector.")
    loss = FAMILIES[family]
    problem = _centred(features, target, weights / jnp.sum(weights), intercept, loss)
    zero = Coefficients(jnp.zeros_like(features[0]), jnp.zeros_like(target[0]))

    def next_fit(fit: Fit, strength: Array) -> tuple[Fit, Fit]:
        fit = _solve(problem, loss, scaled(penalty, strength), fit, tolerance)
        return fit, fit

    start = Fit(zero, jnp.ones_like(target[0]), jnp.full_like(target[0], jnp.inf))
    _, fits = jax.lax.scan(next_fit, start, strengths)
    slopes, constants = fits.coefficients
    return fits._replace(coefficients=Coefficients(slopes, constants - slopes @ problem.means))


def _centred(
    features: Array, target: Array, weights: Array, intercept: bool, loss: Family
) -> Problem:
    intercept_factor = float(intercept)  # of all that the intercept contributes
    means = intercept_factor * (weights @ features)
    squares = weights @ jnp.square(features)
    variances = squares - jnp.square(means)
    varies = variances > jnp.maximum(
        1e-12 * jnp.max(variances), 64 * jnp.finfo(squares.dtype).eps * squares
    )
    variances = jnp.where(varies, variances, 1)  # a constant column has no slope

    def predict(at: Coefficients) -> Array:
        return features @ at.slopes + (intercept_factor * at.intercept - means @ at.slopes)

    def transpose(residuals: Array) -> Coefficients:
        total = jnp.sum(residuals)
        return Coefficients(residuals @ features - total * means, intercept_factor * total)

    metric = Coefficients(
        loss.largest_curvature * variances, jnp.full_like(variances[0], loss.largest_curvature)
    )
    residuals = transpose(weights * loss.slope(jnp.zeros_like(target), target))
    scale = jnp.sqrt(_dot(residuals, residuals))
    return Problem(
        predict, transpose, metric, target, weights, means, jnp.where(scale > 0, scale, 1)
    )


def _solve(problem: Problem, loss: Family, penalty: Penalty, fit: Fit, tolerance: float) -> Fit:
    """Alternate rounds of accelerated steps with Newton steps on the support.

    A Newton step is kept if it leads nearer to the optimum.
    """

    def residual(coefficients: Coefficients) -> tuple[Array, Array]:
        """Return the distance to optimality and the objective."""
        gradient = _gradient(problem, loss, coefficients)
        distance = jnp.hypot(
            penalty.distance(coefficients.slopes, gradient.slopes), gradient.intercept
        )
        losses = loss.loss(problem.predict(coefficients), problem.target)
        objective = problem.weights @ losses + penalty.value(coefficients.slopes)
        return distance / problem.scale, objective

    def unfinished(carry: tuple[Array, Fit]) -> Array:
        count, fit = carry
        return (count < MAX_ROUNDS) & ~(fit.distance <= tolerance)

    def improve(carry: tuple[Array, Fit]) -> tuple[Array, Fit]:
        count, fit = carry
        accelerated, curvature = _accelerate(problem, loss, penalty, fit)
        direction = _newton(problem, loss, penalty, accelerated)
        newton = jax.tree.map(jnp.subtract, accelerated, direction)
        candidates = [accelerated, _until_zero(accelerated, direction), newton]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *candidates)
        distance, objective = jax.vmap(residual)(stacked)
        best = jnp.where(objective[1] < objective[0], 1, 0)
        best = jnp.where(distance[2] < distance[best], 2, best)
        chosen = jax.tree.map(lambda leaf: leaf[best], stacked)
        return count + 1, Fit(chosen, curvature, distance[best])

    unsolved = fit._replace(distance=jnp.full_like(fit.distance, jnp.inf))
    _, solved = jax.lax.while_loop(unfinished, improve, (jnp.zeros([], int), unsolved))
    return solved


def _gradient(problem: Problem, loss: Family, at: Coefficients) -> Coefficients:
    return problem.transpose(problem.weights * loss.slope(problem.predict(at), problem.target))


class _Fista(NamedTuple):
    """What accelerated proximal gradients carry from step to step."""

    current: Coefficients
    predicted: Float[Array, " examples"]  # by `current`
    previous: Coefficients
    previous_predicted: Float[Array, " examples"]
    momentum: Float[Array, ""]
    curvature: Float[Array, ""]


def _accelerate(
    problem: Problem, loss: Family, penalty: Penalty, fit: Fit
) -> tuple[Coefficients, Array]:
    """Take FISTA steps with adaptive restart, in the metric of the columns.

    The step size shrinks where a step would overshoot.

    Source: Beck, Teboulle, SIAM J. Imaging Sci. 2 (2009), section 4; O'Donoghue, Candès, Found.
    Comput. Math. 15 (2015), section 3.2, for the restart.
    """
    metric = problem.metric
    y = problem.target
    rounding = 16 * jnp.finfo(y.dtype).eps

    def step(carry: _Fista, _: None) -> tuple[_Fista, None]:
        curvature = carry.curvature
        new_momentum = (1 + jnp.sqrt(1 + 4 * jnp.square(carry.momentum))) / 2
        ahead = (carry.momentum - 1) / new_momentum
        point = jax.tree.map(lambda a, b: a + ahead * (a - b), carry.current, carry.previous)
        eta = carry.predicted + ahead * (carry.predicted - carry.previous_predicted)
        gradient = problem.transpose(problem.weights * loss.slope(eta, y))
        lengths = jax.tree.map(lambda d: 1 / (curvature * d), metric)
        moved = jax.tree.map(lambda p, g, s: p - s * g, point, gradient, lengths)
        new = moved._replace(slopes=penalty.prox(moved.slopes, lengths.slopes))
        new_predicted = problem.predict(new)
        change = jax.tree.map(jnp.subtract, new, point)
        scaled_change = jax.tree.map(jnp.multiply, metric, change)

        # The step overshoots if the loss curves more along it than the curvature allows.
        size = jnp.abs(eta) + jnp.abs(y)
        difference = jnp.maximum(jnp.abs(new_predicted - eta) - rounding * size, 0)
        curvature_term = loss.largest_curvature * jnp.sum(problem.weights * jnp.square(difference))
        overshoots = curvature_term > curvature * _dot(change, scaled_change)
        overshoots &= curvature < metric.slopes.size  # which bounds the curvature in this metric

        progress = jax.tree.map(jnp.subtract, new, carry.current)
        uphill = _dot(jax.tree.map(jnp.negative, scaled_change), progress) > 0
        accepted = _Fista(
            current=new,
            predicted=new_predicted,
            previous=carry.current,
            previous_predicted=carry.predicted,
            momentum=jnp.where(uphill, 1, new_momentum),
            curvature=curvature,
        )
        restarted = carry._replace(
            previous=carry.current,
            previous_predicted=carry.predicted,
            momentum=jnp.ones_like(carry.momentum),
            curvature=1.5 * curvature,
        )
        return jax.tree.map(lambda a, b: jnp.where(overshoots, a, b), restarted, accepted), None

    predicted = problem.predict(fit.coefficients)
    start = _Fista(
        current=fit.coefficients,
        predicted=predicted,
        previous=fit.coefficients,
        previous_predicted=predicted,
        momentum=jnp.ones_like(fit.curvature),
        curvature=fit.curvature,
    )
    end, _ = jax.lax.scan(step, start, length=STEPS_PER_ROUND)
    return end.current, end.curvature


def _newton(problem: Problem, loss: Family, penalty: Penalty, at: Coefficients) -> Coefficients:
    """Return what a Newton step subtracts from the non-zero entries.

    There the penalty is smooth.
    """
    support = Coefficients((at.slopes != 0).astype(at.slopes.dtype), jnp.ones_like(at.intercept))
    curvatures = problem.weights * loss.curvature(problem.predict(at), problem.target)

    def masked(direction: Coefficients) -> Coefficients:
        return jax.tree.map(jnp.multiply, support, direction)

    def hessian(direction: Coefficients) -> Coefficients:
        direction = masked(direction)
        product = problem.transpose(curvatures * problem.predict(direction))
        _, penalty_product = jax.jvp(penalty.subgradient, (at.slopes,), (direction.slopes,))
        return masked(product._replace(slopes=product.slopes + penalty_product))

    gradient = _gradient(problem, loss, at)
    gradient = masked(gradient._replace(slopes=gradient.slopes + penalty.subgradient(at.slopes)))
    direction, _ = jax.scipy.sparse.linalg.cg(
        hessian,
        gradient,
        tol=1e-12,
        maxiter=2 * min(problem.target.size, at.slopes.size + 1),
        M=lambda residual: jax.tree.map(jnp.divide, residual, problem.metric),
    )
    return direction


def _until_zero(at: Coefficients, direction: Coefficients) -> Coefficients:
    """Step against the direction, only as far as no entry changes sign."""
    crossing = jnp.where(at.slopes * direction.slopes > 0, at.slopes / direction.slopes, jnp.inf)
    share = jnp.minimum(jnp.min(crossing), 1)
    slopes = jnp.where(crossing <= share, 0, at.slopes - share * direction.slopes)
    return Coefficients(slopes, at.intercept - share * direction.intercept)


def _dot(a: Coefficients, b: Coefficients) -> Array:
    return jnp.sum(a.slopes * b.slopes) + a.intercept * b.intercept
