"""The spectral-norm ResNet against an independent PyTorch implementation.

The sizes are torch-mimicry's.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch_networks as peers
from on_devices import drawn, gradient, train

from l1jax.models import sn_resnet

RNG = np.random.default_rng(0)
BATCH, LATENT, CLASSES = 4, 6, 3
# Image size: start, generator's widths, discriminator's widths, blocks that halve: torch-mimicry's
# ngf and ndf.
PUBLISHED = {
    32: (4, [256] * 4, [128] * 4, 2),
    48: (6, [512, 256, 128, 64], [64, 128, 256, 512, 1024], 4),
    64: (4, [1024, 512, 256, 128, 64], [64, 128, 256, 512, 1024], 5),
}
ABSORBED = {
    32: 3 * 3 * 256,
    48: 3 * (256 + 128 + 64),
    64: 3 * (512 + 256 + 128 + 64),
}  # biases in front of norms


def size(network):
    params, _ = jax.eval_shape(network.init, jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pixels", "classes"),
    [
        pytest.param(32, 0, marks=pytest.mark.slow),
        (32, 10),
        pytest.param(48, 0, marks=pytest.mark.slow),
        (64, 10),
    ],
)
def test_sizes_are_the_published_ones_but_for_biases_that_batch_norm_takes_away(pixels, classes):
    start, generator, discriminator, halved = PUBLISHED[pixels]
    gan = sn_resnet((pixels, pixels, 3), classes=classes)
    theirs = peers.count(peers.ResnetGenerator, start, generator, 128, classes=classes)
    assert size(gan.generator.network) == theirs - ABSORBED[pixels]
    assert size(gan.discriminator) == peers.count(
        peers.ResnetDiscriminator, discriminator, halved, classes=classes
    )


def test_the_32_pixel_networks_have_the_sizes_of_mimicrys_sngan_32():
    """Counted by hand from ngf = 256, ndf = 128: dense and convolutional layers, norms, biases."""
    gan = sn_resnet((32, 32, 3))
    block = 2 * (9 * 256 * 256 + 256) + (256 * 256 + 256) + 2 * 2 * 256
    generator = (128 * 4096 + 4096) + 3 * block + 2 * 256 + (9 * 256 * 3 + 3)
    assert size(gan.generator.network) + ABSORBED[32] == generator == 4_276_739
    three, one = 9 * 128 * 128 + 128, 128 * 128 + 128
    first = (9 * 3 * 128 + 128) + three + (3 * 128 + 128)
    assert size(gan.discriminator) == first + (2 * three + one) + 4 * three + (128 + 1) == 1_053_825


def load_generator(target, params, statistics):
    side = target.start
    kernel = (
        np.asarray(params["project"]["kernel"])
        .reshape(LATENT, side, side, -1)
        .transpose(0, 3, 1, 2)
    )
    bias = np.asarray(params["project"]["bias"]).reshape(side, side, -1).transpose(2, 0, 1)
    peers.load(target.project.weight, kernel.reshape(LATENT, -1).T)
    peers.load(target.project.bias, bias.reshape(-1))
    for i, block in enumerate(target.blocks):
        for name in ("conv_1", "conv_2", "shortcut"):
            peers.load_layer(getattr(block, name), params[f"block_{i}"][name])
        for name in ("norm_1", "norm_2"):
            peers.load_norm(
                getattr(block, name), params[f"block_{i}"][name], statistics[f"block_{i}"][name]
            )
    peers.load_norm(target.norm, params["norm"], statistics["norm"])
    peers.load_layer(target.image, params["image"])


def load_discriminator(target, params, statistics):
    for i, block in enumerate(target.blocks):
        for name in params[f"block_{i}"]:
            peers.load_layer(
                getattr(block, name), params[f"block_{i}"][name], statistics[f"block_{i}"][name]
            )
    for name in ("logit", "projection"):
        if getattr(target, name):
            peers.load_layer(getattr(target, name), params[name], statistics[name])


@pytest.mark.slow
def test_the_generator_gives_pytorchs_images_in_training_and_inference():
    network = sn_resnet((32, 32, 3), LATENT, 4, classes=CLASSES).generator.network
    params, statistics = drawn(network)
    target = peers.ResnetGenerator(4, [4] * 4, LATENT, classes=CLASSES, biases=False)
    load_generator(target, params, statistics)
    z, label = jnp.asarray(RNG.normal(size=(BATCH, LATENT)), jnp.float32), np.array([0, 2, 1, 2])

    images, moved = train(network, params, statistics, z, label)
    expected = target.train()(peers.tensor(z), torch.from_numpy(label)).detach()
    np.testing.assert_allclose(images, expected.permute(0, 2, 3, 1), atol=1e-4)
    assert np.std(images) > 0.05

    load_generator(
        target, params, moved
    )  # PyTorch's own running variance divides by n − 1, not by n
    images, _ = jax.jit(lambda z, label: network.apply(params, moved, z, False, label))(z, label)
    expected = target.eval()(peers.tensor(z), torch.from_numpy(label)).detach()
    np.testing.assert_allclose(images, expected.permute(0, 2, 3, 1), atol=1e-4)


@pytest.mark.slow
def test_the_discriminator_gives_pytorchs_logits_singular_vectors_and_gradients():
    network = sn_resnet((32, 32, 3), discriminator_width=5, classes=CLASSES).discriminator
    params, statistics = drawn(network)
    target = peers.ResnetDiscriminator([5] * 4, 2, classes=CLASSES).train()
    load_discriminator(target, params, statistics)
    x, label = jnp.asarray(RNG.normal(size=(BATCH, 32, 32, 3)), jnp.float32), np.array([0, 2, 1, 2])

    logits, moved, grads = gradient(network, params, statistics, x, label)
    expected = target(peers.images(x), torch.from_numpy(label))
    np.testing.assert_allclose(logits, expected.detach(), rtol=1e-4, atol=1e-4)
    expected.square().mean().backward()
    layers = [
        (f"block_{i}", name, getattr(b, name))
        for i, b in enumerate(target.blocks)
        for name in params[f"block_{i}"]
    ]
    for block, name, layer in layers:
        np.testing.assert_allclose(moved[block][name]["spectral"]["u"], layer.u, atol=1e-5)
        theirs = layer.layer.weight.grad.permute(2, 3, 1, 0)
        close = {"rtol": 1e-3, "atol": 1e-4 * float(theirs.abs().max())}
        np.testing.assert_allclose(grads[block][name]["kernel"], theirs, **close)
        np.testing.assert_allclose(grads[block][name]["bias"], layer.layer.bias.grad, **close)
    np.testing.assert_allclose(
        grads["projection"]["kernel"], target.projection.layer.weight.grad.T, rtol=1e-3, atol=1e-4
    )


@pytest.mark.slow
def test_the_48_pixel_networks_double_and_halve_as_published():
    gan = sn_resnet((48, 48, 1), LATENT, 1, 1)
    generator = peers.ResnetGenerator(6, [8, 4, 2, 1], LATENT, channels=1, biases=False)
    discriminator = peers.ResnetDiscriminator([1, 2, 4, 8, 16], 4, channels=1)
    for network, target, load in [
        (gan.generator.network, generator, load_generator),
        (gan.discriminator, discriminator, load_discriminator),
    ]:
        params, statistics = drawn(network)
        load(target, params, statistics)
        x = RNG.normal(size=(2, LATENT) if target is generator else (2, 48, 48, 1))
        found, same = jax.jit(partial(network.apply, train=False))(
            params, statistics, jnp.asarray(x, jnp.float32)
        )
        jax.tree.map(np.testing.assert_array_equal, same, statistics)
        expected = target.eval()(
            peers.tensor(x) if target is generator else peers.images(x)
        ).detach()
        expected = expected.permute(0, 2, 3, 1) if target is generator else expected
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(28, 28, 1), (128, 128, 3), (32, 64, 3)])
def test_other_sizes_are_refused(shape):
    with pytest.raises(
        ValueError, match=r"`image_shape` \(=\(.*must be square with a side of 32, 48 or 64"
    ):
        sn_resnet(shape)
