import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_networks as peers
from on_devices import drawn, train

from l1jax.models import dcgan
from l1jax.models.network import AXIS

Z = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)


def sizes(tree, pattern=""):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    names = [
        (jax.tree_util.keystr(path, simple=True, separator="/"), leaf.size) for path, leaf in leaves
    ]
    return sum(size for name, size in names if re.search(pattern, name))


def shapes_of(network):
    return jax.eval_shape(network.init, jax.random.key(0))


def test_sizes_are_those_of_the_published_64_pixel_networks():
    """PyTorch's DCGAN example, nz = 100, ngf = ndf = 64: 3,576,704 and 2,765,568 parameters."""
    gan = dcgan((64, 64, 3))
    params, statistics = shapes_of(gan.generator.network)
    convolutions = 16 * (100 * 512 + 512 * 256 + 256 * 128 + 128 * 64 + 64 * 3)
    norms = 2 * (512 + 256 + 128 + 64)
    assert sizes(params) == convolutions + norms == 3_576_704
    assert sizes(statistics) == norms  # a mean and a variance per channel

    params, statistics = shapes_of(gan.discriminator)
    convolutions = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512 * 1)
    norms = 2 * (128 + 256 + 512)
    assert convolutions + norms == 2_765_568
    assert sizes(params, "kernel|norm") == convolutions + norms
    assert (
        sizes(params, "^(?!norm).*bias") == 64 + 1
    )  # of the two layers without batch norm; there they have none
    assert sizes(statistics) == norms


def test_without_batch_norm_every_discriminator_layer_has_a_bias():
    params, statistics = shapes_of(dcgan((64, 64, 3), norm="none").discriminator)
    assert sizes(params, "bias") == 64 + 128 + 256 + 512 + 1
    assert sizes(params, "norm") == 0
    assert statistics == {}


@pytest.mark.parametrize(
    ("size", "channels"), [(8, 1), (20, 3), (28, 1), (48, 3), (64, 3), (256, 1)]
)
def test_images_have_the_shape_asked_for(size, channels):
    gan = dcgan((size, size, channels), latent_size=5, channels=2)
    params, statistics = shapes_of(gan.generator.network)
    images, _ = jax.eval_shape(
        lambda p, s, z: gan.generator.network.apply(p, s, z, False), params, statistics, Z
    )
    assert images.shape == (3, size, size, channels)
    params, statistics = shapes_of(gan.discriminator)
    logits, _ = jax.eval_shape(
        lambda p, s, x: gan.discriminator.apply(p, s, x, False), params, statistics, images
    )
    assert logits.shape == (3,)


@pytest.mark.parametrize(
    "shape", [(4, 4, 1), (7, 7, 1), (9, 9, 3), (30, 30, 3), (100, 100, 3), (64, 32, 3), (2, 2, 1)]
)
def test_images_that_do_not_fit_are_refused(shape):
    with pytest.raises(
        ValueError, match=r"`image_shape` \(=\(.*must be square with a side of 4, 5, 6 or 7 times"
    ):
        dcgan(shape)


