import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l1jax.objectives.adversarial import (
    LOSSES,
    minimax,
    non_saturating,
    relativistic_average,
    relativistic_pairing,
)

RNG = np.random.default_rng(0)
REAL, FAKE = RNG.normal(1, 2, 16), RNG.normal(-1, 2, 16)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


CROSS_ENTROPY = -np.mean(np.log(sigmoid(REAL))) - np.mean(np.log(1 - sigmoid(FAKE)))
FORMULAS = {
    "minimax": (CROSS_ENTROPY, np.mean(np.log(1 - sigmoid(FAKE)))),
    "non_saturating": (CROSS_ENTROPY, -np.mean(np.log(sigmoid(FAKE)))),
    "relativistic_pairing": (
        -np.mean(np.log(sigmoid(REAL - FAKE))),
        -np.mean(np.log(sigmoid(FAKE - REAL))),
    ),
    "relativistic_average": (
        -np.mean(np.log(sigmoid(REAL - FAKE.mean())))
        - np.mean(np.log(1 - sigmoid(FAKE - REAL.mean()))),
        -np.mean(np.log(sigmoid(FAKE - REAL.mean())))
        - np.mean(np.log(1 - sigmoid(REAL - FAKE.mean()))),
    ),
    "least_squares": (
        0.5 * np.mean((REAL - 1) ** 2) + 0.5 * np.mean(FAKE**2),
        0.5 * np.mean((FAKE - 1) ** 2),
    ),
    "hinge": (np.mean(np.maximum(0, 1 - REAL)) + np.mean(np.maximum(0, 1 + FAKE)), -FAKE.mean()),
    "wasserstein": (FAKE.mean() - REAL.mean(), -FAKE.mean()),
}
AT_ZERO = {  # what a discriminator pays that gives every image the logit 0
    "relativistic_pairing": np.log(2),
    "least_squares": 0.5,
    "hinge": 2,
    "wasserstein": 0,
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_their_formulas(name, x64):
    discriminator, generator = FORMULAS[name]
    real, fake = jnp.asarray(REAL), jnp.asarray(FAKE)
    np.testing.assert_allclose(LOSSES[name].discriminator(real, fake), discriminator, rtol=1e-12)
    np.testing.assert_allclose(LOSSES[name].generator(real, fake), generator, rtol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("network", ["discriminator", "generator"])
def test_gradients_are_finite_differences(name, network, x64):
    loss, step = getattr(LOSSES[name], network), 1e-6
    both = np.stack([REAL, FAKE])
    found = jax.grad(lambda b: loss(b[0], b[1]))(jnp.asarray(both))
    expected = np.zeros_like(both)
    for place in np.ndindex(both.shape):
        shift = np.zeros_like(both)
        shift[place] = step
        up, down = jnp.asarray(both + shift), jnp.asarray(both - shift)
        expected[place] = (loss(up[0], up[1]) - loss(down[0], down[1])) / (2 * step)
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_a_discriminator_that_cannot_tell_pays_for_it(name):
    same = jnp.zeros(4)
    np.testing.assert_allclose(
        LOSSES[name].discriminator(same, same), AT_ZERO.get(name, 2 * np.log(2)), rtol=1e-6
    )


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("size", [1e3, 1e18])  # whose square float32 still holds
def test_extreme_logits_stay_finite(name, size):
    far = jnp.asarray([size, -size], jnp.float32)
    for loss in LOSSES[name]:
        value, grads = jax.value_and_grad(loss, argnums=(0, 1))(far, -far)
        assert np.isfinite(value)
        assert all(np.isfinite(grad).all() for grad in grads)


def test_only_the_minimax_generator_starves_when_the_discriminator_wins():
    real, fake = jnp.full(4, 20.0), jnp.full(4, -20.0)
    gradients = [
        jax.grad(loss.generator, argnums=1)(real, fake) for loss in (minimax, non_saturating)
    ]
    np.testing.assert_allclose(gradients[0], -sigmoid(-20.0) / 4, rtol=1e-5)
    np.testing.assert_allclose(gradients[1], -sigmoid(20.0) / 4, rtol=1e-5)
    np.testing.assert_allclose(
        jax.grad(relativistic_pairing.generator, argnums=1)(real, fake), -0.25, rtol=1e-5
    )


@pytest.mark.parametrize("name", LOSSES)
def test_each_network_goes_its_own_way(name):
    real, fake = jnp.zeros(16), jnp.full(16, 0.5)  # a discriminator that has it the wrong way round
    assert (jax.grad(LOSSES[name].generator, argnums=1)(real, fake) < 0).all()
    d_real, d_fake = jax.grad(LOSSES[name].discriminator, argnums=(0, 1))(real, fake)
    assert (d_real < 0).all()
    assert (d_fake > 0).all()


@pytest.mark.parametrize("network", ["discriminator", "generator"])
def test_the_relativistic_average_is_over_all_devices(network, x64):
    whole, parts = relativistic_average(), relativistic_average("data")

    def on_devices(both):
        def local(real, fake):
            return jax.lax.pmean(getattr(parts, network)(real, fake), "data")

        mesh, split = (
            jax.sharding.Mesh(jax.devices(), ("data",)),
            jax.sharding.PartitionSpec("data"),
        )
        return jax.shard_map(
            local, mesh=mesh, in_specs=split, out_specs=jax.sharding.PartitionSpec()
        )(*both)

    both = jnp.asarray(np.stack([REAL, FAKE]))
    expected = jax.value_and_grad(lambda b: getattr(whole, network)(b[0], b[1]))(both)
    for found, value in zip(jax.jit(jax.value_and_grad(on_devices))(both), expected, strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-12)
