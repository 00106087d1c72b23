"""Class-conditional networks are their formulas, and labels do what they should."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from generators import CONDITIONAL, generator, images_of, inputs
from on_devices import DEVICES, drawn, gradient, train

from l1jax.models import dcgan, mlp_gan, r3gan, sn_resnet
from l1jax.models.conditional import (
    ConditionalBatchNorm,
    class_path,
    rows_of_labels,
    with_label,
)
from l1jax.models.network import linen_network

RNG = np.random.default_rng(0)
LABEL = jnp.asarray([2, 0, 1, 2])


def normal(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def leaky(x):
    return np.where(x > 0, x, 0.2 * x)


def dense(layer, x):
    return x @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"], np.float64)


def apply(network, x, label=None):
    params, statistics = drawn(network)
    return params, jax.jit(partial(network.apply, train=False))(params, statistics, x, label=label)[
        0
    ]


def test_labels_are_appended_at_every_pixel_and_several_side_by_side():
    x = normal(2, 3, 4, 1)
    found = with_label(x, jnp.asarray([[1, 0], [2, 2]]), 3)
    expected = np.zeros((2, 3, 4, 7))
    expected[..., :1] = x
    expected[0, ..., [2, 4]] = expected[1, ..., [3, 6]] = 1
    np.testing.assert_array_equal(found, expected)
    assert with_label(x, None, 0) is x


def test_weights_of_classes_stand_where_their_label_would():
    weights = jnp.asarray([[0.25, 0.75, 0.0], [0.0, 0.0, 1.0]])
    x = normal(2, 4)
    np.testing.assert_array_equal(with_label(x, weights, 3), np.concatenate([x, weights], axis=1))
    table = normal(3, 5)
    found = rows_of_labels(table, weights)
    np.testing.assert_allclose(found[0], 0.25 * table[0] + 0.75 * table[1], rtol=1e-6)
    np.testing.assert_array_equal(found[1], table[2])  # to the last bit


def test_a_path_of_classes_goes_evenly_from_one_to_another():
    paths = class_path(jnp.asarray([2, 0]), 1, 5, classes=3)
    expected = np.zeros((2, 5, 3))
    expected[0, :, 2] = expected[1, :, 0] = [1, 0.75, 0.5, 0.25, 0]
    expected[:, :, 1] = [0, 0.25, 0.5, 0.75, 1]
    np.testing.assert_array_equal(paths, expected)


@pytest.mark.parametrize(
    "family", ["mlp", *(pytest.param(f, marks=pytest.mark.slow) for f in CONDITIONAL if f != "mlp")]
)
def test_generators_draw_whole_classes_from_their_weights_to_the_last_bit(family):
    own = generator(family, 3)
    latents, labels = inputs(own)
    images = images_of(own, latents, labels)
    np.testing.assert_array_equal(images_of(own, latents, jnp.eye(3)[labels]), images)
    between = images_of(own, latents, jnp.full((len(latents), 3), 1 / 3))
    assert np.abs(between - images).max() > 1e-3


def test_the_dense_gan_reads_labels_beside_latents_and_pixels():
    gan = mlp_gan((1, 1, 2), 5, (7,), (), (6,), "linear", classes=3)
    one_hot, z, x = np.eye(3)[LABEL], normal(4, 5), normal(4, 1, 1, 2)
    params, points = apply(gan.generator.network, z, LABEL)
    hidden = leaky(dense(params["hidden_0"], np.concatenate([z, one_hot], 1)))
    np.testing.assert_allclose(
        points[:, 0, 0], dense(params["image"], hidden), rtol=1e-4, atol=1e-5
    )
    params, logits = apply(gan.discriminator, x, LABEL)
    hidden = leaky(dense(params["hidden_0"], np.concatenate([x[:, 0, 0], one_hot], 1)))
    np.testing.assert_allclose(logits, dense(params["logit"], hidden)[:, 0], rtol=1e-4, atol=1e-5)
    assert gan.generator.classes == 3


@pytest.mark.parametrize(
    "make", [partial(dcgan, (8, 8, 1), 5, 3), partial(mlp_gan, (8, 8, 1), 5, (4,), (3,), ())]
)
def test_convolutional_discriminators_project_labels_on_their_features(make):
    conditional, plain = make(classes=3).discriminator, make().discriminator
    x = normal(4, 8, 8, 1)
    params, logits = apply(conditional, x, LABEL)
    found = plain.apply({k: v for k, v in params.items() if k != "projection"}, {}, x, False)[0]
    if "conv_1" not in params:  # then the features are the only convolution's
        features = nn.Conv(3, params["conv_0"]["kernel"].shape[:2], 2).apply(
            {"params": params["conv_0"]}, x
        )
        features = leaky(np.asarray(features)).reshape(4, -1)
        projected = np.sum(np.asarray(params["projection"]["kernel"])[LABEL] * features, 1)
        np.testing.assert_allclose(logits - found, projected, rtol=1e-3, atol=1e-4)


def test_conditional_batch_norm_scales_and_shifts_by_class():
    module = linen_network(Normed(), (2, 2, 5), classes=3)
    params, statistics = drawn(module)
    x = normal(4, 2, 2, 5)
    outputs, moved = train(module, params, statistics, x, LABEL)
    normalised = (x - np.mean(x, (0, 1, 2))) / np.sqrt(np.var(x, (0, 1, 2)) + 1e-5)
    scale, bias = (
        np.asarray(params["norm"][name])[LABEL][:, None, None] for name in ("scale", "bias")
    )
    np.testing.assert_allclose(outputs, normalised * scale + bias, rtol=1e-4, atol=1e-5)
    before = statistics["norm"]["moments"]["mean"]
    np.testing.assert_allclose(
        moved["norm"]["moments"]["mean"], 0.9 * before + 0.1 * np.mean(x, (0, 1, 2)), rtol=1e-4
    )


class Normed(nn.Module):
    @nn.compact
    def __call__(self, x, train, label):
        return ConditionalBatchNorm(3, name="norm")(x, train, label)


FACTORIES = {
    "mlp": partial(mlp_gan, (16, 16, 1), 5, (8,), (), (8,)),
    "dcgan": partial(dcgan, (16, 16, 1), 5, 2),
    "sn_resnet": partial(sn_resnet, (32, 32, 1), 5, 2, 2),
    "r3gan": partial(r3gan, (16, 16, 1), 5, 8),
}


@pytest.mark.parametrize("name", FACTORIES)
def test_labels_must_be_given_and_have_their_parameters(name):
    gan, plain = FACTORIES[name](classes=3), FACTORIES[name]()
    for with_classes, without in (
        (gan.generator.network, plain.generator.network),
        (gan.discriminator, plain.discriminator),
    ):
        sizes = [
            sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(n.init, jax.random.key(0))[0]))
            for n in (with_classes, without)
        ]
        assert sizes[0] > sizes[1]
        with pytest.raises(ValueError, match=r"`label` \(=None\) must name one of 3 classes"):
            with_classes.apply({}, {}, None, False)


@pytest.mark.slow
def test_projection_spectral_norm_dropout_and_packing_are_the_same_on_any_number_of_devices():
    """It holds in training, gradients too, with shard_map's types checked.

    `u` comes back replicated.
    """
    gan = mlp_gan(
        (4, 4, 1),
        5,
        (8,),
        (6,),
        (8,),
        norm="batch",
        spectral_norm=True,
        dropout=0.3,
        classes=3,
        packing=2,
    )
    params, statistics = drawn(gan.discriminator)
    x, label, key = normal(16, 4, 4, 1), np.arange(16) % 3, jax.random.key(7)
    alone, *spread = (
        jax.tree.map(
            np.asarray, gradient(gan.discriminator, params, statistics, x, label, key, devices)
        )
        for devices in DEVICES
    )
    assert alone[0].shape == (8,)
    for found in spread:
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    assert (
        np.max(np.abs(alone[1]["conv_0"]["spectral"]["u"] - statistics["conv_0"]["spectral"]["u"]))
        > 1e-2
    )
