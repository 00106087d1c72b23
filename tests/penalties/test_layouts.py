"""Output and input channels in the layouts of Equinox, Haiku, Flax NNX and PyTorch.

What a zero group does is read from each framework's own layer: an output channel without weights is
its bias, and an input channel without weights is ignored.
"""

import importlib.util
import inspect

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fast_cases import slow_except
from flax import nnx

import l1jax
from l1jax.penalties import group_axes

IMAGES = (2, 5, 5, 3)  # batch, height, width, channels
KEY = jax.random.key(0)
OUT = l1jax.output_channels
IN = l1jax.input_channels


def equinox(layer):
    """The layer's kernel, and its outputs with any kernel; channels are last on both sides."""

    def apply(kernel, x):
        module = eqx.tree_at(lambda m: m.weight, layer, kernel)
        if x.ndim == 2:
            return jax.vmap(module)(x)
        return jnp.moveaxis(jax.vmap(module)(jnp.moveaxis(x, -1, 1)), 1, -1)

    return layer.weight, apply


def haiku(make, shape):
    module = hk.without_apply_rng(hk.transform(lambda x: make()(x)))

    def apply(kernel, x):
        ((name, params),) = module.init(KEY, x).items()
        return module.apply({name: {**params, "w": kernel}}, x)

    ((_, params),) = jax.jit(module.init)(KEY, np.zeros(shape, np.float32)).items()
    return params["w"], apply


def flax(layer):
    def apply(kernel, x):
        layer.kernel[...] = kernel
        return layer(x)

    return layer.kernel[...], apply


def pytorch(layer):
    import torch

    def apply(kernel, x):
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(np.asarray(kernel)))
            x = torch.tensor(np.asarray(x))
            if x.ndim == 2:
                return layer(x).numpy()
            return np.moveaxis(layer(x.movedim(-1, 1)).numpy(), 1, -1)

    return jnp.asarray(layer.weight.detach().numpy()), apply


RNGS = nnx.Rngs(0)
# Of each layer: what makes its kernel and outputs, groups of outputs, groups of inputs.
LAYERS = {
    "equinox Linear": (lambda: equinox(eqx.nn.Linear(3, 4, key=KEY)), OUT("out_in"), IN("out_in")),
    "equinox Conv": (lambda: equinox(eqx.nn.Conv2d(3, 4, 3, key=KEY)), OUT("out_in"), IN("out_in")),
    "equinox ConvTranspose": (
        lambda: equinox(eqx.nn.ConvTranspose2d(3, 4, 3, key=KEY)),
        OUT("out_in"),
        IN("out_in"),
    ),
    "haiku Linear": (lambda: haiku(lambda: hk.Linear(4), (1, 3)), OUT(), IN()),
    "haiku Conv": (lambda: haiku(lambda: hk.Conv2D(4, 3), IMAGES), OUT(), IN()),
    "haiku ConvTranspose": (lambda: haiku(lambda: hk.Conv2DTranspose(4, 3), IMAGES), IN(), OUT()),
    "nnx Linear": (lambda: flax(nnx.Linear(3, 4, rngs=RNGS)), OUT(), IN()),
    "nnx Conv": (lambda: flax(nnx.Conv(3, 4, (3, 3), rngs=RNGS)), OUT("in_out"), IN("in_out")),
    "nnx ConvTranspose": (lambda: flax(nnx.ConvTranspose(3, 4, (3, 3), rngs=RNGS)), OUT(), IN()),
    "nnx ConvTranspose, transposed": (
        lambda: flax(nnx.ConvTranspose(3, 4, (3, 3), transpose_kernel=True, rngs=RNGS)),
        IN(),
        OUT(),
    ),
}
if importlib.util.find_spec("torch") is not None:
    import torch

    LAYERS |= {
        "pytorch Linear": (lambda: pytorch(torch.nn.Linear(3, 4)), OUT("out_in"), IN("out_in")),
        "pytorch Conv": (lambda: pytorch(torch.nn.Conv2d(3, 4, 3)), OUT("out_in"), IN("out_in")),
        "pytorch ConvTranspose": (
            lambda: pytorch(torch.nn.ConvTranspose2d(3, 4, 3)),
            IN("out_in"),
            OUT("out_in"),
        ),
    }


def without_group(kernel, groups, index):
    """The kernel after a prox that removes the groups of this index only."""
    axes = group_axes(groups, kernel.shape)
    (numbering,) = set(range(kernel.ndim)) - set(axes)
    positions = np.arange(kernel.shape[numbering]) == index
    small = np.expand_dims(positions, axes)
    marked = np.where(small, 1e-4, 1.0) * np.where(np.asarray(kernel) < 0, -1.0, 1.0)
    pruned = jax.jit(l1jax.group_l1(1.0, groups).prox)(marked.astype(np.float32), 0.01)
    np.testing.assert_array_equal(pruned == 0, np.broadcast_to(small, kernel.shape))
    return pruned


