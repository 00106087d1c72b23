"""Hold out documents by their hashes, or blocks of the only document."""

import hashlib
import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from l1jax.config import InputError
from l1jax.data.corpus import Corpus, corpus_subset
from l1jax.data.source import fingerprint, hash_arrays

BLOCK_BYTES = 8_192  # of one document that is held out in parts
_HELD_OUT = "held out"  # the key of the hashes of what experiments hold out
_CONTINUATION = 0b1000_0000  # the upper two bits of UTF-8's bytes that begin no character


Split = Literal["auto", "documents", "blocks"]


class Units(NamedTuple):
    """What a corpus is divided into: documents, or blocks of 8,192 bytes.

    Attributes:
        hashes: a number in [0, 1) for each, which depends on its bytes alone.
        select: which units → the corpus of them. Neighbouring blocks stay together.
        noun: what they are called.
    """

    hashes: Float64[np.ndarray, " units"]
    select: Callable[[Bool[np.ndarray, " units"]], Corpus]
    noun: str


def corpus_units(corpus: Corpus, split: Split, key: str) -> Units:
    """Return the units of a corpus, with hashes for one purpose.

    Args:
        corpus: the documents.
        split: whether units are documents or blocks; "auto" chooses blocks if there is only one
            document.
        key: of the hashes; another key gives other numbers.
    """
    if split == "blocks" or (split == "auto" and corpus.num_documents == 1):
        blocks, owners = _blocks(corpus)
        return Units(
            _unit_hashes(blocks, key), lambda chosen: _joined(blocks, owners, chosen), "blocks"
        )
    return Units(
        _unit_hashes(corpus, key),
        lambda chosen: corpus_subset(corpus, np.flatnonzero(chosen)),
        "documents",
    )


def hold_out_documents(
    corpus: Corpus, share: float, split: Split = "auto"
) -> tuple[Corpus, Corpus]:
    """Split a corpus into documents to train on and a share that training never sees.

    Documents are held out by a hash of their bytes: equal ones are on the same side, and one that
    is held out at one share is held out at every larger one, whatever else the corpus holds. One
    document is held out in blocks of 8,192 bytes, a few bytes later where that would divide a
    character: those with the smallest hashes. Neighbouring blocks of one side stay together, and
    what a block is cut from is another document. So no window overlaps with one of the other side.

    Args:
        corpus: the documents.
        share: of the documents, or of the blocks.
        split: whether documents or blocks are held out; "auto" chooses blocks if there is only one
            document.

    Returns:
        The documents to train on, and the held-out ones.

    Raises:
        InputError: if one of the two would be empty.
    """
    units = corpus_units(corpus, split, _HELD_OUT)
    remedy = "choose a share nearer to one half, or more data"
    if units.noun == "blocks":
        count = math.floor(share * len(units.hashes) + 0.5)
        held_out = units.hashes <= np.append(-1.0, np.sort(units.hashes))[count]
    else:
        held_out = units.hashes < share
        remedy += ", or --data.split blocks"
    _check_sides(held_out, share, units.noun, remedy)
    return units.select(~held_out), units.select(held_out)


def _check_sides(held_out: Bool[np.ndarray, " n"], share: float, what: str, remedy: str) -> None:
    if held_out.all() or not held_out.any():
        raise InputError(
            f"`holdout` (={share}) must leave {what} on both sides, and of {len(held_out):,} it "
            f"holds out {held_out.sum():,}: {remedy}."
        )


def _unit_hashes(corpus: Corpus, key: str) -> Float64[np.ndarray, " documents"]:
    """Hash each document to a number that is uniform in [0, 1)."""

    def unit_hash(i: int) -> float:
        start = corpus.starts[i]
        hashed = hashlib.blake2b(digest_size=8, person=b"l1jax", key=key.encode())
        hashed.update(np.ascontiguousarray(corpus.content[start : start + corpus.sizes[i]]).data)
        return (int.from_bytes(hashed.digest(), "little") >> 11) / 2**53

    return np.array([unit_hash(i) for i in range(corpus.num_documents)])


def _blocks(corpus: Corpus) -> tuple[Corpus, np.ndarray]:
    """Cut each document into blocks; return also which document each block is from."""
    starts = []
    sizes = []
    owners = []
    for i in range(corpus.num_documents):
        start = int(corpus.starts[i])
        end = start + int(corpus.sizes[i])
        cuts = [_character_start(corpus, c, end) for c in range(start, end, BLOCK_BYTES)]
        ends = [*cuts[1:], end]
        starts += cuts
        sizes += [after - before for before, after in zip(cuts, ends, strict=True)]
        owners += [i] * len(cuts)
    blocks = corpus._replace(starts=np.array(starts, np.int64), sizes=np.array(sizes, np.int64))
    return blocks, np.array(owners)


def _character_start(corpus: Corpus, place: int, end: int) -> int:
    """Return the first place from `place` on that begins a character, if it is UTF-8."""
    while corpus.utf8 and place < end and corpus.content[place] & 0b1100_0000 == _CONTINUATION:
        place += 1
    return place


def _joined(blocks: Corpus, owners: np.ndarray, chosen: Bool[np.ndarray, " blocks"]) -> Corpus:
    """Make documents of the chosen blocks; those that follow each other are one document."""
    index = np.flatnonzero(chosen)
    continues = (np.diff(index) == 1) & (np.diff(owners[index]) == 0)
    first = np.concatenate([[True], ~continues])
    group = np.cumsum(first) - 1
    sizes = np.bincount(group, blocks.sizes[index]).astype(np.int64)
    return blocks._replace(
        starts=blocks.starts[index[first]],
        sizes=sizes,
        fingerprint=fingerprint("blocks", blocks.fingerprint, hash_arrays(index.astype(np.int64))),
    )
