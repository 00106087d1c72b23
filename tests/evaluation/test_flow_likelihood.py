"""The likelihood of a flow whose density is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from l1jax.evaluation.flow_likelihood import bits_per_dimension, flow_log_likelihood
from l1jax.models import Flow, Generator, Network

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
MEAN, DEVIATION = np.array([1.5, -0.5]), np.array([0.4, 1.3])


def flow_of(velocity, shape, image_range=None):
    """A flow whose velocity is this function of the points, as rows, and the time."""

    def apply(params, batch_stats, inputs, train, label=None, key=None):
        x, t = inputs[:, :-1], inputs[:, -1:]
        return velocity(x, t).reshape(-1, *shape), batch_stats

    network = Network(lambda key: ({}, {}), apply)
    generator = Generator(network, int(np.prod(shape)), shape, image_range)
    return Flow(network, generator, "velocity")


def gaussian(x, t):
    """E[x₁ − x₀ | x_t] for x₀ ~ N(0, 1) and x₁ ~ N(MEAN, DEVIATION²), entry by entry."""
    variance = (1 - t) ** 2 + (t * DEVIATION) ** 2
    return MEAN + (t * DEVIATION**2 - (1 - t)) / variance * (x - t * MEAN)


def test_a_gaussian_has_its_density(x64):
    points = MEAN + DEVIATION * RNG.normal(size=(6, 2))
    nats = flow_log_likelihood(flow_of(gaussian, (1, 1, 2)), steps=200)
    found = nats({}, {}, jnp.asarray(points.reshape(-1, 1, 1, 2)), KEY)
    expected = stats.norm.logpdf(points, MEAN, DEVIATION).sum(1)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_the_trace_of_a_full_matrix_is_estimated_without_bias(x64):
    """x₁ = exp(A)·x₀, so that log p falls by the trace of A."""
    matrix = np.array([[0.3, 0.5], [0.4, -0.7]])
    shape = (1, 1, 2)
    nats = flow_log_likelihood(flow_of(lambda x, t: x @ matrix.T, shape), 20, probes=4)
    points = RNG.normal(size=(2_000, 2))
    found = nats({}, {}, jnp.asarray(points.reshape(-1, *shape)), KEY)
    values, vectors = np.linalg.eig(matrix)
    inverse = vectors @ np.diag(np.exp(-values)) @ np.linalg.inv(vectors)
    expected = stats.norm.logpdf(points @ inverse.T).sum(1) - np.trace(matrix)
    error = np.asarray(found) - expected
    assert 0.2 < error.std() < 0.6  # (0.5 + 0.4)/√4 = 0.45
    assert abs(error.mean()) < 4 * error.std() / np.sqrt(len(error))


def test_bytes_have_the_probability_of_their_width():
    """Without a velocity the pixels are normal, and a byte has 1/255 of their range."""
    shape = (3, 3, 1)
    images = RNG.integers(60, 200, (4, *shape)).astype(np.uint8)
    flow = flow_of(lambda x, t: 0 * x, shape, (-1.0, 1.0))
    found = flow_log_likelihood(flow, steps=1)({}, {}, jnp.asarray(images), KEY)
    edges = [-1 + 2 * (images + side) / 255 for side in (-0.5, 0.5)]
    probability = stats.norm.cdf(edges[1]) - stats.norm.cdf(edges[0])
    np.testing.assert_allclose(found, np.log(probability).sum((1, 2, 3)), atol=0.02)


def test_bits_per_dimension_have_students_interval():
    bits = RNG.normal(3, 0.2, size=12)
    found = bits_per_dimension(-bits * 10 * np.log(2), 10)
    low, high = stats.t.interval(0.95, 11, bits.mean(), stats.sem(bits))
    assert found.count == 12
    np.testing.assert_allclose([found.mean, *found.interval], [bits.mean(), low, high])
    assert bits_per_dimension(np.array([-np.log(2)]), 1) == (pytest.approx(1), None, 1)


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match=r"`steps` \(=0\).* at least 1"):
        flow_log_likelihood(flow_of(gaussian, (1, 1, 2)), steps=0)