def inputs_of(name):
    shape = (2, 3) if "Linear" in name else IMAGES
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    "name",
    slow_except(LAYERS, "equinox Conv", "haiku Linear", "haiku ConvTranspose", "nnx ConvTranspose"),
)
def test_a_zero_output_group_leaves_the_bias_alone(name):
    make, outputs, _ = LAYERS[name]
    kernel, apply = make()
    drawn = np.asarray(apply(without_group(kernel, outputs, 2), inputs_of(name))).reshape(-1, 4)
    assert np.ptp(drawn[:, 2]) == 0
    assert np.all(np.ptp(drawn[:, [0, 1, 3]], axis=0) > 0)


@pytest.mark.parametrize("name", LAYERS)
def test_a_zero_input_group_is_ignored(name):
    make, _, inputs = LAYERS[name]
    kernel, apply = make()
    pruned = without_group(kernel, inputs, 1)
    x = inputs_of(name)
    changed = np.eye(3, dtype=np.float32)
    np.testing.assert_array_equal(apply(pruned, x), apply(pruned, x + changed[1]))
    assert np.any(np.asarray(apply(pruned, x)) != np.asarray(apply(pruned, x + changed[2])))


@pytest.mark.slow
def test_heads_and_their_units_are_groups_of_an_attention_kernel():
    layer = nnx.MultiHeadAttention(2, 8, rngs=nnx.Rngs(0), decode=False)
    query = layer.query.kernel[...]  # (in, heads, size of a head)
    out = layer.out.kernel[...]  # (heads, size of a head, out)
    assert (query.shape, out.shape) == ((8, 2, 4), (2, 4, 8))
    rng = np.random.default_rng(0)
    scale = rng.uniform(0.5, 2, (2, 4)).astype(np.float32)
    ones = np.ones((8, 2, 4), np.float32)
    # A group of n entries c has the norm √n c, and the penalty of weight √n is n c.
    per_unit = l1jax.group_l1(1.0, l1jax.output_channels(axes=2))
    np.testing.assert_allclose(
        per_unit.value(jnp.asarray(ones * scale)), 8 * scale.sum(), rtol=1e-6
    )
    read = l1jax.group_l1(1.0, l1jax.input_channels(axes=2))
    np.testing.assert_allclose(
        read.value(jnp.moveaxis(jnp.asarray(ones * scale), 0, -1)), 8 * scale.sum(), rtol=1e-6
    )
    head = l1jax.group_l1(1.0, (0, 2)).value(query)
    by_hand = sum(np.linalg.norm(np.asarray(query[:, i]).ravel()) * 32**0.5 for i in range(2))
    np.testing.assert_allclose(head, by_hand, rtol=1e-5)


@pytest.mark.parametrize("groups", [l1jax.output_channels, l1jax.input_channels])
def test_a_kernel_that_is_evidently_out_in_is_refused_without_a_layout(groups):
    params = eqx.filter(eqx.nn.MLP(3, 2, 4, 1, key=KEY), eqx.is_inexact_array)
    penalty = l1jax.by_path({"weight$": l1jax.group_l1(0.1, groups())})
    name = groups.__name__
    message = rf"`axis` \(={name}\(\)\) must have a layout for layers/0/weight of shape \(4, 3\)"
    with pytest.raises(ValueError, match=rf"{message}.*: write {name}\('out_in'\), or"):
        penalty.value(params)
    with pytest.raises(ValueError, match=message):
        l1jax.proximal_adam(0.1, penalty).init(params)
    for layout in ("out_in", "in_out"):
        l1jax.by_path({"weight$": l1jax.group_l1(0.1, groups(layout))}).value(params)
    l1jax.group_l1(0.1, groups()).value({"weights": jnp.ones((4, 3))})  # another name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"layout": "oi"},
            r"`layout` \(='oi'\) must be 'in_out', as in Flax and Haiku, or 'out_in'",
        ),
        ({"axes": 0}, r"`axes` \(=0\) must be a whole number of at least 1"),
        ({"axes": True}, r"`axes` \(=True\) must be a whole number"),
        ({"axes": 1.0}, r"`axes` \(=1.0\) must be a whole number"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    for groups in (l1jax.output_channels, l1jax.input_channels):
        with pytest.raises(ValueError, match=message):
            inspect.unwrap(groups)(**arguments)


def test_a_kernel_needs_an_axis_for_inputs_and_outputs():
    penalty = l1jax.group_l1(0.1, l1jax.output_channels("in_out", axes=2))
    with pytest.raises(
        ValueError, match=r"\(=output_channels\('in_out', axes=2\)\) must meet arrays of at least 3"
    ):
        penalty.value(jnp.ones((4, 3)))
