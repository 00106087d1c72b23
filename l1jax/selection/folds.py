"""Divide examples into folds of equal sizes in every class, as a function of their contents."""

import hashlib
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float64, Int, Int32, Key

from l1jax.arrays import TableLike, as_array, as_float64, as_vector
from l1jax.config import InputError
from l1jax.selection.examples import read_classes, read_fold_ids


class Fold(NamedTuple):
    """What a fold trains on, what it is scored by, and its randomness.

    All leaves of several folds lead with the folds, to be mapped over by `vmap`.
    """

    training: Bool[Array, "*folds examples"]
    held_out: Bool[Array, "*folds examples"]
    key: Key[Array, "*folds"]


class FoldIndices(NamedTuple):
    """Which examples each fold is trained on, and which it is scored by."""

    training: list[Int[np.ndarray, " _examples"]]
    held_out: list[Int[np.ndarray, " _examples"]]


def row_hashes(rows: TableLike, seed: int = 0) -> Float64[np.ndarray, " examples"]:
    """Return a number in [0, 1) for each row: uniform, and a function of its contents alone.

    The contents are the row's values, their type and `seed`. Lists and data frames stand for the
    array that NumPy makes of them; columns of text and numbers may stand side by side.
    `l1jax.data.splits.unit_hashes` has the numbers of the examples of a source.

    Args:
        rows: an array, lists or a data frame.
        seed: another seed gives other numbers.

    Raises:
        InputError: if they are not rows of numbers or text.
    """
    table = as_array(rows, "rows")
    if not table.ndim:
        raise InputError(
            f"`rows` (a {type(rows).__name__}) must be an array, a data frame or lists of rows."
        )
    if np.issubdtype(table.dtype, np.floating):
        table = table + np.zeros((), table.dtype)  # −0 equals 0, so it counts as 0
    key = f"fold {seed}".encode()

    def number(row: object) -> float:
        row_hash = hashlib.blake2b(_content(row), digest_size=8, person=b"l1jax", key=key)
        return (int.from_bytes(row_hash.digest(), "little") >> 11) / 2**53

    return np.fromiter(map(number, table), np.float64, len(table))


def _content(row: object) -> bytes:
    """Return the bytes of numbers, but the characters of text.

    The bytes of text and objects contain addresses or padding.
    """
    values = np.asarray(row)
    if values.dtype.kind not in "OSU":
        return values.tobytes()
    entries = values.ravel().tolist()
    for entry in entries:
        if not isinstance(entry, str | bytes | bool | int | float | None):
            raise InputError(
                f"`rows` (with {entry!r}, a {type(entry).__name__}) must hold numbers and text "
                "alone."
            )
    return repr(entries).encode()


def stratified_folds(
    labels: TableLike | None, hashes: TableLike, folds: int
) -> Int32[np.ndarray, " examples"]:
    """Return which fold each example belongs to, with as many of every class in each fold.

    If all examples are different, the folds' sizes differ by at most one, in every class and in
    total. The order of the examples makes no difference.

    Args:
        labels: the class of each example, numbers or text; None if there are none.
        hashes: a number for each example, by which the examples are dealt to the folds. Examples
            with equal numbers share a fold.
        folds: how many.

    Raises:
        InputError: if there are fewer than two folds, or more than different examples, in total
            or in the rarest class, or not one label and one finite number for each example.
    """
    if folds < 2:
        raise InputError(
            f"`folds` (={folds}) must be at least 2: each in turn is held out from training on "
            "the others."
        )
    numbers = as_float64(as_vector(hashes, "hashes"), "hashes")
    # A group is all examples with the same hash, in the order of the hashes.
    group_hashes, first, group_of_example, group_sizes = np.unique(
        numbers, return_index=True, return_inverse=True, return_counts=True
    )
    num_groups = len(group_hashes)
    if folds > num_groups:
        raise InputError(
            f"`folds` (={folds}) must be at most the number of different examples (={num_groups})."
        )
    classes = np.zeros(1, np.int64)
    group_classes = np.zeros(num_groups, np.int64)
    if labels is not None:
        classes, codes = read_classes(as_vector(labels, "labels"), "labels")
        if len(codes) != len(numbers):
            raise InputError(
                f"`labels` (of {len(codes)} examples) must have one for each of the "
                f"{len(numbers)} numbers in `hashes`."
            )
        group_classes = codes[first].astype(np.int64)
        # Equal examples of two classes count as examples of one of the classes.
        np.minimum.at(group_classes, group_of_example, codes)
    present, class_sizes = np.unique(group_classes, return_counts=True)
    rarest = int(class_sizes.argmin())
    if folds > class_sizes[rarest]:
        raise InputError(
            f"`folds` (={folds}) must be at most the number of different examples "
            f"(={class_sizes[rarest]}) of the rarest class (={classes[present[rarest]]}); take "
            "fewer folds, or leave that class out."
        )
    return _deal(group_classes, group_sizes, folds)[group_of_example]


def _deal(
    group_classes: Int[np.ndarray, " groups"], group_sizes: Int[np.ndarray, " groups"], folds: int
) -> Int32[np.ndarray, " groups"]:
    """Deal groups of equal examples to the folds, class by class, always to the smallest fold."""
    fold_of_group = np.zeros(len(group_classes), np.int32)
    fold_sizes = np.zeros(folds, np.int64)
    for class_index in np.unique(group_classes):
        class_fold_sizes = np.zeros(folds, np.int64)
        for group in np.flatnonzero(group_classes == class_index):
            # The fold with the fewest of this class, and among equal ones the fewest in total.
            fold = np.lexsort((fold_sizes, class_fold_sizes))[0]
            fold_of_group[group] = fold
            class_fold_sizes[fold] += group_sizes[group]
            fold_sizes[fold] += group_sizes[group]
    return fold_of_group


def make_folds(fold_ids: TableLike, key: Key[Array, ""]) -> Fold:
    """Return what each fold trains on and is scored by, in one tree to be mapped over by `vmap`.

    Args:
        fold_ids: the fold of each example, from 0 on.
        key: split into one for each fold.

    Raises:
        InputError: if these are not numbers of folds, or a fold in between has no example.
    """
    ids = read_fold_ids(fold_ids)
    held_out = ids == np.arange(ids.max() + 1)[:, None]
    return Fold(
        training=jax.numpy.asarray(~held_out),
        held_out=jax.numpy.asarray(held_out),
        key=jax.random.split(key, len(held_out)),
    )
