"""Steps against textbook transcriptions: two networks, plain gradients, no sharing of passes."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from l1jax.data.batches import Batch
from l1jax.models import dense_generator, from_uint8, mlp_gan
from l1jax.models.network import AXIS
from l1jax.objectives.adversarial import minimax, non_saturating, relativistic_pairing
from l1jax.training.discriminator_loss import Regularizers
from l1jax.training.gan_passes import GanStepConfig, init_gan
from l1jax.training.gan_step import gan_step
from l1jax.training.reconstruction_step import init_generator, make_reconstruction_step
from l1jax.training.state import Average, NetworkState
from l1jax.training.step import update_average

SHAPE, BATCH, RATE = (4, 4, 1), 6, 0.1
KEY = jax.random.key(7)
pytestmark = pytest.mark.usefixtures("x64")


def log_sigmoid(x):
    return -jnp.log1p(jnp.exp(-x))


TEXTBOOK = {
    "minimax": (
        minimax,
        lambda real, fake: (
            -jnp.mean(log_sigmoid(real)) - jnp.mean(jnp.log(1 - jax.nn.sigmoid(fake)))
        ),
        lambda real, fake: jnp.mean(jnp.log(1 - jax.nn.sigmoid(fake))),
    ),
    "non_saturating": (
        non_saturating,
        lambda real, fake: (
            -jnp.mean(log_sigmoid(real)) - jnp.mean(jnp.log(1 - jax.nn.sigmoid(fake)))
        ),
        lambda real, fake: -jnp.mean(log_sigmoid(fake)),
    ),
    "relativistic_pairing": (
        relativistic_pairing,
        lambda real, fake: -jnp.mean(log_sigmoid(real - fake)),
        lambda real, fake: -jnp.mean(log_sigmoid(fake - real)),
    ),
}


def in_float64(tree):
    return jax.tree.map(
        lambda x: x.astype(float) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
    )


def on_one_device(step):
    """The step as the loop runs it, over a mapped axis of one device."""
    mesh = Mesh(np.asarray(jax.devices()[:1]), (AXIS,))
    return jax.jit(
        jax.shard_map(step, mesh=mesh, in_specs=(P(), P(None, AXIS), P()), out_specs=(P(), P()))
    )


def batch(draws):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (draws, BATCH, *SHAPE), np.uint8)
    return Batch(jnp.asarray(image), *jnp.asarray(rng.integers(0, 9, (2, draws, BATCH)), jnp.int32))


GAN = mlp_gan(SHAPE, latent_size=3, generator_hidden=(5,), discriminator_hidden=(5,))
SGD, ADAM = optax.sgd(RATE), optax.adam(RATE)


@pytest.fixture
def gan():
    return GAN


@cache
def start(tx):
    """The state before the first step, in float64."""
    return in_float64(jax.jit(partial(init_gan, GAN, tx, tx))(jax.random.key(1)))


# Every loss, every number of updates and every penalty, but not each with each: they do not meet.
@pytest.mark.parametrize(
    ("name", "n_critic", "r1", "r2"),
    [
        ("minimax", 1, 0.0, 0.0),
        pytest.param("non_saturating", 3, 0.4, 0.0, marks=pytest.mark.slow),
        pytest.param("relativistic_pairing", 1, 0.4, 0.2, marks=pytest.mark.slow),
        ("relativistic_pairing", 3, 0.0, 0.2),
    ],
)
def test_a_step_is_the_textbooks(gan, name, n_critic, r1, r2):
    loss, discriminator_loss, generator_loss = TEXTBOOK[name]
    tx = SGD
    state = start(tx)
    images = batch(n_critic)
    step = partial(
        gan_step,
        GanStepConfig(
            gan,
            loss,
            tx,
            tx,
            regularizers=Regularizers(r1=r1, r2=r2),
            n_critic=n_critic,
            ema_decay=0.9,
        ),
    )
    after, metrics = on_one_device(step)(state, images, KEY)

    def discriminate(params, x):
        return gan.discriminator.apply(params, {}, x, True)[0]

    def generate(params, z):
        return gan.generator.network.apply(params, {}, z, True)[0]

    def penalty(params, x):
        """Mean over images of ‖∇D(x)‖², of one image's logit with respect to that image."""
        gradient = jax.vmap(jax.grad(lambda one: discriminate(params, one[None])[0]))(x)
        return jnp.mean(jnp.sum(gradient**2, (1, 2, 3)))

    def norms(grads):
        each = {
            f"gradient_norm/{layer}/{name}": jnp.sqrt(jnp.sum(leaf**2))
            for layer, leaves in grads.items()
            for name, leaf in leaves.items()
        }
        return {**each, "gradient_norm": jnp.sqrt(sum(norm**2 for norm in each.values()))}

    # Drawn outside, for these are float32 and rounding there shows.
    drawn = [gan.generator.latents(key, BATCH) for key in jax.random.split(KEY, n_critic)]
    seen = [from_uint8(image, (-1, 1)) for image in images.example]

    @jax.jit
    def textbook(d, g):
        for real, z in zip(seen, drawn, strict=True):

            def total(params, real=real, z=z):
                fake = generate(g, z)
                logits = discriminate(params, real), discriminate(params, fake)
                loss, squares = (
                    discriminator_loss(*logits),
                    r1 / 2 * penalty(params, real) + r2 / 2 * penalty(params, fake),
                )
                means = {"real_logit": jnp.mean(logits[0]), "fake_logit": jnp.mean(logits[1])}
                means["accuracy"] = jnp.mean(logits[0] > logits[1])
                return loss + squares, {"loss": loss, "gradient_penalty": squares, **means}

            grads, told = jax.grad(total, has_aux=True)(d)
            told |= norms(grads)
            d = jax.tree.map(lambda p, u: p - RATE * u, d, grads)

        def objective(params):
            logits = discriminate(d, generate(params, z))
            return generator_loss(discriminate(d, real), logits), jnp.mean(logits)

        (value, logit), grads = jax.value_and_grad(objective, has_aux=True)(g)
        told = {f"discriminator/{name}": number for name, number in told.items()}
        told |= {f"generator/{name}": norm for name, norm in norms(grads).items()}
        told |= {"generator/loss": value, "generator/logit": logit, "step_taken": 1.0}
        return d, jax.tree.map(lambda p, u: p - RATE * u, g, grads), told

    expected = textbook(state.discriminator.params, state.generator.params)
    found = after.discriminator.params, after.generator.params, metrics
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-9), found, expected)
    assert int(after.step) == 1


