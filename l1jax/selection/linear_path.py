"""Fit exact paths of linear models.

Everything here computes in float64 whatever JAX's setting, and returns NumPy arrays.
"""

import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Shaped

from l1jax.arrays import TableLike
from l1jax.config import InputError
from l1jax.penalties import Penalty, is_convex, l1
from l1jax.penalties.base import check_penalty, check_shape
from l1jax.selection.compiled_fit import fit_compiled
from l1jax.selection.examples import LinearExamples, read_examples, read_features, read_weights
from l1jax.selection.linear_fit import FitOptions, fit_in_numpy
from l1jax.selection.losses import FamilyName, loss_of
from l1jax.selection.strengths import check_strengths
from l1jax.selection.terms import read_terms


class LinearPath(NamedTuple):
    """Linear models η = xβ + b, one for each strength; several folds are a leading axis.

    Attributes:
        strengths: from weak to strong.
        coefficients: β, (…folds, strengths, features); in the multinomial family with a column for
            each class.
        intercepts: b, (…folds, strengths); in the multinomial family one for each class, of sum 0.
        distances: to optimality, as shares of the gradient's norm at 0.
        classes: of the logistic family, where η is the log-odds of the second class against the
            first; or of the multinomial family, where softmax(η) are their probabilities.
    """

    strengths: Float64[np.ndarray, " strengths"]
    coefficients: Float64[np.ndarray, "..."]
    intercepts: Float64[np.ndarray, "..."]
    distances: Float64[np.ndarray, "*folds strengths"]
    classes: Shaped[np.ndarray, " classes"] | None = None


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
    standardize: bool = False,
    delta: float | None = None,
) -> LinearPath:
    """Minimise mean ℓ(xβ + b, y) + strength·R(β) for each strength.

    The fits start from one another, from strong to weak, each over a working set of the
    coefficients, and a warning tells where the tolerance is not reached. Constant columns have the
    coefficient 0, and so have all columns if the target is constant. `l1_ball`, `linf` and
    penalties of your own are fitted by a compiled program, `solve_path`.

    Args:
        features: x, a row for each example: an array, lists or a data frame of finite numbers.
            Sparse matrices must be made dense.
        target: y, one value for each row, or a matrix of one column. The logistic family needs two
            classes, the multinomial at least two: whole numbers, booleans or text. As in
            scikit-learn the later of two classes in order is y = 1; the path records them. The
            poisson family needs counts or rates ≥ 0.
        strengths: from weak to strong. They multiply the penalty's own strength, so with `l1(1.0)`
            they are λ.
        penalty: R, convex; by default `l1(1.0)`. `elastic_net(ρ, 1 − ρ)` is scikit-learn's with
            `l1_ratio` ρ. In the multinomial family it is of a matrix, features × classes:
            `group_l1(1.0, axis=1)` has a group for each feature.
        family: ℓ, "squared" (η − y)²/2, "logistic" log(1 + exp η) − yη, "multinomial"
            log Σ exp η_c − η_y, "poisson" exp η − yη, or "huber", which is r²/2 of residuals up to
            `delta` and delta·|r| − delta²/2 beyond.
        weights: of the examples in the mean, one row for each fold; by default all equal.
        intercept: whether there is b, which is not penalised.
        debias: fit the entries that are not zero once more without the penalty, as the relaxed
            lasso does.
        tolerance: the largest distance to optimality, as a share of the gradient's norm at 0.
        standardize: penalise β·σ in place of β, with σ the standard deviation of each column in
            the examples of the fold (without an intercept the root of its mean square). The
            coefficients are those of the columns as they are given.
        delta: of the huber family, in units of the target.

    Raises:
        InputError: if the data or strengths cannot be used, or the penalty is not convex.

    Source: Friedman, Hastie, Tibshirani, J. Stat. Softw. 33 (2010), section 2, for the path;
    Meinshausen, Comput. Stat. Data Anal. 52 (2007), section 2, for debiasing.
    """
    examples = read_examples(features, target, family)
    options = FitOptions(family, intercept, debias, tolerance, standardize, delta)
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
    return fit_grid(examples, check_strengths(strengths), penalty, weights, options, stacklevel=4)


