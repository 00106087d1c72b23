"""Bits per byte of documents against NumPy, with a model of known probabilities."""

import jax.numpy as jnp
import numpy as np
import pytest

from l1jax.data.byte_tokens import VOCABULARY
from l1jax.data.corpus import Corpus, all_tokens, document_windows
from l1jax.evaluation import text_likelihood
from l1jax.evaluation.text_likelihood import bits_per_byte, make_window_bits
from l1jax.models.network import Network
from l1jax.models.transformer import LanguageModel

RNG = np.random.default_rng(0)
SIZES = np.array([30, 1, 12, 55])
CORPUS = Corpus(RNG.integers(0, 256, 98, np.uint8), np.cumsum(SIZES) - SIZES, SIZES, "fingerprint")
TABLE = RNG.normal(size=(VOCABULARY, VOCABULARY)).astype(np.float32)


def bigram():
    """A model whose logits are the row of a table that the token before chooses."""

    def apply(params, batch_stats, tokens, train):
        return params[tokens], batch_stats

    return LanguageModel(Network(lambda key: (TABLE, {}), apply), VOCABULARY, 1, None, None)


@pytest.mark.parametrize("batch_tokens", [2**14, 14])
def test_bits_are_those_of_the_bigrams_whatever_the_batches(batch_tokens, monkeypatch):
    monkeypatch.setattr(text_likelihood, "BATCH_TOKENS", batch_tokens)
    windows = document_windows(CORPUS, 7)
    found = bits_per_byte(make_window_bits(bigram(), windows)(jnp.asarray(TABLE), {}), windows)
    table = TABLE.astype(np.float64)
    log_p = table - np.log(np.exp(table).sum(axis=1, keepdims=True))
    stream = all_tokens(CORPUS).astype(int)
    expected = -np.log2(np.exp(log_p[stream[:-1], stream[1:]])).mean()
    assert found.mean == pytest.approx(expected, rel=1e-6)
    assert (found.documents, found.tokens) == (4, 98 + 4)


def test_the_interval_covers_the_mean_as_often_as_it_says():
    sizes = RNG.integers(20, 200, 30)
    windows = document_windows(
        Corpus(np.zeros(sizes.sum(), np.uint8), np.cumsum(sizes) - sizes, sizes, ""), 10_000
    )
    covered = []
    for _ in range(1_000):
        per_byte = 2 + 0.3 * RNG.normal(size=30)
        low, high = bits_per_byte(per_byte * windows.counts, windows).interval
        covered.append(low < 2 < high)
    assert np.mean(covered) == pytest.approx(0.95, abs=0.03)


def test_one_document_has_no_interval():
    corpus = CORPUS._replace(starts=CORPUS.starts[:1], sizes=CORPUS.sizes[:1])
    windows = document_windows(corpus, 7)
    assert bits_per_byte(np.ones(len(windows.counts)), windows).interval is None
