"""Parts of a data set by a hash of each example, and what is left when unusable ones are skipped."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float64, Int32

from l1jax.config import InputError
from l1jax.data.source import THREADS, Source, subset


def hashes(source: Source, key: str) -> Float64[np.ndarray, " length"]:
    """A number in [0, 1) for each example, uniform and a function of what it is and of `key` alone.

    An encoded image counts as it is, before its preprocessing; so equal ones have equal numbers, wherever
    and under whatever name they lie, and neither the size nor the order of the set matters.

    Raises:
        InputError: if an example cannot be read.
    """

    def number(i: int) -> float:
        content = source.example(i).tobytes() if source.content is None else source.content(i)
        hashed = hashlib.blake2b(content, digest_size=8, person=b"l1jax", key=key.encode()).digest()
        return (int.from_bytes(hashed, "little") >> 11) / 2**53

    with ThreadPoolExecutor(THREADS) as pool:
        return np.fromiter(pool.map(number, range(source.length)), np.float64, source.length)


def fold(source: Source, folds: int, seed: int = 0) -> Int32[np.ndarray, " length"]:
    """Which of `folds` parts of about the same size each example belongs to; equal examples share one.

    Args:
        source: the examples.
        folds: how many parts.
        seed: another one gives other parts.

    Raises:
        InputError: if an example cannot be read.
    """
    return (hashes(source, f"fold {seed}") * folds).astype(np.int32)


def hold_out(source: Source, share: float) -> tuple[Source, Source]:
    """Examples to train on, and a share of them to judge by that training never sees; no image is in both.

    An example held out at one share is held out at every larger one, and at every seed and image size.

    Raises:
        InputError: if one of the two would be empty, or an example cannot be read.
    """
    held = hashes(source, "held out") < share
    if held.all() or not held.any():
        raise InputError(
            f"`holdout` (={share}) must leave examples on both sides, and of {source.length} it holds out "
            f"{held.sum()}: choose a share nearer to one half, or more data."
        )
    return subset(source, np.flatnonzero(~held)), subset(source, np.flatnonzero(held))


def skip_unusable(source: Source) -> Source:
    """Leave out the examples that raise an InputError; all that need decoding are decoded to find them.

    The result's `skipped` says which and why.

    Raises:
        InputError: that of the first example, if there is none without.
    """
    if source.stamp is None:  # nothing to decode
        return source

    def refusal(i: int) -> InputError | None:
        try:
            source.example(i)
        except InputError as error:
            return error
        return None

    with ThreadPoolExecutor(THREADS) as pool:
        refusals = list(pool.map(refusal, range(source.length)))
    good = np.array([i for i, error in enumerate(refusals) if error is None], np.int64)
    bad = [error for error in refusals if error is not None]
    if not len(good):
        raise bad[0]
    return subset(source, good)._replace(skipped=source.skipped + tuple(map(str, bad)))
