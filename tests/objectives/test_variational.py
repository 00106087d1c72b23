import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, logsumexp

from l1jax.objectives.variational import (
    LIKELIHOODS,
    bits_per_dimension,
    gaussian_kl,
    importance_weighted_bound,
    log_weights,
    negative_elbo,
)

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (5, 3, 4, 2), np.uint8)
PIXELS[0, 0, 0] = 0, 255
LOCATION, LOG_SCALE = RNG.normal(size=(2, 5, 3, 4, 2))
pytestmark = pytest.mark.usefixtures("x64")


def found(name, location, log_scale, pixels, u):
    likelihood = LIKELIHOODS[name]
    outputs = [location] if name == "bernoulli" else [location, log_scale]
    x = likelihood.prepare(jnp.asarray(pixels), jnp.asarray(u))
    return likelihood.log_likelihood(jnp.asarray(np.concatenate(outputs, -1)), x)


def test_bernoulli_is_of_black_and_white_images_drawn_from_the_grey_ones():
    u = RNG.uniform(size=PIXELS.shape)
    white = u < PIXELS / 255
    expected = np.where(white, np.log(expit(LOCATION)), np.log(1 - expit(LOCATION))).sum((1, 2, 3))
    np.testing.assert_allclose(found("bernoulli", LOCATION, None, PIXELS, u), expected, rtol=1e-12)


def test_gaussian_is_scipys_density_of_pixels_spread_over_their_interval():
    u = RNG.uniform(size=PIXELS.shape)
    density = stats.norm.logpdf((PIXELS + u) / 256, expit(LOCATION), np.exp(LOG_SCALE))
    expected = (density - np.log(256)).sum((1, 2, 3))
    np.testing.assert_allclose(
        found("gaussian", LOCATION, LOG_SCALE, PIXELS, u), expected, rtol=1e-12
    )


def test_discretized_logistic_is_scipys_mass_of_each_pixel():
    location, scale, half = expit(LOCATION), np.exp(LOG_SCALE), 0.5 / 255
    above = np.where(PIXELS == 255, 1, stats.logistic.cdf(PIXELS / 255 + half, location, scale))
    below = np.where(PIXELS == 0, 0, stats.logistic.cdf(PIXELS / 255 - half, location, scale))
    expected = np.log(above - below).sum((1, 2, 3))
    result = found("discretized_logistic", LOCATION, LOG_SCALE, PIXELS, np.zeros(PIXELS.shape))
    np.testing.assert_allclose(result, expected, rtol=1e-9)


@pytest.mark.parametrize("name", ["discretized_logistic", "bernoulli"])
@pytest.mark.parametrize("log_scale", [-9.0, -2.0, 3.0])
def test_the_masses_of_all_pixels_sum_to_1(name, log_scale):
    count = 256 if name == "discretized_logistic" else 2
    pixels = np.linspace(0, 255, count).astype(np.uint8).reshape(-1, 1, 1, 1)
    location = np.full(pixels.shape, 0.3)
    masses = found(
        name, location, np.full(pixels.shape, log_scale), pixels, np.full(pixels.shape, 0.5)
    )
    np.testing.assert_allclose(logsumexp(masses), 0, atol=1e-9)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_far_off_decoders_have_finite_gradients(name):
    with jax.enable_x64(False):
        location = np.asarray([-80, -20, 0, 20, 80] * 2, np.float32).reshape(10, 1, 1, 1)
        pixels = np.repeat(np.asarray([0, 255], np.uint8), 5).reshape(10, 1, 1, 1)
        for log_scale in (-7.0, 0.0, 9.0):
            scales = np.full(location.shape, log_scale, np.float32)

            def total(both, pixels=pixels):
                u = jnp.zeros(pixels.shape)
                outputs = both if name != "bernoulli" else both[..., :1]
                x = LIKELIHOODS[name].prepare(jnp.asarray(pixels), u)
                return LIKELIHOODS[name].log_likelihood(outputs, x).sum()

            value, slope = jax.value_and_grad(total)(
                jnp.asarray(np.concatenate([location, scales], -1))
            )
            assert np.isfinite(value)
            assert np.isfinite(slope).all()


def test_divergence_is_an_integral():
    mean, log_variance = RNG.normal(size=(2, 3, 2))
    z = np.linspace(-40, 40, 200_001)
    for i in np.ndindex(3, 2):
        q, p = stats.norm(mean[i], np.exp(log_variance[i] / 2)), stats.norm()
        expected = np.trapezoid(q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), z)
        found = gaussian_kl(jnp.asarray(mean), jnp.asarray(log_variance))[i]
        np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_free_nats_are_free_and_beta_weighs():
    log_likelihood, kl = jnp.asarray([-3.0, -5.0]), jnp.asarray([[0.1, 2.0], [0.3, 4.0]])
    assert negative_elbo(log_likelihood, kl) == 4 + (0.4 + 6) / 2
    np.testing.assert_allclose(negative_elbo(log_likelihood, kl, 2.0, 0.5), 4 + 2 * (0.5 + 3))
    slope = jax.grad(lambda kl: negative_elbo(log_likelihood, kl, 1.0, 0.5))(kl)
    np.testing.assert_array_equal(slope, [[0, 0.5], [0, 0.5]])


@pytest.mark.slow
def test_with_the_exact_posterior_every_draw_gives_the_evidence():
    # x = w·z + s·noise: p(x) = N(0, w² + s²), the posterior is normal.
    x, w, s = 1.3, 0.8, 0.5
    variance = s**2 / (w**2 + s**2)
    mean = x * w / (w**2 + s**2)
    z = RNG.normal(mean, np.sqrt(variance), (7, 1, 1))
    weights = log_weights(
        jnp.asarray(stats.norm.logpdf(x, w * z[..., 0], s)),
        jnp.asarray(z),
        jnp.full((1, 1), mean),
        jnp.full((1, 1), np.log(variance)),
    )
    np.testing.assert_allclose(weights, stats.norm.logpdf(x, 0, np.hypot(w, s)), rtol=1e-10)
    np.testing.assert_allclose(importance_weighted_bound(weights), weights[0], rtol=1e-10)


def test_the_bound_is_the_log_of_the_mean():
    weights = RNG.normal(size=(6, 4)) * 30 - 500
    np.testing.assert_allclose(
        importance_weighted_bound(jnp.asarray(weights)), logsumexp(weights, 0) - np.log(6)
    )


def test_a_fair_coin_per_entry_is_one_bit():
    assert bits_per_dimension(jnp.asarray(12 * np.log(2)), (2, 3, 2)) == 1
