"""The VAE's step against a textbook one, on one device and on eight."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from scipy import stats
from scipy.special import logsumexp

from l1jax.data.batches import Batch
from l1jax.evaluation.likelihood import log_likelihood
from l1jax.models import vae
from l1jax.models.network import AXIS
from l1jax.training.vae_step import init_vae, make_vae_step

SHAPE, BATCH, LATENT, RATE = (4, 4, 1), 16, 2, 1e-3
KEY = jax.random.key(7)
TX = optax.sgd(RATE)
MODEL = vae(SHAPE, LATENT, (), (5,), "gaussian", classes=3)
DROPPING = vae(
    SHAPE, LATENT, (), (5,), "gaussian", classes=3, encoder_dropout=0.2, decoder_dropout=0.4
)
pytestmark = pytest.mark.usefixtures("x64")


def batch():
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.integers(0, 256, (1, BATCH, *SHAPE), np.uint8))
    return Batch(
        image,
        jnp.zeros((1, BATCH), jnp.int32),
        jnp.asarray(rng.integers(0, 3, (1, BATCH)), jnp.int32),
    )


@cache
def start():
    state = jax.jit(lambda key: init_vae(MODEL, TX, TX, key))(jax.random.key(1))
    return jax.tree.map(
        lambda x: x.astype(float) if jnp.issubdtype(x.dtype, jnp.floating) else x, state
    )


def stepped(devices=1, state=None, model=MODEL, **options):
    mesh = Mesh(np.asarray(jax.devices()[:devices]), (AXIS,))
    step = make_vae_step(model, TX, TX, ema_decay=0.9, **options)
    mapped = jax.shard_map(
        step, mesh=mesh, in_specs=(P(), P(None, AXIS), P()), out_specs=(P(), P())
    )
    return jax.jit(mapped)(state or start(), batch(), KEY)


def textbook(params, beta, free_nats, samples):
    """The objective in SciPy's densities, with the draws that the step makes."""
    pixel_key, latent_key = jax.random.split(KEY)
    images, label = batch().example[0], batch().label[0]
    x = (images + jax.random.uniform(pixel_key, images.shape)) / 256
    mean, log_variance = jnp.split(MODEL.encoder.apply(params[0], {}, x, True, label)[0], 2, -1)
    noise = jax.random.normal(latent_key, (BATCH, samples, LATENT))
    joint = []
    for k in range(samples):
        z = mean + jnp.exp(log_variance / 2) * noise[:, k]
        raw, log_scale = jnp.split(MODEL.decoder.apply(params[1], {}, z, True, label)[0], 2, -1)
        logpdf = jax.scipy.stats.norm.logpdf
        likelihood = (logpdf(x, jax.nn.sigmoid(raw), jnp.exp(log_scale)) - np.log(256)).sum(
            (1, 2, 3)
        )
        joint.append(
            (
                likelihood,
                likelihood + (logpdf(z) - logpdf(z, mean, jnp.exp(log_variance / 2))).sum(1),
            )
        )
    if samples > 1:
        return -jnp.mean(
            jax.scipy.special.logsumexp(jnp.stack([w for _, w in joint]), 0) - np.log(samples)
        )
    kl = 0.5 * (mean**2 + jnp.exp(log_variance) - 1 - log_variance).mean(0)
    return -joint[0][0].mean() + beta * jnp.maximum(kl, free_nats).sum()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("beta", "free_nats", "samples"),
    [
        pytest.param(1.0, 0.0, 1, marks=pytest.mark.slow),
        (4.0, 0.3, 1),
        pytest.param(1.0, 0.0, 3, marks=pytest.mark.slow),
    ],
)
def test_a_step_descends_the_textbooks_objective(beta, free_nats, samples):
    state = start()
    after, metrics = stepped(beta=beta, free_nats=free_nats, samples=samples)
    value, grads = jax.jit(jax.value_and_grad(textbook), static_argnums=(1, 2, 3))(
        (state.encoder.params, state.generator.params), beta, free_nats, samples
    )
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-10)
    for network, grad in zip(("encoder", "generator"), grads, strict=True):
        expected = jax.tree.map(lambda p, g: p - RATE * g, getattr(state, network).params, grad)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12),
            getattr(after, network).params,
            expected,
        )
        norm = np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(grad)))
        np.testing.assert_allclose(metrics[f"{network}/gradient_norm"], norm, rtol=1e-9)
    assert after.step == 1
    moved = jax.tree.map(  # decay 1/10 at first; an entry that leaves 0 restarts where it is
        lambda p, q: jnp.where(p == 0, q, p + 0.9 * (q - p)),
        state.average.params,
        after.generator.params,
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9),
        after.average.params,
        moved,
    )


OPTIONS = [{"free_nats": 0.3}, {"samples": 2, "model": DROPPING}]


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS)
def test_eight_devices_take_the_same_step(options):
    alone, spread = stepped(1, **options), stepped(8, **options)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13), spread, alone
    )


@pytest.mark.slow
def test_dropout_in_one_network_is_in_that_network_alone():
    """The divergence is the encoder's alone, and the likelihood hears of both networks."""
    _, plain = stepped()
    decoder = vae(SHAPE, LATENT, (), (5,), "gaussian", classes=3, decoder_dropout=0.5)
    encoder = vae(SHAPE, LATENT, (), (5,), "gaussian", classes=3, encoder_dropout=0.5)
    _, of_decoder = stepped(model=decoder)
    _, of_encoder = stepped(model=encoder)
    np.testing.assert_allclose(of_decoder["divergence"], plain["divergence"], rtol=1e-12)
    assert abs(of_decoder["log_likelihood"] - plain["log_likelihood"]) > 1e-3
    assert abs(of_encoder["divergence"] - plain["divergence"]) > 1e-3


def test_a_step_that_is_not_finite_changes_nothing_but_the_count():
    state = start()
    infinite = jax.tree.map(lambda p: p * jnp.inf, state.generator.params)
    state = state._replace(generator=state.generator._replace(params=infinite))
    after, metrics = stepped(state=state)
    assert metrics["step_taken"] == 0
    assert after.step == 1
    jax.tree.map(np.testing.assert_array_equal, after._replace(step=0), state._replace(step=0))


@pytest.mark.slow
def test_the_likelihood_of_images_is_the_integral_over_the_latent():
    model = vae((2, 2, 1), 1, (), (3,), "bernoulli")
    encoder, decoder = (net.init(jax.random.key(3))[0] for net in (model.encoder, model.decoder))
    encoder = jax.tree.map(
        lambda leaf: 0.1 * leaf, encoder
    )  # draws close to the prior, which reach everywhere
    images = jnp.asarray(np.random.default_rng(0).choice([0, 255], (3, 2, 2, 1)).astype(np.uint8))
    found = jax.jit(log_likelihood(model, 4096, 512))(encoder, decoder, images, KEY)
    z = np.linspace(-8, 8, 4001)
    logits, _ = model.decoder.apply(decoder, {}, jnp.asarray(z)[:, None], False)
    white = np.asarray(images)[:, None] / 255
    mass = (white * logits - np.logaddexp(0, logits)).sum((2, 3, 4))
    expected = logsumexp(mass + stats.norm.logpdf(z), axis=1) + np.log(z[1] - z[0])
    np.testing.assert_allclose(found, expected, atol=0.02)
    with pytest.raises(ValueError, match=r"`samples` \(=10\) must be divisible by `chunk` \(=4\)"):
        log_likelihood(model, 10, 4)
