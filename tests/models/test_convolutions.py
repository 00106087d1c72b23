"""Our convolutions have Flax's parameters, outputs and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from l1jax.models.layers import Conv, ConvTranspose

CASES = [(1, 1, 4), (3, 1, 7), (4, 1, 8), (1, 2, 7), (3, 2, 7), (4, 2, 8), (5, 2, 7), (5, 2, 8), (3, 4, 8)]


@pytest.mark.parametrize(("size", "stride", "side"), CASES)
@pytest.mark.parametrize(("ours", "flax"), [(Conv, nn.Conv), (ConvTranspose, nn.ConvTranspose)])
@pytest.mark.usefixtures("x64")
def test_parameters_outputs_and_gradients_equal_flax(ours, flax, size, stride, side):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, side, side, 3)))
    bias = side == 7
    mine, theirs = ours(5, size, stride, bias), flax(5, (size, size), (stride, stride), use_bias=bias)
    params = theirs.init(jax.random.key(0), x)
    if bias:
        params["params"]["bias"] = jnp.arange(5.0)
    assert jax.tree.map(jnp.shape, mine.init(jax.random.key(0), x)) == jax.tree.map(jnp.shape, params)

    def loss(module):
        return lambda params, x: jnp.sum(jnp.sin(module.apply(params, x)))

    outputs = [jax.jit(module.apply)(params, x) for module in (mine, theirs)]
    np.testing.assert_allclose(*outputs, rtol=1e-10, atol=1e-10)
    gradients = [jax.jit(jax.grad(loss(module), argnums=(0, 1)))(params, x) for module in (mine, theirs)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10), *gradients)


@pytest.mark.parametrize("module", [Conv(5, 4, 2), ConvTranspose(5, 4, 2)])
def test_another_backend_gets_the_librarys_convolution_with_the_same_outputs(module, monkeypatch):
    x = jnp.asarray(np.random.default_rng(1).normal(size=(2, 8, 8, 3)), jnp.float32)
    params = module.init(jax.random.key(0), x)
    on_cpu = module.apply(params, x)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    text = jax.jit(module.apply).lower(params, x).as_text()
    assert "convolution" in text
    np.testing.assert_allclose(module.apply(params, x), on_cpu, atol=1e-5)
