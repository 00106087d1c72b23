"""What the estimators with scikit-learn's interface share: reading, fitting and predicting."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float64, Shaped
from scipy.special import expit, softmax
from sklearn.model_selection import check_cv
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from l1jax.arrays import TableLike, as_array, is_jax_sparse
from l1jax.config import InputError
from l1jax.penalties.checks import is_concrete_number
from l1jax.selection.examples import read_examples, read_one_row
from l1jax.selection.linear import LinearSelection, check_rule, cross_validate
from l1jax.selection.linear_fit import FitOptions
from l1jax.selection.linear_path import fit_grid
from l1jax.selection.losses import CLASSIFIERS, FamilyName
from l1jax.selection.rules import Choice
from l1jax.selection.strengths import linear_strengths

Rule = Callable[[np.ndarray, np.ndarray], Choice]
"""The table of scores and the strengths → the choice."""
REGRESSIONS = ("squared", "poisson", "huber")


def read_numbers(
    estimator: Any, x: TableLike, y: TableLike, sample_weight: TableLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read the examples of a regression, and remember their columns.

    Args:
        estimator: that is fitted.
        x: the features.
        y: the target.
        sample_weight: of the examples, or None.

    Raises:
        InputError: if the family is none of a regression, or the features are sparse.
    """
    if estimator.family not in REGRESSIONS:
        remedy = "take `L1Classifier`" if estimator.family in CLASSIFIERS else "choose one"
        raise InputError(
            f"`family` (={estimator.family!r}) must be one of {', '.join(REGRESSIONS)}; {remedy}."
        )
    _refuse_jax_sparse(x)
    x, y = validate_data(estimator, x, y, dtype=np.float64, y_numeric=True)
    return x, y, _check_sample_weight(sample_weight, x, dtype=np.float64)


def read_classes(
    estimator: Any, x: TableLike, y: TableLike, sample_weight: TableLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray, FamilyName]:
    """Return the features, the index of each example's class, the weights and the family.

    Args:
        estimator: that is fitted; it is given its classes.
        x: the features.
        y: the classes.
        sample_weight: of the examples, or None.

    Raises:
        InputError: if there is only one class, or the features are sparse.
    """
    _refuse_jax_sparse(x)
    x, y = validate_data(estimator, x, y, dtype=np.float64)
    check_classification_targets(y)
    weights = _check_sample_weight(sample_weight, x, dtype=np.float64)
    used = weights > 0  # a class that only examples without a weight have is none
    estimator.classes_ = np.unique(y[used]) if np.any(used) else np.unique(y)
    if len(estimator.classes_) < 2:
        raise InputError(
            f"`y` (of 1 class: {estimator.classes_.tolist()[0]!r}) must have at least two classes; "
            "with one class there is nothing to tell apart."
        )
    kept = np.isin(y, estimator.classes_)
    codes = np.searchsorted(estimator.classes_, y[kept])
    family: FamilyName = "logistic" if len(estimator.classes_) == 2 else "multinomial"
    return x[kept], codes, weights[kept], family


def fit_one(
    estimator: Any,
    x: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    family: FamilyName,
    delta: float | None,
) -> tuple[np.ndarray, Any]:
    """Return β and b at the estimator's strength.

    Args:
        estimator: that is fitted.
        x: the features.
        y: the target.
        weights: of the examples.
        family: of the loss.
        delta: of Huber's loss.

    Raises:
        InputError: if the data or a parameter of the estimator cannot be used.
    """
    strength = estimator.strength
    if not is_concrete_number(strength) or np.ndim(strength) or not 0 <= strength < np.inf:
        raise InputError(f"`strength` (={strength!r}) must be a finite number of at least 0.")
    examples = read_examples(x, y, family)
    options = FitOptions(
        family,
        estimator.fit_intercept,
        estimator.debias,
        estimator.tolerance,
        estimator.standardize,
        delta,
    )
    rows = read_one_row(weights, examples)
    path = fit_grid(examples, np.array([float(strength)]), estimator.penalty, rows, options)
    intercept = path.intercepts[0]
    return path.coefficients[0], intercept if intercept.ndim else float(intercept)


def choose(
    estimator: Any,
    x: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    family: FamilyName,
    delta: float | None,
) -> LinearSelection:
    """Choose among the estimator's strengths by its folds.

    Args:
        estimator: that is fitted.
        x: the features.
        y: the target.
        weights: of the examples.
        family: of the loss.
        delta: of Huber's loss.

    Raises:
        InputError: if the data or a parameter of the estimator cannot be used.
    """
    check_rule(estimator.rule)
    folds: Any = check_cv(estimator.cv, y, classifier=family in CLASSIFIERS)
    pairs = list(folds.split(x, y))
    shared: dict[str, Any] = {
        "family": family,
        "weights": weights,
        "intercept": estimator.fit_intercept,
        "standardize": estimator.standardize,
        "delta": delta,
    }
    strengths = estimator.strengths
    if strengths is None:
        strengths = linear_strengths(
            x, y, estimator.penalty, count=estimator.count, eps=estimator.eps, **shared
        )
    return cross_validate(
        x,
        y,
        strengths,
        pairs,
        estimator.penalty,
        rule=estimator.rule,
        debias=estimator.debias,
        tolerance=estimator.tolerance,
        **shared,
    )


def class_rows(coefficients: np.ndarray, intercepts: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the coefficients with a row for each class, as scikit-learn has them."""
    return np.atleast_2d(coefficients.T), np.atleast_1d(intercepts)


def _refuse_jax_sparse(x: TableLike) -> None:
    """Raise `InputError` for a sparse array of JAX, which scikit-learn does not know."""
    if is_jax_sparse(x):
        as_array(x, "X")


def _features(estimator: Any, x: TableLike) -> np.ndarray:
    check_is_fitted(estimator)
    _refuse_jax_sparse(x)
    features: Any = validate_data(estimator, x, reset=False, dtype=np.float64)
    return features


def predict_mean(estimator: Any, x: TableLike) -> Float64[np.ndarray, " examples"]:
    """Return the mean that a regression predicts for each example."""
    eta = _features(estimator, x) @ estimator.coef_ + estimator.intercept_
    return np.exp(eta) if estimator.family == "poisson" else eta


def decide(estimator: Any, x: TableLike) -> Float64[np.ndarray, "examples *classes"]:
    """Return the log-odds of the second of two classes, or a score for each of more."""
    eta = _features(estimator, x) @ estimator.coef_.T + estimator.intercept_
    return eta[:, 0] if eta.shape[1] == 1 else eta


def probabilities(
    eta: Float64[np.ndarray, "examples *classes"],
) -> Float64[np.ndarray, "examples classes"]:
    """Return the probability of each class, from what `decide` returns."""
    if eta.ndim == 1:
        return np.stack([expit(-eta), expit(eta)], axis=1)
    return softmax(eta, axis=1)


def predict_class(estimator: Any, x: TableLike) -> Shaped[np.ndarray, " examples"]:
    """Return the most probable class of each example."""
    best: np.ndarray = probabilities(decide(estimator, x)).argmax(axis=1)
    classes: np.ndarray = estimator.classes_
    return classes[best]


def with_target(tags: Tags, family: str) -> Tags:
    """Say whether the target must be at least 0."""
    tags.target_tags.positive_only = family == "poisson"
    return tags
