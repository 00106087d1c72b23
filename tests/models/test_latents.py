"""Where interpolated and truncated latents lead, against geometry and SciPy's truncated normal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from l1jax.models.latents import slerp, truncate

LATENTS = jax.random.normal(jax.random.key(0), (2, 50, 8))


def test_a_quarter_circle_is_followed():
    a, b = jnp.array([[2.0, 0, 0]]), jnp.array([[0.0, 4, 0]])
    for position in (0, 0.25, 0.5, 1):
        angle, length = np.pi / 2 * position, 2 + 2 * position
        wanted = [[length * np.cos(angle), length * np.sin(angle), 0]]
        np.testing.assert_allclose(slerp(a, b, position), wanted, atol=1e-6)


def test_interpolation_is_even_and_keeps_lengths_between():
    path = np.stack([slerp(*LATENTS, t) for t in np.linspace(0, 1, 11)])
    np.testing.assert_allclose(path[0], LATENTS[0], atol=1e-5)
    np.testing.assert_allclose(path[-1], LATENTS[1], atol=1e-5)
    lengths = np.linalg.norm(path, axis=-1)
    np.testing.assert_allclose(np.diff(lengths, 2, axis=0), 0, atol=1e-5)
    angles = np.sum(path[1:] * path[:-1], -1) / (lengths[1:] * lengths[:-1])
    np.testing.assert_allclose(angles, np.broadcast_to(angles[0], angles.shape), atol=1e-5)


@pytest.mark.parametrize("factor", [0.0, 1.0, 3.0, -1.0])
def test_equal_and_opposite_latents_are_joined_by_a_line(factor):
    a = LATENTS[0]
    np.testing.assert_allclose(slerp(a, factor * a, 0.25), (0.75 + 0.25 * factor) * a, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("largest", [0.1, 0.5, 1.0, 3.0])
def test_truncation_is_that_of_the_truncated_normal(largest):
    z = np.linspace(-6, 6, 241)
    wanted = scipy.stats.truncnorm(-largest, largest).ppf(scipy.stats.norm.cdf(z))
    np.testing.assert_allclose(
        truncate(jnp.asarray(z, jnp.float32)[None], largest)[0], wanted, atol=2e-5 + 2e-4 * largest
    )


def test_truncation_far_out_changes_nothing():
    np.testing.assert_allclose(truncate(LATENTS[0], 8.0), LATENTS[0], rtol=1e-4, atol=1e-5)
