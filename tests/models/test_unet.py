"""The U-Net against an implementation in PyTorch and the published network of its kind."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from on_devices import drawn

from l1jax.build import build_model
from l1jax.config import InputError, Unet
from l1jax.models import unet
from l1jax.models.summary import layers
from l1jax.models.unet_blocks import from_patches, to_patches

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import unet_peer

RNG = np.random.default_rng(0)
CLASSES = 3
SMALL = {"channels": 4, "multipliers": (1, 2), "blocks": 1, "attention": (8,)}
SMALL |= {"group_size": 2, "head_size": 2}


@pytest.mark.slow
def test_parameters_and_flops_are_those_of_the_published_network():
    """DDPM's network for CIFAR-10 has 35,746,307 parameters and takes 6.1 billion MACs.

    The parameters are those of the authors' checkpoint, the multiplications, of layers with
    weights, those of Fang, Ma, Wang, NeurIPS 2023, table 1. Theirs has a shift by the time in each
    block and no scale.
    """
    flow = unet((32, 32, 3), 128, (1, 2, 2, 2), 2, (16,), group_size=4, head_size=128)
    found = layers(flow.predictor.init)
    published = [layer for layer in found if not layer.name.endswith("/scale")]
    assert sum(layer.parameters for layer in published) == 35_746_307
    assert sum(layer.flops for layer in published) / 2e9 == pytest.approx(6.1, abs=0.05)


@pytest.mark.slow
def test_the_prediction_is_pytorchs():
    """That network reads no lengths of intervals, and this one none of which it makes anything."""
    flow = unet((8, 12, 2), **SMALL, classes=CLASSES, predicts="velocity", average_velocity=True)
    params, _ = drawn(flow.predictor)
    length = params.pop("length")
    target = unet_peer.Unet((8, 12, 2), 4, (1, 2), 1, (8,), 2, 2, CLASSES).double()
    unet_peer.load(target, params)
    params["length"] = jax.tree.map(jnp.zeros_like, length)
    x = RNG.normal(size=(3, 8, 12, 2))
    time = np.array([0.0, 0.3, 1.0])
    label = np.array([2, 0, 3])  # the last is none of the classes
    found, _ = jax.jit(flow.velocity, static_argnames="train")(
        params,
        {},
        jnp.asarray(x, jnp.float32),
        jnp.asarray(time),
        train=False,
        label=label,
        length=jnp.array([1.0, 0.2, 0.0]),
    )
    with torch.no_grad():
        inputs = [torch.tensor(a) for a in (x.transpose(0, 3, 1, 2), time, label)]
        expected = target(*inputs).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("size", [1, 2])
def test_patches_are_those_of_pytorch(size):
    x = RNG.normal(size=(2, 4, 6, 3)).astype(np.float32)
    found = to_patches(jnp.asarray(x), size)
    expected = F.pixel_unshuffle(torch.tensor(x).permute(0, 3, 1, 2), size)
    expected = expected.unflatten(1, (3, size**2)).transpose(1, 2).flatten(1, 2)
    np.testing.assert_array_equal(found, expected.permute(0, 2, 3, 1))
    np.testing.assert_array_equal(from_patches(found, size), x)


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ((30, 30, 1), {}, "`image_shape` .* 4 divides, .* 3 levels"),
        ((28, 28, 1), {"patch_size": 4}, r"sides that 16 divides.* \(`patch_size` =4\)"),
        ((1, 1, 2), {}, "`image_shape` .* 8 to 64 pixels"),
        ((128, 128, 1), {}, "`image_shape` .* 8 to 64 pixels"),
        ((28, 28, 1), {"attention": (16,)}, r"`attention` .*\[28, 14, 7\].* 16 is none"),
        ((28, 28, 1), {"group_size": 24}, r"`group_size` .*\[64, 128, 128\]"),
        ((28, 28, 1), {"head_size": 48}, r"`head_size` .*\[128\]"),
        ((28, 28, 1), {"multipliers": ()}, "`multipliers` .* each level"),
        ((28, 28, 1), {"channels": 15}, "`channels` .*even"),
        ((28, 28, 1), {"guidance": 2.0}, "`guidance` .*without classes"),
    ],
)
def test_impossible_sizes_are_refused(shape, options, words):
    with pytest.raises(InputError, match=words):
        build_model(Unet(**options), shape)
