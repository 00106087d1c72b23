"""Every loss with every penalty is at its optimum, by its conditions and by other libraries."""

import celer
import jax
import numpy as np
import pytest
from sklearn.linear_model import Lasso, LogisticRegression, PoissonRegressor
from sklearn.preprocessing import StandardScaler

import l1jax
from l1jax.config import InputError
from l1jax.penalties import scaled
from l1jax.selection import (
    cross_validate,
    fit_path,
    information_criterion,
    linear_strengths,
    predict,
)

RNG = np.random.default_rng(11)
X = RNG.normal(size=(60, 12)) * np.geomspace(0.3, 3, 12)[RNG.permutation(12)] + 1
ETA = X[:, :3] @ [1.0, -1.0, 0.5]
NOISE = RNG.normal(size=60)
WEIGHTS = RNG.integers(0, 3, size=60).astype(float)
FOLDS = np.arange(60) % 3
CLASS = np.argmax(X[:, :4] + RNG.gumbel(size=(60, 4)), axis=1)
TARGETS = {
    "squared": ETA + NOISE,
    "logistic": (ETA + NOISE > 0.5).astype(int),
    "multinomial": CLASS,
    "poisson": RNG.poisson(np.exp(ETA / 3)),
    "huber": ETA + NOISE * np.where(NOISE > 1, 9, 1),
}
DELTA = 1.5
PENALTIES = {
    "l1": l1jax.l1(1.0),
    "elastic net": l1jax.elastic_net(0.6, 0.4),
    "nonnegative": l1jax.nonnegative_l1(1.0),
    "weighted": l1jax.weighted_l1(1.0, np.linspace(0.0, 2.0, 12)),
    "groups": l1jax.group_l1(0.6, l1jax.kernel_blocks((3,))),
    "sparse groups": l1jax.sparse_group_l1(0.5, 0.3, l1jax.kernel_blocks((4,))),
    "sum": l1jax.sum_of(l1jax.l1(0.5), l1jax.group_l1(0.3, l1jax.kernel_blocks((2,)))),
    "ridge": l1jax.l2(1.0),
}


def mean_slope(family, eta, y, weights):
    """The mean of wᵢ∂ℓ/∂η and that of wᵢxᵢ∂ℓ/∂η, from the textbook."""
    if family == "multinomial":
        p = np.exp(eta - eta.max(axis=1, keepdims=True))
        slope = p / p.sum(axis=1, keepdims=True) - (y[:, None] == np.arange(eta.shape[1]))
    elif family == "logistic":
        slope = 1 / (1 + np.exp(-eta)) - y
    elif family == "poisson":
        slope = np.exp(eta) - y
    elif family == "huber":
        slope = np.clip(eta - y, -DELTA, DELTA)
    else:
        slope = eta - y
    weighted = (slope.T * weights / weights.sum()).T
    return weighted.sum(axis=0), X.T @ weighted


def check_optimality(path, penalty, family, y, weights, scales=None):
    scales = np.ones(12) if scales is None else scales
    for strength, beta, constant in zip(
        path.strengths, path.coefficients, path.intercepts, strict=True
    ):
        at_intercept, gradient = mean_slope(family, X @ beta + constant, y, weights)
        np.testing.assert_allclose(at_intercept, 0, atol=1e-9)
        with jax.enable_x64(True):
            distance = scaled(penalty, strength).distance(
                (beta.T * scales).T, (gradient.T / scales).T
            )
        assert float(distance) < 1e-8


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("family", ["squared", "logistic", "poisson", "huber"])
def test_every_penalty_is_at_its_optimum(family, name):
    penalty = PENALTIES[name]
    y = TARGETS[family]
    delta = DELTA if family == "huber" else None
    path = fit_path(X, y, [0.02, 0.1, 0.3], penalty, family=family, weights=WEIGHTS, delta=delta)
    check_optimality(path, penalty, family, y, WEIGHTS)
    zeros = np.mean(path.coefficients == 0, axis=1)
    assert name == "ridge" or zeros[2] > 0
    assert zeros[0] < 1


