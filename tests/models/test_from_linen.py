"""Linen modules of a user as networks, on one device and on two."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from l1jax.models import from_linen

INPUTS = jax.random.normal(jax.random.key(1), (6, 4))


class Plain(nn.Module):
    """Batch norm and dropout as they are written for one device."""

    rate: float = 0.0

    @nn.compact
    def __call__(self, x, training: bool):
        x = nn.Dense(5)(x)
        x = nn.BatchNorm(use_running_average=not training, momentum=0.9)(x)
        return nn.Dropout(self.rate, deterministic=not training)(x)


def trained_on(network, devices):
    """Outputs and statistics of a step of training, its batch split over so many devices."""
    params, stats = network.init(jax.random.key(0))

    def step(x):
        return network.apply(params, stats, x, True, None, jax.random.key(2))

    split = INPUTS.reshape(devices, -1, 4)
    outputs, new = jax.vmap(step, axis_name="data")(split)
    return np.asarray(outputs).reshape(6, 5), jax.tree.map(lambda leaf: np.asarray(leaf[0]), new)


def test_inference_is_the_module_itself():
    network = from_linen(Plain(0.5), (4,))
    params, stats = network.init(jax.random.key(0))
    assert stats["BatchNorm_0"]["mean"].shape == (5,)
    outputs, same = network.apply(params, stats, INPUTS, False)
    expected = np.asarray(INPUTS) @ np.asarray(params["Dense_0"]["kernel"])
    np.testing.assert_allclose(outputs, expected / np.sqrt(1 + 1e-5), atol=1e-5)
    assert same is stats


@pytest.mark.slow
def test_batch_statistics_are_those_of_the_whole_batch():
    network = from_linen(Plain(), (4,))
    params, _ = network.init(jax.random.key(0))
    hidden = np.asarray(INPUTS) @ np.asarray(params["Dense_0"]["kernel"])
    for devices in (1, 2, 3):
        outputs, stats = trained_on(network, devices)
        expected = (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + 1e-5)
        np.testing.assert_allclose(outputs, expected, atol=1e-5)
        np.testing.assert_allclose(stats["BatchNorm_0"]["mean"], 0.1 * hidden.mean(0), atol=1e-6)


@pytest.mark.slow
def test_dropout_drops_the_same_entries_on_any_number_of_devices():
    outputs = [trained_on(from_linen(Plain(0.5), (4,)), devices)[0] for devices in (1, 2)]
    np.testing.assert_array_equal(outputs[0] == 0, outputs[1] == 0)
    kept = outputs[0] != 0
    assert 5 < kept.sum() < 25
    halves = outputs[0].reshape(2, 3, 5) == 0
    assert not np.array_equal(halves[0], halves[1])  # a device's mask is its own part
    undropped, _ = trained_on(from_linen(Plain(), (4,)), 1)
    np.testing.assert_allclose(outputs[0][kept], 2 * undropped[kept], rtol=1e-5)


class Labelled(nn.Module):
    @nn.compact
    def __call__(self, x, y, deterministic: bool):
        return nn.Dense(5)(x) + nn.Embed(3, 5)(y) + (0 if deterministic else 100)


def test_labels_and_deterministic_are_passed_by_name():
    network = from_linen(Labelled(), (4,), classes=3)
    params, stats = network.init(jax.random.key(0))
    label = jnp.array([0, 1, 2, 0, 1, 2])
    outputs, _ = network.apply(params, stats, INPUTS, False, label)
    embedding = np.asarray(params["Embed_0"]["embedding"])
    dense = np.asarray(INPUTS) @ np.asarray(params["Dense_0"]["kernel"])
    np.testing.assert_allclose(outputs, dense + embedding[np.asarray(label)], atol=1e-5)
    trained, _ = network.apply(params, stats, INPUTS, True, label)
    np.testing.assert_allclose(trained, outputs + 100, rtol=1e-5)
    with pytest.raises(ValueError, match=r"`label` \(=None\) must name one of 3 classes"):
        network.apply(params, stats, INPUTS, False)


class Caching(nn.Module):
    @nn.compact
    def __call__(self, x):
        self.variable("cache", "seen", jnp.zeros, (4,))
        return nn.Dense(5)(x)


def test_what_is_no_such_module_is_refused():
    with pytest.raises(TypeError, match=r"`module` \(=dict\) must be a module of flax\.linen"):
        from_linen({}, (4,))
    with pytest.raises(ValueError, match=r"`classes` \(=3\) must be 0 for a Plain, whose"):
        from_linen(Plain(), (4,), classes=3)
    with pytest.raises(ValueError, match=r"\(=Caching\) keeps the collection 'cache', and a"):
        from_linen(Caching(), (4,)).init(jax.random.key(0))
