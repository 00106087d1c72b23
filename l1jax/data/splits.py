"""Split a data set by a hash of each example, or leave out the examples that are unusable."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float64, Int32

from l1jax.config import InputError
from l1jax.data.source import THREADS, Source, subset


def unit_hashes(source: Source, key: str) -> Float64[np.ndarray, " length"]:
    """Hash each example to a number that is uniform in [0, 1).

    The number depends only on the example and on `key`. An encoded image is hashed as it is, before
    its preprocessing; so equal images have equal numbers, wherever and under whatever name they
    lie, and neither the size nor the order of the set matters. The examples of a group have the
    number of its name.

    Raises:
        InputError: if an example cannot be read.
    """

    def content_of(i: int) -> bytes:
        if source.groups:
            return source.groups[i].encode()
        if source.content is not None:
            return source.content(i)
        return source.example(i).tobytes()

    def unit_hash(i: int) -> float:
        hashed = hashlib.blake2b(
            content_of(i), digest_size=8, person=b"l1jax", key=key.encode()
        ).digest()
        return (int.from_bytes(hashed, "little") >> 11) / 2**53

    with ThreadPoolExecutor(THREADS) as pool:
        numbers = pool.map(unit_hash, range(source.length))
        return np.fromiter(numbers, np.float64, source.length)


def assign_folds(source: Source, folds: int, seed: int = 0) -> Int32[np.ndarray, " length"]:
    """Assign each example to one of `folds` folds of about the same size; equal examples share one.

    It is for loops of your own over any source. `python -m l1jax.select` balances its folds by
    class instead, by `l1jax.selection.stratified_folds`.

    Args:
        source: the examples.
        folds: number of folds.
        seed: another seed gives other folds.

    Raises:
        InputError: if an example cannot be read.
    """
    return (unit_hashes(source, f"fold {seed}") * folds).astype(np.int32)


def hold_out(source: Source, share: float) -> tuple[Source, Source]:
    """Split a source into training examples and a share that training never sees.

    Equal images are on the same side. An example that is held out at one share is held out at
    every larger one, and whatever the seed and the image size. If the source has groups, such as
    speakers, whole ones are held out: as few as hold at least the share, in the order of a hash of
    their names.

    Returns:
        The training examples, and the held-out ones.

    Raises:
        InputError: if one of the two would be empty, or an example cannot be read.
    """
    numbers = unit_hashes(source, "held out")
    held_out = numbers < share
    if source.groups:
        held_out = numbers <= _last_group(numbers, share)
    if held_out.all() or not held_out.any():
        raise InputError(
            f"`holdout` (={share}) must leave examples on both sides, and of {source.length} it "
            f"holds out {held_out.sum()}: choose a share nearer to one half, or more data."
        )
    return subset(source, np.flatnonzero(~held_out)), subset(source, np.flatnonzero(held_out))


def _last_group(numbers: Float64[np.ndarray, " length"], share: float) -> float:
    """Return the number of the last group that is held out."""
    groups, counts = np.unique(numbers, return_counts=True)
    enough = np.cumsum(counts) >= share * len(numbers)
    return float(groups[np.argmax(enough)])


def skip_unusable(source: Source) -> Source:
    """Leave out the examples that raise an InputError.

    If examples need decoding, all of them are decoded to find out. The result's `skipped` says
    which ones are left out, and why.

    Raises:
        InputError: the first example's, if none can be used.
    """
    if source.stamp is None:  # nothing to decode
        return source

    def find_error(i: int) -> InputError | None:
        try:
            source.example(i)
        except InputError as error:
            return error
        return None

    with ThreadPoolExecutor(THREADS) as pool:
        results = list(pool.map(find_error, range(source.length)))
    usable = np.array([i for i, error in enumerate(results) if error is None], np.int64)
    errors = [error for error in results if error is not None]
    if not len(usable):
        raise errors[0]
    return subset(source, usable)._replace(skipped=source.skipped + tuple(map(str, errors)))
