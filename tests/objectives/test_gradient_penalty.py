import jax
import jax.numpy as jnp
import numpy as np

from l1jax.models import mlp_gan
from l1jax.objectives.gradient_penalty import with_squared_gradient


def test_it_is_the_squared_norm_of_finite_differences(x64):
    network = mlp_gan((4, 4, 2), 3, (), (), (5,)).discriminator
    params, _ = jax.jit(network.init)(jax.random.key(0))
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)

    def discriminate(x):
        return network.apply(params, {}, x, True)

    images = np.random.default_rng(0).normal(size=(3, 4, 4, 2))
    logits, aux, squared = jax.jit(lambda x: with_squared_gradient(discriminate, x))(jnp.asarray(images))
    np.testing.assert_allclose(logits, jax.jit(discriminate)(jnp.asarray(images))[0], rtol=1e-12)
    assert aux == {}

    step, shifts = 1e-6, np.eye(32).reshape(32, 1, 4, 4, 2)
    score = jax.jit(jax.vmap(lambda x: discriminate(x)[0]))
    slopes = (score(jnp.asarray(images + step * shifts)) - score(jnp.asarray(images - step * shifts))) / (2 * step)
    np.testing.assert_allclose(squared, (np.asarray(slopes) ** 2).sum(0), rtol=1e-7)


def test_a_linear_discriminator_has_the_norm_of_its_weights():
    w = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3, 1)), jnp.float32)

    def mean_penalty(w):
        images = jnp.ones((5, 3, 3, 1))
        _, told, squared = with_squared_gradient(lambda x: (jnp.einsum("nhwc,hwc->n", x, w), "told"), images)
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
    _, _, squared = with_squared_gradient(lambda x: (jnp.full(len(x), 3.0), None), jnp.ones((2, 4, 4, 1)))
    np.testing.assert_array_equal(squared, [0.0, 0.0])