def test_generator_is_its_formula_at_8_pixels():
    generator = dcgan((8, 8, 2), latent_size=5, channels=3).generator
    params, statistics = jax.jit(generator.network.init)(jax.random.key(0))
    p = jax.tree.map(np.asarray, params)
    p = jax.tree.map(
        lambda leaf: 20 * leaf if leaf.ndim > 1 else leaf, p
    )  # 0.02 would hide in the tolerance
    images, _ = jax.jit(lambda p, z: generator.network.apply(p, statistics, z, False))(p, Z)
    x = (Z @ p["project"]["kernel"]).reshape(3, 4, 4, 3) / np.sqrt(
        1 + 1e-5
    )  # running mean 0, variance 1
    x = np.maximum(x * p["norm_0"]["scale"] + p["norm_0"]["bias"], 0)
    out = np.zeros(
        (3, 12, 12, 2)
    )  # pixel i lands on 2i … 2i+3; one is cut off at the start, the rest at the end
    kernel = p["image"]["kernel"][::-1, ::-1]
    for i in range(4):
        for j in range(4):
            out[:, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += np.einsum(
                "nc,hwco->nhwo", x[:, i, j], kernel
            )
    np.testing.assert_allclose(images, np.tanh(out[:, 1:9, 1:9]), rtol=1e-4, atol=1e-5)


def test_kernels_and_scales_start_as_the_paper_says():
    params, _ = jax.jit(dcgan((16, 16, 3), channels=16).generator.network.init)(jax.random.key(0))
    kernel, scale = np.asarray(params["deconv_1"]["kernel"]), np.asarray(params["norm_0"]["scale"])
    assert abs(kernel.mean()) < 5 * 0.02 / np.sqrt(kernel.size)
    assert kernel.std() == pytest.approx(0.02, rel=0.04)
    assert scale.mean() == pytest.approx(1, abs=5 * 0.02 / np.sqrt(scale.size))
    assert scale.std() == pytest.approx(0.02, rel=0.5)


def test_devices_share_batch_statistics():
    gan = dcgan((8, 8, 1), latent_size=4, channels=2)
    params, statistics = jax.jit(gan.generator.network.init)(jax.random.key(0))
    z = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)

    def train(devices):
        step = jax.vmap(
            lambda part: gan.generator.network.apply(params, statistics, part, True), axis_name=AXIS
        )
        images, moved = jax.jit(step)(z.reshape(devices, 8 // devices, 4))
        return images.reshape(8, 8, 8, 1), jax.tree.map(lambda leaf: leaf[0], moved)

    (one, moved), (four, moved_too) = train(1), train(4)
    np.testing.assert_allclose(one, four, atol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-8), moved, moved_too
    )


def load_generator(target, params, statistics):
    project, *deconvs = [
        layer for layer in target if hasattr(layer, "weight") and layer.weight.ndim == 4
    ]
    kernel = np.asarray(params["project"]["kernel"])
    peers.load(project.weight, kernel.reshape(len(kernel), 4, 4, -1).transpose(0, 3, 1, 2))
    for layer, name in zip(deconvs, ["deconv_1", "deconv_2", "deconv_3", "image"], strict=True):
        peers.load_transposed(layer, params[name])
    for i, layer in enumerate(layer for layer in target if hasattr(layer, "running_mean")):
        peers.load_norm(layer, params[f"norm_{i}"], statistics[f"norm_{i}"])


def load_discriminator(target, params, statistics):
    *convs, logit = [
        layer for layer in target if hasattr(layer, "weight") and layer.weight.ndim == 4
    ]
    for i, layer in enumerate(convs):
        peers.load_layer(layer, {"kernel": params[f"conv_{i}"]["kernel"]})
    peers.load(
        logit.weight,
        np.asarray(params["logit"]["kernel"]).reshape(4, 4, -1, 1).transpose(3, 2, 0, 1),
    )
    for i, layer in enumerate((layer for layer in target if hasattr(layer, "running_mean")), 1):
        peers.load_norm(layer, params[f"norm_{i}"], statistics[f"norm_{i}"])


@pytest.mark.slow
@pytest.mark.parametrize("which", ["generator", "discriminator"])
def test_outputs_are_those_of_pytorchs_example_in_training_and_inference(which):
    gan = dcgan((64, 64, 3), 10, 4)
    network = gan.discriminator if which == "discriminator" else gan.generator.network
    params, statistics = drawn(network)
    if which == "discriminator":  # theirs has no biases
        params = {
            name: {
                k: 0 * v if name in ("conv_0", "logit") and k == "bias" else v
                for k, v in layer.items()
            }
            for name, layer in params.items()
        }
    target, load, x = {
        "generator": (
            peers.dcgan_generator(10, 4, 3),
            load_generator,
            np.random.default_rng(1).normal(size=(4, 10)),
        ),
        "discriminator": (
            peers.dcgan_discriminator(4, 3),
            load_discriminator,
            np.random.default_rng(1).normal(size=(4, 64, 64, 3)),
        ),
    }[which]
    x, given = (
        jnp.asarray(x, jnp.float32),
        peers.images(x) if x.ndim == 4 else peers.tensor(x)[:, :, None, None],
    )

    def expected():
        found = target(given).detach()
        return found[:, 0, 0, 0] if which == "discriminator" else found.permute(0, 2, 3, 1)

    load(target.train(), params, statistics)
    outputs, moved = train(network, params, statistics, x)
    np.testing.assert_allclose(outputs, expected(), rtol=1e-4, atol=1e-4)
    assert np.std(outputs) > 0.05
    load(target.eval(), params, moved)  # PyTorch's own running variance divides by n − 1, not by n
    outputs, _ = jax.jit(lambda x: network.apply(params, moved, x, False))(x)
    np.testing.assert_allclose(outputs, expected(), rtol=1e-4, atol=1e-4)
