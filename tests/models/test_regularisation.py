"""Spectral normalisation, dropout, DropPath and norms against NumPy and PyTorch.

They agree on any number of devices.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from on_devices import DEVICES, gradient, train

from l1jax.models.linear import Conv, Dense
from l1jax.models.network import linen_network
from l1jax.models.regularisation import (
    Dropout,
    DropPath,
    drop_path_rates,
    largest_singular_value,
    norm,
)

RNG = np.random.default_rng(0)


def normal(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


class Spectral(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return Dense(5, spectral_norm=True, name="dense")(x)


class Dropped(nn.Module):
    rate: float

    @nn.compact
    def __call__(self, x, train):
        return Dropout(self.rate, name="dropout")(x, train)


class Skipped(nn.Module):
    rate: float

    @nn.compact
    def __call__(self, x, train):
        return DropPath(self.rate, name="drop_path")(x, train)


class Normed(nn.Module):
    kind: str

    @nn.compact
    def __call__(self, x, train):
        return norm(self.kind, train, "norm")(x)


@pytest.mark.slow
def test_a_kernel_is_divided_by_its_largest_singular_value_in_the_end():
    layer = linen_network(Spectral(), (7,))
    params, statistics = jax.jit(layer.init)(jax.random.key(0))
    x, kernel = normal(4, 7), params["dense"]["kernel"]
    _, singular, right = np.linalg.svd(np.asarray(kernel, np.float64))
    u = jax.lax.fori_loop(
        0,
        60,
        lambda _, u: largest_singular_value(kernel, u)[1],
        statistics["dense"]["spectral"]["u"],
    )
    np.testing.assert_allclose(np.abs(u @ right[0]), 1, rtol=1e-5)
    statistics = {"dense": {"spectral": {"u": u}}}
    for outputs in (
        layer.apply(params, statistics, x, False)[0],
        train(layer, params, statistics, x)[0],
    ):
        np.testing.assert_allclose(outputs, x @ kernel / singular[0], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_convolutions_kernel_is_read_as_inputs_by_outputs():
    module, x = Conv(6, 3, use_bias=False, spectral_norm=True), normal(2, 8, 8, 2)
    params = jax.jit(module.init)(jax.random.key(0), x)["params"]
    _, singular, right = np.linalg.svd(np.asarray(params["kernel"], np.float64).reshape(18, 6))
    statistics = {"spectral": {"u": jnp.asarray(right[0], jnp.float32)}}
    normalised = module.apply({"params": params, "batch_stats": statistics}, x)
    plain = Conv(6, 3, use_bias=False).apply({"params": params}, x)
    np.testing.assert_allclose(normalised, plain / singular[0], rtol=1e-4, atol=1e-6)


def test_one_power_iteration_is_miyatos_algorithm():
    matrix, u = RNG.normal(size=(6, 4)), RNG.normal(size=4)
    v = matrix @ u / np.linalg.norm(matrix @ u)
    moved = matrix.T @ v / np.linalg.norm(matrix.T @ v)
    sigma, found = largest_singular_value(
        jnp.asarray(matrix, jnp.float32), jnp.asarray(u, jnp.float32)
    )
    np.testing.assert_allclose(found, moved, rtol=1e-5)
    np.testing.assert_allclose(sigma, v @ matrix @ moved, rtol=1e-5)


def test_scaling_a_kernel_changes_nothing_so_that_its_gradient_is_at_right_angles_to_it():
    layer = linen_network(Spectral(), (7,))
    params, statistics = jax.jit(layer.init)(jax.random.key(0))
    x = normal(4, 7)
    _, _, grads = gradient(layer, params, statistics, x)
    kernel, slope = np.asarray(params["dense"]["kernel"]), np.asarray(grads["dense"]["kernel"])
    assert np.linalg.norm(slope) > 1e-3
    assert abs(np.sum(kernel * slope)) < 1e-6 * np.linalg.norm(kernel) * np.linalg.norm(slope)
    larger = {"dense": {**params["dense"], "kernel": 3 * params["dense"]["kernel"]}}
    np.testing.assert_allclose(
        layer.apply(larger, statistics, x, False)[0],
        layer.apply(params, statistics, x, False)[0],
        rtol=1e-5,
        atol=1e-6,
    )


def test_a_kernel_of_zeros_gives_zeros_and_finite_gradients_and_recovers():
    layer = linen_network(Spectral(), (7,))
    params, statistics = jax.jit(layer.init)(jax.random.key(0))
    empty = {"dense": {"kernel": jnp.zeros((7, 5)), "bias": jnp.ones(5)}}
    x = normal(4, 7)
    outputs, moved = train(layer, empty, statistics, x)
    np.testing.assert_array_equal(outputs, np.ones((4, 5)))
    _, _, grads = gradient(layer, empty, statistics, x)
    np.testing.assert_allclose(
        grads["dense"]["kernel"], x.T @ np.ones((4, 5)) * 2 / 20, rtol=1e-5
    )  # σ counts as 1
    jax.tree.map(np.testing.assert_array_equal, moved, statistics)
    outputs, _ = train(layer, params, moved, x)
    assert np.all(np.isfinite(outputs))


def test_a_sparse_kernel_where_the_vector_does_not_look_is_found():
    kernel = np.zeros((7, 5), np.float32)
    kernel[:, 3] = RNG.normal(size=7)
    u = np.eye(5, dtype=np.float32)[0]
    sigma, moved = largest_singular_value(jnp.asarray(kernel), jnp.asarray(u))
    assert sigma == pytest.approx(np.linalg.norm(kernel), rel=1e-5)
    np.testing.assert_allclose(np.abs(moved), np.eye(5)[3], atol=1e-6)


@pytest.mark.parametrize("devices", DEVICES)
def test_any_number_of_devices_drops_the_same_entries(devices):
    layer = linen_network(Dropped(0.25), (400,))
    x = jnp.ones((16, 400))
    alone, _ = train(layer, {}, {}, x, key=jax.random.key(3))
    outputs, _ = train(layer, {}, {}, x, key=jax.random.key(3), devices=devices)
    np.testing.assert_array_equal(outputs, alone)
    np.testing.assert_allclose(np.unique(outputs), [0, 1 / 0.75], rtol=1e-6)
    kept = np.asarray(outputs) != 0
    assert abs(kept.mean() - 0.75) < 5 * np.sqrt(0.75 * 0.25 / kept.size)
    assert len(np.unique(kept, axis=0)) == 16, "each example has a mask of its own"


@pytest.mark.parametrize("devices", DEVICES)
def test_any_number_of_devices_drops_the_branch_of_the_same_examples(devices):
    rate, count = 0.3, 2_000
    layer = linen_network(Skipped(rate), (2, 3))
    x = jnp.asarray(np.arange(1, count * 6 + 1).reshape(count, 2, 3), jnp.float32)
    found, _ = train(layer, {}, {}, x, key=jax.random.key(3), devices=devices)
    again, _ = train(layer, {}, {}, x, key=jax.random.key(3))
    other, _ = train(layer, {}, {}, x, key=jax.random.key(4))
    np.testing.assert_array_equal(found, again)
    kept = np.asarray(found)[:, 0, 0] != 0
    np.testing.assert_allclose(found, x * kept[:, None, None] / (1 - rate), rtol=1e-6)
    assert abs(kept.mean() - (1 - rate)) < 5 * np.sqrt(rate * (1 - rate) / count)
    assert 0 < np.sum(kept != (np.asarray(other)[:, 0, 0] != 0)) < count


@pytest.mark.parametrize(("module", "field"), [(Dropped, "dropout"), (Skipped, "drop_path")])
def test_dropping_is_for_training_and_needs_a_key_there(module, field):
    layer = linen_network(module(0.25), (4,))
    x = jnp.ones((2, 4))
    np.testing.assert_array_equal(layer.apply({}, {}, x, False)[0], x)
    with pytest.raises(ValueError, match=rf"`key` \(=None\) must be a key .* `{field}` \(=0.25\)"):
        train(layer, {}, {}, x)
    np.testing.assert_array_equal(train(linen_network(module(0.0), (4,)), {}, {}, x)[0], x)


def test_the_survival_of_blocks_is_the_papers():
    depths = np.arange(1, 55)
    survival = 1 - depths / 54 * (1 - 0.5)  # of ResNet-110, whose last block survives with 0.5
    np.testing.assert_allclose(1 - np.array(drop_path_rates(0.5, 54)), survival, rtol=1e-12)


TORCH = {
    ("layer", 4): torch.nn.GroupNorm(1, 32),
    ("group", 4): torch.nn.GroupNorm(2, 32),
    ("layer", 2): torch.nn.LayerNorm(32),
    ("group", 2): torch.nn.GroupNorm(2, 32),
    ("batch", 4): torch.nn.BatchNorm2d(32),
    ("batch", 2): torch.nn.BatchNorm1d(32),
}


@pytest.mark.parametrize(("kind", "axes"), TORCH)
def test_norms_are_pytorchs(kind, axes):
    x = 3 + 2 * normal(6, *[5] * (axes - 2), 32)
    layer = linen_network(Normed(kind), x.shape[1:])
    params, statistics = jax.jit(layer.init)(jax.random.key(0))
    params = {"norm": {"scale": jnp.linspace(0.5, 1.5, 32), "bias": jnp.linspace(-1, 1, 32)}}
    target = TORCH[kind, axes].train()
    with torch.no_grad():
        target.weight.copy_(torch.linspace(0.5, 1.5, 32))
        target.bias.copy_(torch.linspace(-1, 1, 32))
    expected = target(torch.from_numpy(np.moveaxis(np.asarray(x), -1, 1).copy())).detach().numpy()
    outputs, _ = train(layer, params, statistics, x)
    np.testing.assert_allclose(outputs, np.moveaxis(expected, 1, -1), rtol=1e-3, atol=1e-4)


def test_group_norm_of_a_width_that_has_no_groups_of_16_is_layer_norm():
    x = np.asarray(normal(3, 5))
    layer = linen_network(Normed("group"), (5,))
    outputs, _ = layer.apply(jax.jit(layer.init)(jax.random.key(0))[0], {}, jnp.asarray(x), False)
    expected = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)


def test_an_unknown_norm_is_refused():
    with pytest.raises(ValueError, match=r"`norm` \(='instance'\) must be one of"):
        norm("instance", True, "norm")
