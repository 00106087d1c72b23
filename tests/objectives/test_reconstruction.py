import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import mean_squared_error as sklearn_error

from l1jax.objectives.reconstruction import activity_l1, mean_squared_error

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(3, 4, 5, 2)), RNG.normal(size=(3, 4, 5, 2))


def test_squared_error_is_scikit_learns(x64):
    found = mean_squared_error(jnp.asarray(A), jnp.asarray(B))
    np.testing.assert_allclose(found, sklearn_error(A.ravel(), B.ravel()), rtol=1e-12)
    assert mean_squared_error(jnp.asarray(A), jnp.asarray(A)) == 0


@pytest.mark.parametrize("strength", [0.0, 0.5, 3])
def test_activity_is_strength_times_the_mean_size(strength, x64):
    np.testing.assert_allclose(
        activity_l1(jnp.asarray(A), strength), strength * np.abs(A).mean(), rtol=1e-12
    )


def test_activity_pulls_every_output_to_zero_alike(x64):
    slope = jax.grad(activity_l1)(jnp.asarray(A), 0.6)
    np.testing.assert_allclose(slope, 0.6 * np.sign(A) / A.size, rtol=1e-12)
