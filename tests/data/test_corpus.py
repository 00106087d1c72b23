"""The stream of tokens, windows and splits of text."""

import jax.numpy as jnp
import numpy as np
import pytest

from l1jax.config import InputError
from l1jax.data.batches import Host
from l1jax.data.byte_tokens import BOUNDARY
from l1jax.data.corpus import (
    Corpus,
    all_tokens,
    corpus_subset,
    document_windows,
    token_windows,
    tokens_at,
)
from l1jax.data.corpus_splits import BLOCK_BYTES, hold_out_documents
from l1jax.data.text_batches import text_feed, window_starts, windows_per_epoch


def corpus_of(*documents, utf8=True):
    """A corpus whose documents do not lie side by side."""
    content = b"?" + b"??".join(documents)
    sizes = np.array([len(document) for document in documents])
    starts = 1 + np.cumsum(sizes + 2) - sizes - 2
    return Corpus(np.frombuffer(content, np.uint8), starts, sizes, "fingerprint", utf8)


def stream_of(*documents):
    tokens = [BOUNDARY]
    for document in documents:
        tokens += [*document, BOUNDARY]
    return np.array(tokens)


RNG = np.random.default_rng(0)
DOCUMENTS = [RNG.bytes(size) for size in (5, 1, 40, 17, 8)]
CORPUS = corpus_of(*DOCUMENTS)
STREAM = stream_of(*DOCUMENTS)


def test_the_stream_has_a_boundary_around_every_document():
    np.testing.assert_array_equal(all_tokens(CORPUS), STREAM)
    np.testing.assert_array_equal(tokens_at(CORPUS, np.arange(CORPUS.num_tokens)), STREAM)
    assert [CORPUS.document(i) for i in range(5)] == DOCUMENTS
    assert CORPUS.num_tokens == len(STREAM)
    windows = token_windows(CORPUS, np.array([[3], [20]]), 6)
    np.testing.assert_array_equal(windows[:, 0], [STREAM[3:10], STREAM[20:27]])


def test_a_subset_is_a_view_with_a_fingerprint_of_its_own():
    chosen = corpus_subset(CORPUS, np.array([3, 0]))
    np.testing.assert_array_equal(all_tokens(chosen), stream_of(DOCUMENTS[3], DOCUMENTS[0]))
    assert chosen.content is CORPUS.content
    assert chosen.fingerprint not in ("", CORPUS.fingerprint)
    assert corpus_subset(CORPUS, np.arange(5)) is CORPUS