def test_the_generators_average_follows_with_the_ramped_decay(gan):
    tx = SGD
    state = start(tx)._replace(step=jnp.asarray(4, jnp.int32))
    step = partial(gan_step, GanStepConfig(gan, non_saturating, tx, tx, ema_decay=0.999))
    after, _ = on_one_device(step)(state, batch(1), KEY)
    decay = (1 + 4) / (10 + 4)  # below 0.999 this early
    old, new = (np.asarray(s.generator.params["hidden_0"]["kernel"]) for s in (state, after))
    np.testing.assert_allclose(
        after.average.params["hidden_0"]["kernel"], decay * old + (1 - decay) * new, rtol=1e-6
    )


def test_the_average_has_the_generators_zeros_and_averages_statistics():
    params, statistics = {"w": jnp.asarray([0.0, 2.0, 4.0])}, {"mean": jnp.asarray([1.0])}
    average = Average({"w": jnp.asarray([1.0, 1.0, 0.0])}, {"mean": jnp.asarray([0.0])})
    moved = update_average(average, NetworkState(params, statistics, ()), jnp.asarray(10**6), 0.75)
    # zero where the generator is zero; afresh where the average was zero; mixed elsewhere
    np.testing.assert_array_equal(moved.params["w"], [0.0, 0.75 * 1 + 0.25 * 2, 4.0])
    np.testing.assert_allclose(moved.batch_stats["mean"], [0.25])


@pytest.mark.parametrize("where", ["generator", "discriminator"])
def test_a_step_that_is_not_finite_changes_nothing_but_the_count(gan, where):
    tx = ADAM
    state = start(tx)
    broken = getattr(state, where)
    params = jax.tree.map(lambda p: p.at[(0,) * p.ndim].set(jnp.nan), broken.params)
    state = state._replace(**{where: broken._replace(params=params)})
    after, metrics = on_one_device(partial(gan_step, GanStepConfig(gan, non_saturating, tx, tx)))(
        state, batch(1), KEY
    )
    assert float(metrics["step_taken"]) == 0
    assert int(after.step) == 1
    jax.tree.map(np.testing.assert_array_equal, after._replace(step=state.step), state)


