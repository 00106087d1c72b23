"""Our convolutions have Flax's parameters and outputs and the library's derivatives."""

from functools import partial
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from l1jax.models import layers
from l1jax.models.bilinear import Geometry, shifted
from l1jax.models.layers import convolve, convolve_transposed
from l1jax.models.linear import Conv, ConvTranspose

CASES = [
    (1, 1, 4),
    (3, 1, 7),
    (4, 1, 8),
    (1, 2, 7),
    (3, 2, 7),
    (4, 2, 8),
    (5, 2, 7),
    (5, 2, 8),
    (3, 4, 8),
    (5, 3, 7),
]
FURTHER = [(1, 1, 4), (1, 2, 7), (4, 1, 8), (5, 2, 8), (3, 4, 8)]
TILED = [(4, 2, 8), (4, 2, 6), (3, 1, 5), (5, 2, 7)]  # with enough channels for tiles of 2×2
PAIRS = [(Conv, nn.Conv), (ConvTranspose, nn.ConvTranspose)]


def library(x, kernel, stride):
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def library_transposed(x, kernel, stride):
    return jax.lax.conv_transpose(x, kernel, (stride, stride), "SAME")


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def equal(ours, theirs, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), ours, theirs)


@pytest.mark.parametrize(
    ("size", "stride", "side"),
    [pytest.param(*case, marks=pytest.mark.slow if case in FURTHER else ()) for case in CASES],
)
@pytest.mark.parametrize(("ours", "flax"), PAIRS)
@pytest.mark.usefixtures("x64")
def test_parameters_outputs_and_gradients_equal_flax(ours, flax, size, stride, side):
    check(ours, flax, size, stride, side, 3, 5)


@pytest.mark.parametrize(
    ("size", "stride", "side"),
    [pytest.param(*case, marks=pytest.mark.slow if case == (4, 2, 6) else ()) for case in TILED],
)
@pytest.mark.parametrize(("ours", "flax"), PAIRS)
@pytest.mark.usefixtures("x64")
def test_tiles_have_the_same_outputs_and_gradients(ours, flax, size, stride, side):
    with mock.patch.object(layers, "MIN_CHANNELS_OF_STRIDE_1", 32):
        check(ours, flax, size, stride, side, 32, 33)


def check(ours, flax, size, stride, side, inputs, outputs):
    x = draw(0, 2, side, side, inputs)
    bias = side == 7
    mine, theirs = (
        ours(outputs, size, stride, bias),
        flax(outputs, (size, size), (stride, stride), use_bias=bias),
    )
    params = jax.tree.map(jnp.float64, jax.jit(theirs.init)(jax.random.key(0), x))
    if bias:
        params["params"]["bias"] = jnp.arange(float(outputs))
    assert jax.tree.map(jnp.shape, jax.eval_shape(mine.init, jax.random.key(0), x)) == jax.tree.map(
        jnp.shape, params
    )

    def outputs_and_gradients(module):
        y, pullback = jax.vjp(module.apply, params, x)
        return y, pullback(jnp.cos(y))

    found = [jax.jit(partial(outputs_and_gradients, module))() for module in (mine, theirs)]
    equal(*found, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("ours", "theirs", "size", "stride"),
    [(convolve, library, 3, 1), (convolve_transposed, library_transposed, 4, 2)],
)
@pytest.mark.usefixtures("x64")
def test_second_derivatives_equal_the_librarys(ours, theirs, size, stride):
    x, kernel = draw(0, 1, 4, 4, 32), draw(1, size, size, 32, 32)

    def penalty(convolution):
        """A squared gradient with respect to both, as a gradient penalty squares one."""

        def loss(x, kernel):
            return jnp.sum(jnp.sin(convolution(x, kernel, stride) / 20))

        def squared(x, kernel):
            return sum(jnp.sum(g**2) for g in jax.grad(loss, (0, 1))(x, kernel))

        return jax.jit(jax.grad(squared, (0, 1)))(x, kernel)

    equal(penalty(ours), penalty(theirs), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("size", "stride"), [(4, 2), (3, 1)])
def test_float32_is_as_exact_as_direct_sums(size, stride):
    """Within 1e-5 of float64, relative to the scale of each result."""
    x, kernel = draw(0, 4, 8, 8, 128), draw(1, size, size, 128, 128)
    weights = draw(2, 4, 8 // stride, 8 // stride, 128)

    def outputs_and_gradients(convolution, *arrays):
        x, kernel, weights = arrays
        y, pullback = jax.vjp(partial(convolution, stride=stride), x, kernel)
        return y, *pullback(weights)

    single = [jnp.asarray(a, jnp.float32) for a in (x, kernel, weights)]
    found = jax.jit(partial(outputs_and_gradients, convolve))(*single)
    with jax.enable_x64(True):
        double = [jnp.asarray(np.asarray(a), jnp.float64) for a in single]
        exact = jax.jit(partial(outputs_and_gradients, library))(*double)
    for a, b in zip(found, exact, strict=True):
        assert a.dtype == jnp.float32
        assert np.abs(np.asarray(a) - np.asarray(b)).max() < 1e-5 * np.std(np.asarray(b))


@pytest.mark.usefixtures("x64")
def test_devices_with_a_shared_kernel_sum_its_gradient():
    x, kernel = draw(0, 4, 4, 4, 32), draw(1, 4, 4, 32, 32)

    def gradients(convolution, x, kernel):
        return jax.grad(lambda x, kernel: jnp.sum(convolution(x, kernel, 2) ** 2), (0, 1))(
            x, kernel
        )

    mesh, specs = Mesh(np.asarray(jax.devices()[:2]), ("data",)), (P("data"), P())
    mapped = jax.shard_map(partial(gradients, convolve), mesh=mesh, in_specs=specs, out_specs=specs)
    equal(jax.jit(mapped)(x, kernel), gradients(library, x, kernel), rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("size", "stride"), [(4, 2), (3, 1)])
def test_seeds_in_one_program_are_each_on_its_own(size, stride):
    x, kernels = draw(0, 2, 4, 4, 32), draw(1, 3, size, size, 32, 32)

    def gradients(convolution, kernel):
        def loss(x, kernel):
            return jnp.sum(convolution(x, kernel, stride) ** 2)

        return jax.grad(loss, (0, 1))(x, kernel)

    found = jax.jit(jax.vmap(partial(gradients, convolve)))(kernels)
    expected = [gradients(library, kernel) for kernel in kernels]
    equal(found, jax.tree.map(lambda *each: jnp.stack(each), *expected), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("size", "stride", "side"), CASES)
@pytest.mark.usefixtures("x64")
def test_other_platforms_forms_are_the_librarys_derivatives(size, stride, side):
    """As explicit convolutions; a CPU can run them, too."""
    geometry = Geometry(side, side, size, stride, shifted(-(-size // stride)))
    x, kernel = draw(0, 2, side, side, 3), draw(1, size, size, 3, 5)
    y, pullback = jax.vjp(partial(library, stride=stride), x, kernel)
    weights = jnp.cos(y)
    ours = [layers._library_image_gradient(geometry, weights, kernel)]
    ours += [layers._library_kernel_gradient(geometry, x, weights)]
    equal(
        [layers._library_convolution(geometry, x, kernel), *ours],
        [y, *pullback(weights)],
        atol=1e-12,
    )
