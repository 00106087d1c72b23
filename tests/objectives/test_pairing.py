"""Pairs of noise and images, against SciPy's exact assignment."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from l1jax.objectives.pairing import optimal_pairing

RNG = np.random.default_rng(0)
pairing = jax.jit(optimal_pairing)


def products(image, noise):
    n = len(image)
    return image.reshape(n, -1).astype(np.float64) @ noise.reshape(n, -1).T


@pytest.mark.parametrize("shape", [(1, 2), (7, 3), (64, 2), (64, 4, 4, 1)])
def test_the_pairs_are_those_of_the_exact_assignment(shape):
    for _ in range(3):
        image = np.tanh(2 * RNG.normal(size=shape)).astype(np.float32)
        noise = RNG.normal(size=shape).astype(np.float32)
        found = np.asarray(pairing(image, noise))
        assert sorted(found) == list(range(len(image)))
        benefit = products(image, noise)
        rows, columns = linear_sum_assignment(benefit, maximize=True)
        allowed = 1.1e-4 * np.ptp(benefit)
        assert benefit[rows, found].mean() >= benefit[rows, columns].mean() - allowed


def test_few_equal_images_have_the_best_sum_too():
    """Batches of points from few modes, whose benefits are nearly equal in blocks."""
    image = np.repeat(np.eye(2, dtype=np.float32), 32, 0) + 1e-3 * RNG.normal(size=(64, 2))
    noise = RNG.normal(size=(64, 2)).astype(np.float32)
    found = np.asarray(pairing(image, noise))
    benefit = products(image, noise)
    rows, columns = linear_sum_assignment(benefit, maximize=True)
    assert sorted(found) == list(range(64))
    assert benefit[rows, found].mean() >= benefit[rows, columns].mean() - 1.1e-4 * np.ptp(benefit)


def test_what_is_not_finite_still_gives_a_permutation():
    image = jnp.full((5, 2), jnp.nan)
    assert sorted(np.asarray(pairing(image, jnp.ones((5, 2))))) == list(range(5))
