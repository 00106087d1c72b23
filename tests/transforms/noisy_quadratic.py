"""A noisy quadratic in float64, and the iterates of a transformation on it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

STEPS = 60
SIZE = 12
STRENGTH = 0.3
ETA = 0.05
RNG = np.random.default_rng(0)
START = RNG.normal(size=SIZE)
CURVATURE = np.exp(RNG.normal(size=SIZE))
# A noisy quadratic: the gradient at update k is h·(w − target_k).
TARGETS = RNG.normal(size=(STEPS, SIZE)) + 0.5


def rate(count):
    return ETA / (1 + 0.1 * count)


def soft(x, threshold):
    return np.sign(x) * np.maximum(np.abs(x) - threshold, 0)


def iterates(
    tx: optax.GradientTransformation, of: Any = lambda state, params: params
) -> np.ndarray:
    """The parameters, or what `of` takes from state and parameters, after each update."""

    @jax.jit
    def run():
        def step(carry, target):
            params, state = carry
            updates, state = tx.update(CURVATURE * (params - target), state, params)
            params = optax.apply_updates(params, updates)
            return (params, state), of(state, params)

        start = jnp.asarray(START)
        return jax.lax.scan(step, (start, tx.init(start)), jnp.asarray(TARGETS))[1]

    return np.asarray(run())


def assert_close(actual: np.ndarray, expected: list[np.ndarray], tolerance: float = 1e-12):
    np.testing.assert_allclose(actual, np.asarray(expected), rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(actual == 0, np.asarray(expected) == 0)
    assert 0.02 < np.mean(actual == 0) < 0.98
    assert not np.any(np.signbit(actual[actual == 0]))
