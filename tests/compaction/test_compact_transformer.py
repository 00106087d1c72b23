"""Transformers without their dead heads and units: the same logits, and the same text."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l1jax.compaction import (
    MismatchError,
    TrainedLanguageModel,
    compact_linen,
    compact_transformer,
    verify_transformer,
)
from l1jax.evaluation.transformer_units import count_alive_units
from l1jax.models import generate, transformer
from l1jax.models.transformer_layers import SelfAttention

SIZES = {"width": 16, "layers": 2, "heads": 4, "context": 6, "hidden": 8}
TOKENS = np.random.default_rng(0).integers(0, 11, (3, 15))
make = partial(transformer, 11, **SIZES)


def logits(model, params):
    return jax.jit(lambda p: model.network.apply(p, {}, TOKENS, False)[0])(params)


def drawn(**options):
    model = make(**options)
    params, _ = jax.jit(model.network.init)(jax.random.key(0))
    return model, jax.tree.map(np.array, params)


def compacted(model, params, **options):
    def rebuild(heads, hidden):
        return make(block_heads=heads, block_hidden=hidden, **options)

    return compact_transformer(model, params, rebuild)


def zero(params, block, part, layer, index):
    params[f"block_{block}"][part][layer]["kernel"][index] = 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "heads", "units"),
    [
        ({}, (3, 4), (5, 0)),
        ({"activation": "gelu", "key_value_heads": 2}, (4, 2), (6, 0)),
    ],
)
def test_dead_heads_and_units_are_removed_and_the_logits_and_the_text_stay(options, heads, units):
    model, params = drawn(**options)
    zero(params, 0, "feed_forward", "up", np.s_[:, 1])
    if "activation" not in options:
        zero(params, 0, "feed_forward", "gate", np.s_[:, 2])
    zero(params, 0, "feed_forward", "down", np.s_[1])
    zero(params, 0, "feed_forward", "down", np.s_[7])
    zero(params, 1, "feed_forward", "down", np.s_[:])
    if "key_value_heads" not in options:
        zero(params, 0, "attention", "value", np.s_[:, :4])
    else:
        zero(params, 0, "attention", "output", np.s_[4:8])  # one of two queries: it stays
        zero(params, 1, "attention", "output", np.s_[8:])
    smaller = compacted(model, params, **options)
    assert (smaller.block_heads, smaller.block_hidden) == (heads, units)
    shapes = jax.eval_shape(smaller.model.network.init, jax.random.key(0))[0]
    assert jax.tree.map(jnp.shape, smaller.params) == jax.tree.map(jnp.shape, shapes)
    wanted, found = logits(model, params), logits(smaller.model, smaller.params)
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    key = jax.random.key(1)
    text = [
        jax.jit(partial(generate, m, length=9))(p, TOKENS[:, :4], key)
        for m, p in ((model, params), (smaller.model, smaller.params))
    ]
    np.testing.assert_array_equal(*text)
    alive = count_alive_units(smaller.params, 4, options.get("key_value_heads", 0))
    assert alive.units == alive.units_alive == sum(units)
    assert alive.heads == sum(heads)
    original = TrainedLanguageModel(model, params, (4, 4), (8, 8))
    proof = verify_transformer(original, smaller, key, batch=2, rounds=1)
    assert proof.error < 1e-5
    assert (proof.before.units, proof.after.units) == (16, sum(units))
    assert proof.after.parameters == sum(leaf.size for leaf in jax.tree.leaves(smaller.params))


@pytest.mark.slow
def test_nothing_is_removed_that_has_an_effect_and_a_wrong_network_is_noticed():
    model, params = drawn()
    zero(params, 0, "attention", "query", np.s_[:, :4])  # the head takes a mean then
    smaller = compacted(model, params)
    assert (smaller.block_heads, smaller.block_hidden) == ((4, 4), (8, 8))
    wrong = jax.tree.map(np.array, smaller.params)
    zero(wrong, 1, "feed_forward", "down", np.s_[3])
    original = TrainedLanguageModel(model, params, (4, 4), (8, 8))
    with pytest.raises(MismatchError, match="computes other logits"):
        verify_transformer(
            original, smaller._replace(params=wrong), jax.random.key(1), batch=2, rounds=1
        )


@pytest.mark.slow
def test_a_whole_block_and_all_attention_can_go():
    model, params = drawn()
    for block in (0, 1):
        zero(params, block, "attention", "output", np.s_[:])
    zero(params, 0, "feed_forward", "up", np.s_[:])
    smaller = compacted(model, params)
    assert (smaller.block_heads, smaller.block_hidden) == ((0, 0), (0, 8))
    assert "block_0" not in smaller.params
    wanted, found = logits(model, params), logits(smaller.model, smaller.params)
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    assert generate(smaller.model, smaller.params, TOKENS, jax.random.key(0), 2).shape == (3, 2)


class Attending(nn.Module):
    @nn.compact
    def __call__(self, x):
        query = nn.Dense(8, name="query")(x)
        key = nn.Dense(4, name="key")(x)
        value = nn.Dense(4, name="value")(x)
        y = SelfAttention(4, 2, 3, 10_000.0)(query, key, value)
        return nn.Dense(3, name="out")(y)


@pytest.mark.slow
def test_attention_in_any_linen_module_loses_heads_and_keeps_constant_ones():
    x = jax.random.normal(jax.random.key(0), (2, 5, 6))
    variables = jax.jit(Attending().init)(jax.random.key(1), x)
    params = jax.tree.map(np.array, variables["params"])
    params["value"]["kernel"][:, :2] = 0  # the first heads always read the value's bias
    params["value"]["bias"][:2] = [0.5, -2.0]
    module, smaller = compact_linen(Attending(), {"params": params}, x)
    shapes = {name: layer["kernel"].shape for name, layer in smaller["params"].items()}
    assert shapes == {"query": (6, 4), "key": (6, 2), "value": (6, 2), "out": (4, 3)}
    wanted = jax.jit(Attending().apply)({"params": params}, x)
    np.testing.assert_allclose(jax.jit(module.apply)(smaller, x), wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block_heads": (4,)}, r"`block_heads` \(=\(4,\)\) must be 2 numbers of at least 0"),
        ({"block_hidden": (8, -1)}, r"`block_hidden` \(=\(8, -1\)\) must be 2 numbers"),
        (
            {"block_heads": (4, 3), "key_value_heads": 2},
            r"`block_heads` \(=\(4, 3\)\) must be multiples of 2",
        ),
    ],
)
def test_sizes_of_blocks_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)
