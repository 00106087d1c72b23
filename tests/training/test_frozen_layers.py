"""FreezeD: the first layers of a network stay bit for bit, the rest trains as without."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l1jax import config
from l1jax.build import build_model
from l1jax.build_optimizer import build_optimizer
from l1jax.config import Config, InputError, MlpGan, Optimizer, Origin, Transformer, Vae
from l1jax.training.frozen_layers import find_layers, freeze_layers

CONV = MlpGan(
    latent_size=3, generator_hidden=(6, 5), discriminator_channels=(4, 8),
    discriminator_hidden=(6,), norm="batch",
)  # fmt: skip
ORDERS = {
    "convolutions": (CONV, (8, 8, 1), "discriminator", "conv_0 conv_1 hidden_0 logit"),
    "packed": (
        MlpGan(discriminator_hidden=(6, 5), packing=2),
        (8, 8, 1),
        "discriminator",
        "hidden_0 hidden_1 logit",
    ),
    "generator": (CONV, (8, 8, 1), "generator", "hidden_0 hidden_1 image"),
    "spectral": (
        config.SnResnet(),
        (32, 32, 3),
        "discriminator",
        "block_0 block_1 block_2 block_3 logit",
    ),
    "r3gan": (
        config.R3gan(),
        (32, 32, 3),
        "discriminator",
        "pixels block_0_0 block_1_0 block_2_0 block_3_0 basis logit",
    ),
    "encoder": (Vae(hidden=(6, 5)), (8, 8, 1), "encoder", "hidden_0 hidden_1 moments"),
    "text": (
        Transformer(context=8, width=8, heads=2, layers=2),
        (16,),
        "generator",
        "block_0 block_1 logits",
    ),
}


@pytest.mark.parametrize(("model", "shape", "name", "names"), ORDERS.values(), ids=ORDERS)
def test_layers_stand_in_the_order_of_the_forward_pass(model, shape, name, names):
    built = build_model(model, shape)
    layers = find_layers(built, name, getattr(model, "packing", 1))
    assert [layer for layer, _ in layers] == names.split()


def test_a_norm_belongs_to_the_layer_before_it():
    parts = [parts for _, parts in find_layers(build_model(CONV, (8, 8, 1)), "discriminator")]
    assert parts == [("conv_0",), ("conv_1", "norm_1"), ("hidden_0", "norm_2"), ("logit",)]


def experiment(**fields):
    optimizer = Optimizer(penalty=config.L1(1.0), **fields)
    origin = Origin("somewhere", networks=("generator", "discriminator"))
    return Config(model=CONV, discriminator=optimizer, origin=origin)


@pytest.mark.slow
def test_frozen_layers_stay_and_the_others_move_as_without():
    gan = build_model(CONV, (8, 8, 1))
    wanted = experiment(frozen_layers=2)
    plain = build_optimizer(wanted.discriminator)
    frozen = freeze_layers(wanted, "discriminator", plain, gan)
    params, _ = gan.discriminator.init(jax.random.key(0))
    grads = jax.tree.map(jnp.ones_like, params)
    expected, _ = plain.update(grads, plain.init(params), params)
    updates, _ = frozen.update(grads, frozen.init(params), params)
    for name, part in updates.items():
        for leaf, like in zip(jax.tree.leaves(part), jax.tree.leaves(expected[name]), strict=True):
            assert np.any(np.asarray(like))
            stays = name in ("conv_0", "conv_1", "norm_1")
            np.testing.assert_array_equal(leaf, np.zeros_like(leaf) if stays else like)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            dataclasses.replace(experiment(frozen_layers=1), origin=None),
            r"`discriminator.frozen_layers` \(=1\) needs --from a source with a discriminator",
        ),
        (
            dataclasses.replace(
                experiment(frozen_layers=1), origin=Origin("a", "", 0, ("generator",))
            ),
            r"`discriminator.frozen_layers` \(=1\) needs --from a source with a discriminator",
        ),
        (
            experiment(frozen_layers=4),
            r"must be at most 3, .* the layers are conv_0, conv_1, hidden_0, logit",
        ),
        (experiment(frozen_layers=1, algorithm="rmda"), r"must be 0 for `algorithm` \(=rmda\)"),
    ],
)
def test_what_cannot_be_frozen_is_refused(changed, words):
    tx = build_optimizer(changed.discriminator)
    with pytest.raises(InputError, match=words):
        freeze_layers(changed, "discriminator", tx, build_model(CONV, (8, 8, 1)))
