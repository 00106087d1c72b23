"""Stability selection tells what matters from what a lucky half let through."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Lasso

import l1jax
from l1jax.config import InputError
from l1jax.selection import false_selections, solve_path, stability_selection

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 12))
Y = X[:, :3] @ np.array([1.0, -1.0, 0.5]) + RNG.normal(size=80)


def fit(weights):
    strengths = jnp.array([0.4, 0.1])
    return {
        "slopes": solve_path(
            jnp.asarray(X, float),
            jnp.asarray(Y, float),
            weights,
            strengths,
            l1jax.l1(1.0),
            tolerance=1e-4,
        ).coefficients.slopes
    }


@pytest.mark.slow
def test_shares_are_those_of_scikit_learns_lasso_on_random_halves():
    shares = stability_selection(fit, 80, jax.random.key(0), resamples=200)["slopes"]
    expected = np.zeros((2, 12))
    for _ in range(200):
        half = RNG.permutation(80)[:40]
        for row, strength in zip(expected, (0.4, 0.1), strict=True):
            row += Lasso(strength).fit(X[half], Y[half]).coef_ != 0
    np.testing.assert_allclose(
        shares, expected / 200, atol=0.2
    )  # 4 standard errors of a difference of shares
    assert np.abs(shares - expected / 200).mean() < 0.04
    assert np.all(shares[0, :2] > 0.9)
    assert np.all(shares[0, 3:] < 0.5)


@pytest.mark.slow
def test_halves_are_drawn_without_replacement_from_the_key():
    def weights(key):
        return np.asarray(stability_selection(lambda w: w, 7, jax.random.key(key), resamples=1))

    assert set(np.unique(weights(0))) == {0.0, 1.0}
    assert all(weights(key).sum() == 3 for key in range(5))
    np.testing.assert_array_equal(weights(0), weights(0))
    assert any(not np.array_equal(weights(0), weights(key)) for key in range(1, 5))
    shares = stability_selection(lambda w: w, 8, jax.random.key(0), resamples=4000)
    np.testing.assert_allclose(shares, 0.5, atol=0.035)


def test_groups_are_counted_as_wholes():
    penalty = l1jax.group_l1(1.0, l1jax.kernel_blocks((2,)))
    counted = stability_selection(
        lambda w: {"kernel": jnp.stack([w[0], w[1], 0 * w[0], 1 + w[0]])},
        2,
        jax.random.key(0),
        penalty=penalty,
    )
    np.testing.assert_array_equal(
        counted["kernel"], [1.0, 1.0]
    )  # one of the two examples is always in the half


def test_bound_on_false_selections_is_the_theorems():
    assert false_selections(5.0, 0.75, 100) == 25 / (0.5 * 100)
    with pytest.raises(InputError, match="`threshold`"):
        false_selections(5.0, 0.5, 100)
    with pytest.raises(InputError, match="`examples`"):
        stability_selection(fit, 1, jax.random.key(0))
