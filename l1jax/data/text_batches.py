"""Windows of text in an order that depends on seed and step alone."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Int64, Integer, PyTree

from l1jax.config import InputError
from l1jax.data.batches import SINGLE_HOST, Batch, Feed, Host, batch_indices
from l1jax.data.corpus import Corpus, all_tokens, token_windows

_PHASE = 1  # second word of the key of the random numbers, where the order of examples has 0


def windows_per_epoch(corpus: Corpus, window: int) -> int:
    """Return how many windows one pass over a corpus has, wherever it begins.

    Raises:
        InputError: if the corpus is too short for one window.
    """
    if corpus.num_tokens <= window:
        raise InputError(
            f"`data.window` (={window}) must be at most {corpus.num_tokens - 1}, the number of "
            f"bytes and ends of documents to train on: give a smaller --data.window, or more text."
        )
    return max(1, (corpus.num_tokens - window) // window)


def epoch_phase(seed: int, epoch: int, corpus: Corpus, window: int) -> int:
    """Return where one pass begins in the stream: fewer tokens than a window are left out.

    Args:
        seed: seed of the order.
        epoch: number of the pass, from 0 on.
        corpus: the text.
        window: targets per window.
    """
    left = corpus.num_tokens - windows_per_epoch(corpus, window) * window
    bits = np.random.Philox(key=np.array([(seed << 32) + epoch, _PHASE], np.uint64))
    return int(np.random.Generator(bits).integers(min(window, left)))


def window_starts(
    corpus: Corpus,
    window: int,
    seed: int,
    first: int,
    steps: int,
    batch_size: int,
    host: Host = SINGLE_HOST,
) -> Int64[np.ndarray, "steps local_batch"]:
    """Return where a host's part of the windows of some steps begin in the stream of tokens.

    Each pass cuts the stream into windows that do not overlap, from a random place on, and shuffles
    them. Together, any number of hosts make the same batches.

    Args:
        corpus: the text.
        window: targets per window.
        seed: seed of the order.
        first: first step, from 0 on.
        steps: number of steps.
        batch_size: windows per step over all hosts.
        host: the host whose part is returned.

    Raises:
        InputError: if the corpus is too short for one window.
    """
    count = windows_per_epoch(corpus, window)
    index = batch_indices(seed, first, steps, 1, batch_size, count, host)[:, 0]
    local = batch_size // host.count
    within = host.index * local + np.arange(local)
    positions = (first + np.arange(steps))[:, None] * batch_size + within
    epochs = positions // count
    known = range(int(epochs.min()), int(epochs.max()) + 1)
    phases = np.array([epoch_phase(seed, epoch, corpus, window) for epoch in known])
    return phases[epochs - known.start] + index.astype(np.int64) * window


def text_feed(
    corpus: Corpus,
    window: int,
    seed: int,
    batch_size: int,
    resident_bytes: int,
    host: Host = SINGLE_HOST,
) -> Feed:
    """Feed steps with windows of text, whose order is that of `window_starts`.

    Text of which the tokens fit is kept on the device, and a chunk holds places in it. Otherwise
    a chunk holds windows, which are read from memory or from the file that is mapped into it. A
    batch's `example` has the `window` + 1 tokens of each window, and its `index` is the place of
    the window, or 0 if the text is not on the device.

    Args:
        corpus: the text.
        window: targets per window.
        seed: seed of the order.
        batch_size: windows per step over all hosts.
        resident_bytes: the most bytes that the tokens, two bytes each, may take on the device.
        host: the host whose part of each batch the chunks hold.

    Raises:
        InputError: if the corpus is too short for one window.
    """
    windows_per_epoch(corpus, window)  # raises at once

    def starts_of(first: int, steps: int) -> Int64[np.ndarray, "steps 1 local_batch"]:
        starts = window_starts(corpus, window, seed, first, steps, batch_size, host)
        return starts[:, None]

    if 2 * corpus.num_tokens > min(resident_bytes, 2**32):
        return Feed(
            resident=(),
            make_batch=lambda _, tokens: window_batch(
                tokens, jnp.zeros(tokens.shape[:2], jnp.int32)
            ),
            chunk=lambda first, steps: token_windows(corpus, starts_of(first, steps), window),
            close=lambda: None,
        )

    def make_batch(resident: PyTree, starts: Int[Array, "draws batch"]) -> Batch:
        return stream_batch(jnp.asarray(resident), starts, window)

    return Feed(
        resident=all_tokens(corpus),
        make_batch=make_batch,
        chunk=lambda first, steps: starts_of(first, steps).astype(np.int32),
        close=lambda: None,
    )


def stream_batch(
    stream: Integer[Array, " tokens"], starts: Int[Array, "draws batch"], window: int
) -> Batch:
    """Return the batch of the windows that begin at these places of a stream on the device.

    Args:
        stream: all tokens.
        starts: first token of each window.
        window: targets per window.
    """

    def window_at(start: Int[Array, ""]) -> Integer[Array, " tokens"]:
        return jax.lax.dynamic_slice_in_dim(stream, start, window + 1)

    return window_batch(jax.vmap(jax.vmap(window_at))(starts), starts)


def window_batch(
    tokens: Integer[Array, "draws batch tokens"], index: Int[Array, "draws batch"]
) -> Batch:
    """Return a batch of windows, which have no labels."""
    return Batch(tokens.astype(jnp.int32), index, jnp.zeros(index.shape, jnp.int32))
