"""Flow matching's pieces, against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import kstest, norm

from l1jax.objectives.flow_matching import between, draw_times, velocity_error

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (-0.5, 0.7)])
def test_times_are_logit_normal_or_uniform(mean, deviation):
    logit_normal = draw_times(KEY, 4_000, "logit_normal", mean, deviation)

    def distribution(t):
        return norm.cdf((np.log(t) - np.log1p(-t) - mean) / deviation)

    assert kstest(np.asarray(logit_normal), distribution).pvalue > 0.01
    assert kstest(np.asarray(draw_times(KEY, 4_000, "uniform")), "uniform").pvalue > 0.01
    median = float(np.median(logit_normal))
    assert median == pytest.approx(expit(mean), abs=0.02)


def test_points_lie_on_the_line_from_noise_to_image():
    noise, image = RNG.normal(size=(2, 3, 4, 4, 1)).astype(np.float32)
    time = np.array([0.0, 0.25, 1.0], np.float32)
    found = between(jnp.asarray(noise), jnp.asarray(image), jnp.asarray(time))
    np.testing.assert_allclose(found[0], noise[0])
    np.testing.assert_allclose(found[1], 0.75 * noise[1] + 0.25 * image[1], rtol=1e-6)
    np.testing.assert_allclose(found[2], image[2])


def test_the_error_is_that_of_the_velocity():
    drawn = RNG.normal(size=(3, 5, 2, 3, 1)).astype(np.float32)
    velocity, noise, image = map(jnp.asarray, drawn)
    expected = ((drawn[0] - (drawn[2] - drawn[1])) ** 2).reshape(5, -1).mean(1)
    np.testing.assert_allclose(velocity_error(velocity, image - noise), expected, rtol=1e-5)
