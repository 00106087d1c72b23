"""Transformers: decoding with a cache, causality, precision, devices, initialisation."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from on_devices import DEVICES, gradient
from small_transformers import KEY, SMALL, TOKENS, VARIANTS, drawn_transformer, variant

from l1jax.models import transformer


@pytest.mark.parametrize(("key_value_heads", "activation"), VARIANTS)
def test_decoding_equals_the_pass_over_the_whole_sequence(key_value_heads, activation):
    model, params = variant(key_value_heads, activation)
    expected, _ = jax.jit(partial(model.network.apply, train=False))(params, {}, TOKENS)

    def step(cache, tokens):
        logits, cache = model.decode(params, tokens, cache)
        return cache, logits

    cache, found = jax.lax.scan(step, model.init_cache(8), TOKENS.T)
    np.testing.assert_allclose(found.swapaxes(0, 1), expected, atol=2e-5)
    assert cache.position == 9


def test_no_token_depends_on_a_later_one_nor_directly_on_one_out_of_the_context():
    model = SMALL(layers=1)
    params = drawn_transformer(model)
    apply = jax.jit(partial(model.network.apply, params, {}, train=False))
    changed = TOKENS.at[:, 3].add(1) % 11
    before, after = (apply(t)[0] for t in (TOKENS, changed))
    differs = np.abs(before - after).max(axis=(0, 2)) > 1e-6
    np.testing.assert_array_equal(differs, [False] * 3 + [True] * 6)
    changed = TOKENS.at[:, 0].add(1) % 11
    after = apply(changed)[0]
    differs = np.abs(before - after).max(axis=(0, 2)) > 1e-6
    np.testing.assert_array_equal(differs, [True] * 6 + [False] * 3)


@pytest.mark.slow
def test_checkpointing_and_devices_change_nothing_dropout_included():
    plain = SMALL(layers=1, context=9, dropout=0.4).network
    thrifty = SMALL(layers=1, context=9, dropout=0.4, checkpointing=True).network
    params = drawn_transformer(SMALL(layers=1))
    key = jax.random.key(1)
    expected = gradient(plain, params, {}, TOKENS, key=key)
    inference = jax.jit(partial(plain.apply, train=False))(params, {}, TOKENS)[0]
    assert not np.allclose(expected[0], inference, atol=0.1)
    for network, devices in ((thrifty, 1), (plain, max(DEVICES))):
        found = gradient(network, params, {}, TOKENS, key=key, devices=devices)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-6), found, expected)


def test_bfloat16_is_close_and_keeps_float32_where_it_matters():
    params = drawn_transformer(SMALL())
    exact, coarse = (
        jax.jit(partial(SMALL(dtype=dtype).network.apply, train=False))(params, {}, TOKENS)[0]
        for dtype in ("float32", "bfloat16")
    )
    assert coarse.dtype == jnp.float32
    assert 1e-3 < np.linalg.norm(coarse - exact) / np.linalg.norm(exact) < 0.05
    shapes = jax.eval_shape(SMALL(dtype="bfloat16").network.init, KEY)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    assert SMALL(dtype="bfloat16").init_cache(1).layers[0].key.dtype == jnp.bfloat16


def test_kernels_are_drawn_with_the_variance_of_their_fan_in():
    params, _ = jax.jit(transformer(257, 64, 1, 4, hidden=256).network.init)(KEY)
    block = params["block_0"]
    found = {
        name: float(jnp.std(layer["kernel"]))
        for name, layer in (block["attention"] | block["feed_forward"]).items()
    }
    plain = dict.fromkeys(("query", "key", "value", "up", "gate"), 64**-0.5)
    residual = {"output": (2 * 64) ** -0.5, "down": (2 * 256) ** -0.5}
    assert found == pytest.approx(plain | residual, rel=0.03)


def test_the_summary_counts_parameters():
    model = transformer(257, 8, 1, 2, 1, hidden=12, context=5)
    attention = 8 * 8 + 2 * 8 * 4 + 8 * 8
    parameters = 2 * 257 * 8 + attention + 3 * 8 * 12 + 3 * 8
    assert f"{parameters:,}" in model.summary().splitlines()[-1]
    shapes = jax.eval_shape(model.network.init, KEY)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == parameters


def test_the_default_widths_have_about_as_many_parameters():
    def units(activation):
        shapes = jax.eval_shape(transformer(11, 96, 1, activation=activation).network.init, KEY)[0]
        return shapes["block_0"]["feed_forward"]["up"]["kernel"].shape[1]

    assert (units("gelu"), units("swiglu")) == (384, 256)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"heads": 3}, "width"),
        ({"heads": 16}, "width"),
        ({"key_value_heads": 3}, "key_value_heads"),
    ],
)
def test_heads_that_do_not_fit_are_refused(options, field):
    with pytest.raises(ValueError, match=f"^`{field}"):
        SMALL(**options)
