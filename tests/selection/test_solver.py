"""The solver against other libraries and the conditions of optimality, written in NumPy."""

import celer
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import ElasticNet

import l1jax
from l1jax.selection import solve_path

RNG = np.random.default_rng(3)
WIDE = (
    RNG.normal(size=(40, 90)) * np.geomspace(0.1, 10, 90)[RNG.permutation(90)]
)  # columns of very different scales
TARGET = WIDE[:, :5].sum(axis=1) + RNG.normal(size=40)
STRENGTHS = np.geomspace(3, 0.03, 6)


def solve(x, y, strengths, penalty, weights=None, **options):
    weights = np.ones(len(x)) if weights is None else weights
    run = jax.jit(lambda *args: solve_path(*args, penalty, **options))
    fit = run(*(jnp.asarray(a, float) for a in (x, y, weights, strengths)))
    return (
        np.asarray(fit.coefficients.slopes),
        np.asarray(fit.coefficients.intercept),
        np.asarray(fit.distance),
    )


@pytest.mark.parametrize("ratio", [1.0, 0.4])
def test_elastic_net_with_weights_is_scikit_learns(x64, ratio):
    penalty = l1jax.l1(1.0) if ratio == 1 else l1jax.elastic_net(ratio, 1 - ratio)
    weights = RNG.integers(0, 3, size=40).astype(float)
    slopes, constants, distance = solve(WIDE + 2, TARGET, STRENGTHS, penalty, weights)
    assert distance.max() <= 1e-10
    for strength, own, constant in zip(STRENGTHS, slopes, constants, strict=True):
        net = ElasticNet(strength, l1_ratio=ratio, tol=1e-13, max_iter=1_000_000).fit(
            WIDE + 2, TARGET, weights
        )
        np.testing.assert_allclose(own, net.coef_, atol=1e-5)
        np.testing.assert_allclose(constant, net.intercept_, atol=1e-4)
        np.testing.assert_array_equal(own == 0, net.coef_ == 0)


def test_group_lasso_is_celers(x64):
    slopes, _, distance = solve(
        WIDE, TARGET, STRENGTHS, l1jax.group_l1(1.0, l1jax.kernel_blocks((5,))), intercept=False
    )
    assert distance.max() <= 1e-10
    for strength, own in zip(STRENGTHS, slopes, strict=True):
        model = celer.GroupLasso(
            5, strength, weights=np.full(18, 5**0.5), tol=1e-12, fit_intercept=False
        )
        np.testing.assert_allclose(own, model.fit(np.asfortranarray(WIDE), TARGET).coef_, atol=1e-4)
    assert 0 < np.mean(slopes == 0) < 1


def test_logistic_path_satisfies_the_conditions_of_optimality(x64):
    x, y = WIDE, (TARGET > 0).astype(float)
    strengths = np.geomspace(1, 1e-3, 7)
    slopes, constants, distance = solve(x, y, strengths, l1jax.l1(1.0), family="logistic")
    assert distance.max() <= 1e-10
    for strength, beta, constant in zip(strengths, slopes, constants, strict=True):
        residual = 1 / (1 + np.exp(-(x @ beta + constant))) - y
        gradient = x.T @ residual / len(x)
        assert abs(residual.mean()) < 1e-8
        np.testing.assert_allclose(
            gradient[beta != 0], -strength * np.sign(beta[beta != 0]), atol=1e-8
        )
        assert np.all(np.abs(gradient[beta == 0]) <= strength + 1e-8)
    assert 0 < np.mean(slopes == 0) < 1


def test_no_strength_is_least_squares_and_columns_may_be_constant(x64):
    x, y = load_diabetes(return_X_y=True, scaled=False)
    x = np.column_stack([x, np.full(len(x), 7.0)])
    slopes, constants, _ = solve(x - x.mean(axis=0), y, [1e6, 0.0], l1jax.l1(1.0))
    exact = np.linalg.lstsq(
        np.column_stack([x[:, :10] - x[:, :10].mean(axis=0), np.ones(len(x))]), y, rcond=None
    )[0]
    np.testing.assert_allclose(slopes[1], np.append(exact[:10], 0), rtol=1e-6)
    np.testing.assert_allclose(constants, exact[10])
    np.testing.assert_array_equal(slopes[0], 0)


@pytest.mark.parametrize(
    "penalty", [l1jax.l1(1.0), l1jax.elastic_net(0.5, 0.5)], ids=["l1", "elastic net"]
)
def test_newtons_last_step_leads_far_below_the_tolerance(x64, penalty):
    _, _, distance = solve(WIDE, TARGET, np.geomspace(3, 0.01, 30), penalty, tolerance=1e-10)
    assert distance.max() <= 1e-13


@pytest.mark.slow
def test_steps_do_not_shrink_where_all_that_changes_is_rounding(x64):
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(100, 20)), (rng.random((300, 100)) < 0.8).astype(float)
    y = x[:, :3] @ np.array([2.0, -2.0, 2.0]) + rng.normal(size=(300, 100))
    strengths = np.geomspace(2, 0.02, 25)

    def solve_one(y, weights):
        return solve_path(
            jnp.asarray(x - x.mean(axis=0)), y, weights, jnp.asarray(strengths), l1jax.l1(1.0)
        )

    fit = jax.jit(jax.vmap(solve_one))(y, weights)
    assert fit.distance.max() <= 1e-10
    assert fit.curvature.max() < 6  # the largest eigenvalue of the columns' correlations is about 2


def test_in_float32_it_comes_as_near_as_float32_does():
    slopes, _, distance = solve(WIDE, TARGET, STRENGTHS, l1jax.l1(1.0), tolerance=1e-5)
    assert slopes.dtype == np.float32
    assert distance.max() <= 1e-5
    for strength, own in zip(STRENGTHS, slopes, strict=True):
        exact = (
            ElasticNet(strength, l1_ratio=1.0, tol=1e-12, max_iter=1_000_000)
            .fit(WIDE, TARGET)
            .coef_
        )
        np.testing.assert_allclose(own, exact, atol=2e-3)
