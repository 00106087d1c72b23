"""Criteria against their formulas; degrees of freedom against what they mean, a covariance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fast_cases import slow_except
from scipy import stats
from scipy.special import comb

import l1jax
from l1jax.config import InputError
from l1jax.penalties import scaled
from l1jax.selection import (
    aic,
    aicc,
    bic,
    degrees_of_freedom,
    ebic,
    exact_degrees_of_freedom,
    gaussian_log_likelihood,
    noise_variance,
    solve_path,
)

RNG = np.random.default_rng(0)


def test_gaussian_log_likelihood_is_the_sum_of_log_densities():
    residuals = RNG.normal(size=(3, 20))
    squares = (residuals**2).sum(axis=1)
    expected = stats.norm.logpdf(residuals, scale=0.5).sum(axis=1)
    np.testing.assert_allclose(gaussian_log_likelihood(squares, 20, 0.25), expected)
    own = [stats.norm.logpdf(r, scale=np.sqrt(np.mean(r**2))).sum() for r in residuals]
    np.testing.assert_allclose(gaussian_log_likelihood(squares, 20), own)


def test_criteria_of_a_path_are_their_formulas():
    likelihood, df, n, p = np.array([-30.0, -25.0, -24.0]), np.array([1, 3, 18]), 20, 18
    np.testing.assert_allclose(aic(likelihood, df), [62, 56, 84])
    np.testing.assert_allclose(aicc(likelihood, df, n), [62 + 4 / 18, 56 + 24 / 16, 84 + 684 / 1])
    np.testing.assert_allclose(bic(likelihood, df, n), -2 * likelihood + np.log(20) * df)
    extra = ebic(likelihood, df, n, p, 0.5) - bic(likelihood, df, n)
    np.testing.assert_allclose(extra, np.log(comb(p, df)), atol=1e-10)
    np.testing.assert_array_equal(ebic(likelihood, df, n, p, 0.0), bic(likelihood, df, n))
    assert aicc(-24.0, 19, n) == np.inf
    with pytest.raises(InputError, match="`gamma`"):
        ebic(-24.0, 3, n, p, 2.0)


@pytest.mark.slow
def test_noise_variance_is_unbiased():
    x = RNG.normal(size=(15, 6)) + 3
    y = 2 + x @ np.arange(6) + 0.5 * RNG.normal(size=(1000, 15))
    for intercept, offset in ((True, 2.0), (False, 0.0)):
        found = np.array([noise_variance(x, row - 2 + offset, intercept) for row in y])
        error = found.std() / np.sqrt(len(found))
        assert error < 0.005
        assert abs(found.mean() - 0.25) < 4 * error
    with pytest.raises(InputError, match="more rows than parameters"):
        noise_variance(x[:7], y[0, :7])
    with pytest.raises(InputError, match=r"with weights of the sum 1\.5, must have more rows than"):
        noise_variance(x, y[0], weights=np.full(15, 0.1))


def test_degrees_of_freedom_count_what_is_not_negligible():
    path = np.array([[0.0, 0.0, 1e-12], [5.0, -1e-9, 0.0], [5.0, -1e-7, 1.0]])
    np.testing.assert_array_equal(degrees_of_freedom(path), [0, 1, 3])
    np.testing.assert_array_equal(degrees_of_freedom(path, 0.1), [0, 1, 2])
    assert degrees_of_freedom(np.zeros(4)) == 0


GROUPS = l1jax.kernel_blocks((5,))
PENALTIES = {
    "lasso": l1jax.l1(0.15),
    "elastic net": l1jax.elastic_net(0.1, 0.2),
    "group lasso": l1jax.group_l1(0.15, GROUPS),
    "sparse group lasso": l1jax.sparse_group_l1(0.08, 0.08, GROUPS),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_except(PENALTIES, "lasso", "group lasso"))
def test_degrees_of_freedom_are_the_covariance_of_fit_and_target(name, x64):
    """Σ cov(ŷᵢ, yᵢ)/σ² = E⟨ŷ, ε⟩/σ over many draws of y = μ + σε.

    Its difference from the degrees of freedom has the mean 0.
    """
    rng, penalty, sigma, draws = np.random.default_rng(1), PENALTIES[name], 0.7, 600
    x = (
        rng.normal(size=(30, 20))
        @ np.linalg.cholesky(0.5 ** np.abs(np.subtract.outer(np.arange(20), np.arange(20)))).T
    )
    x -= x.mean(axis=0)
    mu = x[:, :5] @ np.array([1.0, -1.0, 0.5, 0.0, 0.0])
    noise = rng.normal(size=(draws, 30))

    def solve(y):
        return solve_path(jnp.asarray(x), y, jnp.ones(30), jnp.ones(1), penalty, intercept=False)

    fits = jax.jit(jax.vmap(solve))(mu + sigma * noise)
    beta = np.asarray(fits.coefficients.slopes[:, 0])
    assert fits.distance.max() <= 1e-10
    df = np.array([exact_degrees_of_freedom(x, b, penalty) for b in beta[:200]])
    fitted = beta @ x.T
    covariance = np.sum((fitted - fitted.mean(axis=0)) * noise, axis=1) / sigma
    error = np.hypot(covariance.std() / np.sqrt(draws), df.std() / np.sqrt(len(df)))
    assert error < 0.25
    assert abs(covariance.mean() - df.mean()) < 3.5 * error
    nonzeros = degrees_of_freedom(beta)
    if name == "lasso":
        np.testing.assert_allclose(df, nonzeros[:200])
    else:  # the count would be wrong
        assert nonzeros.mean() - df.mean() > 5 * error


def test_exact_degrees_of_freedom_scale_with_the_strength():
    x, beta, penalty = (
        RNG.normal(size=(12, 4)),
        np.array([1.0, 2.0, 0.0, 0.0]),
        l1jax.group_l1(1.0, (0,)),
    )
    df = [exact_degrees_of_freedom(x, beta, scaled(penalty, s)) for s in (0.0, 0.1, 1.0, 1e6)]
    np.testing.assert_allclose(df[0], 2)
    assert np.all(np.diff(df) < 0)
    # only the direction of β itself is left free: a rank-one fit
    np.testing.assert_allclose(df[3], 1, atol=1e-4)
