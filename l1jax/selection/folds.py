"""Parts of the examples for cross-validation: of equal sizes in every class, and a function of what is in them."""

import hashlib
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float64, Int, Int32, Key, Shaped

from l1jax.config import InputError


class Fold(NamedTuple):
    """What one fold trains on, what it is judged by, and its randomness; several of them lead with their number."""

    training: Bool[Array, "*folds examples"]
    held_out: Bool[Array, "*folds examples"]
    key: Key[Array, "*folds"]


def row_hashes(rows: Shaped[np.ndarray, "examples ..."], seed: int = 0) -> Float64[np.ndarray, " examples"]:
    """A number in [0, 1) for each row, uniform and a function of its bytes and of `seed` alone.

    For arrays; `l1jax.data.splits.hashes` has the numbers of the examples of a source.
    """
    key = f"fold {seed}".encode()
    digests = (hashlib.blake2b(row.tobytes(), digest_size=8, person=b"l1jax", key=key).digest() for row in rows)
    numbers = ((int.from_bytes(digest, "little") >> 11) / 2**53 for digest in digests)
    return np.fromiter(numbers, np.float64, len(rows))


def stratified_folds(
    labels: Int[np.ndarray, " examples"] | None, hashes: Float64[np.ndarray, " examples"], folds: int
) -> Int32[np.ndarray, " examples"]:
    """Which fold each example belongs to: as many of every class in each, as nearly as equal examples allow.

    Without equal ones the folds' sizes differ by at most one, in every class and in all. The order of
    the examples makes no difference.

    Args:
        labels: the class of each example; None if there are none.
        hashes: a number for each example, by which they are dealt out; equal ones share a fold.
        folds: how many.

    Raises:
        InputError: if there are fewer than two folds, or more than different examples, in all or in the rarest class.
    """
    if folds < 2:
        raise InputError(
            f"`folds` (={folds}) must be at least 2: each in turn is held out from training on the others."
        )
    numbers, first, member, counts = np.unique(hashes, return_index=True, return_inverse=True, return_counts=True)
    if folds > len(numbers):
        raise InputError(f"`folds` (={folds}) must be at most the number of different examples (={len(numbers)}).")
    classes = np.zeros(len(numbers), np.int64)
    if labels is not None:
        classes = labels[first].astype(np.int64)
        np.minimum.at(classes, member, labels)  # equal examples of two classes count as one of them
    names, class_of, sizes = np.unique(classes, return_inverse=True, return_counts=True)
    rarest = int(sizes.argmin())
    if folds > sizes[rarest]:
        raise InputError(
            f"`folds` (={folds}) must be at most the number of different examples (={sizes[rarest]}) of the rarest "
            f"class (={names[rarest]}); take fewer folds, or leave that class out."
        )
    dealt, totals = np.zeros(len(numbers), np.int32), np.zeros(folds, np.int64)
    for name in range(len(names)):
        own = np.zeros(folds, np.int64)
        for number in np.flatnonzero(class_of == name):  # in the order of the hashes
            fold = np.lexsort((totals, own))[0]
            dealt[number] = fold
            own[fold] += counts[number]
            totals[fold] += counts[number]
    return dealt[member]


def make_folds(fold: Int[np.ndarray, " examples"], key: Key[Array, ""]) -> Fold:
    """What each fold trains on and is judged by, in one tree to be mapped over by `vmap`.

    Args:
        fold: the fold of each example, from 0 on.
        key: split into one for each fold.
    """
    held_out = fold == np.arange(fold.max() + 1)[:, None]
    return Fold(jax.numpy.asarray(~held_out), jax.numpy.asarray(held_out), jax.random.split(key, len(held_out)))
