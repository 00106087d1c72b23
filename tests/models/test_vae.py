import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from l1jax.models import vae

KEY = jax.random.key(0)


def shapes(network):
    return jax.eval_shape(network.init, KEY)[0]


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("likelihood", "channels", "classes"),
    [
        ("bernoulli", (), 0),
        ("gaussian", (), 4),
        pytest.param("discretized_logistic", (3, 5), 4, marks=pytest.mark.slow),
    ],
)
def test_shapes_and_the_generator_is_the_decoders_mean(likelihood, channels, classes):
    model = vae((8, 12, 3), 4, channels, (6,), likelihood, classes)
    (encoder, statistics), (decoder, _) = (
        jax.jit(model.encoder.init)(KEY),
        jax.jit(model.decoder.init)(KEY),
    )
    assert statistics == {}
    label = jnp.arange(2) if classes else None
    images = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 8, 12, 3)), jnp.float32)

    @jax.jit
    def passes(encoder, decoder):
        moments, _ = model.encoder.apply(encoder, {}, images, True, label)
        outputs, _ = model.decoder.apply(decoder, {}, moments[:, :4], True, label)
        mean, _ = model.generator.network.apply(decoder, {}, moments[:, :4], False, label)
        return moments, outputs, mean

    moments, outputs, mean = passes(encoder, decoder)
    assert moments.shape == (2, 8)
    assert outputs.shape == (2, 8, 12, 3 if likelihood == "bernoulli" else 6)
    np.testing.assert_allclose(mean, nn.sigmoid(outputs[..., :3]), rtol=1e-6)
    assert (likelihood == "bernoulli") == ("log_scale" not in decoder)


def test_dense_networks_have_the_papers_layers():
    model = vae((28, 28, 1), 20, (), (500,), "bernoulli")
    assert count(shapes(model.encoder)) == 784 * 500 + 500 + 500 * 40 + 40
    assert count(shapes(model.decoder)) == 20 * 500 + 500 + 500 * 784 + 784


def test_convolutions_are_mirrored():
    model = vae((16, 16, 1), 5, (8, 12), (7,))
    encoder, decoder = shapes(model.encoder), shapes(model.decoder)
    assert {name: leaf["kernel"].shape for name, leaf in encoder.items()} == {
        "conv_0": (4, 4, 1, 8),
        "conv_1": (4, 4, 8, 12),
        "hidden_0": (4 * 4 * 12, 7),
        "moments": (7, 10),
    }
    assert {name: leaf["kernel"].shape for name, leaf in decoder.items()} == {
        "hidden_0": (5, 7),
        "project": (7, 4 * 4 * 12),
        "deconv_1": (4, 4, 12, 8),
        "image": (4, 4, 8, 1),
    }


def test_the_label_matters_to_both_networks():
    model = vae((4, 4, 1), 2, (), (6,), classes=3)
    images, latents = jnp.full((3, 4, 4, 1), 0.5), jnp.ones((3, 2))
    for network, inputs in ((model.encoder, images), (model.generator.network, latents)):
        params, _ = jax.jit(network.init)(KEY)
        apply = jax.jit(lambda p, x, network=network: network.apply(p, {}, x, False, jnp.arange(3)))
        outputs, _ = apply(params, inputs)
        assert not np.allclose(outputs[0], outputs[1])
        assert not np.allclose(outputs[1], outputs[2])


def test_bfloat16_computes_with_float32_parameters():
    model, exact = (vae((4, 4, 1), 2, (), (6,), dtype=dtype) for dtype in ("bfloat16", "float32"))
    params, _ = jax.jit(model.encoder.init)(KEY)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.float32)}
    images = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 4, 4, 1)), jnp.float32)
    coarse, fine = (
        jax.jit(lambda p, m=m: m.encoder.apply(p, {}, images, False)[0])(params)
        for m in (model, exact)
    )
    assert coarse.dtype == jnp.float32
    assert 0 < np.abs(coarse - fine).max() < 0.05


def test_images_that_cannot_be_halved_are_refused():
    with pytest.raises(
        ValueError,
        match=r"`image_shape` \(=\(6, 6, 1\)\) must be divisible by 2 .* `channels` \(=\(4, 4\)\)",
    ):
        vae((6, 6, 1), 2, (4, 4))