@pytest.mark.parametrize(
    "penalty",
    [l1jax.l1(1.0), l1jax.group_l1(0.5, axis=1), l1jax.elastic_net(0.5, 0.5)],
    ids=["l1", "a group per feature", "elastic net"],
)
def test_multinomial_models_are_at_their_optimum(penalty):
    y = TARGETS["multinomial"]
    path = fit_path(X, y, [0.005, 0.03, 0.1], penalty, family="multinomial")
    assert path.coefficients.shape == (3, 12, 4)
    check_optimality(path, penalty, "multinomial", y, np.ones(60))
    np.testing.assert_allclose(path.intercepts.sum(axis=1), 0, atol=1e-12)
    zero = path.coefficients[1] == 0
    assert 0 < zero.mean() < 1
    if isinstance(penalty, l1jax.penalties.GroupL1):
        assert np.all(zero.all(axis=1) == zero.any(axis=1))


def test_multinomial_and_poisson_models_are_scikit_learns():
    names = np.array(["ant", "bee", "cat", "dog"])[CLASS]
    own = fit_path(X, names, [0.02, 0.1], l1jax.l2(1.0), family="multinomial")
    peer = LogisticRegression(C=1 / (0.02 * 60), tol=1e-12, max_iter=10_000).fit(X, names)
    assert own.classes.tolist() == peer.classes_.tolist()
    np.testing.assert_allclose(own.coefficients[0].T, peer.coef_, atol=1e-5)
    eta = predict(own, X)
    assert eta.shape == (2, 60, 4)
    np.testing.assert_allclose(eta[0], peer.decision_function(X), atol=1e-4)
    counts = TARGETS["poisson"]
    poisson = fit_path(X, counts, [0.02, 0.1], l1jax.l2(1.0), family="poisson", weights=WEIGHTS)
    other = PoissonRegressor(alpha=0.02, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
    other.fit(X, counts, WEIGHTS)
    np.testing.assert_allclose(poisson.coefficients[0], other.coef_, rtol=1e-6)
    np.testing.assert_allclose(poisson.intercepts[0], other.intercept_, rtol=1e-6)


def test_two_classes_of_the_multinomial_family_are_the_logistic_ones():
    y = TARGETS["logistic"]
    logistic = fit_path(X, y, [0.02, 0.1], family="logistic")
    # β₁ = −β₀ shares the penalty, so each half costs as much.
    both = fit_path(X, y, [0.02, 0.1], family="multinomial")
    difference = both.coefficients[:, :, 1] - both.coefficients[:, :, 0]
    np.testing.assert_allclose(difference, logistic.coefficients, atol=1e-6)


def test_the_group_lasso_is_celers():
    y = TARGETS["squared"]
    own = fit_path(X, y, [0.05, 0.3], l1jax.group_l1(1.0, l1jax.kernel_blocks((3,))))
    for strength, beta in zip(own.strengths, own.coefficients, strict=True):
        model = celer.GroupLasso(3, strength, weights=np.full(4, 3**0.5), tol=1e-14)
        np.testing.assert_allclose(beta, model.fit(np.asfortranarray(X), y).coef_, atol=1e-6)


def test_a_wide_residual_limit_makes_hubers_loss_the_squared_one():
    y = TARGETS["huber"]
    squared = fit_path(X, y, [0.05, 0.5])
    huber = fit_path(X, y, [0.05, 0.5], family="huber", delta=1e6)
    np.testing.assert_allclose(huber.coefficients, squared.coefficients, atol=1e-9)


@pytest.mark.parametrize("family", TARGETS)
def test_the_strongest_strength_is_the_first_without_coefficients(family):
    options = {"family": family, "weights": WEIGHTS, "standardize": True}
    options["delta"] = DELTA if family == "huber" else None
    y = TARGETS[family]
    strongest = linear_strengths(X, y, count=2, **options)[-1]
    path = fit_path(X, y, [0.999 * strongest, strongest], **options)
    assert np.any(path.coefficients[0])
    assert not np.any(path.coefficients[1])


@pytest.mark.parametrize("family", TARGETS)
def test_an_example_of_weight_two_counts_twice(family):
    repeated = np.repeat(np.arange(60), WEIGHTS.astype(int))
    y = TARGETS[family]
    delta = DELTA if family == "huber" else None
    grid = [0.02, 0.2]
    options = {"family": family, "delta": delta, "standardize": True}
    penalty = l1jax.elastic_net(0.7, 0.3)
    own = cross_validate(X, y, grid, FOLDS, penalty, weights=WEIGHTS, **options)
    twice = cross_validate(X[repeated], y[repeated], grid, FOLDS[repeated], penalty, **options)
    np.testing.assert_allclose(own.scores, twice.scores, rtol=1e-7)
    np.testing.assert_allclose(own.coefficients, twice.coefficients, atol=1e-7)
    np.testing.assert_allclose(own.degrees_of_freedom, twice.degrees_of_freedom, rtol=1e-6)
    if family == "huber":
        return
    own = information_criterion(X, y, grid, "aicc", penalty, weights=WEIGHTS, family=family)
    twice = information_criterion(X[repeated], y[repeated], grid, "aicc", penalty, family=family)
    np.testing.assert_allclose(own.scores, twice.scores, rtol=1e-7)


def test_the_poisson_likelihood_is_that_of_the_distribution():
    y = TARGETS["poisson"]
    own = information_criterion(X, y, [0.05, 0.1], "aic", family="poisson")
    rates = np.exp(predict(own.path, X))
    factorials = np.array([np.prod(np.arange(1.0, count + 1)) for count in y])
    likelihood = np.log(np.exp(-rates) * rates**y / factorials).sum(axis=1)
    expected = -2 * likelihood + 2 * np.sum(own.path.coefficients != 0, axis=1)
    np.testing.assert_allclose(own.scores[:, 0], expected, rtol=1e-9)


def test_standardised_columns_are_scikit_learns_in_every_fold():
    y = TARGETS["squared"]
    grid = [0.05, 0.2]
    own = cross_validate(X, y, grid, FOLDS, standardize=True)
    for fold in range(3):
        train = fold != FOLDS
        scaler = StandardScaler().fit(X[train])
        for index, strength in enumerate(grid):
            lasso = Lasso(strength, tol=1e-12).fit(scaler.transform(X[train]), y[train])
            error = y[~train] - lasso.predict(scaler.transform(X[~train]))
            np.testing.assert_allclose(own.scores[index, fold], np.mean(error**2), rtol=1e-7)
    check_optimality(own.path, l1jax.l1(1.0), "squared", y, np.ones(60), X.std(axis=0))


def test_degrees_of_freedom_of_the_elastic_net_are_the_trace_of_its_smoother():
    y = TARGETS["squared"]
    penalty = l1jax.elastic_net(0.6, 0.4)
    own = cross_validate(X, y, [0.1, 0.3], FOLDS, penalty)
    for strength, beta, found in zip(
        own.strengths, own.path.coefficients, own.degrees_of_freedom, strict=True
    ):
        a = (X - X.mean(axis=0))[:, beta != 0]
        ridge = 60 * strength * 0.4 * np.eye(a.shape[1])
        np.testing.assert_allclose(found, np.trace(a @ np.linalg.solve(a.T @ a + ridge, a.T)))


def test_debiased_models_of_any_family_have_no_gradient_on_their_support():
    for family in ("logistic", "poisson"):
        y = TARGETS[family]
        path = fit_path(X, y, [0.05, 0.1], family=family, debias=True)
        for beta, constant in zip(path.coefficients, path.intercepts, strict=True):
            at_intercept, gradient = mean_slope(family, X @ beta + constant, y, np.ones(60))
            np.testing.assert_allclose(gradient[beta != 0], 0, atol=1e-8)
            np.testing.assert_allclose(at_intercept, 0, atol=1e-8)
        assert 0 < np.mean(path.coefficients == 0) < 1


@pytest.mark.parametrize("columns", [3, 250])
def test_a_huge_example_that_is_held_out_costs_no_digits(columns):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, columns))
    y = x[:, 0] + 0.1 * rng.normal(size=40)
    x[0] *= 1e5
    weights = np.ones((2, 40))
    weights[0, 0] = 0
    grid = [0.05, 0.2]
    both = fit_path(x, y, grid, weights=weights, intercept=False)
    alone = fit_path(x[1:], y[1:], grid, intercept=False)
    strong = fit_path(x, y, [1e9, 1e10], intercept=False)  # which nothing is left to solve for
    np.testing.assert_array_equal(strong.coefficients, 0)
    np.testing.assert_allclose(both.coefficients[0], alone.coefficients, atol=1e-10)


