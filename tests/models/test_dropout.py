"""Where networks drop something: in training alone, and in no program that has it switched off."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from on_devices import drawn, train

from l1jax.models import dcgan, dense_generator, mlp_gan, r3gan, sn_resnet, transformer, vae
from l1jax.models.network import AXIS, linen_network
from l1jax.models.r3gan import Block
from l1jax.models.sn_resnet import DiscriminatorBlock

KEY = jax.random.key(0)
DROPOUT = {"generator_dropout": 0.2}
PATHS = {"generator_drop_path": 0.2, "discriminator_drop_path": 0.3}


def small_sn_resnet(**options):
    return sn_resnet((32, 32, 1), 4, 2, 2, **options)


def small_r3gan(**options):
    return r3gan((8, 8, 1), 4, 4, 2, 4, **options)


def small_vae(**options):
    return vae((8, 8, 1), 2, (4,), (5,), **options)


def small_transformer(**options):
    return transformer(11, 8, 2, 2, context=6, **options)


# Builder → how the network is had from what it builds, options that drop, arrays of masks.
CASES = {
    "mlp": (mlp_gan, lambda gan: gan.generator.network, DROPOUT, 2),
    "dcgan": (dcgan, lambda gan: gan.generator.network, DROPOUT, 1),
    "sn_resnet": (small_sn_resnet, lambda gan: gan.generator.network, DROPOUT | PATHS, 6),
    "its discriminator": (small_sn_resnet, lambda gan: gan.discriminator, PATHS, 4),
    "r3gan": (small_r3gan, lambda gan: gan.generator.network, DROPOUT | PATHS, 8),
    "its judge": (small_r3gan, lambda gan: gan.discriminator, {"dropout": 0.1} | PATHS, 8),
    "dense_generator": (dense_generator, lambda generator: generator.network, DROPOUT, 2),
    "encoder": (small_vae, lambda vae: vae.encoder, {"encoder_dropout": 0.2}, 2),
    "decoder": (small_vae, lambda vae: vae.decoder, {"decoder_dropout": 0.2}, 2),
    "transformer": (small_transformer, lambda model: model.network, {"drop_path": 0.2}, 4),
}


def count(jaxpr, primitive):
    """How often a program has an operation, those of programs within it included."""
    found = 0
    for equation in jaxpr.eqns:
        found += equation.primitive.name == primitive
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            found += count(inner, primitive) if hasattr(inner, "eqns") else 0
    return found


def program(network, case, training):
    """The network's program for two examples."""
    inputs = {
        "its discriminator": (2, 32, 32, 1),
        "its judge": (2, 8, 8, 1),
        "encoder": (2, 8, 8, 1),
        "decoder": (2, 2),
        "mlp": (2, 64),
        "dcgan": (2, 100),
        "dense_generator": (2, 100),
        "transformer": (2, 6),
    }.get(case, (2, 4))
    params, statistics = jax.eval_shape(network.init, KEY)

    def apply(params, statistics, x, key):
        return network.apply(params, statistics, x, training, None, key)[0]

    mapped = jax.vmap(apply, (None, None, 0, None), axis_name=AXIS)
    x = jax.ShapeDtypeStruct((1, *inputs), jnp.int32 if case == "transformer" else jnp.float32)
    return jax.make_jaxpr(mapped)(params, statistics, x, jax.eval_shape(lambda: KEY))


SLOW = ("sn_resnet", "its discriminator", "its judge", "r3gan", "transformer")


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=pytest.mark.slow if case in SLOW else ()) for case in CASES],
)
def test_only_training_drops_and_only_if_it_is_asked_to(case):
    build, network_of, options, masks = CASES[case]
    shape = ((8, 8, 1),) if build in (mlp_gan, dcgan, dense_generator) else ()
    plain = network_of(build(*shape))
    dropping = network_of(build(*shape, **options))
    assert str(program(dropping, case, False)) == str(program(plain, case, False))
    assert count(program(plain, case, True), "random_bits") == 0
    assert count(program(dropping, case, True), "random_bits") == masks


BLOCKS = {
    "r3gan": lambda rate: Block(4, 1, 0.0, rate, None),
    "sn_resnet": lambda rate: DiscriminatorBlock(4, False, False, "none", False, 0.0, rate, None),
}


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_dropped_block_is_its_shortcut_and_another_has_its_branch_scaled_up(kind):
    whole = linen_network(BLOCKS[kind](0.0), (2, 2, 4))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(64, 2, 2, 4)), jnp.float32)
    params, _ = drawn(whole)
    branch = np.asarray(jax.jit(whole.apply, static_argnums=3)(params, {}, x, False)[0] - x)
    dropping = linen_network(BLOCKS[kind](0.25), (2, 2, 4))
    found = np.asarray(train(dropping, params, {}, x, key=KEY)[0] - x)
    dropped = np.abs(found).max((1, 2, 3)) < 1e-6
    assert 4 < dropped.sum() < 28  # 16 are expected, with a deviation of 3.5
    np.testing.assert_allclose(found[~dropped], branch[~dropped] / 0.75, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("case", "rates"),
    [("its discriminator", [0.075, 0.15, 0.225, 0.3]), ("transformer", [0.1, 0.2])],
)
def test_the_rate_rises_with_the_depth(case, rates):
    """1 − p_ℓ = 1 − ℓ/L·(1 − p_L) of equation 4, for the rate p_L that is given."""
    build, network_of, options, _ = CASES[case]
    found = []

    def listen(following, args, kwargs, context):
        if type(context.module).__name__ == "DropPath":
            found.append(context.module.rate)
        return following(*args, **kwargs)

    network = network_of(build(**options))
    with nn.intercept_methods(listen):
        jax.eval_shape(network.init, KEY)
    assert sorted(set(found)) == pytest.approx(rates)


def test_an_activity_penalty_sees_the_units_before_dropout():
    model = dense_generator((2, 2, 1), 3, (5,), generator_dropout=0.5)
    plain = dense_generator((2, 2, 1), 3, (5,))
    params, _ = drawn(plain.network)
    latents = jnp.ones((4, 3))
    np.testing.assert_array_equal(
        model.activations(params, latents)[0], plain.activations(params, latents)[0]
    )
