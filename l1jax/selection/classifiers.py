"""Linear classifiers with scikit-learn's interface."""

from typing import Any

import numpy as np
from jaxtyping import Float64
from sklearn.base import BaseEstimator, ClassifierMixin

from l1jax.arrays import TableLike
from l1jax.penalties import Penalty
from l1jax.selection.estimator_parts import (
    Rule,
    choose,
    class_rows,
    decide,
    fit_one,
    predict_class,
    probabilities,
    read_classes,
)
from l1jax.selection.rules import minimum


class Classifier(ClassifierMixin, BaseEstimator):
    """What a fitted classifier predicts, from its attributes `classes_`, `coef_`, `intercept_`."""

    def decision_function(self, X: TableLike) -> Float64[np.ndarray, "examples *classes"]:
        """Return the log-odds of the second of two classes, or a score for each of more."""
        return decide(self, X)

    def predict_proba(self, X: TableLike) -> Float64[np.ndarray, "examples classes"]:
        """Return the probability of each class."""
        return probabilities(decide(self, X))

    def predict_log_proba(self, X: TableLike) -> Float64[np.ndarray, "examples classes"]:
        """Return the logarithm of the probability of each class."""
        return np.log(self.predict_proba(X))

    def predict(self, X: TableLike) -> np.ndarray:
        """Return the most probable class of each example."""
        return predict_class(self, X)


class L1Classifier(Classifier):
    """Logistic regression with a penalty: of two classes, or multinomial of more.

    It minimises the mean of −log p(y) in nats, plus strength·R(β).

    Args:
        strength: λ ≥ 0, scikit-learn's 1/(C·examples).
        penalty: R, convex; by default `l1jax.l1(1.0)`. Of more than two classes it is of a matrix,
            features × classes.
        fit_intercept: whether there is b, which is not penalised.
        standardize: penalise the coefficients of columns of variance 1.
        debias: fit the entries that are not zero once more without the penalty.
        tolerance: the largest distance to optimality, as a share of the gradient's norm at 0.

    Attributes:
        classes_: in order.
        coef_: β, a row for each class; of two classes only that of the second.
        intercept_: b, likewise.
    """

    def __init__(
        self,
        strength: float = 0.01,
        *,
        penalty: Penalty | None = None,
        fit_intercept: bool = True,
        standardize: bool = False,
        debias: bool = False,
        tolerance: float = 1e-10,
    ) -> None:
        self.strength = strength
        self.penalty = penalty
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.debias = debias
        self.tolerance = tolerance

    def fit(self, X: TableLike, y: TableLike, sample_weight: TableLike = None) -> "L1Classifier":
        """Fit the model.

        Args:
            X: the features, a row for each example.
            y: the class of each example.
            sample_weight: of the examples, by default equal.

        Raises:
            InputError: if the data or a parameter cannot be used.
        """
        x, codes, weights, family = read_classes(self, X, y, sample_weight)
        coefficients, intercepts = fit_one(self, x, codes, weights, family, None)
        self.coef_, self.intercept_ = class_rows(coefficients, intercepts)
        return self


class L1ClassifierCV(Classifier):
    """Logistic regression whose strength is chosen by cross-validation.

    Args:
        strengths: to choose from, in increasing order; by default `count` of them down from the
            one that leaves no coefficient.
        count: how many strengths, if none are given.
        eps: the weakest as a share of the strongest, if none are given.
        cv: the folds, as scikit-learn takes them: a number, a splitter or pairs of rows.
        rule: how to choose: `minimum` or `one_standard_error` of `l1jax.selection`.
        penalty: as for `L1Classifier`.
        fit_intercept: as for `L1Classifier`.
        standardize: as for `L1Classifier`.
        debias: as for `L1Classifier`.
        tolerance: as for `L1Classifier`.

    Attributes:
        classes_: in order.
        coef_: as of `L1Classifier`.
        intercept_: as of `L1Classifier`.
        strength_: the chosen strength.
        selection_: the table of scores and the whole path, a `LinearSelection`.
    """

    def __init__(
        self,
        strengths: TableLike = None,
        *,
        count: int = 100,
        eps: float = 1e-2,
        cv: Any = None,
        rule: Rule = minimum,
        penalty: Penalty | None = None,
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
        self.penalty = penalty
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.debias = debias
        self.tolerance = tolerance

    def fit(self, X: TableLike, y: TableLike, sample_weight: TableLike = None) -> "L1ClassifierCV":
        """Choose the strength and fit the model to all examples.

        Args:
            X: the features, a row for each example.
            y: the class of each example.
            sample_weight: of the examples, by default equal.

        Raises:
            InputError: if the data or a parameter cannot be used.
        """
        x, codes, weights, family = read_classes(self, X, y, sample_weight)
        self.selection_ = choose(self, x, codes, weights, family, None)
        self.strength_ = self.selection_.choice.strength
        self.coef_, self.intercept_ = class_rows(
            self.selection_.coefficients, np.asarray(self.selection_.intercept)
        )
        return self
