"""An accurate solver of penalised linear models: proximal gradients find the zeros, Newton's method the rest."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from l1jax.config import InputError
from l1jax.penalties import Penalty, scaled

FamilyName: TypeAlias = Literal["squared", "logistic"]
STEPS, ROUNDS = (
    50,
    200,
)  # accelerated steps before each attempt of Newton's method, and how often at most


class Family(NamedTuple):
    """A loss ℓ(η, y) of one example's linear predictor η, convex, with its derivatives in η."""

    loss: Callable[[Array, Array], Array]
    slope: Callable[[Array, Array], Array]
    curvature: Callable[[Array, Array], Array]
    largest_curvature: float


FAMILIES: dict[FamilyName, Family] = {
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
    """Where the solver is."""

    coefficients: Coefficients
    curvature: Float[
        Array, ""
    ]  # L: steps of 1/L in the metric of the columns' variances do not overshoot
    distance: Float[Array, ""]  # to optimality, as a share of the gradient's norm at 0


class Problem(NamedTuple):
    """Σ wᵢ ℓ(xᵢβ + b, yᵢ) of weights w that sum to 1, its columns centred without a copy."""

    predict: Callable[[Coefficients], Float[Array, " examples"]]
    transpose: Callable[[Float[Array, " examples"]], Coefficients]
    metric: Coefficients
    target: Float[Array, " examples"]
    weights: Float[Array, " examples"]
    means: Float[Array, " features"]
    scale: Float[Array, ""]  # of distances to optimality: the gradient's norm at 0


def solve_path(
    features: ArrayLike,
    target: ArrayLike,
    weights: ArrayLike,
    strengths: ArrayLike,
    penalty: Any,
    family: FamilyName = "squared",
    intercept: bool = True,
    tolerance: float = 1e-10,
) -> Fit:
    """Minimise Σ wᵢ ℓ(xᵢβ + b, yᵢ)/Σ wᵢ + strength·R(β), each strength from the solution of the one before it.

    Pure, to be compiled and mapped by `vmap`, over the weights for instance: give it the arrays as arguments, for
    XLA takes long to compile large ones that a compiled function encloses. Fast from strong to weak. Columns
    far from 0, compared with how much they vary, cost digits: centre them before. It computes in the arrays'
    precision, float32 at least. Of NaN or infinity the distance is not finite either; `fit_path` refuses them.

    Args:
        features: x.
        target: y; of the logistic family 0 or 1.
        weights: w ≥ 0: 0 leaves an example out.
        strengths: multiply the penalty's own; with `l1(1.0)` they are λ.
        penalty: R, convex.
        family: ℓ, (η − y)²/2 or log(1 + exp η) − yη.
        intercept: whether there is b, which is not penalised.
        tolerance: the distance of the gradient to optimality that is wanted, as a share of its norm at 0.

    Returns:
        The solutions, a leading axis over the strengths.

    Raises:
        InputError: if the family is unknown or the shapes do not go together.
    """
    if family not in FAMILIES:
        raise InputError(f"`family` (={family!r}) must be one of {', '.join(FAMILIES)}.")
    given = [jnp.asarray(values) for values in (features, target, weights, strengths)]
    dtype = functools.reduce(jnp.promote_types, (values.dtype for values in given), jnp.float32)
    features, target, weights, strengths = (values.astype(dtype) for values in given)
    if (
        features.ndim != 2
        or not features.size
        or not target.shape == weights.shape == features.shape[:1]
    ):
        raise InputError(
            f"`features`, `target` and `weights` (of shapes {features.shape}, {target.shape}, {weights.shape}) must "
            "be a matrix, and a number for each of its rows twice."
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
    one = 1.0 if intercept else 0.0
    means = one * (weights @ features)
    squares = weights @ jnp.square(features)
    variances = squares - jnp.square(means)
    varies = variances > jnp.maximum(
        1e-12 * jnp.max(variances), 64 * jnp.finfo(squares.dtype).eps * squares
    )
    variances = jnp.where(varies, variances, 1)  # a constant column has no slope

    def predict(at: Coefficients) -> Array:
        return features @ at.slopes + (one * at.intercept - means @ at.slopes)

    def transpose(residuals: Array) -> Coefficients:
        total = jnp.sum(residuals)
        return Coefficients(residuals @ features - total * means, one * total)

    metric = Coefficients(
        loss.largest_curvature * variances, jnp.full_like(variances[0], loss.largest_curvature)
    )
    residuals = transpose(weights * loss.slope(jnp.zeros_like(target), target))
    scale = jnp.sqrt(_dot(residuals, residuals))
    return Problem(
        predict, transpose, metric, target, weights, means, jnp.where(scale > 0, scale, 1)
    )


def _solve(problem: Problem, loss: Family, penalty: Penalty, fit: Fit, tolerance: float) -> Fit:
    """Rounds of accelerated steps, each followed by a Newton step on the support, kept if it leads nearer."""

    def judge(at: Coefficients) -> tuple[Array, Array]:
        gradient, eta = _gradient(problem, loss, at), problem.predict(at)
        distance = jnp.hypot(penalty.distance(at.slopes, gradient.slopes), gradient.intercept)
        return distance / problem.scale, problem.weights @ loss.loss(
            eta, problem.target
        ) + penalty.value(at.slopes)

    def unfinished(carry: tuple[Array, Fit]) -> Array:
        count, fit = carry
        return (count < ROUNDS) & ~(fit.distance <= tolerance)

    def improve(carry: tuple[Array, Fit]) -> tuple[Array, Fit]:
        count, fit = carry
        at, curvature = _accelerate(problem, loss, penalty, fit)
        direction = _newton(problem, loss, penalty, at)
        ways = [at, _until_zero(at, direction), jax.tree.map(jnp.subtract, at, direction)]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *ways)
        distance, objective = jax.vmap(judge)(stacked)
        best = jnp.where(objective[1] < objective[0], 1, 0)
        best = jnp.where(distance[2] < distance[best], 2, best)
        return count + 1, Fit(
            jax.tree.map(lambda leaf: leaf[best], stacked), curvature, distance[best]
        )

    start = jnp.zeros([], int), fit._replace(distance=jnp.full_like(fit.distance, jnp.inf))
    return jax.lax.while_loop(unfinished, improve, start)[1]


def _gradient(problem: Problem, loss: Family, at: Coefficients) -> Coefficients:
    return problem.transpose(problem.weights * loss.slope(problem.predict(at), problem.target))


def _accelerate(
    problem: Problem, loss: Family, penalty: Penalty, fit: Fit
) -> tuple[Coefficients, Array]:
    """FISTA with adaptive restart in the metric of the columns, whose step shrinks where it would overshoot."""
    metric, y, weights = problem.metric, problem.target, problem.weights
    rounding = 16 * jnp.finfo(y.dtype).eps

    def step(carry: Any, _: None) -> tuple[Any, None]:
        at, predicted, old, old_predicted, momentum, curvature = carry
        new_momentum = (1 + jnp.sqrt(1 + 4 * jnp.square(momentum))) / 2
        ahead = (momentum - 1) / new_momentum
        point = jax.tree.map(lambda a, b: a + ahead * (a - b), at, old)
        eta = predicted + ahead * (predicted - old_predicted)
        slopes = loss.slope(eta, y)
        lengths = jax.tree.map(lambda d: 1 / (curvature * d), metric)
        moved = jax.tree.map(
            lambda p, g, s: p - s * g, point, problem.transpose(weights * slopes), lengths
        )
        new = moved._replace(slopes=penalty.prox(moved.slopes, lengths.slopes))
        new_predicted = problem.predict(new)
        change = jax.tree.map(jnp.subtract, new, point)
        apart = jnp.maximum(
            jnp.abs(new_predicted - eta) - rounding * (jnp.abs(eta) + jnp.abs(y)), 0
        )
        bent = loss.largest_curvature * jnp.sum(weights * jnp.square(apart))
        overshoots = bent > curvature * _dot(change, jax.tree.map(jnp.multiply, metric, change))
        overshoots &= curvature < metric.slopes.size  # which bounds the curvature in this metric
        uphill = (
            _dot(
                jax.tree.map(lambda d, c: -d * c, metric, change),
                jax.tree.map(jnp.subtract, new, at),
            )
            > 0
        )
        taken = new, new_predicted, at, predicted, jnp.where(uphill, 1, new_momentum), curvature
        again = at, predicted, at, predicted, jnp.ones_like(momentum), 1.5 * curvature
        return jax.tree.map(lambda a, b: jnp.where(overshoots, a, b), again, taken), None

    at, predicted = fit.coefficients, problem.predict(fit.coefficients)
    start = at, predicted, at, predicted, jnp.ones_like(fit.curvature), fit.curvature
    (at, *_, curvature), _ = jax.lax.scan(step, start, length=STEPS)
    return at, curvature


def _newton(problem: Problem, loss: Family, penalty: Penalty, at: Coefficients) -> Coefficients:
    """What a Newton step subtracts from the entries that are not zero, where the penalty is smooth."""
    support = Coefficients((at.slopes != 0).astype(at.slopes.dtype), jnp.ones_like(at.intercept))
    curvatures = problem.weights * loss.curvature(problem.predict(at), problem.target)

    def masked(direction: Coefficients) -> Coefficients:
        return jax.tree.map(jnp.multiply, support, direction)

    def hessian(direction: Coefficients) -> Coefficients:
        direction = masked(direction)
        product = problem.transpose(curvatures * problem.predict(direction))
        _, bent = jax.jvp(penalty.subgradient, (at.slopes,), (direction.slopes,))
        return masked(product._replace(slopes=product.slopes + bent))

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
    """As far against the direction as no entry changes its sign: in there the objective falls."""
    crossing = jnp.where(at.slopes * direction.slopes > 0, at.slopes / direction.slopes, jnp.inf)
    share = jnp.minimum(jnp.min(crossing), 1)
    slopes = jnp.where(crossing <= share, 0, at.slopes - share * direction.slopes)
    return Coefficients(slopes, at.intercept - share * direction.intercept)


def _dot(a: Coefficients, b: Coefficients) -> Array:
    return jnp.sum(a.slopes * b.slopes) + a.intercept * b.intercept