def test_the_key_decides_the_latents(gan):
    tx = SGD
    state = start(tx)
    step = on_one_device(partial(gan_step, GanStepConfig(gan, non_saturating, tx, tx)))
    once, again, other = (
        step(state, batch(1), key)[0].generator.params for key in (KEY, KEY, jax.random.key(8))
    )
    jax.tree.map(np.testing.assert_array_equal, once, again)
    assert not np.array_equal(once["hidden_0"]["kernel"], other["hidden_0"]["kernel"])


@pytest.mark.slow
def test_reconstruction_pairs_each_example_with_its_own_fixed_latent():
    generator = dense_generator(SHAPE, latent_size=3, hidden=(5,))
    tx, latent_key, images = optax.sgd(RATE), jax.random.key(3), batch(1)
    state = in_float64(init_generator(generator, tx, jax.random.key(1)))
    strengths = {"activity_strength": 0.3, "hidden_activity_strength": 0.2}
    step = make_reconstruction_step(
        generator, tx, latent_key=latent_key, **strengths, ema_decay=0.9
    )
    after, metrics = on_one_device(step)(state, images, KEY)

    keys = [jax.random.fold_in(latent_key, int(i)) for i in images.index[0]]
    z = jnp.concatenate([jax.random.normal(key, (1, 3)) for key in keys])
    real = images.example[0] / np.float32(255)

    def objective(params):
        drawn = generator.network.apply(params, {}, z, True)[0]
        hidden = jnp.maximum(z @ params["hidden_0"]["kernel"] + params["hidden_0"]["bias"], 0)
        return (
            jnp.mean((drawn - real) ** 2) + 0.3 * jnp.mean(jnp.abs(drawn)) + 0.2 * jnp.mean(hidden)
        )

    loss, grads = jax.jit(jax.value_and_grad(objective))(state.generator.params)
    expected = jax.tree.map(lambda p, u: p - RATE * u, state.generator.params, grads)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), after.generator.params, expected
    )
    np.testing.assert_allclose(
        metrics["generator/loss"] + metrics["generator/activity_l1"],
        loss,
        rtol=1e-6,
    )


@pytest.mark.slow
def test_a_reconstruction_that_is_not_finite_changes_nothing_but_the_count():
    generator = dense_generator(SHAPE, latent_size=3, hidden=(5,))
    tx = optax.adam(RATE)
    state = in_float64(init_generator(generator, tx, jax.random.key(1)))
    params = jax.tree.map(lambda p: p.at[(0,) * p.ndim].set(jnp.inf), state.generator.params)
    state = state._replace(generator=state.generator._replace(params=params))
    step = make_reconstruction_step(generator, tx, latent_key=KEY)
    after, metrics = on_one_device(step)(state, batch(1), KEY)
    assert float(metrics["step_taken"]) == 0
    jax.tree.map(np.testing.assert_array_equal, after._replace(step=state.step), state)


@pytest.mark.slow
def test_the_generator_waits_while_the_discriminator_learns_first():
    config = GanStepConfig(GAN, minimax, ADAM, ADAM, ema_decay=0.5, discriminator_first=2)
    plain = on_one_device(partial(gan_step, config._replace(discriminator_first=0)))
    step = on_one_device(partial(gan_step, config))
    state = start(ADAM)
    for count in range(3):
        before = state
        state, _ = step(before, batch(1), jax.random.fold_in(KEY, count))
        wanted, _ = plain(before, batch(1), jax.random.fold_in(KEY, count))
        learn = [(wanted.discriminator, state.discriminator)]
        if count < 2:
            waiting = (before.generator, before.average), (state.generator, state.average)
            for a, b in zip(*map(jax.tree.leaves, waiting), strict=True):
                np.testing.assert_array_equal(a, b)
        else:
            learn += [(wanted.generator, state.generator), (wanted.average, state.average)]
        for pair in learn:  # as in a game in which both learn
            for a, b in zip(*map(jax.tree.leaves, pair), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
        assert int(state.step) == count + 1
