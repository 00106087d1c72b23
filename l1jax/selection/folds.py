"""Parts of the examples for cross-validation: of equal sizes in every class, and a function of what is in them."""

import hashlib
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float64, Int32, Key

from l1jax.arrays import TableLike, as_array, as_float64, as_vector
from l1jax.config import InputError
from l1jax.selection.examples import fold_numbers, read_classes


class Fold(NamedTuple):
    """What one fold trains on, what it is judged by, and its randomness; several of them lead with their number."""

    training: Bool[Array, "*folds examples"]
    held_out: Bool[Array, "*folds examples"]
    key: Key[Array, "*folds"]


def row_hashes(rows: TableLike, seed: int = 0) -> Float64[np.ndarray, " examples"]:
    """A number in [0, 1) for each row, uniform and a function of its values, their type and `seed` alone.

    Of lists and data frames, the rows of the array that NumPy makes of them; columns of text and
    numbers may stand side by side. `l1jax.data.splits.unit_hashes` has the numbers of the examples of a source.

    Args:
        rows: an array, lists or a data frame.
        seed: another one gives other numbers.

    Raises:
        InputError: if they are no rows of numbers or text.
    """
    table = as_array(rows, "rows")
    if not table.ndim:
        raise InputError(
            f"`rows` (a {type(rows).__name__}) must be an array, a data frame or lists of rows."
        )
    if np.issubdtype(table.dtype, np.floating):
        table = table + np.zeros((), table.dtype)  # −0 equals 0, so it counts as 0
    key = f"fold {seed}".encode()
    digests = (
        hashlib.blake2b(_content(row), digest_size=8, person=b"l1jax", key=key).digest()
        for row in table
    )
    numbers = ((int.from_bytes(digest, "little") >> 11) / 2**53 for digest in digests)
    return np.fromiter(numbers, np.float64, len(table))


def _content(row: Any) -> bytes:
    """The bytes of numbers; of text and objects what is written in them, for their bytes are addresses or padding."""
    values = np.asarray(row)
    if values.dtype.kind not in "OSU":
        return values.tobytes()
    entries = values.ravel().tolist()
    for entry in entries:
        if not isinstance(entry, str | bytes | bool | int | float | None):
            raise InputError(
                f"`rows` (with {entry!r}, a {type(entry).__name__}) must hold numbers and text alone."
            )
    return repr(entries).encode()


def stratified_folds(
    labels: TableLike | None, hashes: TableLike, folds: int
) -> Int32[np.ndarray, " examples"]:
    """Which fold each example belongs to: as many of every class in each, as nearly as equal examples allow.

    Without equal ones the folds' sizes differ by at most one, in every class and in all. The order of
    the examples makes no difference.

    Args:
        labels: the class of each example, numbers or text; None if there are none.
        hashes: a number for each example, by which they are dealt out; equal ones share a fold.
        folds: how many.

    Raises:
        InputError: if there are fewer than two folds, or more than different examples, in all or in the
            rarest class, or not one label and one finite number for each example.
    """
    if folds < 2:
        raise InputError(
            f"`folds` (={folds}) must be at least 2: each in turn is held out from training on the others."
        )
    dealt_by = as_float64(as_vector(hashes, "hashes"), "hashes")
    numbers, first, member, counts = np.unique(
        dealt_by, return_index=True, return_inverse=True, return_counts=True
    )
    if folds > len(numbers):
        raise InputError(
            f"`folds` (={folds}) must be at most the number of different examples (={len(numbers)})."
        )
    classes = np.zeros(len(numbers), np.int64)
    known = np.zeros(1, np.int64)
    if labels is not None:
        known, codes = read_classes(as_vector(labels, "labels"), "labels")
        if len(codes) != len(dealt_by):
            raise InputError(
                f"`labels` (of {len(codes)} examples) must have one for each of the {len(dealt_by)} numbers in "
                "`hashes`."
            )
        classes = codes[first].astype(np.int64)
        np.minimum.at(classes, member, codes)  # equal examples of two classes count as one of them
    names, class_of, sizes = np.unique(classes, return_inverse=True, return_counts=True)
    rarest = int(sizes.argmin())
    if folds > sizes[rarest]:
        raise InputError(
            f"`folds` (={folds}) must be at most the number of different examples (={sizes[rarest]}) of the rarest "
            f"class (={known[names[rarest]]}); take fewer folds, or leave that class out."
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


def make_folds(fold: TableLike, key: Key[Array, ""]) -> Fold:
    """What each fold trains on and is judged by, in one tree to be mapped over by `vmap`.

    Args:
        fold: the fold of each example, from 0 on.
        key: split into one for each fold.

    Raises:
        InputError: if these are no numbers of folds, or a fold in between has no example.
    """
    numbers = fold_numbers(fold)
    held_out = numbers == np.arange(numbers.max() + 1)[:, None]
    return Fold(
        jax.numpy.asarray(~held_out),
        jax.numpy.asarray(held_out),
        jax.random.split(key, len(held_out)),
    )
