"""Our convolutions have Flax's parameters, outputs and gradients."""

from functools import partial

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
    rng, bias = np.random.default_rng(0), side == 7
    mine, theirs = ours(5, size, stride, bias), flax(5, (size, size), (stride, stride), use_bias=bias)
    x, key = rng.normal(size=(2, side, side, 3)), jax.random.key(0)
    shapes = jax.eval_shape(theirs.init, key, x)
    assert jax.tree.map(jnp.shape, jax.eval_shape(mine.init, key, x)) == jax.tree.map(jnp.shape, shapes)
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), shapes)

    @jax.jit
    def outputs_and_gradients(params, x):
        def of(module):
            y, pullback = jax.vjp(module.apply, params, x)
            return y, pullback(jnp.cos(y))  # the gradients of Σ sin y

        return of(mine), of(theirs)

    same = partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-10)
    jax.tree.map(same, *outputs_and_gradients(params, x))


@pytest.mark.parametrize("module", [Conv(5, 4, 2), ConvTranspose(5, 4, 2)])
def test_another_backend_gets_the_librarys_convolution_with_the_same_outputs(module, monkeypatch):
    x = jnp.asarray(np.random.default_rng(1).normal(size=(2, 8, 8, 3)), jnp.float32)
    params = jax.jit(module.init)(jax.random.key(0), x)
    on_cpu = jax.jit(module.apply)(params, x)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    library = jax.jit(lambda params, x: module.apply(params, x)).lower(params, x)
    assert "convolution" in library.as_text()
    np.testing.assert_allclose(library.compile()(params, x), on_cpu, atol=1e-5)
