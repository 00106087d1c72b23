"""Labels reach both networks, and each pass has a dropout key of its own that all devices share."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from l1jax.data.batches import Batch
from l1jax.models import Gan, Generator
from l1jax.models.network import AXIS, Network, local_slice
from l1jax.objectives.adversarial import wasserstein
from l1jax.training.discriminator_loss import Regularizers
from l1jax.training.gan_passes import GanStepConfig, init_gan
from l1jax.training.gan_step import gan_step
from l1jax.training.reconstruction_step import init_generator, make_reconstruction_step

SHAPE, BATCH, CLASSES, RATE, KEY = (1, 1, 1), 8, 3, 0.5, jax.random.key(7)
LABELS = np.array([0, 1, 1, 2, 2, 2, 1, 1])


def conditional(seen=None, dropout=False):
    """Networks with one number per class; `seen` gets a value from every pass."""

    def drop(images, key):
        if not dropout:
            return images
        whole = jax.random.bernoulli(key, 0.5, (images.shape[0] * jax.lax.axis_size(AXIS),))
        return images * local_slice(whole)[:, None, None, None]

    def generate(params, statistics, latents, train, label=None, key=None):
        return drop(params["value"][label].reshape(-1, *SHAPE), key), statistics

    def discriminate(params, statistics, images, train, label=None, key=None):
        if seen is not None:
            seen.append(key)
        return params["value"][label] * drop(images, key)[:, 0, 0, 0], statistics

    ones = lambda key: ({"value": jnp.ones(CLASSES)}, {})  # noqa: E731
    generator = Generator(Network(ones, generate), 1, SHAPE, None, classes=CLASSES)
    return Gan(generator, Network(ones, discriminate))


def after(step, state, devices=1):
    mesh = Mesh(np.asarray(jax.devices()[:devices]), (AXIS,))
    step = jax.shard_map(step, mesh=mesh, in_specs=(P(), P(None, AXIS), P()), out_specs=(P(), P()))
    image = jnp.linspace(2, 3, BATCH).reshape(1, BATCH, *SHAPE)
    index, label = jnp.arange(BATCH)[None], jnp.asarray(LABELS)[None]
    return jax.jit(step)(state, Batch(image, index, label), KEY)[0]


def test_generated_images_carry_the_labels_of_the_real_ones():
    gan, tx = conditional(), optax.sgd(RATE)
    state = after(
        partial(gan_step, GanStepConfig(gan, wasserstein, tx, tx)), init_gan(gan, tx, tx, KEY)
    )
    real, one_hot = np.linspace(2, 3, BATCH), np.eye(CLASSES)[LABELS]
    discriminator = 1 - RATE * (one_hot * (1 - real)[:, None]).mean(
        0
    )  # E D(G(z)) − E D(x), each by its class
    generator = 1 + RATE * (one_hot * discriminator).mean(0)
    np.testing.assert_allclose(state.discriminator.params["value"], discriminator, rtol=1e-6)
    np.testing.assert_allclose(state.generator.params["value"], generator, rtol=1e-6)


def test_a_reconstruction_is_of_the_images_class():
    generator, tx = conditional().generator, optax.sgd(RATE)
    step = make_reconstruction_step(generator, tx, latent_key=KEY)
    state = after(step, init_generator(generator, tx, KEY))
    error = (np.eye(CLASSES)[LABELS] * (1 - np.linspace(2, 3, BATCH))[:, None]).mean(0)
    np.testing.assert_allclose(state.generator.params["value"], 1 - RATE * 2 * error, rtol=1e-6)


def test_every_pass_has_its_own_dropout_key_the_same_on_all_devices():
    keys = []
    gan, tx = conditional(keys, dropout=True), optax.sgd(RATE)
    step = partial(
        gan_step,
        GanStepConfig(gan, wasserstein, tx, tx, regularizers=Regularizers(r1=0.1, wgan_gp=0.1)),
    )

    def used_keys(state, batch, key):
        keys.clear()
        step(state, batch, key)
        return jax.lax.all_gather(jnp.stack([jax.random.key_data(k) for k in keys]), AXIS)

    mesh = Mesh(np.asarray(jax.devices()[:2]), (AXIS,))
    specs = (P(), P(None, AXIS), P())
    used_keys = jax.shard_map(used_keys, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=False)
    batch = Batch(jnp.ones((1, BATCH, *SHAPE)), jnp.arange(BATCH)[None], jnp.asarray(LABELS)[None])
    first, second = np.asarray(jax.jit(used_keys)(init_gan(gan, tx, tx, KEY), batch, KEY))
    np.testing.assert_array_equal(first, second)
    assert (
        len({tuple(key) for key in first}) == len(first) == 5
    )  # real, fake, between; real and fake judged again


@pytest.mark.slow
def test_any_number_of_devices_drops_the_same():
    gan, tx = conditional(dropout=True), optax.sgd(RATE)
    step = partial(gan_step, GanStepConfig(gan, wasserstein, tx, tx))
    one, two = (after(step, init_gan(gan, tx, tx, KEY), devices) for devices in (1, 2))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), one, two)
    whole = after(
        partial(gan_step, GanStepConfig(conditional(), wasserstein, tx, tx)),
        init_gan(gan, tx, tx, KEY),
    )
    assert not np.allclose(one.discriminator.params["value"], whole.discriminator.params["value"])
