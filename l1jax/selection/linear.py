"""Choose the strength of a linear model by cross-validation or an information criterion.

The choice is made on the exact path of the model.

Everything here computes in float64 whatever JAX's setting, and returns NumPy arrays.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float64

from l1jax.arrays import TableLike
from l1jax.config import InputError
from l1jax.penalties import L1, NonnegativeL1, Penalty, WeightedL1, scaled
from l1jax.selection import criteria
from l1jax.selection.examples import read_examples, read_splits
from l1jax.selection.linear_path import (
    NEGLIGIBLE,
    FitOptions,
    LinearPath,
    fit_examples,
    predict,
    select_fold,
)
from l1jax.selection.rules import Choice, minimum, with_end_of_path
from l1jax.selection.solver import FAMILIES, FamilyName

Criterion: TypeAlias = Literal["aic", "aicc", "bic", "ebic"]


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


def cross_validate(
    features: TableLike,
    target: TableLike,
    strengths: TableLike,
    folds: object,
    penalty: Penalty | None = None,
    *,
    rule: Callable[
        [Float64[np.ndarray, "strengths folds"], Float64[np.ndarray, " strengths"]], Choice
    ] = minimum,
    family: FamilyName = "squared",
    intercept: bool = True,
    debias: bool = False,
    tolerance: float = 1e-10,
) -> LinearSelection:
    """Choose the strength by its loss on examples that were held out, then fit all of them.

    The scores are means over the held-out examples: of (η − y)², or of the logistic loss in nats.

    Args:
        features: x, as for `fit_path`.
        target: y, as for `fit_path`.
        strengths: from weak to strong, as `linear_strengths` gives them.
        folds: which fold each example belongs to, from 0 on, as `stratified_folds` returns it; or a
            splitter of scikit-learn, such as `KFold(5)`; or the pairs of training and held-out
            rows that a splitter yields.
        penalty: as for `fit_path`.
        rule: `minimum` or `one_standard_error`.
        family: as for `fit_path`.
        intercept: as for `fit_path`.
        debias: as for `fit_path`.
        tolerance: as for `fit_path`.

    Raises:
        InputError: if the data, strengths or folds cannot be used, or no score is finite.

    Source: Hastie, Tibshirani, Friedman, The Elements of Statistical Learning (2009), section 7.10.
    """
    if not callable(rule):
        raise InputError(
            f"`rule` (={rule!r}) must be a function, such as `minimum` or `one_standard_error`."
        )
    examples = read_examples(features, target, family)
    splits = read_splits(folds, examples)
    x = examples.features
    weights = np.vstack([splits.training, np.ones(len(x))])  # the last row fits all examples
    options = FitOptions(family, intercept, debias, tolerance)
    path = fit_examples(examples, strengths, penalty, weights, options)
    losses = _losses(family, predict(path, x)[:-1], examples.target)  # folds, strengths, examples
    scores = np.einsum("fsn,fn->sf", losses, splits.held_out) / splits.held_out.sum(axis=1)
    full_path = select_fold(path, -1)
    df = _degrees_of_freedom(x, full_path, penalty, options)
    all_zero = not full_path.coefficients[-1].any()
    choice = with_end_of_path(rule(scores, full_path.strengths), all_zero)
    return LinearSelection(full_path.strengths, scores, df, choice, full_path)


def information_criterion(
    features: TableLike,
    target: TableLike,
    strengths: TableLike,
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

    Debias to find the variables that matter: the shrinkage of the lasso costs likelihood, and BIC
    compensates for it with variables that do not matter.

    Args:
        features: x, as for `fit_path`.
        target: y, as for `fit_path`.
        strengths: from weak to strong.
        criterion: "aic", "aicc", "bic" or "ebic".
        penalty: as for `fit_path`.
        variance: of the Gaussian noise: a number greater than 0; "least squares" for the residual
            variance of least squares, which needs more examples than features; or "own" for each
            model's residual variance.
        gamma: of `ebic`.
        family: as for `fit_path`.
        intercept: as for `fit_path`.
        debias: as for `fit_path`.
        tolerance: as for `fit_path`.

    Raises:
        InputError: if the data or strengths cannot be used, the variance cannot be estimated, or
            a model leaves no noise.

    Source: Zou, Hastie, Tibshirani, Ann. Stat. 35 (2007), section 4.
    """
    if criterion not in get_args(Criterion):
        raise InputError(
            f"`criterion` (={criterion!r}) must be one of {', '.join(get_args(Criterion))}."
        )
    criteria.check_gamma(gamma)
    examples = read_examples(features, target, family)
    x = examples.features
    y = examples.target
    noise_variance = None
    if family == "squared" and variance != "own":
        noise_variance = criteria.read_variance(x, y, intercept, variance)
    options = FitOptions(family, intercept, debias, tolerance)
    path = fit_examples(examples, strengths, penalty, np.ones(len(x)), options)
    losses = _losses(family, predict(path, x), y).sum(axis=1)
    if family == "logistic":
        log_likelihood = -losses
    else:
        if variance == "own":
            criteria.refuse_noiseless(losses, y)
        log_likelihood = criteria.gaussian_log_likelihood(losses, len(x), noise_variance)
    df = _degrees_of_freedom(x, path, penalty, options)
    if criterion == "aic":
        scores = criteria.aic(log_likelihood, df)
    elif criterion == "aicc":
        scores = criteria.aicc(log_likelihood, df, len(x))
    elif criterion == "bic":
        scores = criteria.bic(log_likelihood, df, len(x))
    else:
        scores = criteria.ebic(log_likelihood, df, len(x), x.shape[1], gamma)
    table = np.asarray(scores)[:, None]
    all_zero = not path.coefficients[-1].any()
    choice = with_end_of_path(minimum(table, path.strengths), all_zero)
    return LinearSelection(path.strengths, table, df, choice, path)


def _losses(family: FamilyName, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the loss of each example: (η − y)², or the logistic loss in nats."""
    losses = _in_float64(FAMILIES[family].loss, eta, y)
    if family == "squared":  # whose loss is halved
        losses = 2 * losses
    return losses


def _in_float64(
    function: Callable[[Array, Array], Array], eta: np.ndarray, y: np.ndarray
) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(function(jnp.asarray(eta), jnp.asarray(y)))


def _degrees_of_freedom(
    x: np.ndarray, path: LinearPath, penalty: Penalty | None, options: FitOptions
) -> Float64[np.ndarray, " strengths"]:
    """Return the number of non-zeros if the penalty is piecewise linear, else the exact trace."""
    if penalty is None or isinstance(penalty, L1 | WeightedL1 | NonnegativeL1) or options.debias:
        return np.asarray(criteria.degrees_of_freedom(path.coefficients, NEGLIGIBLE))
    negligible = NEGLIGIBLE * np.abs(path.coefficients).max()
    curvatures = _in_float64(FAMILIES[options.family].curvature, predict(path, x), np.zeros(len(x)))
    degrees = []
    for strength, slopes, weights in zip(
        path.strengths, path.coefficients, curvatures, strict=True
    ):
        centred = x
        if options.intercept:
            centred = x - weights @ x / weights.sum()
        weighted = centred * np.sqrt(weights)[:, None]
        penalty_at_strength = scaled(penalty, strength)
        degrees.append(
            criteria.exact_degrees_of_freedom(weighted, slopes, penalty_at_strength, negligible)
        )
    return np.asarray(degrees)
