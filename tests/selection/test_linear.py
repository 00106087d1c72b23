"""Linear models have scikit-learn's strengths, scores and choices, and find known truths."""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import (
    ElasticNetCV,
    Lasso,
    LassoCV,
    LassoLarsIC,
    LinearRegression,
    LogisticRegressionCV,
)

import l1jax
from l1jax.config import InputError
from l1jax.selection import (
    cross_validate,
    fit_path,
    information_criterion,
    linear_strengths,
    one_standard_error,
    predict,
    row_hashes,
    stratified_folds,
    strength_grid,
)


def wide():
    """More features than examples, of which five matter."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 120))
    return x, 3 * x[:, :5].sum(axis=1) + rng.normal(size=60)


def splits(fold):
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(fold.max() + 1)]


@pytest.mark.parametrize(
    "data", [lambda: load_diabetes(return_X_y=True), wide], ids=["diabetes", "p > n"]
)
def test_cross_validation_is_scikit_learns(data):
    x, y = data()
    fold = stratified_folds(None, row_hashes(x), 5)
    strengths = linear_strengths(x, y, count=30, eps=1e-2)
    own = cross_validate(x, y, strengths, fold)
    lasso = LassoCV(alphas=30, eps=1e-2, cv=splits(fold), tol=1e-10, max_iter=1_000_000).fit(x, y)
    np.testing.assert_allclose(own.strengths[::-1], lasso.alphas_, rtol=1e-8)
    np.testing.assert_allclose(own.scores[::-1], lasso.mse_path_, rtol=1e-4)
    np.testing.assert_allclose(own.choice.strength, lasso.alpha_, rtol=1e-8)
    np.testing.assert_allclose(own.coefficients, lasso.coef_, atol=1e-4 * np.abs(lasso.coef_).max())
    np.testing.assert_allclose(own.intercept, lasso.intercept_, rtol=1e-4)
    size = np.abs(own.path.coefficients)
    np.testing.assert_array_equal(own.degrees_of_freedom, np.sum(size > 1e-8 * size.max(), axis=1))
    simpler = cross_validate(x, y, strengths, fold, rule=one_standard_error)
    assert simpler.choice.strength > own.choice.strength


def test_cross_validation_of_an_elastic_net_is_scikit_learns():
    x, y = load_diabetes(return_X_y=True)
    fold, penalty = stratified_folds(None, row_hashes(x), 3), l1jax.elastic_net(0.5, 0.5)
    own = cross_validate(x, y, linear_strengths(x, y, penalty, count=10), fold, penalty)
    net = ElasticNetCV(l1_ratio=0.5, alphas=10, cv=splits(fold), tol=1e-10, max_iter=1_000_000).fit(
        x, y
    )
    np.testing.assert_allclose(own.scores[::-1], net.mse_path_, rtol=1e-4)
    np.testing.assert_allclose(own.choice.strength, net.alpha_, rtol=1e-8)
    nonzeros = np.sum(own.path.coefficients != 0, axis=1)
    assert np.all(own.degrees_of_freedom[:-1] < nonzeros[:-1])
    assert np.all(np.diff(own.degrees_of_freedom) < 0)


@pytest.mark.parametrize("criterion", ["aic", "bic"])
def test_information_criteria_are_scikit_learns(criterion):
    x, y = load_diabetes(return_X_y=True)
    lars = LassoLarsIC(criterion).fit(x, y)
    own = information_criterion(x, y, lars.alphas_[::-1], criterion)
    np.testing.assert_allclose(own.scores[::-1, 0], lars.criterion_, rtol=1e-4)
    np.testing.assert_allclose(own.choice.strength, lars.alpha_)


@pytest.mark.slow
def test_logistic_cross_validation_is_scikit_learns():
    x, y = load_digits(return_X_y=True)
    x, y = x[-100:] / 16, (y[-100:] >= 5).astype(int)
    fold = (
        np.random.default_rng(0).permutation(100) % 5
    )  # of equal sizes: scikit-learn's C is 1/(λn)
    c = np.geomspace(
        0.2, 3, 4
    )  # weaker ones have no coefficients, where saga stops before the intercept is right
    own = cross_validate(x, y, 1 / (80 * c[::-1]), fold, family="logistic")
    saga = LogisticRegressionCV(
        Cs=c,
        cv=splits(fold),
        l1_ratios=(1.0,),
        solver="saga",
        tol=1e-8,
        max_iter=1_000_000,
        scoring="neg_log_loss",
        use_legacy_attributes=False,
    ).fit(x, y)
    np.testing.assert_allclose(own.scores[::-1].T, -saga.scores_[:, 0], rtol=1e-4)
    np.testing.assert_allclose(1 / (80 * own.choice.strength), saga.C_)
    assert 0 < own.choice.index < 3


def draw(rng, rows=100, features=20):
    """Independent features, three of which matter, at a signal-to-noise ratio of 12."""
    x = rng.normal(size=(rows, features))
    beta = np.zeros(features)
    beta[rng.permutation(features)[:3]] = 2 * rng.choice([-1, 1], 3)
    return x, x @ beta + rng.normal(size=rows), beta


@pytest.mark.slow
def test_bic_finds_the_true_support():
    rng, right = np.random.default_rng(0), 0
    for _ in range(100):
        x, y, beta = draw(rng, rows=300, features=6)
        own = information_criterion(x, y, strength_grid(0.05, 2.0, 10), "bic", debias=True)
        right += np.array_equal(own.coefficients != 0, beta != 0)
    assert right >= 90


@pytest.mark.slow
def test_cross_validated_risk_is_near_the_best_of_the_grid():
    rng, chosen, best = np.random.default_rng(0), [], []
    for _ in range(30):
        x, y, beta = draw(rng)
        own = cross_validate(
            x, y, strength_grid(0.02, 2.0, 25), stratified_folds(None, row_hashes(x), 5)
        )
        risks = 1 + np.sum((own.path.coefficients - beta) ** 2, axis=1)  # of a new example
        chosen.append(risks[own.choice.index])
        best.append(risks.min())
        assert risks.max() > 1.2 * risks.min()
    assert np.mean(chosen) <= 1.05 * np.mean(best)


def test_debiased_coefficients_are_least_squares_on_the_lassos_support():
    x, y = wide()
    strengths = linear_strengths(x, y, count=12, eps=0.05)
    own = information_criterion(x, y, strengths, "ebic", variance="own", debias=True)
    for strength, beta, eta in zip(
        strengths, own.path.coefficients, predict(own.path, x), strict=True
    ):
        support = Lasso(strength, tol=1e-12, max_iter=1_000_000).fit(x, y).coef_ != 0
        exact = LinearRegression().fit(x[:, support], y) if support.any() else None
        np.testing.assert_array_equal(beta != 0, support)
        np.testing.assert_allclose(beta[support], exact.coef_ if exact else [], rtol=1e-6)
        np.testing.assert_allclose(
            eta, exact.predict(x[:, support]) if exact else y.mean(), rtol=1e-6
        )
    np.testing.assert_array_equal(np.flatnonzero(own.coefficients), np.arange(5))
    known = information_criterion(x, y, strengths, "ebic", variance=1.0, debias=True)
    np.testing.assert_array_equal(np.flatnonzero(known.coefficients), np.arange(5))
    with pytest.raises(InputError, match="give its variance, let each model have its own"):
        information_criterion(x, y, strengths, "ebic")


def test_fits_that_stop_too_early_are_told():
    x, y = load_diabetes(return_X_y=True)
    with pytest.warns(UserWarning, match=r"`tolerance` \(=0\).*leave out weak strengths"):
        fit_path(x[:, :3], y, strength_grid(0.1, 1.0, 2), tolerance=0.0)


X, Y = load_diabetes(return_X_y=True)
FOLD = np.arange(len(X)) % 3
GRID = strength_grid(0.1, 1.0, 3)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: fit_path(X, Y, [0.1]), "`strengths`"),
        (lambda: fit_path(X, Y[1:], GRID), "`target` .*each of the 442 rows of `features`"),
        (lambda: fit_path(np.where(X > 0.1, np.nan, X), Y, GRID), "must be finite"),
        (lambda: fit_path(X, Y, GRID, l1jax.mcp(1.0, 3.0)), "must be convex"),
        (
            lambda: fit_path(X, Y, GRID, l1jax.sum_of(l1jax.l0(1.0), l1jax.l2(1.0))),
            "must be convex",
        ),
        (lambda: fit_path(X, Y, GRID, family="logistic"), "`target` .*must have two classes"),
        (lambda: fit_path(X, Y, GRID, weights=-np.ones(len(X))), "`weights`"),
        (lambda: cross_validate(X, Y, GRID, FOLD[1:]), "`folds`"),
        (lambda: cross_validate(X, Y, GRID, 2 * FOLD), "every fold an example"),
        (lambda: cross_validate(X, Y, GRID, 0 * FOLD), "at least two folds"),
        (
            lambda: cross_validate(X, FOLD == 0, GRID, np.minimum(FOLD, 1), family="logistic"),
            "both classes",
        ),
    ],
)
def test_what_no_linear_model_can_be_fitted_to_is_refused(call, says):
    with pytest.raises(InputError, match=says):
        call()
