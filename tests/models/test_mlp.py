import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l1jax import config
from l1jax.build import build_model
from l1jax.models import dense_generator, from_uint8, mlp_gan

RNG = np.random.default_rng(0)
ACTIVATIONS = {"tanh": np.tanh, "sigmoid": lambda x: 1 / (1 + np.exp(-x))}


def dense(layer, x):
    return x @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"], np.float64)


def leaky(x):
    return np.where(x > 0, x, 0.2 * x)


def with_biases(params):
    """Biases start at zero, and one that is forgotten would not be seen."""
    return jax.tree.map(
        lambda leaf: leaf + RNG.normal(0, 0.1, leaf.shape).astype(np.float32), params
    )


def start(network):
    params, statistics = jax.jit(network.init)(jax.random.key(0))
    return with_biases(params), jax.jit(
        lambda params, x: network.apply(params, statistics, x, True)[0]
    )


def count(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(("output", "activation"), [("tanh", "leaky_relu"), ("sigmoid", "relu")])
def test_gan_is_its_formula(output, activation):
    gan = mlp_gan(
        (2, 3, 1), 5, (7, 4), discriminator_hidden=(6,), output=output, activation=activation
    )
    params, generate = start(gan.generator.network)
    z = RNG.normal(size=(9, 5)).astype(np.float32)
    images = generate(params, z)
    bend = leaky if activation == "leaky_relu" else lambda x: np.maximum(x, 0)
    x = bend(dense(params["hidden_1"], bend(dense(params["hidden_0"], z))))
    expected = ACTIVATIONS[output](dense(params["image"], x)).reshape(9, 2, 3, 1)
    np.testing.assert_allclose(images, expected, rtol=1e-4, atol=1e-6)
    assert gan.generator.image_range == ((-1.0, 1.0) if output == "tanh" else (0.0, 1.0))
    assert (gan.generator.latent_size, gan.generator.image_shape) == (5, (2, 3, 1))

    params, discriminate = start(gan.discriminator)
    logits = discriminate(params, images)
    expected = dense(
        params["logit"],
        leaky(dense(params["hidden_0"], np.asarray(images, np.float64).reshape(9, 6))),
    )
    np.testing.assert_allclose(logits, expected[:, 0], rtol=1e-4, atol=1e-6)


def test_dense_generator_is_its_formula():
    generator = dense_generator((4, 2, 3), latent_size=5, hidden=(8,))
    params, generate = start(generator.network)
    z = RNG.normal(size=(3, 5)).astype(np.float32)
    images = generate(params, z)
    x = np.maximum(dense(params["hidden_0"], z), 0)
    expected = ACTIVATIONS["sigmoid"](dense(params["image"], x)).reshape(3, 4, 2, 3)
    np.testing.assert_allclose(images, expected, rtol=1e-4, atol=1e-6)
    assert generator.image_range == (0.0, 1.0)


def test_the_documents_generator_has_its_size():
    generator = dense_generator((28, 28, 1))
    params, _ = jax.eval_shape(generator.network.init, jax.random.key(0))
    assert count(params) == (100 * 128 + 128) + (128 * 128 + 128) + (128 * 784 + 784)


def test_the_documents_gan_has_its_size():
    gan = mlp_gan((64, 64, 3), 100, (1024, 1024), (64, 128, 256, 512), (), "sigmoid")
    params, _ = jax.eval_shape(gan.generator.network.init, jax.random.key(0))
    assert count(params) == (100 * 1024 + 1024) + (1024 * 1024 + 1024) + (1024 * 12288 + 12288)
    params, _ = jax.eval_shape(gan.discriminator.init, jax.random.key(0))
    widths = [3, 64, 128, 256, 512]
    convolutions = sum(25 * a * b + b for a, b in itertools.pairwise(widths))
    assert count(params) == convolutions + 4 * 4 * 512 + 1  # 64 pixels halved four times
    logits = jax.eval_shape(
        lambda p, x: gan.discriminator.apply(p, {}, x, False)[0], params, jnp.zeros((2, 64, 64, 3))
    )
    assert logits.shape == (2,)


def test_a_strided_convolution_is_its_sum():
    gan = mlp_gan((4, 4, 2), 3, (), (3,), ())
    params, discriminate = start(gan.discriminator)
    x = RNG.normal(size=(2, 4, 4, 2)).astype(np.float32)
    logits = discriminate(params, x)
    kernel = np.asarray(params["conv_0"]["kernel"], np.float64)
    padded = np.pad(
        x, ((0, 0), (1, 2), (1, 2), (0, 0))
    )  # 5 taps for 2 outputs of stride 2 over 4 pixels: 3 in all
    hidden = np.zeros((2, 2, 2, 3))
    for i in range(2):
        for j in range(2):
            hidden[:, i, j] = np.einsum(
                "nhwc,hwco->no", padded[:, 2 * i : 2 * i + 5, 2 * j : 2 * j + 5], kernel
            )
    hidden = leaky(hidden + np.asarray(params["conv_0"]["bias"]))
    np.testing.assert_allclose(
        logits, dense(params["logit"], hidden.reshape(2, -1))[:, 0], rtol=1e-4, atol=1e-6
    )


def test_points_have_no_range_and_are_left_alone():
    assert mlp_gan((1, 1, 2), output="linear").generator.image_range is None
    points = jnp.asarray([[[[3.5, -7.0]]]])
    np.testing.assert_array_equal(from_uint8(points, None), points)


@pytest.mark.parametrize(("shape", "output"), [((1, 1, 2), "tanh"), ((8, 8, 1), "linear")])
def test_the_output_fits_points_or_images(shape, output):
    with pytest.raises(
        config.InputError, match=rf"`model.output` \(={output}\) must be linear for points"
    ):
        build_model(config.MlpGan(output=output), shape)
