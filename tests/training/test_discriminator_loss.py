"""Each term of the discriminator's loss in closed form, for linear networks."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

import l1jax
from l1jax.data.augmentation import Augmentation
from l1jax.data.batches import Batch
from l1jax.models import Gan, Generator
from l1jax.models.network import AXIS, Network
from l1jax.objectives.adversarial import wasserstein
from l1jax.objectives.consistency import Anchors
from l1jax.training.controllers import Balancer, BalanceState, Controllers
from l1jax.training.discriminator_loss import Regularizers
from l1jax.training.gan_passes import GanStepConfig, init_gan
from l1jax.training.gan_step import gan_step

SHAPE, BATCH, D_RATE, G_RATE = (2, 1, 1), 4, 0.1, 0.3
KEY, WEIGHT = jax.random.key(7), np.array([0.9, -0.5])
RNG = np.random.default_rng(0)
REAL = RNG.normal(size=(2, BATCH, 2)) + 2.0  # two draws
pytestmark = pytest.mark.usefixtures("x64")


def generate(params, statistics, latents, train, label=None, key=None):
    return (params["shift"] + latents).reshape(-1, *SHAPE), statistics


def discriminate(params, statistics, images, train, label=None, key=None):
    return images.reshape(-1, 2) @ params["weight"], statistics


def gan():
    generator = Network(lambda key: ({"shift": jnp.zeros(2)}, {}), generate)
    discriminator = Network(lambda key: ({"weight": jnp.asarray(WEIGHT)}, {}), discriminate)
    return Gan(
        Generator(generator, latent_size=2, image_shape=SHAPE, image_range=None), discriminator
    )


def take(steps=1, *, controllers=None, state=None, discriminator_tx=None, n_critic=1, **options):
    """States and metrics after each step on the same batch, with the Wasserstein loss."""
    g_tx, d_tx = optax.sgd(G_RATE), discriminator_tx or optax.sgd(D_RATE)
    state = state or init_gan(gan(), g_tx, d_tx, KEY, controllers)
    step = partial(
        gan_step, GanStepConfig(gan(), wasserstein, g_tx, d_tx, n_critic=n_critic, **options)
    )
    mesh = Mesh(np.asarray(jax.devices()[:1]), (AXIS,))
    step = jax.jit(
        jax.shard_map(step, mesh=mesh, in_specs=(P(), P(None, AXIS), P()), out_specs=(P(), P()))
    )
    image = jnp.asarray(REAL[:n_critic]).reshape(n_critic, BATCH, *SHAPE)
    batch = Batch(image, *jnp.zeros((2, n_critic, BATCH), jnp.int32))
    taken = []
    for _ in range(steps):
        state, metrics = step(state, batch, KEY)
        assert metrics["step_taken"] == 1
        taken.append((state, metrics))
    return taken


def latents(i=0, draws=1):
    return np.asarray(jax.random.normal(jax.random.split(KEY, draws)[i], (BATCH, 2)))


def weight_after(gradient):
    """The weight after one step on the Wasserstein loss and a term of this gradient."""
    return WEIGHT - D_RATE * (latents().mean(0) - REAL[0].mean(0) + gradient)


def double(images, numbers, probability):
    """An augmentation that multiplies by 1 + its random number (1) × probability."""
    return images * (1 + numbers[:, None, None, None] * probability)


DOUBLE = Augmentation(lambda key, count: jnp.ones(count), double)
NEGATE = Augmentation(
    lambda key, count: jnp.ones(count), lambda images, numbers, probability: -images
)
NORM = np.linalg.norm(WEIGHT)


@pytest.mark.parametrize(
    ("regularizers", "gradient"),
    [
        (Regularizers(), 0 * WEIGHT),
        (Regularizers(r1=0.5), 0.5 * WEIGHT),  # γ/2·‖w‖²
        (Regularizers(r1=0.5, r2=0.25), 0.75 * WEIGHT),
        (
            Regularizers(wgan_gp=3.0),
            3 * 2 * (NORM - 1) * WEIGHT / NORM,
        ),  # λ(‖w‖ − 1)², wherever it is looked at
        (Regularizers(dragan=2.0), 2 * 2 * (NORM - 1) * WEIGHT / NORM),
    ],
    ids=lambda value: (
        "-".join(k for k, v in value._asdict().items() if v)
        if isinstance(value, Regularizers)
        else ""
    ),
)
def test_gradient_penalties(regularizers, gradient):
    ((state, metrics),) = take(regularizers=regularizers)
    np.testing.assert_allclose(
        state.discriminator.params["weight"], weight_after(gradient), rtol=1e-10
    )
    zero_centred = (regularizers.r1 + regularizers.r2) / 2 * NORM**2
    unit_norm = (regularizers.wgan_gp + regularizers.dragan) * (NORM - 1) ** 2
    np.testing.assert_allclose(
        metrics["discriminator/gradient_penalty"], zero_centred + unit_norm, atol=1e-12
    )


@pytest.mark.slow
def test_a_lazy_penalty_acts_on_every_third_update_three_times_as_strong():
    gamma, steps = 0.5, 3
    taken = take(steps, regularizers=Regularizers(r1=gamma, penalty_every=3), n_critic=2)
    w, shift, updates = WEIGHT, np.zeros(2), 0
    for state, _ in taken:
        for i in range(2):
            gradient = (shift + latents(i, 2)).mean(0) - REAL[i].mean(0)
            gradient = gradient + (3 * gamma * w if updates % 3 == 0 else 0)
            w, updates = w - D_RATE * gradient, updates + 1
        shift = shift + G_RATE * w  # the generator minimises −E D(G(z))
        np.testing.assert_allclose(state.discriminator.params["weight"], w, rtol=1e-10)
        np.testing.assert_allclose(state.generator.params["shift"], shift, rtol=1e-10)


def test_consistency_looks_at_both_kinds_of_images():
    ((state, metrics),) = take(
        regularizers=Regularizers(consistency=0.1, consistency_transform=NEGATE)
    )
    gradient = np.zeros(2)
    for name, x in (("real", REAL[0]), ("fake", latents())):
        logits = x @ WEIGHT  # (D(x) − D(−x))² = 4(w·x)²
        gradient += 0.1 * (8 * logits[:, None] * x).mean(0)
        np.testing.assert_allclose(
            metrics[f"discriminator/consistency_{name}"], (4 * logits**2).mean(), rtol=1e-10
        )
    np.testing.assert_allclose(
        state.discriminator.params["weight"], weight_after(gradient), rtol=1e-10
    )


def test_lecam_pulls_to_the_averages_and_moves_them():
    anchors = Anchors(jnp.asarray(0.4), jnp.asarray(-0.3))
    ((state, _),) = take(
        regularizers=Regularizers(lecam=0.2), controllers=Controllers(anchors=anchors)
    )
    real, fake = REAL[0] @ WEIGHT, latents() @ WEIGHT
    gradient = 0.4 * (
        ((real + 0.3)[:, None] * REAL[0]).mean(0) + ((fake - 0.4)[:, None] * latents()).mean(0)
    )
    np.testing.assert_allclose(
        state.discriminator.params["weight"], weight_after(gradient), rtol=1e-10
    )
    np.testing.assert_allclose(
        state.controllers.anchors.real, 0.99 * 0.4 + 0.01 * real.mean(), rtol=1e-10
    )
    np.testing.assert_allclose(
        state.controllers.anchors.fake, -0.99 * 0.3 + 0.01 * fake.mean(), rtol=1e-10
    )


@pytest.mark.parametrize("probability", [None, 0.25])
def test_augmentation_changes_what_both_updates_see(probability):
    adaptive = probability is not None
    controllers = Controllers(probability=jnp.asarray(probability)) if adaptive else None

    def adapt(probability, sign, images):
        return probability + sign * images

    regularizers = Regularizers(augmentation=DOUBLE)
    ((state, _),) = take(
        regularizers=regularizers, controllers=controllers, adapt=adapt if adaptive else None
    )
    factor = 1 + (probability if adaptive else 1.0)
    weight = WEIGHT - D_RATE * factor * (latents().mean(0) - REAL[0].mean(0))
    np.testing.assert_allclose(state.discriminator.params["weight"], weight, rtol=1e-10)
    np.testing.assert_allclose(
        state.generator.params["shift"], G_RATE * factor * weight, rtol=1e-10
    )
    if adaptive:
        expected = probability + np.sign(REAL[0] @ WEIGHT).mean() * BATCH
        np.testing.assert_allclose(state.controllers.probability, expected, rtol=1e-10)


def test_the_balance_ratio_is_measured_and_sets_the_strength():
    balancer = Balancer(low=0.45, high=0.55, every=2, horizon=20)
    controllers = Controllers(balance=BalanceState(jnp.asarray(0.5), jnp.asarray(0.0)))
    tx = l1jax.proximal_sgd(D_RATE, l1jax.l1(0.01))
    (first, _), (second, _), (third, _) = take(
        3, controllers=controllers, balancer=balancer, discriminator_tx=tx
    )

    w = np.asarray(first.discriminator.params["weight"])
    before, real = (latents() @ w).mean(), (REAL[0] @ w).mean()
    after = before + G_RATE * w @ w  # the generator has moved by G_RATE·w
    ratio = (after - before) / (real - before)
    assert 0 < ratio < 0.45
    # 20/2 measurements in a horizon: each moves the average 20/10, but at most all, of the way.
    np.testing.assert_allclose(first.controllers.balance.ratio, ratio, rtol=1e-10)
    np.testing.assert_allclose(first.controllers.balance.log_scale, np.log(10) / 10, rtol=1e-10)
    np.testing.assert_allclose(
        second.controllers.balance.ratio, ratio, rtol=1e-10
    )  # step 1 is not measured
    assert third.controllers.balance.ratio != second.controllers.balance.ratio
    np.testing.assert_allclose(
        l1jax.strength(first.discriminator.opt_state), 0.01
    )  # set for the next update
    np.testing.assert_allclose(
        l1jax.strength(second.discriminator.opt_state), 0.01 * 10**0.1, rtol=1e-6
    )
