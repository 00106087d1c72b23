"""Packing: several images, one logit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fast_cases import slow_except
from on_devices import drawn

from l1jax.models import Network, dcgan, mlp_gan, packed, r3gan, sn_resnet

X = jnp.arange(6 * 2 * 3 * 2, dtype=jnp.float32).reshape(6, 2, 3, 2)


def test_images_that_follow_each_other_are_joined_by_their_channels():
    seen = {}

    def apply(params, statistics, inputs, train, label=None, key=None):
        seen.update(inputs=inputs, label=label, key=key)
        return inputs.sum((1, 2, 3)), "moved"

    network = packed(Network(lambda key: ({}, {}), apply), 3)
    logits, statistics = network.apply({}, {}, X, True, jnp.arange(6), jax.random.key(1))
    expected = np.stack([np.concatenate([X[i + j] for j in range(3)], -1) for i in (0, 3)])
    np.testing.assert_array_equal(seen["inputs"], expected)
    np.testing.assert_array_equal(seen["label"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(logits, expected.sum((1, 2, 3)))
    assert (statistics, seen["key"]) == ("moved", jax.random.key(1))


def test_a_pack_of_one_is_the_network_itself():
    network = mlp_gan((2, 3, 2), 4, (4,), (), (4,)).discriminator
    assert packed(network, 1) is network


def test_a_batch_that_does_not_divide_is_refused():
    network = mlp_gan((2, 3, 2), 4, (4,), (), (4,), packing=4).discriminator
    with pytest.raises(
        ValueError,
        match=r"`packing` \(=4\) must divide the batch of each device \(=6\)",
    ):
        network.apply(*drawn(network), X, False)
    with pytest.raises(ValueError, match=r"`packing` \(=0\) must be at least 1"):
        mlp_gan((2, 3, 2), packing=0)


@pytest.mark.parametrize("make", slow_except([mlp_gan, dcgan, sn_resnet, r3gan], mlp_gan, dcgan))
@pytest.mark.parametrize("classes", [0, 10])
def test_every_discriminator_packs_and_only_what_reads_images_and_labels_grows(make, classes):
    alone, network = (
        make((32, 32, 3), classes=classes, packing=packing).discriminator for packing in (1, 4)
    )
    params, statistics = jax.eval_shape(network.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct((8, 32, 32, 3), jnp.float32)
    label = jax.ShapeDtypeStruct((8,), jnp.int32)
    logits, _ = jax.eval_shape(
        lambda p, s, x, y: network.apply(p, s, x, False, y), params, statistics, x, label
    )
    assert logits.shape == (2,)
    before, _ = jax.eval_shape(alone.init, jax.random.key(0))
    grown = {
        (path[-2].key, b.shape[-2] / a.shape[-2])
        for (path, a), b in zip(
            jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(params), strict=True
        )
        if a.shape != b.shape
    }
    firsts = {
        "mlp_gan": {"hidden_0"},
        "dcgan": {"conv_0"},
        "sn_resnet": {"conv_1", "shortcut"},
        "r3gan": {"pixels"},
    }
    projected = {"projection"} if classes and make is not mlp_gan else set()
    assert grown == {(name, 4.0) for name in firsts[make.__name__] | projected}
    assert make((32, 32, 3), packing=4).packing == 4


def test_the_discriminator_of_pacgan_has_its_papers_size():
    """Lin et al. 2018, section 4.1: 2-dimensional points and four hidden layers of 128.

    The first layer reads the pack.
    """
    params, _ = jax.eval_shape(
        mlp_gan((1, 1, 2), 2, (400,) * 4, (), (128,) * 4, "linear", packing=2).discriminator.init,
        jax.random.key(0),
    )
    assert params["hidden_0"]["kernel"].shape == (4, 128)