def fit_grid(
    examples: LinearExamples,
    grid: Float64[np.ndarray, " strengths"],
    penalty: Penalty | None,
    weights: Float64[np.ndarray, "*folds examples"],
    options: FitOptions,
    stacklevel: int = 4,
) -> LinearPath:
    """Do what `fit_examples` does, for strengths that are already read.

    Args:
        examples: that `read_examples` returned.
        grid: the strengths, from weak to strong.
        penalty: as for `fit_path`.
        weights: of the examples, one row for each fold.
        options: as for `fit_path`.
        stacklevel: how far above here the caller is that a warning points at.

    Raises:
        InputError: if the tolerance cannot be used, or the penalty is not convex.
    """
    if penalty is None:
        penalty = l1(1.0)
    check_penalty("penalty", penalty)
    _refuse_concave(penalty)
    loss_of(options.family, options.delta)
    tolerance = options.tolerance
    if not 0 <= tolerance < 1:
        raise InputError(
            f"`tolerance` (={tolerance}) must be at least 0 and below 1, such as 1e-10."
        )
    shape = kernel_shape(examples, options.family)
    check_shape(penalty, shape, "the coefficients")
    terms = read_terms(penalty, shape)
    rows = np.atleast_2d(weights)
    if terms is None:
        fits = fit_compiled(examples, grid, penalty, rows, options)
    else:
        fits = fit_in_numpy(examples, grid, terms, rows, options)
    path = LinearPath(grid, *fits, classes=examples.classes)
    inexact = ~(path.distances <= tolerance)
    if np.any(inexact):
        warnings.warn(
            f"{np.mean(inexact):.1%} of the fits are further from their optimum than `tolerance` "
            f"(={tolerance:g}), the worst by {np.max(path.distances):.1e}; leave out weak "
            "strengths.",
            stacklevel=stacklevel,
        )
    return path if weights.ndim > 1 else select_fold(path, 0)


def select_fold(path: LinearPath, fold: int) -> LinearPath:
    """Return the path of one fold, from a path of several."""
    return path._replace(
        coefficients=path.coefficients[fold],
        intercepts=path.intercepts[fold],
        distances=path.distances[fold],
    )


def kernel_shape(examples: LinearExamples, family: FamilyName) -> tuple[int, ...]:
    """Return the shape of the coefficients that the penalty is of.

    Args:
        examples: their features and classes.
        family: "multinomial" has a column for each class.
    """
    features = examples.features.shape[1]
    if family == "multinomial" and examples.classes is not None:
        return features, len(examples.classes)
    return (features,)


def predict(path: LinearPath, features: TableLike) -> Float64[np.ndarray, "..."]:
    """Return the linear predictor η of each example under each model.

    The examples are the last axis, but for the classes of the multinomial family. In the logistic
    family η is the log-odds of `path.classes[1]`.

    Raises:
        InputError: if the features are not a matrix of finite numbers, or have other columns than
            the models.
    """
    x = read_features(features)
    of_classes = path.intercepts.shape != path.distances.shape
    count = path.coefficients.shape[-2 if of_classes else -1]
    if x.shape[1] != count:
        raise InputError(
            f"`features` (of shape {x.shape}) must have the {count} columns that the models were "
            "fitted to."
        )
    if of_classes:
        return x @ path.coefficients + path.intercepts[..., None, :]
    return path.coefficients @ x.T + path.intercepts[..., None]


def _refuse_concave(penalty: Penalty) -> None:
    if not is_convex(penalty):
        raise InputError(
            f"`penalty` (={type(penalty).__name__}) must be convex, such as l1, elastic_net or "
            "group_l1, for a path to be exact; `l1jax.selection.train_path` trains any other."
        )