@pytest.mark.parametrize("wide", [False, True])
def test_equal_columns_and_more_columns_than_examples_are_no_obstacle(wide):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 260 if wide else 30))
    x = np.concatenate([x, x], axis=1)
    y = x[:, 0] - x[:, 1] + 0.1 * rng.normal(size=20)
    strengths = linear_strengths(x, y, count=20, eps=1e-4)
    path = fit_path(x, y, strengths)
    for strength, beta, constant in zip(strengths, path.coefficients, path.intercepts, strict=True):
        residual = x @ beta + constant - y
        gradient = x.T @ residual / 20
        assert np.all(np.abs(gradient) <= strength + 1e-10)
        np.testing.assert_allclose(gradient @ beta, -strength * np.abs(beta).sum(), atol=1e-9)


@pytest.mark.parametrize(
    ("target", "options", "says"),
    [
        (ETA, {"family": "poisson"}, r"`target` \(from -.* must be counts or rates"),
        (np.zeros(60), {"family": "poisson"}, r"`target` \(from 0 to 0\).*not all 0"),
        (ETA, {"family": "huber"}, r"`delta` \(=None\) must be greater than 0"),
        (ETA, {"family": "huber", "delta": -1.0}, r"`delta` \(=-1.0\) must be greater than 0"),
        (ETA, {"delta": 1.0}, r"`delta` \(=1.0\) must be left out in the squared family"),
        (CLASS, {"family": "logistic"}, r"of 4 classes.*`?family=\"multinomial\""),
        (CLASS * 0, {"family": "multinomial"}, r"of 1 classes.*nothing to tell apart"),
        (["a", "b"] * 30, {"family": "poisson"}, "must hold numbers in the poisson family"),
    ],
)
def test_a_target_or_option_of_another_family_is_refused(target, options, says):
    for call in (
        lambda: fit_path(X, target, [0.1, 0.2], **options),
        lambda: cross_validate(X, target, [0.1, 0.2], FOLDS, **options),
        lambda: linear_strengths(X, target, **options),
    ):
        with pytest.raises(InputError, match=says):
            call()


def test_what_goes_together_with_a_penalty_or_family_is_told():
    y = TARGETS["poisson"]
    with pytest.raises(InputError, match=r"`family` \(='poisson'\) must be one of squared, log"):
        fit_path(X, y, [0.1, 0.2], l1jax.linf(1.0), family="poisson")
    with pytest.raises(InputError, match=r"`standardize` \(=True\) must be False with.* Linf"):
        fit_path(X, y, [0.1, 0.2], l1jax.linf(1.0), standardize=True)
    with pytest.raises(InputError, match="Huber's loss is none: take `cross_validate`"):
        information_criterion(X, y, [0.1, 0.2], family="huber", delta=1.0)
    with pytest.raises(InputError, match="the folds have their own by `folds`"):
        cross_validate(X, y, [0.1, 0.2], FOLDS, weights=np.ones((3, 60)))
    with pytest.raises(InputError, match="`weights` must leave every fold an example"):
        cross_validate(X, y, [0.1, 0.2], FOLDS, weights=FOLDS != 1)
    with pytest.raises(ValueError, match=r"`weights` of shape \(5,\) must broadcast"):
        fit_path(X, y, [0.1, 0.2], l1jax.weighted_l1(1.0, np.ones(5)))
