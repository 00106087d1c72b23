"""Exact paths of linear models, all strengths and folds in one compiled program.

Everything here computes in float64 whatever JAX's setting, and returns NumPy arrays.
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float64, Shaped

from l1jax.arrays import TableLike
from l1jax.config import InputError
from l1jax.penalties import Penalty, is_convex, l1
from l1jax.selection.examples import Examples, read_examples, read_features, read_weights
from l1jax.selection.solver import FamilyName, solve_path
from l1jax.selection.strengths import check_strengths

NEGLIGIBLE = (
    1e-8  # what is at most this share of a path's largest coefficient is zero but for rounding
)


class LinearPath(NamedTuple):
    """Linear models η = xβ + b, one for each strength; a leading axis over the folds where there are several."""

    strengths: Float64[np.ndarray, " strengths"]
    coefficients: Float64[np.ndarray, "*folds strengths features"]  # β
    intercepts: Float64[np.ndarray, "*folds strengths"]  # b
    distances: Float64[
        np.ndarray, "*folds strengths"
    ]  # to optimality, shares of the gradient's norm at 0
    classes: Shaped[np.ndarray, "2"] | None = (
        None  # logistic: η is the log-odds of the second against the first
    )


class Options(NamedTuple):
    """How a linear model is fitted; of `fit_path`."""

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

    One compiled program for all strengths and folds, warm-started from strong to weak. It warns where the
    tolerance is not reached. A target or columns that are constant have the coefficient 0.

    Args:
        features: x, a row for each example: an array, lists or a data frame of finite numbers. Sparse
            ones must be made dense.
        target: y, one value for each row; a matrix of one column is taken for it. Of the logistic family
            two classes, whole numbers, booleans or text: as in scikit-learn the later in order is y = 1,
            and the path remembers both.
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
    examples = read_examples(features, target, family)
    options = Options(family, intercept, debias, tolerance)
    return fit_examples(examples, strengths, penalty, read_weights(weights, examples), options)


def fit_examples(
    examples: Examples,
    strengths: TableLike,
    penalty: Penalty | None,
    weights: Float64[np.ndarray, "*folds examples"],
    options: Options,
) -> LinearPath:
    """The path of examples that were read; called by public functions, to whose callers it warns."""
    grid, penalty = check_strengths(strengths), l1(1.0) if penalty is None else penalty
    _refuse_concave(penalty)
    tolerance = options.tolerance
    if not 0 <= tolerance < 1:
        raise InputError(
            f"`tolerance` (={tolerance}) must be at least 0 and below 1, such as 1e-10."
        )
    x, y, classes = examples
    means = x.mean(axis=0) if options.intercept else np.zeros(x.shape[1])
    centred = x - means
    if options.intercept:
        centred[:, np.ptp(x, axis=0) == 0] = 0  # and no rounding of their means
    with jax.enable_x64(True):
        fit = _compiled(options)
        solved = jax.tree.map(
            np.asarray, fit(centred, y, np.atleast_2d(weights), grid[::-1].copy(), penalty)
        )
    slopes, constants = (part[:, ::-1] for part in solved.coefficients)
    path = LinearPath(grid, slopes, constants - slopes @ means, solved.distance[:, ::-1], classes)
    if not np.all(path.distances <= tolerance):
        warnings.warn(
            f"{np.mean(~(path.distances <= tolerance)):.1%} of the fits are further from their optimum than "
            f"`tolerance` (={tolerance:g}), the worst by {np.max(path.distances):.1e}; leave out weak strengths.",
            stacklevel=3,
        )
    return path if weights.ndim > 1 else of_fold(path, 0)


def of_fold(path: LinearPath, fold: int) -> LinearPath:
    """One fold's path, of a path of several."""
    return path._replace(
        coefficients=path.coefficients[fold],
        intercepts=path.intercepts[fold],
        distances=path.distances[fold],
    )


@functools.cache
def _compiled(options: Options) -> Callable[..., Any]:
    family, intercept, debias, tolerance = options

    def fit(x: Array, y: Array, weights: Array, strengths: Array, penalty: Any) -> Any:
        fits = solve_path(x, y, weights, strengths, penalty, family, intercept, tolerance)
        if not debias:
            return fits
        size, free = jnp.abs(fits.coefficients.slopes), jnp.zeros(1)

        def again(support: Array) -> Any:
            relaxed = solve_path(
                x * support, y, weights, free, l1(1.0), family, intercept, tolerance
            )
            return jax.tree.map(lambda leaf: leaf[0], relaxed)

        return jax.lax.map(again, size > NEGLIGIBLE * jnp.max(size))

    return jax.jit(jax.vmap(fit, in_axes=(None, None, 0, None, None)))


def predict(path: LinearPath, features: TableLike) -> Float64[np.ndarray, "..."]:
    """The linear predictor η of each example under each model, the examples along the last axis.

    Of the logistic family the log-odds of `path.classes[1]`.

    Raises:
        InputError: if the features are no matrix of finite numbers, or not as many as the models have.
    """
    x, count = read_features(features), path.coefficients.shape[-1]
    if x.shape[1] != count:
        raise InputError(
            f"`features` (of shape {x.shape}) must have the {count} columns that the models were fitted to."
        )
    return path.coefficients @ x.T + path.intercepts[..., None]


def _refuse_concave(penalty: Any) -> None:
    if not is_convex(penalty):
        raise InputError(
            f"`penalty` (={type(penalty).__name__}) must be convex, such as l1, elastic_net or group_l1, for a path to "
            "be exact; `l1jax.selection.train_path` trains any other."
        )
