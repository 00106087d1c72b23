"""NNX modules of a user as networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from l1jax.models import from_nnx

INPUTS = jax.random.normal(jax.random.key(1), (6, 4))


class Plain(nnx.Module):
    def __init__(self, rngs, rate=0.0):
        self.layers = nnx.List([nnx.Linear(4, 5, rngs=rngs), nnx.Linear(5, 5, rngs=rngs)])
        self.norm = nnx.BatchNorm(5, momentum=0.9, rngs=rngs)
        self.dropout = nnx.Dropout(rate, rngs=rngs)

    def __call__(self, x):
        return self.dropout(self.norm(self.layers[1](self.layers[0](x))))


def trained_on(network, devices):
    params, stats = jax.jit(network.init)(jax.random.key(0))

    def step(x):
        return network.apply(params, stats, x, True, None, jax.random.key(2))

    outputs, new = jax.vmap(step, axis_name="data")(INPUTS.reshape(devices, -1, 4))
    return np.asarray(outputs).reshape(6, 5), jax.tree.map(lambda leaf: np.asarray(leaf[0]), new)


def hidden_of(params):
    """What the two linear layers compute, by NumPy."""
    x = np.asarray(INPUTS)
    for name in ("0", "1"):
        layer = params["layers"][name]
        x = x @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
    return x


def test_parameters_are_named_by_attributes_and_computed_with():
    network = from_nnx(lambda rngs: Plain(rngs, 0.5))
    params, stats = jax.jit(network.init)(jax.random.key(0))
    assert set(params) == {"layers", "norm"}
    assert set(stats["norm"]) == {"mean", "var"}
    outputs, same = network.apply(params, stats, INPUTS, False)
    np.testing.assert_allclose(outputs, hidden_of(params) / np.sqrt(1 + 1e-5), atol=1e-5)
    assert same is stats
    other, _ = jax.jit(network.init)(jax.random.key(1))
    kernels = [np.asarray(tree["layers"]["0"]["kernel"]) for tree in (params, other)]
    assert not np.array_equal(*kernels)


@pytest.mark.slow
def test_batch_statistics_are_those_of_the_whole_batch():
    network = from_nnx(lambda rngs: Plain(rngs))
    hidden = hidden_of(jax.jit(network.init)(jax.random.key(0))[0])
    for devices in (1, 2):
        outputs, stats = trained_on(network, devices)
        expected = (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + 1e-5)
        np.testing.assert_allclose(outputs, expected, atol=1e-4)
        np.testing.assert_allclose(stats["norm"]["mean"], 0.1 * hidden.mean(0), atol=1e-6)


@pytest.mark.slow
def test_dropout_draws_from_the_key_alone():
    network = from_nnx(lambda rngs: Plain(rngs, 0.5))
    outputs = [trained_on(network, 2)[0] for _ in range(2)]
    np.testing.assert_array_equal(*outputs)
    masks = outputs[0].reshape(2, 3, 5) == 0
    assert 5 < masks.sum() < 25
    assert not np.array_equal(masks[0], masks[1])


class Counting(nnx.Module):
    def __init__(self, rngs):
        self.linear = nnx.Linear(4, 5, rngs=rngs)
        self.calls = nnx.Variable(jnp.zeros(()))

    def __call__(self, x):
        return self.linear(x)


def test_what_is_no_such_module_is_refused():
    with pytest.raises(TypeError, match=r"`make` \(=Plain\) must be a function that makes a"):
        from_nnx(Plain(nnx.Rngs(0)))
    with pytest.raises(TypeError, match=r"must return a module of flax.nnx, and returns a dict"):
        from_nnx(lambda rngs: {})
    with pytest.raises(ValueError, match="makes a module whose calls is a Variable, and a network"):
        from_nnx(Counting)
    with pytest.raises(ValueError, match=r"`classes` \(=3\) must be 0 for a Plain"):
        from_nnx(Plain, classes=3)
