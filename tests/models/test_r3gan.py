"""R3GAN's networks against an independent PyTorch implementation of the paper's."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torch_networks as peers
from fast_cases import slow_except
from on_devices import drawn

from l1jax.build import build_model, example_shape
from l1jax.cli.experiment_file import load_experiment
from l1jax.models import r3gan
from l1jax.models.r3gan import doubled, halved

RNG = np.random.default_rng(0)
LATENT, CLASSES = 6, 3
# Pixels: channels per image size in the paper's networks, from 4 pixels on, all of 2 blocks each.
PUBLISHED = {32: [768] * 4, 64: [768] * 4 + [384], 256: [768] * 4 + [384, 192, 96]}


def size(network):
    params, statistics = jax.eval_shape(network.init, jax.random.key(0))
    assert statistics == {}
    return sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.slow
@pytest.mark.parametrize("pixels", PUBLISHED)
@pytest.mark.parametrize("classes", slow_except([0, 10], 10))
def test_sizes_are_those_of_the_papers_networks(pixels, classes):
    gan = r3gan((pixels, pixels, 3), 64, 768, 2, classes=classes)
    widths = PUBLISHED[pixels]
    assert size(gan.generator.network) == peers.count(peers.R3Generator, 64, widths, 2, 16, classes)
    assert size(gan.discriminator) == peers.count(
        peers.R3Discriminator, widths[::-1], 2, 16, classes
    )


@pytest.mark.parametrize(
    ("name", "widths", "group_size", "classes"),
    [
        ("ffhq64_r3", [768, 768, 768, 768, 384], 16, 0),
        ("imagenet32_r3", [1536] * 4, 32, 1000),
    ],
)
def test_the_experiments_have_the_published_networks(name, widths, group_size, classes):
    experiment = load_experiment(name)
    model = build_model(experiment.model, example_shape(experiment.data))
    assert size(model.generator.network) == peers.count(
        peers.R3Generator, 64, widths, 2, group_size, classes
    )
    assert size(model.discriminator) == peers.count(
        peers.R3Discriminator, widths[::-1], 2, group_size, classes
    )


def load(target, params, per_size):
    for i, block in enumerate(target.blocks):
        for name in ("conv_1", "conv_2", "conv_3"):
            peers.load_layer(
                getattr(block, name), params[f"block_{i // per_size}_{i % per_size}"][name]
            )
    for i, layer in enumerate(target.widen, 1):
        if isinstance(layer, torch.nn.Conv2d):
            peers.load_layer(layer, params[f"width_{i}"])
    for name in {"image", "pixels", "embedding", "project", "logit", "projection"} & set(params):
        peers.load_layer(getattr(target, name), params[name])
    basis = np.asarray(params["basis"]["kernel"])[:, :, 0].transpose(2, 0, 1)
    if isinstance(target.basis, torch.nn.Conv2d):
        peers.load(target.basis.weight, basis[:, None])
    else:
        peers.load(target.basis, basis)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pixels", "channels", "classes"),
    [(16, 4, CLASSES), pytest.param(64, 8, 0, marks=pytest.mark.slow)],
)
def test_images_and_logits_are_pytorchs(pixels, channels, classes):
    gan = r3gan((pixels, pixels, 3), LATENT, channels, 2 if classes else 1, 4, classes=classes)
    widths, blocks = ([4] * 3, 2) if classes else ([8] * 4 + [4], 1)
    generator = peers.R3Generator(LATENT, widths, blocks, 4, classes)
    discriminator = peers.R3Discriminator(widths[::-1], blocks, 4, classes)
    label = np.array([2, 0])
    given = (torch.from_numpy(label),) if classes else ()
    z = RNG.normal(size=(2, LATENT))
    x = RNG.normal(size=(2, pixels, pixels, 3))
    for network, target, inputs, theirs in [
        (gan.generator.network, generator, z, peers.tensor(z)),
        (gan.discriminator, discriminator, x, peers.images(x)),
    ]:
        params, _ = drawn(network)
        load(target, params, blocks)
        found, _ = jax.jit(partial(network.apply, train=True))(
            params, {}, jnp.asarray(inputs, jnp.float32), label=label
        )
        expected = target(theirs, *given).detach()
        expected = expected.permute(0, 2, 3, 1) if target is generator else expected
        np.testing.assert_allclose(
            found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max())
        )


@pytest.mark.slow
def test_resampling_is_pytorchs_filtering_and_keeps_constants_inside():
    x = jnp.asarray(RNG.normal(size=(2, 6, 4, 3)), jnp.float32)
    up = F.conv_transpose2d(peers.images(x), 4 * peers.tent(3), stride=2, padding=1, groups=3)
    np.testing.assert_allclose(doubled(x), up.permute(0, 2, 3, 1), atol=1e-6)
    down = F.conv2d(peers.images(x), peers.tent(3), stride=2, padding=1, groups=3)
    np.testing.assert_allclose(halved(x), down.permute(0, 2, 3, 1), atol=1e-6)
    np.testing.assert_allclose(doubled(jnp.ones((1, 4, 4, 1)))[:, 1:-1, 1:-1], 1)


@pytest.mark.slow
def test_training_starts_from_identities_with_weights_as_large_as_the_paper_says():
    network = r3gan((16, 16, 3), 64, 64, 2).generator.network
    params, _ = jax.jit(network.init)(jax.random.key(0))
    block, gain = params["block_1_1"], np.sqrt(2 / (1 + 0.2**2)) * 6**-0.25  # 3 sizes of 2 blocks
    assert not np.any(block["conv_3"]["kernel"])
    for name, inputs in (("conv_1", 64), ("conv_2", 9 * 16)):
        assert np.std(block[name]["kernel"]) == pytest.approx(gain / np.sqrt(inputs), rel=0.05)
    assert np.std(params["basis"]["kernel"]) == pytest.approx(1, rel=0.1)
    assert np.std(params["project"]["kernel"]) == pytest.approx(1 / 8, rel=0.1)


def test_groups_that_do_not_fit_are_refused():
    with pytest.raises(
        ValueError,
        match=r"`group_size` \(=16\) must divide twice the channels .*\[20, 20, 20, 20\]",
    ):
        r3gan((32, 32, 3), channels=20)
    with pytest.raises(ValueError, match=r"`image_shape`"):
        r3gan((30, 30, 3))
