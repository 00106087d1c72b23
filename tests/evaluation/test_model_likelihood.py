"""Likelihoods by one function for every model, against densities that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from l1jax.evaluation.model_likelihood import evaluate_likelihood, make_model_likelihood
from l1jax.models import mlp_gan
from l1jax.models.flow import flow_mlp
from l1jax.models.vae import vae
from l1jax.training.held_out_bound import MAX_FLOW_IMAGES, make_likelihood
from l1jax.training.state import Average, GeneratorState

RNG = np.random.default_rng(0)
POINTS = RNG.normal(1, 0.5, size=(230, 1, 1, 2)).astype(np.float32)
EXPECTED = stats.norm.logpdf(POINTS).sum((1, 2, 3))


@pytest.fixture(scope="module")
def still():
    """A flow of zero velocity, so that points are normal; its average."""
    flow = flow_mlp((1, 1, 2), (4,), 2, predicts="velocity", output="linear")
    params, stats = flow.predictor.init(jax.random.key(0))
    return flow, Average(jax.tree.map(jnp.zeros_like, params), stats)


def test_an_evaluation_has_the_mean_and_its_error(still):
    flow, average = still
    found = evaluate_likelihood(flow, None, average, POINTS, None, jax.random.key(0))["likelihood"]
    assert found["nats"] == pytest.approx(EXPECTED.mean(), rel=1e-5)
    assert found["standard_error"] == pytest.approx(EXPECTED.std(ddof=1) / 230**0.5, rel=1e-5)
    assert found["protocol"].endswith("230 of the real examples")
    assert "bits_per_dimension" not in found  # a density has no bits
    assert found["is_bound"] is False  # the steps towards the noise have an error of their own


def test_a_flow_in_training_is_judged_by_examples_from_everywhere(still):
    flow, average = still
    found = make_likelihood(flow, POINTS, np.zeros(len(POINTS), int), seed=3)
    state = GeneratorState(jnp.asarray(0), None, average)
    of_few = found.compute(state, np.arange(40, 60))
    assert of_few == pytest.approx(EXPECTED[40:60].mean(), rel=1e-5)
    taken = np.linspace(0, 229, MAX_FLOW_IMAGES).astype(int)
    of_all = found.compute(state, np.arange(len(POINTS)))
    assert of_all == pytest.approx(EXPECTED[taken].mean(), rel=1e-5)


def test_a_gan_has_none():
    assert make_model_likelihood(mlp_gan((8, 8, 1), 4, (8,), (8,)), 8) is None


@pytest.mark.parametrize("draws", [8, 48])
def test_an_autoencoder_has_any_number_of_draws(draws):
    model = vae((8, 8, 1), 4, hidden=(8,), likelihood="bernoulli")
    encoder, decoder = (
        jax.tree.map(jnp.zeros_like, network.init(jax.random.key(0))[0])
        for network in (model.encoder, model.decoder)
    )
    images = jnp.asarray(RNG.integers(0, 256, (3, 8, 8, 1), np.uint8))
    nats = make_model_likelihood(model, draws).nats(
        encoder, decoder, {}, images, jax.random.key(1), None
    )
    # Without weights the encoder gives the prior, and each pixel is black or white like a coin.
    np.testing.assert_allclose(nats, np.full(3, -64 * np.log(2)), rtol=1e-5)
