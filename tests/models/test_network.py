import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l1jax.models import Generator, from_uint8, to_uint8
from l1jax.models.network import AXIS, linen_network

RANGES = [(-1.0, 1.0), (0.0, 1.0)]


class Normed(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return nn.BatchNorm(not train, momentum=0.9, epsilon=1e-5, axis_name=AXIS)(x)


class Plain(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(2, name="out")(x)


@pytest.mark.parametrize("image_range", RANGES)
def test_every_grey_value_survives_the_way_there_and_back(image_range):
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    images = from_uint8(jnp.asarray(values), image_range)
    low, high = image_range
    np.testing.assert_allclose(
        images, low + (high - low) * values.astype(np.float64) / 255, atol=1e-7
    )
    assert images.dtype == jnp.float32
    np.testing.assert_array_equal(to_uint8(images, image_range), values)


@pytest.mark.parametrize("image_range", RANGES)
def test_what_is_out_of_range_is_clipped_and_the_rest_rounded(image_range):
    low, high = image_range
    grey = np.array([-50.0, 0.0, 99.4, 99.6, 255.0, 300.0]).reshape(1, 1, 6, 1)
    images = jnp.asarray(low + (high - low) * grey / 255, jnp.float32)
    np.testing.assert_array_equal(to_uint8(images, image_range).ravel(), [0, 0, 99, 100, 255, 255])


def test_latents_are_standard_normal():
    generator = Generator(linen_network(Plain(), (3,)), 100, (1, 2, 1), (0.0, 1.0))
    latents = np.asarray(generator.latents(jax.random.key(0), 1000))
    assert latents.shape == (1000, 100)
    error = 5 / np.sqrt(latents.size)  # five standard errors
    assert abs(latents.mean()) < error
    assert abs(latents.var() - 1) < error * np.sqrt(2)
    assert abs((latents**4).mean() - 3) < error * np.sqrt(96)


def test_a_network_without_batch_statistics_has_none():
    init, apply = linen_network(Plain(), (3,))
    params, statistics = init(jax.random.key(0))
    assert statistics == {}
    x = jnp.arange(6.0).reshape(2, 3)
    for train in (False, True):
        outputs, moved = apply(params, statistics, x, train)
        assert moved == {}
        np.testing.assert_allclose(
            outputs, x @ params["out"]["kernel"] + params["out"]["bias"], rtol=1e-6
        )


@pytest.mark.slow
def test_batch_statistics_move_in_training_alone():
    init, apply = linen_network(Normed(), (2,))
    params, statistics = init(jax.random.key(0))
    x = np.array([[1.0, 10.0], [3.0, -10.0], [5.0, 30.0], [7.0, 50.0]], np.float32)
    train = jax.vmap(lambda part: apply(params, statistics, part, True), axis_name=AXIS)
    outputs, moved = train(jnp.asarray(x[None]))
    np.testing.assert_allclose(outputs[0], (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5), rtol=1e-4)
    found = {name: leaf[0] for name, leaf in moved["BatchNorm_0"].items()}
    np.testing.assert_allclose(found["mean"], 0.1 * x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found["var"], 0.9 + 0.1 * x.var(0), rtol=1e-5)
    outputs, same = apply(params, statistics, jnp.asarray(x), False)
    assert same is statistics
    np.testing.assert_allclose(outputs, x / np.sqrt(1 + 1e-5), rtol=1e-5)


def test_batch_statistics_are_those_of_the_whole_batch():
    init, apply = linen_network(Normed(), (2,))
    params, statistics = init(jax.random.key(0))
    x = np.random.default_rng(0).normal(3, 2, (8, 2)).astype(np.float32)
    train = jax.vmap(lambda part: apply(params, statistics, part, True), axis_name=AXIS)
    outputs, moved = train(jnp.asarray(x.reshape(4, 2, 2)))  # four devices
    np.testing.assert_allclose(
        outputs.reshape(8, 2), (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5), rtol=1e-3, atol=1e-5
    )
    for device in range(4):
        np.testing.assert_allclose(moved["BatchNorm_0"]["mean"][device], 0.1 * x.mean(0), rtol=1e-5)
