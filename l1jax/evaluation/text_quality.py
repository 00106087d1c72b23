"""How varied generated text is, how much it repeats itself, and what it copies from other text."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8, UInt64

_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that it has an inverse modulo 2⁶⁴
_BLOCK = 2**22  # bytes whose hashes are compared at a time


class CopiedPassage(NamedTuple):
    """The longest run of bytes that two texts have in common."""

    length: int  # in bytes
    passage: bytes


def distinct_ngrams(samples: Sequence[str], size: int) -> float:
    """Return how many of the samples' n-grams of words differ, as a share of all; NaN without any.

    Words are what lies between spaces and line breaks. The share falls as there is more text, so
    compare equal amounts.

    Args:
        samples: generated texts.
        size: words of an n-gram, n.

    Source: Li et al., NAACL 2016, section 5.3 (distinct-n).
    """
    ngrams = [ngram for sample in samples for ngram in _ngrams(sample, size)]
    if not ngrams:
        return float("nan")
    return len(set(ngrams)) / len(ngrams)


def repetition(samples: Sequence[str], size: int = 4) -> float:
    """Return the share of n-grams of words that occurred before in the same sample, mean over them.

    Samples without an n-gram are left out; NaN if all are.

    Args:
        samples: generated texts.
        size: words of an n-gram, n.

    Source: Welleck et al., ICLR 2020, section 6.1 (seq-rep-n).
    """
    shares = []
    for sample in samples:
        ngrams = list(_ngrams(sample, size))
        if ngrams:
            shares.append(1 - len(set(ngrams)) / len(ngrams))
    return float(np.mean(shares)) if shares else float("nan")


def longest_copied_passage(
    samples: Sequence[bytes], documents: Sequence[UInt8[np.ndarray, " _size"]]
) -> CopiedPassage:
    """Find the longest run of bytes within one sample that occurs in one of some documents.

    It needs a few passes over the documents, which may be mapped from a file, and little memory.

    Args:
        samples: generated texts.
        documents: their bytes, such as those of the training text.

    Source: Karp, Rabin, 1987 (rolling hashes, here modulo 2⁶⁴; each match is checked).
    """
    found = b""
    low = 0  # some run of this length is common
    high = max((len(sample) for sample in samples), default=0)
    while low < high:
        length = (low + high + 1) // 2
        passage = _common_run(samples, documents, length)
        if passage is None:
            high = length - 1
        else:
            low = length
            found = passage
    return CopiedPassage(len(found), found)


def _ngrams(sample: str, size: int) -> Iterator[tuple[str, ...]]:
    words = sample.split()
    return zip(*(words[i:] for i in range(size)), strict=False)


def _common_run(
    samples: Sequence[bytes], documents: Sequence[UInt8[np.ndarray, " _size"]], length: int
) -> bytes | None:
    """Return a run of this length that a sample and a document have in common; None if none is."""
    runs: dict[int, bytes] = {}
    for sample in samples:
        content = np.frombuffer(sample, np.uint8)
        for i, value in enumerate(_hashes(content, length).tolist()):
            runs.setdefault(value, sample[i : i + length])
    wanted = np.sort(np.fromiter(runs, np.uint64, len(runs)))
    for block in _blocks(documents, length):
        hashes = _hashes(block, length)
        place = np.minimum(np.searchsorted(wanted, hashes), len(wanted) - 1)
        for i in np.flatnonzero(wanted[place] == hashes).tolist():
            passage = block[i : i + length].tobytes()
            if runs[int(hashes[i])] == passage:
                return passage
    return None


def _blocks(
    documents: Sequence[UInt8[np.ndarray, " _size"]], length: int
) -> Iterator[UInt8[np.ndarray, " _block"]]:
    """Cut documents into blocks that hold each run of this length once."""
    for document in documents:
        for start in range(0, len(document) - length + 1, _BLOCK):
            yield np.asarray(document[start : start + _BLOCK + length - 1])


def _hashes(content: UInt8[np.ndarray, " size"], length: int) -> UInt64[np.ndarray, " runs"]:
    """Hash each run of this length to Σ_j (byte_j + 1)·base^(length − j) modulo 2⁶⁴."""
    if len(content) < length:
        return np.zeros(0, np.uint64)
    powers = np.cumprod(np.full(len(content), _BASE))
    inverse = np.cumprod(np.full(len(content), _inverse(_BASE)))
    sums = np.concatenate([[np.uint64(0)], np.cumsum((content.astype(np.uint64) + 1) * inverse)])
    count = len(content) - length + 1
    return (sums[length:] - sums[:count]) * powers[length - 1 :]


def _inverse(number: np.uint64) -> np.uint64:
    """Return the inverse of an odd number modulo 2⁶⁴."""
    return np.uint64(pow(int(number), -1, 2**64))