@pytest.mark.parametrize("window", [1, 4, 30, 76])
def test_each_pass_cuts_nearly_the_whole_stream_into_windows_that_do_not_overlap(window):
    count = windows_per_epoch(CORPUS, window)
    assert count == max(1, (len(STREAM) - window) // window)
    begins = set()
    for epoch in range(20):
        starts = window_starts(CORPUS, window, 0, epoch * count, count, 1)[:, 0]
        assert starts.min() >= 0
        assert starts.max() + window < len(STREAM)
        np.testing.assert_array_equal(np.diff(np.sort(starts)), window)
        begins.add(int(starts.min()))
    assert len(begins) > 1 or window in (1, 76)
    assert max(begins) < window


def test_windows_are_a_function_of_seed_and_step_alone_on_any_number_of_hosts():
    whole = window_starts(CORPUS, 4, 7, 0, 30, 6)
    np.testing.assert_array_equal(window_starts(CORPUS, 4, 7, 11, 8, 6), whole[11:19])
    parts = [window_starts(CORPUS, 4, 7, 0, 30, 6, Host(i, 3)) for i in range(3)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
    assert not np.array_equal(window_starts(CORPUS, 4, 8, 0, 30, 6), whole)


def test_text_on_the_device_and_streamed_text_make_the_same_batches():
    resident, streamed = (text_feed(CORPUS, 5, 3, 4, size) for size in (10**6, 0))
    assert streamed.resident == ()
    starts = window_starts(CORPUS, 5, 3, 2, 2, 4)
    for feed in (resident, streamed):
        chunk = feed.chunk(2, 2)
        for step in range(2):
            tokens = feed.make_batch(feed.resident, jnp.asarray(chunk[step])).example
            assert tokens.dtype == np.int32
            np.testing.assert_array_equal(tokens[0], [STREAM[s : s + 6] for s in starts[step]])


def test_text_shorter_than_a_window_is_refused():
    with pytest.raises(InputError, match=r"^`data.window` \(=77\) must be at most 76"):
        text_feed(CORPUS, 77, 0, 1, 0)
    assert text_feed(CORPUS, 76, 0, 1, 0).chunk(0, 1).shape == (1, 1, 1, 77)


@pytest.mark.parametrize("max_tokens", [None, 50])
def test_document_windows_predict_every_token_once_from_its_own_document(max_tokens):
    windows = document_windows(CORPUS, 6, max_tokens)
    mask = windows.mask()
    seen = {}
    for tokens, kept, document in zip(windows.tokens, mask, windows.document, strict=True):
        inputs, targets = tokens[:-1][kept], tokens[1:][kept]
        seen.setdefault(document, [BOUNDARY])
        assert inputs[0] == seen[document][-1]
        seen[document] += targets.tolist()
    assert mask.sum() == (max_tokens or len(STREAM) - 1)
    whole = [stream_of(DOCUMENTS[i]).tolist() for i in seen]
    found = list(seen.values())
    if max_tokens:
        whole[-1] = whole[-1][: len(found[-1])]  # the last may be cut short
    assert found == whole
    assert len(seen) == 5 or max_tokens


def test_documents_are_held_out_by_what_they_are():
    documents = [f"document {i}".encode() for i in range(200)]
    training, held_out = hold_out_documents(corpus_of(*documents, documents[3]), 0.2)
    first = {held_out.document(i) for i in range(held_out.num_documents)}
    assert 20 < len(first) < 60
    rest = {training.document(i) for i in range(training.num_documents)}
    assert first | rest == set(documents)
    assert not first & rest
    _, other = hold_out_documents(corpus_of(*documents[100:], b"more"), 0.4)
    larger = {other.document(i) for i in range(other.num_documents)}
    assert first & set(documents[100:]) < larger


@pytest.mark.parametrize("utf8", [True, False])
def test_blocks_of_one_document_are_held_out_and_characters_stay_whole(utf8):
    # Three bytes each, and 3 does not divide the block.
    text = "".join(chr(0x4E00 + i) for i in RNG.permutation(20_000)).encode()
    training, held_out = hold_out_documents(corpus_of(text, utf8=utf8), 0.25)
    assert held_out.num_bytes / len(text) == pytest.approx(0.25, abs=0.1)
    assert training.num_bytes + held_out.num_bytes == len(text)
    parts = [c.document(i) for c in (training, held_out) for i in range(c.num_documents)]
    assert sum(text.count(part) for part in parts) == len(parts)
    if utf8:
        assert "".join(sorted("".join(part.decode() for part in parts))) == "".join(
            sorted(text.decode())
        )
    else:
        assert all(len(held_out.document(i)) % BLOCK_BYTES == 0 for i in range(1))


def test_a_split_that_leaves_one_side_empty_is_refused():
    with pytest.raises(InputError, match=r"^`holdout` \(=0.1\) must leave blocks"):
        hold_out_documents(corpus_of(b"short"), 0.1)
    with pytest.raises(InputError, match=r"--data\.split blocks"):
        hold_out_documents(corpus_of(b"a", b"b"), 1e-6)
    long = [bytes([i]) * 50_000 for i in (65, 66)]
    training, held_out = hold_out_documents(corpus_of(*long), 0.1, "blocks")
    assert held_out.num_bytes > 0
    assert training.num_bytes > 0
