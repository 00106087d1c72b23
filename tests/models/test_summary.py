"""The summary counts what is there."""

import jax
import pytest
import torch
import torch_networks as peers
from fast_cases import slow_except
from flax import linen as nn
from torch.utils.flop_counter import FlopCounterMode

from l1jax.models import dcgan, mlp_gan, r3gan, sn_resnet
from l1jax.models.network import linen_network
from l1jax.models.summary import layers, summarise

GANS = {
    "mlp": mlp_gan((8, 8, 1), norm="layer", dropout=0.5, spectral_norm=True, packing=2),
    "dcgan": dcgan((64, 64, 3), classes=10, checkpointing=True),
    "sn_resnet": sn_resnet((32, 32, 3), classes=10),
    "r3gan": r3gan((64, 64, 3), 64, 768, 2, checkpointing=True),
}


@pytest.mark.parametrize("name", slow_except(GANS, "mlp", "dcgan", "sn_resnet"))
def test_every_parameter_is_in_one_line_and_in_the_total(name):
    for net in (GANS[name].generator.network, GANS[name].discriminator):
        params, _ = jax.eval_shape(net.init, jax.random.key(0))
        found = layers(net.init)
        by_layer = {}
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            layer = "/".join(key.key for key in path[:-1])
            by_layer[layer] = by_layer.get(layer, 0) + leaf.size
        assert {row.name: row.parameters for row in found} == by_layer
    text = GANS[name].summary()
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0] == "generator"
    assert "discriminator" in lines
    total = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert lines[-1].split()[:2] == ["total", f"{total:,}"]
    assert GANS[name].generator.summary() == text.split("\n\n")[0]


@pytest.mark.slow
def test_flops_are_those_that_pytorch_counts():
    gan = dcgan((64, 64, 3), 100, 8)
    for net, target, x in [
        (gan.generator.network, peers.dcgan_generator(100, 8, 3), torch.zeros(1, 100, 1, 1)),
        (gan.discriminator, peers.dcgan_discriminator(8, 3), torch.zeros(1, 3, 64, 64)),
    ]:
        with FlopCounterMode(display=False) as counter:
            target(x)
        assert sum(row.flops for row in layers(net.init)) == counter.get_total_flops()


def test_flops_of_grouped_and_resampled_convolutions_are_those_of_their_sums():
    rows = {row.name: row for row in layers(r3gan((16, 16, 3), channels=32).generator.network.init)}
    assert (
        rows["block_1_0/conv_2"].flops == 2 * 8 * 8 * 9 * 16 * 64
    )  # 8×8 pixels, 64 outputs that read 16 inputs each
    rows = {row.name: row for row in layers(sn_resnet((32, 32, 3), 8, 5, 7).discriminator.init)}
    assert (
        rows["block_0/conv_2"].flops == 2 * 32 * 32 * 9 * 7 * 7
    )  # at every pixel in front of the halving
    assert rows["block_0/conv_2"].output == (16, 16, 7)
    assert rows["block_0/shortcut"].flops == 2 * 16 * 16 * 3 * 7


class Foreign(nn.Module):
    """A module of Flax's own layers, with a long name."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.ConvTranspose(4, (3, 3), (2, 2), name="a" * 120)(x)
        return nn.Dense(1, name="logit")(x.reshape(len(x), -1))[:, 0]


def test_modules_of_others_are_counted_and_long_names_cut():
    net = linen_network(Foreign(), (5, 5, 2))
    long, logit = layers(net.init)
    assert (long.kind, long.output, long.parameters, long.flops) == (
        "ConvTranspose",
        (10, 10, 4),
        76,
        2 * 25 * 72,
    )
    assert (logit.parameters, logit.flops) == (401, 800)
    lines = summarise(net.init, "foreign").splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[4].startswith("…aaa")
