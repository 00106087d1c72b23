"""A batch in parts gives the update of the whole batch."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from l1jax.data.batches import Batch
from l1jax.models import dense_generator, flow_mlp, mlp_gan, transformer, vae
from l1jax.models.network import AXIS
from l1jax.objectives.adversarial import relativistic_pairing
from l1jax.training.discriminator_loss import Regularizers
from l1jax.training.flow_step import make_flow_step
from l1jax.training.gan_passes import GanStepConfig, init_gan
from l1jax.training.gan_step import gan_step
from l1jax.training.next_token_step import make_next_token_step
from l1jax.training.reconstruction_step import init_generator, make_reconstruction_step
from l1jax.training.step import accumulate_gradients, pmean
from l1jax.training.vae_step import init_vae, make_vae_step

SHAPE, BATCH, KEY = (4, 4, 1), 12, jax.random.key(7)
TX = optax.adam(0.1)
pytestmark = pytest.mark.usefixtures("x64")


def in_float64(tree):
    return jax.tree.map(
        lambda x: x.astype(float) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
    )


def mapped(function, devices, *specs):
    mesh = Mesh(np.asarray(jax.devices()[:devices]), (AXIS,))
    return jax.jit(jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=P()))


def after(step, state, draws, devices):
    rng = np.random.default_rng(0)
    image = jnp.asarray(
        rng.uniform(-1, 1, (draws, BATCH, *SHAPE))
    )  # float64, as bytes do not become
    batch = Batch(image, *jnp.asarray(rng.integers(0, 9, (2, draws, BATCH)), jnp.int32))
    return mapped(step, devices, P(), P(None, AXIS), P())(state, batch, KEY)


def assert_same(a, b, rtol=1e-9, atol=1e-12):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), a, b)


@pytest.mark.slow
@pytest.mark.parametrize(("parts", "devices"), [pytest.param(3, 1, marks=pytest.mark.slow), (2, 2)])
def test_a_gan_step_in_parts_is_the_step(parts, devices):
    gan = mlp_gan(SHAPE, latent_size=3, generator_hidden=(5,), discriminator_hidden=(5,))
    gan = gan._replace(generator=gan.generator._replace(image_range=None))
    state = in_float64(jax.jit(partial(init_gan, gan, TX, TX))(jax.random.key(1)))
    whole, cut = (
        partial(
            gan_step,
            GanStepConfig(
                gan,
                relativistic_pairing,
                TX,
                TX,
                regularizers=Regularizers(r1=0.4, r2=0.2),
                n_critic=2,
                accumulate=k,
            ),
        )
        for k in (1, parts)
    )
    assert_same(after(cut, state, 2, devices), after(whole, state, 2, 1))


@pytest.mark.slow
def test_a_reconstruction_in_parts_is_the_step():
    generator = dense_generator(SHAPE, latent_size=3, hidden=(5,))._replace(image_range=None)
    state = in_float64(jax.jit(partial(init_generator, generator, TX))(jax.random.key(1)))
    whole, cut = (
        make_reconstruction_step(
            generator, TX, latent_key=jax.random.key(3), activity_strength=0.3, accumulate=k
        )
        for k in (1, 4)
    )
    assert_same(after(cut, state, 1, 1), after(whole, state, 1, 1))


@pytest.mark.slow
def test_a_flow_step_in_parts_is_the_step():
    flow = flow_mlp(SHAPE, (5,), 4, output="linear", classes=9, average_velocity=True)
    state = in_float64(init_generator(flow.generator, TX, jax.random.key(1)))
    options = {"label_dropout": 0.5, "instants": 0.5, "guidance": 0.5}
    whole, cut = (make_flow_step(flow, TX, **options, accumulate=k) for k in (1, 3))
    assert_same(after(cut, state, 1, 2), after(whole, state, 1, 1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("samples", "devices"), [pytest.param(1, 1, marks=pytest.mark.slow), (3, 2)]
)
def test_a_vae_step_in_parts_is_the_step(samples, devices):
    model = vae(SHAPE, latent_size=3, hidden=(5,))
    state = in_float64(jax.jit(partial(init_vae, model, TX, TX))(jax.random.key(1)))
    whole, cut = (make_vae_step(model, TX, TX, samples=samples, accumulate=k) for k in (1, 3))
    assert_same(after(cut, state, 1, devices), after(whole, state, 1, 1))


@pytest.mark.slow
def test_a_next_token_step_in_parts_is_the_step():
    model = transformer(5, 4, 1, 1, context=6)
    state = in_float64(init_generator(model, TX, jax.random.key(1)))
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, 5, (1, BATCH, 7)), jnp.int32)
    batch = Batch(tokens, *jnp.zeros((2, 1, BATCH), jnp.int32))
    whole, cut = (
        mapped(make_next_token_step(model, TX, accumulate=k), devices, P(), P(None, AXIS), P())
        for k, devices in ((1, 1), (3, 2))
    )
    # JAX computes the softmax of attention in float32 whatever the inputs are.
    assert_same(cut(state, batch, KEY), whole(state, batch, KEY), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("parts", "devices"), [(1, 1), (3, 1), (3, 2)])
def test_parts_are_averaged_and_each_has_its_own_key(parts, devices):
    x = np.arange(12.0).reshape(12, 1) ** 2

    def statistics(x, key):  # each device has its own x; the second number is the same on all
        largest, mean, noise = accumulate_gradients(
            lambda part, key: (part.max(), jnp.ones(()), jax.random.normal(key, ())), x, key, parts
        )
        return pmean((largest, mean, noise))

    largest, one, noise = mapped(statistics, devices, P(AXIS), P())(jnp.asarray(x), KEY)
    by_hand = [
        x.reshape(devices, -1)[d][j::parts].max() for d in range(devices) for j in range(parts)
    ]
    np.testing.assert_allclose(largest, np.mean(by_hand))
    assert one == 1
    keys = [KEY] if parts == 1 else jax.random.split(KEY, parts)
    np.testing.assert_allclose(noise, np.mean([jax.random.normal(key, ()) for key in keys]))
