"""Fit exact paths of linear models, all strengths and folds in one compiled program.

Everything here computes in float64 whatever JAX's setting, and returns NumPy arrays.
"""

import functools
import warnings
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float64, Shaped

from l1jax.arrays import TableLike
from l1jax.config import InputError
from l1jax.penalties import Penalty, is_convex, l1
from l1jax.selection.examples import LinearExamples, read_examples, read_features, read_weights
from l1jax.selection.solver import FamilyName, Fit, solve_path
from l1jax.selection.strengths import check_strengths

# A coefficient of at most this share of the path's largest is zero up to rounding.
NEGLIGIBLE = 1e-8


class LinearPath(NamedTuple):
    """Linear models η = xβ + b, one for each strength; several folds are a leading axis.

    Attributes:
        strengths: from weak to strong.
        coefficients: β.
        intercepts: b.
        distances: to optimality, as shares of the gradient's norm at 0.
        classes: of the logistic family; η is the log-odds of the second class against the first.
    """

    strengths: Float64[np.ndarray, " strengths"]
    coefficients: Float64[np.ndarray, "*folds strengths features"]
    intercepts: Float64[np.ndarray, "*folds strengths"]
    distances: Float64[np.ndarray, "*folds strengths"]
    classes: Shaped[np.ndarray, "2"] | None = None


class FitOptions(NamedTuple):
    """How a linear model is fitted: arguments of `fit_path`."""

    family: FamilyName
    intercept: bool
    debias: bool
    tolerance: float


def fit_path(
    features: TableLike,
    target: TableLike,
    strengths: TableLike,
    penalty: Penalty | None = None,
    *,
    family: FamilyName = "squared",
    weights: TableLike = None,
    intercept: bool = True,
    debias: bool = False,
    tolerance: float = 1e-10,
) -> LinearPath:
    """Minimise mean ℓ(xβ + b, y) + strength·R(β) for each strength.

    One compiled program fits all strengths and folds, warm-started from strong to weak, and a
    warning tells where the tolerance is not reached. Constant columns have the coefficient 0, and
    so have all columns if the target is constant.

    Args:
        features: x, a row for each example: an array, lists or a data frame of finite numbers.
            Sparse matrices must be made dense.
        target: y, one value for each row, or a matrix of one column. The logistic family needs two
            classes: whole numbers, booleans or text. As in scikit-learn the later class in order
            is y = 1; the path records both.
        strengths: from weak to strong. They multiply the penalty's own strength, so with `l1(1.0)`
            they are λ.
        penalty: R, convex; by default `l1(1.0)`. `elastic_net(ρ, 1 − ρ)` is scikit-learn's with
            `l1_ratio` ρ.
        family: ℓ, "squared" (η − y)²/2 or "logistic" log(1 + exp η) − yη.
        weights: of the examples in the mean, one row for each fold; by default all equal.
        intercept: whether there is b, which is not penalised.
        debias: fit the entries that are not zero once more without the penalty, as the relaxed
            lasso does.
        tolerance: the largest distance to optimality, as a share of the gradient's norm at 0.

    Raises:
        InputError: if the data or strengths cannot be used, or the penalty is not convex.

    Source: Friedman, Hastie, Tibshirani, J. Stat. Softw. 33 (2010), section 2, for the path;
    Meinshausen, Comput. Stat. Data Anal. 52 (2007), section 2, for debiasing.
    """
    examples = read_examples(features, target, family)
    options = FitOptions(family, intercept, debias, tolerance)
    return fit_examples(examples, strengths, penalty, read_weights(weights, examples), options)


def fit_examples(
    examples: LinearExamples,
    strengths: TableLike,
    penalty: Penalty | None,
    weights: Float64[np.ndarray, "*folds examples"],
    options: FitOptions,
) -> LinearPath:
    """Fit the path of examples that are already read.

    The warning points at the caller of the public function that calls this one.

    Args:
        examples: that `read_examples` returned.
        strengths: as for `fit_path`.
        penalty: as for `fit_path`.
        weights: of the examples, one row for each fold.
        options: as for `fit_path`.

    Raises:
        InputError: if the strengths or the tolerance cannot be used, or the penalty is not convex.
    """
    grid = check_strengths(strengths)
    if penalty is None:
        penalty = l1(1.0)
    _refuse_concave(penalty)
    tolerance = options.tolerance
    if not 0 <= tolerance < 1:
        raise InputError(
            f"`tolerance` (={tolerance}) must be at least 0 and below 1, such as 1e-10."
        )
    x, y, classes = examples
    if options.intercept:
        means = x.mean(axis=0)
        centred = x - means
        centred[:, np.ptp(x, axis=0) == 0] = 0  # constant columns, without their means' rounding
    else:
        means = np.zeros(x.shape[1])
        centred = x
    with jax.enable_x64(True):
        fit = _compiled(options)
        strong_to_weak = grid[::-1].copy()
        solved = fit(centred, y, np.atleast_2d(weights), strong_to_weak, penalty)
        solved = jax.tree.map(np.asarray, solved)
    slopes, constants = (part[:, ::-1] for part in solved.coefficients)
    path = LinearPath(grid, slopes, constants - slopes @ means, solved.distance[:, ::-1], classes)
    inexact = ~(path.distances <= tolerance)
    if np.any(inexact):
        warnings.warn(
            f"{np.mean(inexact):.1%} of the fits are further from their optimum than `tolerance` "
            f"(={tolerance:g}), the worst by {np.max(path.distances):.1e}; leave out weak "
            "strengths.",
            stacklevel=3,
        )
    return path if weights.ndim > 1 else select_fold(path, 0)


def select_fold(path: LinearPath, fold: int) -> LinearPath:
    """Return the path of one fold, from a path of several."""
    return path._replace(
        coefficients=path.coefficients[fold],
        intercepts=path.intercepts[fold],
        distances=path.distances[fold],
    )


@functools.cache
def _compiled(options: FitOptions) -> Callable[..., Fit]:
    family, intercept, debias, tolerance = options

    def fit(x: Array, y: Array, weights: Array, strengths: Array, penalty: Penalty) -> Fit:
        fits = solve_path(x, y, weights, strengths, penalty, family, intercept, tolerance)
        if not debias:
            return fits
        size = jnp.abs(fits.coefficients.slopes)
        no_penalty = jnp.zeros(1)

        def refit(support: Array) -> Fit:
            relaxed = solve_path(
                x * support, y, weights, no_penalty, l1(1.0), family, intercept, tolerance
            )
            return jax.tree.map(lambda leaf: leaf[0], relaxed)

        return jax.lax.map(refit, size > NEGLIGIBLE * jnp.max(size))

    return jax.jit(jax.vmap(fit, in_axes=(None, None, 0, None, None)))


def predict(path: LinearPath, features: TableLike) -> Float64[np.ndarray, "..."]:
    """Return the linear predictor η of each example under each model.

    The examples are the last axis. In the logistic family η is the log-odds of `path.classes[1]`.

    Raises:
        InputError: if the features are not a matrix of finite numbers, or have other columns than
            the models.
    """
    x = read_features(features)
    count = path.coefficients.shape[-1]
    if x.shape[1] != count:
        raise InputError(
            f"`features` (of shape {x.shape}) must have the {count} columns that the models were "
            "fitted to."
        )
    return path.coefficients @ x.T + path.intercepts[..., None]


def _refuse_concave(penalty: Penalty) -> None:
    if not is_convex(penalty):
        raise InputError(
            f"`penalty` (={type(penalty).__name__}) must be convex, such as l1, elastic_net or "
            "group_l1, for a path to be exact; `l1jax.selection.train_path` trains any other."
        )
