"""Exact paths of linear models, and the strength that cross-validation or an information criterion chooses on them.

Everything here computes in float64 whatever JAX's setting, and returns NumPy arrays.
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float64, Int
from numpy.typing import ArrayLike

from l1jax.config import InputError
from l1jax.penalties import L0, L1, LHalf, NonnegativeL1, Penalty, SumOf, WeightedL1, convex_part, l1, scaled
from l1jax.selection import criteria
from l1jax.selection.rules import Choice, minimum
from l1jax.selection.solver import FAMILIES, FamilyName, solve_path
from l1jax.selection.strengths import check_strengths

NEGLIGIBLE = 1e-8  # what is at most this share of a path's largest coefficient is zero but for rounding

Criterion: TypeAlias = Literal["aic", "aicc", "bic", "ebic"]


class LinearPath(NamedTuple):
    """Linear models η = xβ + b, one for each strength; a leading axis over the folds where there are several."""

    strengths: Float64[np.ndarray, " strengths"]
    coefficients: Float64[np.ndarray, "*folds strengths features"]  # β
    intercepts: Float64[np.ndarray, "*folds strengths"]  # b
    distances: Float64[np.ndarray, "*folds strengths"]  # to optimality, shares of the gradient's norm at 0


class LinearSelection(NamedTuple):
    """The table that a strength was chosen from, and the models fitted to all examples."""

    strengths: Float64[np.ndarray, " strengths"]  # from weak to strong
    scores: Float64[np.ndarray, "strengths folds"]  # lower is better; one column for a criterion
    degrees_of_freedom: Float64[np.ndarray, " strengths"]
    choice: Choice
    path: LinearPath

    @property
    def coefficients(self) -> Float64[np.ndarray, " features"]:
        """β at the chosen strength."""
        return self.path.coefficients[self.choice.index]

    @property
    def intercept(self) -> float:
        """b at the chosen strength."""
        return float(self.path.intercepts[self.choice.index])


def fit_path(
    features: ArrayLike,
    target: Any,
    strengths: ArrayLike,
    penalty: Penalty | None = None,
    *,
    family: FamilyName = "squared",
    weights: ArrayLike | None = None,
    intercept: bool = True,
    debias: bool = False,
    tolerance: float = 1e-10,
) -> LinearPath:
    """Minimise mean ℓ(xβ + b, y) + strength·R(β) for each strength.

    One compiled program for all strengths and folds, warm-started from strong to weak. It warns where the
    tolerance is not reached.

    Args:
        features: x.
        target: y; of the logistic family 0 or 1.
        strengths: from weak to strong; they multiply the penalty's own, so with `l1(1.0)` they are λ.
        penalty: R, convex; by default `l1(1.0)`. `elastic_net(ρ, 1 − ρ)` is scikit-learn's with `l1_ratio` ρ.
        family: ℓ, "squared" (η − y)²/2 or "logistic" log(1 + exp η) − yη.
        weights: of the examples in the mean, one row for each fold; by default all alike.
        intercept: whether there is b, which is not penalised.
        debias: fit the entries that are not zero once more without the penalty, the relaxed lasso.
        tolerance: of the distance to optimality, as a share of the gradient's norm at 0.

    Raises:
        InputError: if the data or strengths cannot be used, or the penalty is not convex.

    Source: Friedman, Hastie, Tibshirani, J. Stat. Softw. 33 (2010), for the path; debiasing: Meinshausen (2007).
    """
    grid, penalty = check_strengths(strengths), l1(1.0) if penalty is None else penalty
    x, y = _checked(features, target, family)
    _refuse_concave(penalty)
    w = np.ones(len(x)) if weights is None else np.asarray(weights, np.float64)
    if w.shape[-1] != len(x) or not np.all(np.isfinite(w) & (w >= 0)) or not np.all(np.any(w > 0, axis=-1)):
        raise InputError(f"`weights` (of shape {w.shape}) must be {len(x)} numbers of at least 0, not all 0, per fold.")
    means = x.mean(axis=0) if intercept else np.zeros(x.shape[1])
    with jax.enable_x64(True):
        fit = _compiled(family, intercept, debias, tolerance)
        solved = jax.tree.map(np.asarray, fit(x - means, y, np.atleast_2d(w), grid[::-1].copy(), penalty))
    slopes, constants = (part[:, ::-1] for part in solved.coefficients)
    path = LinearPath(grid, slopes, constants - slopes @ means, solved.distance[:, ::-1])
    if not np.all(path.distances <= tolerance):
        warnings.warn(
            f"{np.mean(~(path.distances <= tolerance)):.1%} of the fits are further from their optimum than "
            f"`tolerance` (={tolerance:g}), the worst by {np.max(path.distances):.1e}; leave out weak strengths.",
            stacklevel=2,
        )
    return path if w.ndim > 1 else LinearPath(grid, *(part[0] for part in path[1:]))


@functools.cache
def _compiled(family: FamilyName, intercept: bool, debias: bool, tolerance: float) -> Callable[..., Any]:
    def fit(x: Array, y: Array, weights: Array, strengths: Array, penalty: Any) -> Any:
        fits = solve_path(x, y, weights, strengths, penalty, family, intercept, tolerance)
        if not debias:
            return fits
        size, free = jnp.abs(fits.coefficients.slopes), jnp.zeros(1)

        def again(support: Array) -> Any:
            relaxed = solve_path(x * support, y, weights, free, l1(1.0), family, intercept, tolerance)
            return jax.tree.map(lambda leaf: leaf[0], relaxed)

        return jax.lax.map(again, size > NEGLIGIBLE * jnp.max(size))

    return jax.jit(jax.vmap(fit, in_axes=(None, None, 0, None, None)))


def predict(path: LinearPath, features: ArrayLike) -> Float64[np.ndarray, "..."]:
    """The linear predictor η of each example under each model, the examples along the last axis."""
    return path.coefficients @ np.asarray(features, np.float64).T + path.intercepts[..., None]


def cross_validate(
    features: ArrayLike,
    target: Any,
    strengths: ArrayLike,
    fold: Int[np.ndarray, " examples"],
    penalty: Penalty | None = None,
    *,
    rule: Callable[[Float64[np.ndarray, "strengths folds"], Float64[np.ndarray, " strengths"]], Choice] = minimum,
    family: FamilyName = "squared",
    intercept: bool = True,
    debias: bool = False,
    tolerance: float = 1e-10,
) -> LinearSelection:
    """Choose the strength by its loss on examples that were held out, then fit all of them.

    The scores are means over the held-out examples: of (η − y)², or of the logistic loss in nats.

    Args:
        features: x.
        target: y.
        strengths: from weak to strong, as `linear_strengths` gives them.
        fold: which fold each example belongs to, from 0 on, as `stratified_folds` gives it.
        penalty: as for `fit_path`.
        rule: `minimum` or `one_standard_error`.
        family: as for `fit_path`, as are `intercept`, `debias` and `tolerance`.

    Raises:
        InputError: if the data, strengths or folds cannot be used, or no score is finite.

    Source: Hastie, Tibshirani, Friedman, The Elements of Statistical Learning (2009), section 7.10.
    """
    x, y = _checked(features, target, family)
    held_out = np.asarray(fold) == np.arange(np.max(fold) + 1)[:, None]
    if held_out.shape[1] != len(x) or len(held_out) < 2 or not np.all(held_out.any(axis=1)):
        raise InputError(
            f"`fold` (of shape {np.shape(fold)}, up to {np.max(fold)}) must give each of the {len(x)} examples one of "
            "at least two folds, and every fold an example: take `stratified_folds`."
        )
    if family == "logistic" and any(len(np.unique(y[~held])) < 2 for held in held_out):
        raise InputError(
            "`fold` must leave both classes to train on in every fold: take `stratified_folds` with labels."
        )
    weights = np.vstack([~held_out, np.ones(len(x))])  # the last row fits all examples
    options: Any = {"family": family, "intercept": intercept, "debias": debias}
    path = fit_path(x, y, strengths, penalty, weights=weights, tolerance=tolerance, **options)
    losses = _losses(family, predict(path, x)[:-1], y)  # folds, strengths, examples
    scores = np.einsum("fsn,fn->sf", losses, held_out) / held_out.sum(axis=1)
    whole = LinearPath(path.strengths, *(part[-1] for part in path[1:]))
    df = _degrees_of_freedom(x, whole, penalty, **options)
    return LinearSelection(whole.strengths, scores, df, rule(scores, whole.strengths), whole)


def information_criterion(
    features: ArrayLike,
    target: Any,
    strengths: ArrayLike,
    criterion: Criterion = "bic",
    penalty: Penalty | None = None,
    *,
    variance: float | Literal["least squares", "own"] = "least squares",
    gamma: float = 1.0,
    family: FamilyName = "squared",
    intercept: bool = True,
    debias: bool = False,
    tolerance: float = 1e-10,
) -> LinearSelection:
    """Choose the strength by the likelihood of the examples and the degrees of freedom, in one fit.

    To find the variables that matter, debias: the shrinkage of the lasso costs likelihood, which BIC
    would buy back with variables that do not.

    Args:
        features: x.
        target: y.
        strengths: from weak to strong.
        criterion: "aic", "aicc", "bic" or "ebic".
        penalty: as for `fit_path`.
        variance: of the Gaussian noise: a number; that of least squares, for more examples than features;
            or each model its own.
        gamma: of `ebic`.
        family: as for `fit_path`, as are `intercept`, `debias` and `tolerance`.

    Raises:
        InputError: if the data or strengths cannot be used, or the variance cannot be estimated.

    Source: Zou, Hastie, Tibshirani, Ann. Stat. 35 (2007), section 4.
    """
    x, y = _checked(features, target, family)
    known = None if family == "logistic" or variance == "own" else variance
    if known == "least squares":
        known = criteria.noise_variance(x, y, intercept)
    options: Any = {"family": family, "intercept": intercept, "debias": debias}
    path = fit_path(x, y, strengths, penalty, tolerance=tolerance, **options)
    losses = _losses(family, predict(path, x), y).sum(axis=1)
    likelihood = -losses if family == "logistic" else criteria.gaussian_log_likelihood(losses, len(x), known)
    df = _degrees_of_freedom(x, path, penalty, **options)
    scores = {
        "aic": lambda: criteria.aic(likelihood, df),
        "aicc": lambda: criteria.aicc(likelihood, df, len(x)),
        "bic": lambda: criteria.bic(likelihood, df, len(x)),
        "ebic": lambda: criteria.ebic(likelihood, df, len(x), x.shape[1], gamma),
    }
    if criterion not in scores:
        raise InputError(f"`criterion` (={criterion!r}) must be one of {', '.join(scores)}.")
    table = np.asarray(scores[criterion]())[:, None]
    return LinearSelection(path.strengths, table, df, minimum(table, path.strengths), path)


def _losses(family: FamilyName, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What models are judged by: (η − y)², or the logistic loss in nats."""
    return _in_float64(FAMILIES[family].loss, eta, y) * (2 if family == "squared" else 1)


