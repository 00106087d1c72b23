"""Text as documents of bytes, and the stream of tokens that they make."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Int64, UInt8, UInt16

from l1jax.data.byte_tokens import BOUNDARY
from l1jax.data.source import fingerprint, hash_arrays

Tokens = UInt16[np.ndarray, "..."]


class Corpus(NamedTuple):
    """Documents of bytes, which may lie in a file that is mapped into memory.

    The stream of tokens is a boundary, the bytes of the first document, a boundary, the bytes of
    the second, and so on; it ends with a boundary.
    """

    content: UInt8[np.ndarray, " size"]
    """The bytes that documents are parts of."""
    starts: Int64[np.ndarray, " documents"]
    """Where each document begins in `content`."""
    sizes: Int64[np.ndarray, " documents"]
    """Bytes of each document."""
    fingerprint: str
    """SHA-256 in hexadecimal over what identifies the documents."""
    utf8: bool = True
    """Whether each document was checked to be UTF-8."""
    skipped: tuple[str, ...] = ()
    """Sentences about what was left out because it could not be used."""

    @property
    def num_documents(self) -> int:
        """Number of documents."""
        return len(self.sizes)

    @property
    def num_bytes(self) -> int:
        """Bytes of all documents."""
        return int(self.sizes.sum())

    @property
    def num_tokens(self) -> int:
        """Length of the stream of tokens."""
        return self.num_bytes + self.num_documents + 1

    @property
    def boundaries(self) -> Int64[np.ndarray, " boundaries"]:
        """Positions of the boundaries in the stream, one before each document and the last."""
        return np.concatenate([[0], np.cumsum(self.sizes + 1)])

    def document(self, i: int) -> bytes:
        """Return the bytes of one document."""
        return self.content[self.starts[i] : self.starts[i] + self.sizes[i]].tobytes()


def tokens_at(corpus: Corpus, positions: Int[np.ndarray, "..."]) -> Tokens:
    """Return the tokens at these positions of the stream, from 0 to `num_tokens` − 1."""
    boundaries = corpus.boundaries
    document = np.searchsorted(boundaries, positions, side="right") - 1
    offset = positions - boundaries[document] - 1  # in the document; −1 at its boundary
    is_boundary = offset < 0
    starts = np.append(corpus.starts, 0)  # the last boundary begins no document
    places = np.where(is_boundary, 0, starts[document] + offset)
    return np.where(is_boundary, np.uint16(BOUNDARY), corpus.content[places].astype(np.uint16))


def token_windows(
    corpus: Corpus, starts: Int[np.ndarray, "*n"], window: int
) -> UInt16[np.ndarray, "*n tokens"]:
    """Return the `window` + 1 tokens from each position on: inputs, and targets one later.

    Args:
        corpus: the stream of tokens.
        starts: positions in the stream, as many as windows.
        window: the number of inputs.
    """
    return tokens_at(corpus, starts[..., None] + np.arange(window + 1))


def all_tokens(corpus: Corpus) -> UInt16[np.ndarray, " tokens"]:
    """Return the whole stream, in memory."""
    tokens = np.full(corpus.num_tokens, BOUNDARY, np.uint16)
    for i, boundary in enumerate(corpus.boundaries[:-1].tolist()):
        start = corpus.starts[i]
        size = corpus.sizes[i]
        tokens[boundary + 1 : boundary + 1 + size] = corpus.content[start : start + size]
    return tokens


def corpus_subset(corpus: Corpus, chosen: Int[np.ndarray, " n"]) -> Corpus:
    """Make a corpus of the documents at these indices, in this order, of the same bytes.

    Its fingerprint is that of `corpus` if nothing is left out.
    """
    if np.array_equal(chosen, np.arange(corpus.num_documents)):
        return corpus
    return corpus._replace(
        starts=corpus.starts[chosen],
        sizes=corpus.sizes[chosen],
        fingerprint=fingerprint(
            "subset", corpus.fingerprint, hash_arrays(np.asarray(chosen, np.int64))
        ),
    )


class Windows(NamedTuple):
    """Windows that together predict each byte, and the end, of some documents exactly once."""

    tokens: UInt16[np.ndarray, "n tokens"]
    """Inputs, and targets one later; padded behind with boundaries."""
    counts: Int64[np.ndarray, " n"]
    """Number of targets of each window, without the padding."""
    document: Int64[np.ndarray, " n"]
    """Index of the document that each window is from."""

    def mask(self) -> Bool[np.ndarray, "n targets"]:
        """Return which targets are not padding."""
        return np.arange(self.tokens.shape[1] - 1) < self.counts[:, None]


def document_windows(
    corpus: Corpus, window: int, max_tokens: int | None = None, seed: int = 0
) -> Windows:
    """Cut each document into windows that begin at its boundary and do not overlap.

    The last token of a window is the first of the next, and each is a target once; a window sees
    nothing of other documents. The windows depend on the documents, `window`, and the seed only if
    there are too many.

    Args:
        corpus: the documents.
        window: targets per window.
        max_tokens: the most targets in all; documents are chosen in random order until they are
            reached. None for all documents.
        seed: of that order.
    """
    order = np.arange(corpus.num_documents)
    if max_tokens is not None and corpus.num_tokens - 1 > max_tokens:
        order = np.random.default_rng(seed).permutation(order)
    boundaries = corpus.boundaries
    starts = []
    counts = []
    documents = []
    left = corpus.num_tokens if max_tokens is None else max_tokens
    for i in order.tolist():
        targets = min(int(corpus.sizes[i]) + 1, left)
        own_starts = np.arange(0, targets, window)
        starts.append(boundaries[i] + own_starts)
        counts.append(np.minimum(targets - own_starts, window))
        documents.append(np.full(len(own_starts), i))
        left -= targets
        if left <= 0:
            break
    first = np.concatenate(starts)
    count = np.concatenate(counts)
    positions = np.minimum(first[:, None] + np.arange(window + 1), corpus.num_tokens - 1)
    tokens = tokens_at(corpus, positions)
    is_padding = np.arange(window + 1) > count[:, None]
    tokens = np.where(is_padding, BOUNDARY, tokens).astype(np.uint16)
    return Windows(tokens, count, np.concatenate(documents))
