"""Linear regressions with scikit-learn's interface."""

from typing import Any

import numpy as np
from jaxtyping import Float64
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import Tags

from l1jax.arrays import TableLike
from l1jax.penalties import Penalty
from l1jax.selection.estimator_parts import (
    Rule,
    choose,
    fit_one,
    predict_mean,
    read_numbers,
    with_target,
)
from l1jax.selection.losses import FamilyName
from l1jax.selection.rules import minimum


class Regressor(RegressorMixin, BaseEstimator):
    """What a fitted regression predicts, from its `family` and its attributes."""

    family: FamilyName

    def predict(self, X: TableLike) -> Float64[np.ndarray, " examples"]:
        """Return the predicted mean of each example."""
        return predict_mean(self, X)

    def __sklearn_tags__(self) -> Tags:
        """Say that the poisson family needs targets of at least 0."""
        return with_target(super().__sklearn_tags__(), self.family)


class L1Regressor(Regressor):
    """Linear regression with a penalty: least squares, Poisson or Huber's loss.

    It minimises mean ℓ(xβ + b, y) + strength·R(β), as `l1jax.selection.fit_path` does.

    Args:
        strength: λ ≥ 0; of a lasso it is scikit-learn's `alpha`.
        family: "squared", "poisson", whose predictions are the means exp η, or "huber".
        penalty: R, convex; by default `l1jax.l1(1.0)`.
        delta: of the huber family, in units of the target.
        fit_intercept: whether there is b, which is not penalised.
        standardize: penalise the coefficients of columns of variance 1.
        debias: fit the entries that are not zero once more without the penalty.
        tolerance: the largest distance to optimality, as a share of the gradient's norm at 0.

    Attributes:
        coef_: β, one number for each feature.
        intercept_: b.

    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> features, target = load_diabetes(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), L1Regressor(5.0)).fit(features, target)
    >>> int((model[-1].coef_ == 0).sum()), round(model.score(features, target), 2)
    (5, 0.49)
    """

    def __init__(
        self,
        strength: float = 0.01,
        *,
        family: FamilyName = "squared",
        penalty: Penalty | None = None,
        delta: float | None = None,
        fit_intercept: bool = True,
        standardize: bool = False,
        debias: bool = False,
        tolerance: float = 1e-10,
    ) -> None:
        self.strength = strength
        self.family = family
        self.penalty = penalty
        self.delta = delta
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.debias = debias
        self.tolerance = tolerance

    def fit(self, X: TableLike, y: TableLike, sample_weight: TableLike = None) -> "L1Regressor":
        """Fit the model.

        Args:
            X: the features, a row for each example.
            y: the target.
            sample_weight: of the examples, by default equal.

        Raises:
            InputError: if the data or a parameter cannot be used.
        """
        x, y, weights = read_numbers(self, X, y, sample_weight)
        self.coef_, self.intercept_ = fit_one(self, x, y, weights, self.family, self.delta)
        return self


class L1RegressorCV(Regressor):
    """Linear regression whose strength is chosen by cross-validation.

    Args:
        strengths: to choose from, in increasing order; by default `count` of them down from the
            one that leaves no coefficient.
        count: how many strengths, if none are given.
        eps: the weakest as a share of the strongest, if none are given.
        cv: the folds, as scikit-learn takes them: a number, a splitter or pairs of rows.
        rule: how to choose: `minimum` or `one_standard_error` of `l1jax.selection`.
        family: as for `L1Regressor`.
        penalty: as for `L1Regressor`.
        delta: as for `L1Regressor`.
        fit_intercept: as for `L1Regressor`.
        standardize: as for `L1Regressor`.
        debias: as for `L1Regressor`.
        tolerance: as for `L1Regressor`.

    Attributes:
        coef_: β, one number for each feature.
        intercept_: b.
        strength_: the chosen strength.
        selection_: the table of scores and the whole path, a `LinearSelection`.
    """

    def __init__(
        self,
        strengths: TableLike = None,
        *,
        count: int = 100,
        eps: float = 1e-3,
        cv: Any = None,
        rule: Rule = minimum,
        family: FamilyName = "squared",
        penalty: Penalty | None = None,
        delta: float | None = None,
        fit_intercept: bool = True,
        standardize: bool = False,
        debias: bool = False,
        tolerance: float = 1e-10,
    ) -> None:
        self.strengths = strengths
        self.count = count
        self.eps = eps
        self.cv = cv
        self.rule = rule
        self.family = family
        self.penalty = penalty
        self.delta = delta
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.debias = debias
        self.tolerance = tolerance

    def fit(self, X: TableLike, y: TableLike, sample_weight: TableLike = None) -> "L1RegressorCV":
        """Choose the strength and fit the model to all examples.

        Args:
            X: the features, a row for each example.
            y: the target.
            sample_weight: of the examples, by default equal.

        Raises:
            InputError: if the data or a parameter cannot be used.
        """
        x, y, weights = read_numbers(self, X, y, sample_weight)
        self.selection_ = choose(self, x, y, weights, self.family, self.delta)
        self.strength_ = self.selection_.choice.strength
        self.coef_ = self.selection_.coefficients
        self.intercept_ = self.selection_.intercept
        return self
