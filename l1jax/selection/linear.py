"""Choose the strength of a linear model by cross-validation or an information criterion.

The choice is made on the exact path of the model.

Everything here computes in float64 whatever JAX's setting, and returns NumPy arrays.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from jaxtyping import Float64

from l1jax.arrays import TableLike
from l1jax.config import InputError
from l1jax.penalties import Penalty
from l1jax.selection import criteria
from l1jax.selection.examples import (
    LinearExamples,
    Splits,
    read_examples,
    read_one_row,
    read_splits,
    weigh_splits,
)
from l1jax.selection.linear_fit import FitOptions, outputs_of
from l1jax.selection.linear_freedom import degrees_along_path
from l1jax.selection.linear_path import LinearPath, fit_examples, predict, select_fold
from l1jax.selection.losses import FamilyName
from l1jax.selection.losses import log_likelihood as log_probability
from l1jax.selection.rules import Choice, minimum, with_end_of_path

Criterion: TypeAlias = Literal["aic", "aicc", "bic", "ebic"]


class LinearSelection(NamedTuple):
    """The table that a strength was chosen from, and the models fitted to all examples."""

    strengths: Float64[np.ndarray, " strengths"]  # from weak to strong
    scores: Float64[np.ndarray, "strengths folds"]  # lower is better; one column for a criterion
    degrees_of_freedom: Float64[np.ndarray, " strengths"]
    choice: Choice
    path: LinearPath

    @property
    def coefficients(self) -> Float64[np.ndarray, "features *classes"]:
        """β at the chosen strength."""
        return self.path.coefficients[self.choice.index]

    @property
    def intercept(self) -> float | Float64[np.ndarray, " classes"]:
        """b at the chosen strength, or that of each class in the multinomial family."""
        chosen = self.path.intercepts[self.choice.index]
        return chosen if chosen.ndim else float(chosen)


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
    weights: TableLike | None = None,
    intercept: bool = True,
    debias: bool = False,
    tolerance: float = 1e-10,
    standardize: bool = False,
    delta: float | None = None,
) -> LinearSelection:
    """Choose the strength by its loss on examples that were held out, then fit all of them.

    The scores are means over the held-out examples: of (η − y)² in the squared family, of Huber's
    loss, or of −log p(y) in nats, which in the poisson family leaves out log y!.

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
        weights: of the examples, in the fits and in the scores; one for each, by default equal.
        intercept: as for `fit_path`.
        debias: as for `fit_path`.
        tolerance: as for `fit_path`.
        standardize: as for `fit_path`.
        delta: as for `fit_path`.

    Raises:
        InputError: if the data, strengths or folds cannot be used, or no score is finite.

    Source: Hastie, Tibshirani, Friedman, The Elements of Statistical Learning (2009), section 7.10.
    """
    check_rule(rule)
    examples = read_examples(features, target, family)
    splits = read_splits(folds, examples)
    one_row = read_one_row(weights, examples)
    splits = weigh_splits(splits, one_row, examples)
    rows = np.vstack([splits.training, one_row])  # the last row fits all examples
    options = FitOptions(family, intercept, debias, tolerance, standardize, delta)
    path = fit_examples(examples, strengths, penalty, rows, options)
    scores = _held_out_scores(path, examples, splits, options)
    full_path = select_fold(path, -1)
    df = degrees_along_path(examples, one_row, full_path, penalty, options)
    all_zero = not full_path.coefficients[-1].any()
    choice = with_end_of_path(rule(scores, full_path.strengths), all_zero)
    return LinearSelection(full_path.strengths, scores, df, choice, full_path)


def check_rule(rule: object) -> None:
    """Raise unless `rule` is a function.

    Raises:
        InputError: if it is not.
    """
    if not callable(rule):
        raise InputError(
            f"`rule` (={rule!r}) must be a function, such as `minimum` or `one_standard_error`."
        )


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
    weights: TableLike | None = None,
    intercept: bool = True,
    debias: bool = False,
    tolerance: float = 1e-10,
    standardize: bool = False,
    delta: float | None = None,
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
        weights: how often each example counts; n is their sum. By default 1.
        intercept: as for `fit_path`.
        debias: as for `fit_path`.
        tolerance: as for `fit_path`.
        standardize: as for `fit_path`.
        delta: as for `fit_path`.

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
    if family == "huber":
        raise InputError(
            "`family` (='huber') must be that of a distribution, and Huber's loss is none: take "
            "`cross_validate`."
        )
    x = examples.features
    counts = read_one_row(weights, examples)
    n = counts.sum()
    noise_variance = None
    if family == "squared" and variance != "own":
        noise_variance = criteria.read_variance(x, examples.target, intercept, variance, counts)
    options = FitOptions(family, intercept, debias, tolerance, standardize, delta)
    path = fit_examples(examples, strengths, penalty, counts, options)
    eta, y = _predictions(path, examples, family)
    if family == "squared":
        squares = 2 * options.loss.value(eta, y) @ counts
        if variance == "own":
            criteria.refuse_noiseless(squares, examples.target)
        log_likelihood = criteria.gaussian_log_likelihood(squares, n, noise_variance)
    else:
        log_likelihood = log_probability(family, eta, y) @ counts
    df = degrees_along_path(examples, counts, path, penalty, options)
    if criterion == "aic":
        scores = criteria.aic(log_likelihood, df)
    elif criterion == "aicc":
        scores = criteria.aicc(log_likelihood, df, n)
    elif criterion == "bic":
        scores = criteria.bic(log_likelihood, df, n)
    else:
        scores = criteria.ebic(log_likelihood, df, n, path.coefficients[0].size, gamma)
    table = np.asarray(scores)[:, None]
    all_zero = not path.coefficients[-1].any()
    choice = with_end_of_path(minimum(table, path.strengths), all_zero)
    return LinearSelection(path.strengths, table, df, choice, path)


def _predictions(
    path: LinearPath, examples: LinearExamples, family: FamilyName
) -> tuple[np.ndarray, np.ndarray]:
    """Return η of each model and y, with one column or one for each class."""
    y = outputs_of(examples, family)
    eta = predict(path, examples.features)
    if family != "multinomial":
        eta = eta[..., None]
    return eta, y


def _held_out_scores(
    path: LinearPath, examples: LinearExamples, splits: Splits, options: FitOptions
) -> Float64[np.ndarray, "strengths folds"]:
    """Return the mean loss of each model over the examples that its fold holds out."""
    scores = []
    for fold, weights in enumerate(splits.held_out):
        rows = np.flatnonzero(weights)
        held_out = examples._replace(features=examples.features[rows], target=examples.target[rows])
        eta, y = _predictions(select_fold(path, fold), held_out, options.family)
        losses = options.loss.value(eta, y)
        if options.family == "squared":  # whose loss is halved
            losses = 2 * losses
        scores.append(losses @ weights[rows] / weights.sum())
    return np.stack(scores, axis=1)
