"""Numbers of samples against counts by hand and against brute force."""

import difflib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l1jax.evaluation import text_quality
from l1jax.evaluation.text_quality import distinct_ngrams, longest_copied_passage, repetition
from l1jax.evaluation.transformer_units import count_alive_units
from l1jax.models import transformer


def test_distinct_and_repeated_ngrams_by_hand():
    samples = ["a b a b", "b a\nc", ""]
    assert distinct_ngrams(samples, 1) == 3 / 7
    assert distinct_ngrams(samples, 2) == 3 / 5  # ab ba ab, ba ac
    assert repetition(samples, 2) == pytest.approx((1 / 3 + 0) / 2)
    assert repetition(["x x x x x x"], 4) == pytest.approx(2 / 3)
    assert np.isnan(distinct_ngrams(["a"], 2))
    assert np.isnan(repetition([""], 1))


@pytest.mark.parametrize("block", [7, 2**22])
def test_the_longest_copied_passage_is_that_of_brute_force(block, monkeypatch):
    monkeypatch.setattr(text_quality, "_BLOCK", block)
    rng = np.random.default_rng(0)
    for letters in (2, 4, 200):
        documents = [rng.integers(0, letters, size, np.uint8) for size in (60, 3, 90)]
        samples = [rng.integers(0, letters, 40, np.uint8).tobytes() for _ in range(3)]
        samples[1] = samples[1][:20] + documents[2][30:41].tobytes() + samples[1][20:]
        expected = max(
            difflib.SequenceMatcher(None, s, d.tobytes(), autojunk=False).find_longest_match().size
            for s in samples
            for d in documents
        )
        found = longest_copied_passage(samples, documents)
        assert found.length == len(found.passage) == expected
        assert any(found.passage in s for s in samples)
        assert any(found.passage in d.tobytes() for d in documents)
    assert longest_copied_passage([b""], documents) == (0, b"")


def test_a_unit_is_alive_if_it_reads_and_writes_something():
    model = transformer(5, 8, 2, 4, 2, hidden=6)
    shapes = jax.eval_shape(model.network.init, jax.random.key(0))[0]
    params = jax.tree.map(lambda leaf: np.ones(leaf.shape), shapes)
    assert count_alive_units(params, 4, 2) == (8, 8, 12, 12)
    first, second = params["block_0"], params["block_1"]
    first["attention"]["value"]["kernel"][:, :2] = 0  # the group of heads 0 and 1
    second["attention"]["output"]["kernel"][6:] = 0  # head 3
    first["feed_forward"]["up"]["kernel"][:, 0] = 0
    first["feed_forward"]["gate"]["kernel"][:, :2] = 0
    second["feed_forward"]["down"]["kernel"][5] = 0
    assert count_alive_units(params, 4, 2) == (8, 5, 12, 9)
    assert count_alive_units(jax.tree.map(jnp.zeros_like, params), 4, 2) == (8, 0, 12, 0)
