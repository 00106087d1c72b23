import jax
import jax.numpy as jnp
import numpy as np

from l1jax.models import mlp_gan
from l1jax.objectives.gradient_penalty import (
    around,
    between,
    unit_norm_penalty,
    with_squared_gradient,
)


def test_it_is_the_squared_norm_of_finite_differences(x64):
    network = mlp_gan((4, 4, 2), 3, (), (), (5,)).discriminator
    params, _ = jax.jit(network.init)(jax.random.key(0))
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)

    def discriminate(x):
        return network.apply(params, {}, x, True)

    images = np.random.default_rng(0).normal(size=(3, 4, 4, 2))
    logits, aux, squared = jax.jit(lambda x: with_squared_gradient(discriminate, x))(
        jnp.asarray(images)
    )
    np.testing.assert_allclose(logits, jax.jit(discriminate)(jnp.asarray(images))[0], rtol=1e-12)
    assert aux == {}

    step, shifts = 1e-6, np.eye(32).reshape(32, 1, 4, 4, 2)
    score = jax.jit(jax.vmap(lambda x: discriminate(x)[0]))
    slopes = (
        score(jnp.asarray(images + step * shifts)) - score(jnp.asarray(images - step * shifts))
    ) / (2 * step)
    np.testing.assert_allclose(squared, (np.asarray(slopes) ** 2).sum(0), rtol=1e-7)


def test_a_linear_discriminator_has_the_norm_of_its_weights():
    w = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3, 1)), jnp.float32)

    def mean_penalty(w):
        images = jnp.ones((5, 3, 3, 1))
        _, told, squared = with_squared_gradient(
            lambda x: (jnp.einsum("nhwc,hwc->n", x, w), "told"), images
        )
        assert told == "told"
        assert squared.shape == (5,)
        return jnp.mean(squared)

    value, slope = jax.value_and_grad(mean_penalty)(w)
    np.testing.assert_allclose(value, np.sum(np.square(w)), rtol=1e-6)
    np.testing.assert_allclose(slope, 2 * w, rtol=1e-6)  # it can be differentiated again


def test_images_do_not_mix():
    images = jnp.asarray([1.0, 2.0, -3.0]).reshape(3, 1, 1, 1)
    _, _, squared = with_squared_gradient(lambda x: (x[:, 0, 0, 0] ** 2, None), images)
    np.testing.assert_allclose(squared, [4.0, 16.0, 36.0], rtol=1e-6)  # (2x)²


def test_a_constant_discriminator_has_none():
    _, _, squared = with_squared_gradient(
        lambda x: (jnp.full(len(x), 3.0), None), jnp.ones((2, 4, 4, 1))
    )
    np.testing.assert_array_equal(squared, [0.0, 0.0])


def test_the_penalty_of_a_linear_discriminator_is_that_of_its_weights(x64):
    w, images = jnp.asarray(np.random.default_rng(1).normal(size=(3, 3, 1))), jnp.ones((5, 3, 3, 1))

    def penalty(w):
        _, _, squared = with_squared_gradient(
            lambda x: (jnp.einsum("nhwc,hwc->n", x, w), None), images
        )
        return unit_norm_penalty(squared)

    value, slope = jax.value_and_grad(penalty)(w)
    norm = np.linalg.norm(w)
    np.testing.assert_allclose(value, (norm - 1) ** 2, rtol=1e-12)
    np.testing.assert_allclose(slope, 2 * (norm - 1) * np.asarray(w) / norm, rtol=1e-12)


def test_a_flat_discriminator_pays_1_and_has_a_finite_slope():
    value, slope = jax.value_and_grad(unit_norm_penalty)(jnp.zeros(4))
    assert value == 1
    np.testing.assert_array_equal(slope, np.zeros(4))


def test_wgan_gp_looks_between_each_pair():
    real, fake = jnp.full((3, 2, 2, 1), 4.0), jnp.full((3, 2, 2, 1), -4.0)
    points = between(real, fake, jnp.asarray([0.0, 0.25, 1.0]))
    np.testing.assert_array_equal(points[:, 0, 0, 0], [-4, -2, 4])


def test_dragan_looks_up_to_half_a_deviation_away():
    real, noise = jnp.ones((1, 1, 2, 1)), jnp.asarray([0.0, 1.0]).reshape(1, 1, 2, 1)
    np.testing.assert_array_equal(around(real, noise, jnp.asarray(3.0)).ravel(), [1, 2.5])


def test_packed_images_share_a_logit_and_have_their_own_parts_of_its_gradient():
    w = jnp.asarray([1.0, -3.0])  # of the first and the second image of each pack
    images = jnp.ones((6, 1, 1, 1))
    logits, _, squared = with_squared_gradient(lambda x: (x.reshape(3, 2) @ w, None), images)
    np.testing.assert_array_equal(logits, [-2, -2, -2])
    np.testing.assert_array_equal(squared, [1, 9, 1, 9, 1, 9])
