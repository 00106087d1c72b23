"""Sampling against NumPy, and generated tokens against draws from the whole pass."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l1jax.models import Sampling, generate, transformer
from l1jax.models.token_sampling import draw_tokens, filtered_logits

KEY = jax.random.key(3)
MODEL = transformer(7, 8, 2, 2, context=4)
PARAMS = jax.tree.map(lambda leaf: 2 * leaf, jax.jit(MODEL.network.init)(jax.random.key(0))[0])


def kept_by_hand(logits, temperature, top_k, top_p):
    """The tokens that can be drawn, one by one from the likeliest on."""
    scaled = logits / temperature
    order = sorted(range(len(logits)), key=lambda i: (-scaled[i], i))[: top_k or None]
    weights = np.exp(scaled[order] - scaled.max())
    kept, total = set(), 0.0
    for token, probability in zip(order, weights / weights.sum(), strict=True):
        if total >= top_p and kept:
            break
        kept.add(token)
        total += probability
    return kept


@pytest.mark.parametrize(
    "sampling",
    [(1.0, 0, 1.0), (0.7, 3, 1.0), (1.3, 0, 0.6), (0.9, 4, 0.8), (1.0, 0, 1e-6), (1.0, 50, 0.999)],
)
def test_filtered_logits(sampling):
    logits = np.random.default_rng(0).normal(size=(6, 9)).astype(np.float32)
    logits[0, 2:5] = logits[0].max()  # equal ones
    found = np.asarray(filtered_logits(jnp.asarray(logits), Sampling(*sampling)))
    for row, scaled in zip(logits, found, strict=True):
        kept = kept_by_hand(row.astype(np.float64), *sampling)
        assert set(np.flatnonzero(np.isfinite(scaled))) == kept
        chosen = sorted(kept)
        np.testing.assert_allclose(scaled[chosen], row[chosen] / sampling[0], rtol=1e-6)


@pytest.mark.slow
def test_temperature_zero_takes_the_likeliest_token():
    logits = jax.random.normal(KEY, (5, 9))
    keys = jax.random.split(KEY, 5)
    drawn = draw_tokens(keys, logits, Sampling(temperature=0))
    np.testing.assert_array_equal(drawn, np.argmax(logits, axis=1))


def test_draws_have_the_probabilities_of_the_softmax():
    logits = jnp.array([1.0, 0.0, 2.0, -1.0])
    keys = jax.random.split(KEY, 20_000)
    drawn = draw_tokens(keys, jnp.tile(logits, (20_000, 1)), Sampling(temperature=2.0))
    expected = np.exp(np.asarray(logits) / 2)
    expected /= expected.sum()
    np.testing.assert_allclose(np.bincount(drawn) / 20_000, expected, atol=4 * 0.5 / 20_000**0.5)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0.5, 4), Sampling(top_p=0.7)])
def test_draws_are_those_of_jax(sampling):
    logits = jnp.asarray(np.random.default_rng(1).normal(size=(50, 9)), jnp.float32)
    keys = jax.random.split(KEY, 50)
    expected = jax.vmap(jax.random.categorical)(keys, filtered_logits(logits, sampling))
    np.testing.assert_array_equal(draw_tokens(keys, logits, sampling), expected)


@pytest.mark.parametrize("field", ["temperature", "top_k", "top_p"])
def test_sampling_out_of_range_is_refused(field):
    bad = {"temperature": float("nan"), "top_k": -1, "top_p": 0.0}[field]
    with pytest.raises(ValueError, match=f"^`{field}`"):
        filtered_logits(jnp.zeros(3), Sampling(**{field: bad}))


@jax.jit
def whole_pass(tokens):
    return MODEL.network.apply(PARAMS, {}, tokens, False)[0]


continued = jax.jit(partial(generate, MODEL, PARAMS), static_argnames=("length", "sampling"))


def greedy_by_whole_passes(prompt, length):
    tokens = np.zeros((1, 13), np.int32)  # what comes later has no effect
    tokens[0, : len(prompt)] = prompt
    for place in range(len(prompt), len(prompt) + length):
        tokens[0, place] = np.argmax(whole_pass(tokens)[0, place - 1])
    return tokens[0, len(prompt) : len(prompt) + length]


@pytest.mark.slow
def test_generation_equals_whole_passes_for_prompts_of_different_lengths():
    prompts = [[1], [4, 2, 6], [3, 1, 4, 1, 5, 2]]  # the last is longer than the context
    padded = np.zeros((3, 6), np.int32)
    for row, prompt in zip(padded, prompts, strict=True):
        row[: len(prompt)] = prompt
    found = continued(jnp.asarray(padded), KEY, 7, Sampling(0.0), jnp.array([1, 3, 6]))
    expected = [greedy_by_whole_passes(prompt, 7) for prompt in prompts]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_a_sequence_depends_on_the_key_but_not_on_its_length_or_those_beside_it():
    prompts = jnp.array([[1, 2], [3, 4], [1, 2]])
    found = continued(prompts, KEY, 20)
    np.testing.assert_array_equal(continued(prompts[:1], KEY, 12), found[:1, :12])
    assert not np.array_equal(found[0], found[2])
    other = continued(prompts, jax.random.key(4), 20)
    assert not np.array_equal(found, other)


@pytest.mark.parametrize(("columns", "length"), [(0, 3), (2, 0)])
def test_empty_prompts_and_continuations_are_refused(columns, length):
    with pytest.raises(ValueError, match="`prompts`"):
        generate(MODEL, PARAMS, jnp.zeros((1, columns), jnp.int32), KEY, length)