def _in_float64(function: Callable[[Array, Array], Array], eta: np.ndarray, y: np.ndarray) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(function(jnp.asarray(eta), jnp.asarray(y)))


def _degrees_of_freedom(
    x: np.ndarray, path: LinearPath, penalty: Penalty | None, family: FamilyName, intercept: bool, debias: bool
) -> Float64[np.ndarray, " strengths"]:
    """The number of non-zeros where the penalty does not bend, else the exact trace."""
    if penalty is None or isinstance(penalty, L1 | WeightedL1 | NonnegativeL1) or debias:
        return np.asarray(criteria.degrees_of_freedom(path.coefficients, NEGLIGIBLE))
    etas, negligible = predict(path, x), NEGLIGIBLE * np.abs(path.coefficients).max()
    rows = _in_float64(FAMILIES[family].curvature, etas, np.zeros(len(x)))
    found = []
    for strength, slopes, weights in zip(path.strengths, path.coefficients, rows, strict=True):
        centred = x - (weights @ x / weights.sum() if intercept else 0)
        own = scaled(penalty, strength)
        found.append(criteria.exact_degrees_of_freedom(centred * np.sqrt(weights)[:, None], slopes, own, negligible))
    return np.asarray(found)


def _checked(features: Any, target: Any, family: str) -> tuple[np.ndarray, np.ndarray]:
    """Both in float64; refuse what no linear model can be fitted to."""
    x, y = np.asarray(features, np.float64), np.asarray(target, np.float64)
    if family not in FAMILIES:
        raise InputError(f"`family` (={family!r}) must be one of {', '.join(FAMILIES)}.")
    if x.ndim != 2 or y.shape != x.shape[:1] or not x.size:
        raise InputError(
            f"`features` and `target` (of shapes {x.shape}, {y.shape}) must be a matrix and one number per row."
        )
    if not (np.all(np.isfinite(x)) and np.all(np.isfinite(y))):
        raise InputError("`features` and `target` must be finite: leave out or fill in what is missing.")
    if family == "logistic" and set(np.unique(y)) != {0.0, 1.0}:
        raise InputError(
            f"`target` (with values {np.unique(y)[:5]}) must be 0 and 1, both of them, in the logistic family."
        )
    return x, y


def _refuse_concave(penalty: Any) -> None:
    parts = penalty.parts if isinstance(penalty, SumOf) else (penalty,)
    if convex_part(penalty) is not penalty or any(isinstance(part, L0 | LHalf) for part in parts):
        raise InputError(
            f"`penalty` (={type(penalty).__name__}) must be convex, such as l1, elastic_net or group_l1, for a path to "
            "be exact; `l1jax.selection.train_path` trains any other."
        )
