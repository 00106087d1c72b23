"""Read what linear models are fitted to: examples, their weights and their folds."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol, TypeGuard, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float64, Int, Shaped

from l1jax.arrays import (
    TableLike,
    as_array,
    as_float64,
    as_matrix,
    as_numbers,
    as_vector,
    check_squares,
)
from l1jax.config import InputError
from l1jax.selection.losses import CLASSIFIERS, FAMILY_NAMES

MISSING = "leave out or fill in what is missing"
SMALLEST = 1e-150  # whose square is still far from 0 in float64


@runtime_checkable
class Splitter(Protocol):
    """What cross-validators of scikit-learn have in common."""

    def split(self, features: object, target: object) -> Iterable[Sequence[TableLike]]:
        """Yield the training rows and the held-out rows of each fold."""
        ...


class LinearExamples(NamedTuple):
    """What a linear model is fitted to."""

    features: Float64[np.ndarray, "examples features"]  # x
    target: Float64[np.ndarray, " examples"]  # y
    classes: Shaped[np.ndarray, " classes"] | None  # in order; y is the index of one of them


class Splits(NamedTuple):
    """What each fold trains on and is scored by, as weights of the examples."""

    training: Float64[np.ndarray, "folds examples"]
    held_out: Float64[np.ndarray, "folds examples"]


def read_examples(features: TableLike, target: TableLike, family: str) -> LinearExamples:
    """Read the examples in float64.

    Args:
        features: an array, lists or a data frame.
        target: likewise; classes become their indices in order.
        family: of `FamilyName`.

    Raises:
        InputError: naming what no linear model can be fitted to, and why.
    """
    if family not in FAMILY_NAMES:
        raise InputError(f"`family` (={family!r}) must be one of {', '.join(FAMILY_NAMES)}.")
    x = read_features(features)
    values = as_vector(target, "target")
    if len(values) != len(x):
        raise InputError(
            f"`target` (of {len(values)} values) must have one for each of the {len(x)} rows of "
            "`features`."
        )
    if not len(x):
        raise InputError(
            f"`features` (of shape {x.shape}) must have at least one row to fit a model to."
        )
    if family in CLASSIFIERS:
        classes, codes = read_classes(values, "target")
        _check_class_count(classes, family)
        return LinearExamples(x, codes.astype(np.float64), classes)
    if values.dtype.kind in "OSU" and any(
        isinstance(value, str | bytes) for value in values.tolist()
    ):
        raise InputError(
            f"`target` (with {values.tolist()[0]!r}) must hold numbers in the {family} family; for "
            'classes take `family="logistic"` or `family="multinomial"`.'
        )
    y = as_float64(values, "target", MISSING)
    _check_range(y, "target")
    if family == "poisson" and (y.min() < 0 or not y.any()):
        raise InputError(
            f"`target` (from {y.min():g} to {y.max():g}) must be counts or rates in the poisson "
            "family: at least 0, and not all 0."
        )
    return LinearExamples(x, y, None)


def _check_class_count(classes: Shaped[np.ndarray, " classes"], family: str) -> None:
    count = len(classes)
    if count == 2 or (family == "multinomial" and count > 2):
        return
    shown = ", ".join(repr(value) for value in classes[:5].tolist())
    required = "two classes"
    remedy = 'for more take `family="multinomial"`, and for one against the rest `target == class`'
    if family == "multinomial":
        required = "at least two classes"
    if count < 2:
        remedy = "with one class there is nothing to tell apart"
    raise InputError(
        f"`target` (of {count} classes: {shown}) must have {required} in the {family} family; "
        f"{remedy}."
    )


def read_features(features: TableLike) -> Float64[np.ndarray, "examples features"]:
    """Read a matrix of finite numbers in float64.

    Raises:
        InputError: if it is not one.
    """
    x = as_float64(as_matrix(features, "features"), "features", MISSING)
    _check_range(x, "features")
    return x


def read_classes(
    labels: Shaped[np.ndarray, " n"], name: str
) -> tuple[Shaped[np.ndarray, " classes"], Int[np.ndarray, " n"]]:
    """Return the classes in order, and the index of each label's class.

    Labels are whole numbers, booleans or text.

    Raises:
        InputError: if labels are missing, fractions, or of types that have no common order.
    """
    if labels.dtype.kind not in "OSU":
        numbers = as_float64(labels, name, MISSING)
        fractions = numbers[numbers % 1 != 0]
        if fractions.size:
            raise InputError(
                f"`{name}` (with {fractions[0]:g}) must be classes, and it has fractions: give "
                "whole numbers, booleans or text."
            )
    elif not all(isinstance(value, str) for value in labels.tolist()):
        if labels.dtype == object:
            return read_classes(as_numbers(labels, name), name)
        raise InputError(
            f"`{name}` (of dtype {labels.dtype}) must be text, not bytes: decode it first."
        )
    if labels.dtype == object:
        labels = labels.astype(str)
    classes, codes = np.unique(labels, return_inverse=True)
    return classes, codes


def read_weights(
    weights: TableLike | None, examples: LinearExamples
) -> Float64[np.ndarray, "*folds examples"]:
    """Read the weights of the examples, or a row of weights for each fold; by default all equal.

    Raises:
        InputError: if they are not finite, negative, all 0, not one for each example, or leave
            only one class.
    """
    count = len(examples.target)
    if weights is None:
        return np.ones(count)
    w = as_float64(weights, "weights", "0 leaves an example out")
    if w.shape == (count, 1) and count > 1:
        w = w[:, 0]
    if w.ndim not in (1, 2) or w.shape[-1] != count or not w.size:
        raise InputError(
            f"`weights` (of shape {w.shape}) must be {count} numbers, one for each row of "
            "`features`, or a row of as many for each fold."
        )
    if np.any(w < 0) or not np.all(np.any(w > 0, axis=-1)):
        raise InputError(
            f"`weights` (from {w.min():g} to {w.max():g}) must be at least 0, and not all 0 in "
            "a row."
        )
    w = w / w.max(axis=-1, keepdims=True)
    _check_classes(examples, w, "weights")
    return w


def read_one_row(
    weights: TableLike | None, examples: LinearExamples
) -> Float64[np.ndarray, " examples"]:
    """Read one weight for each example, not scaled; by default 1.

    Raises:
        InputError: for the reasons of `read_weights`, or if there are several rows.
    """
    count = len(examples.target)
    if weights is None:
        return np.ones(count)
    if read_weights(weights, examples).ndim > 1:
        shape = as_array(weights, "weights").shape
        raise InputError(
            f"`weights` (of shape {shape}) must be {count} numbers, one for each row of "
            "`features`; the folds have their own by `folds`."
        )
    return as_float64(weights, "weights").reshape(-1)


def weigh_splits(
    splits: Splits, weights: Float64[np.ndarray, " examples"], examples: LinearExamples
) -> Splits:
    """Multiply the folds' weights by the examples'.

    Args:
        splits: of the examples.
        weights: one for each example.
        examples: of whose classes none may be lost.

    Raises:
        InputError: if a fold has nothing left to train on, or to be scored by.
    """
    training = splits.training * weights
    held_out = splits.held_out * weights
    if not (training.any(axis=1).all() and held_out.any(axis=1).all()):
        raise InputError(
            "`weights` must leave every fold an example to train on, and one to be scored by."
        )
    _check_classes(examples, training, "weights")
    return Splits(training, held_out)


def read_splits(folds: object, examples: LinearExamples) -> Splits:
    """Read the folds of the examples.

    They are a number for each example, a splitter of scikit-learn, or the pairs that one yields.

    Raises:
        InputError: if they are none of these, fewer than two, or leave a fold without examples or
            with only one class to train on.
    """
    count = len(examples.target)
    plain = isinstance(folds, str | bytes | dict) or hasattr(folds, "__array__")
    if plain:
        splits = _from_ids(folds, count)
    elif _is_splitter(folds):
        splits = _from_pairs(_split(folds, examples), count)
    elif isinstance(folds, Iterable):
        entries: list[Any] = list(folds)
        pairs = bool(entries) and all(
            isinstance(entry, tuple | list) and len(entry) == 2 for entry in entries
        )
        read = _from_pairs if pairs else _from_ids
        splits = read(entries, count)
    else:
        splits = _from_ids(folds, count)
    _check_classes(examples, splits.training, "folds")
    return splits


def read_fold_ids(fold_ids: TableLike) -> Int[np.ndarray, " examples"]:
    """Read which fold each example belongs to: whole numbers from 0 on.

    Raises:
        InputError: if they are anything else, or a fold in between has no example.
    """
    if not as_array(fold_ids, "folds").ndim:
        raise InputError(
            f"`folds` (={fold_ids!r}) must be the fold of each example: take "
            "`stratified_folds(None, row_hashes(features), 5)`."
        )
    numbers = as_float64(as_vector(fold_ids, "folds"), "folds")
    if not numbers.size or np.any(numbers % 1) or numbers.min() < 0:
        raise InputError(
            f"`folds` (={_shown(numbers)}) must be the fold of each example, whole numbers "
            "from 0 on."
        )
    present = np.unique(numbers)
    if len(present) != present[-1] + 1:
        raise InputError(
            f"`folds` (={_shown(numbers)}) must number the folds from 0 on and give every fold an "
            "example: take `stratified_folds`."
        )
    return numbers.astype(np.int64)


def _from_ids(fold_ids: object, count: int) -> Splits:
    numbers = read_fold_ids(fold_ids)
    if len(numbers) != count:
        raise InputError(
            f"`folds` (of {len(numbers)} numbers) must give each of the {count} rows of `features` "
            "its fold."
        )
    if numbers.max() < 1:
        raise InputError("`folds` (all 0) must have at least two folds: take `stratified_folds`.")
    held_out = numbers == np.arange(numbers.max() + 1)[:, None]
    return Splits(np.where(held_out, 0.0, 1.0), np.where(held_out, 1.0, 0.0))


def _is_splitter(folds: object) -> TypeGuard[Splitter]:
    return callable(getattr(folds, "split", None))


def _split(splitter: Splitter, examples: LinearExamples) -> list[Sequence[TableLike]]:
    try:
        return list(splitter.split(examples.features, examples.target))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"`folds` (={splitter!r}) could not split the examples ({error}): give a splitter "
            "whose `split(features, target)` yields pairs of rows, or the pairs."
        ) from error


def _from_pairs(pairs: Sequence[Sequence[TableLike]], count: int) -> Splits:
    """Read (training rows, held-out rows) of each fold; a row that is drawn twice counts twice."""
    if len(pairs) < 2:
        raise InputError(f"`folds` (of {len(pairs)} pairs of rows) must have at least two folds.")
    training = np.stack([_counts(pair[0], count) for pair in pairs])
    held_out = np.stack([_counts(pair[1], count) for pair in pairs])
    if not (training.any(axis=1).all() and held_out.any(axis=1).all()):
        raise InputError(
            "`folds` must give every fold an example to train on, and one to be scored by."
        )
    return Splits(training, held_out)


def _counts(rows: TableLike, count: int) -> Float64[np.ndarray, " examples"]:
    """Count how often each example is among the rows, which are indices or a mask."""
    indices = as_vector(rows, "folds")
    if indices.dtype == bool and len(indices) == count:
        return indices.astype(np.float64)
    numbers = as_float64(indices, "folds")
    if np.any(numbers % 1) or np.any(numbers < 0) or np.any(numbers >= count):
        raise InputError(
            f"`folds` (with rows {_shown(numbers)}) must name rows of `features`, from 0 to "
            f"{count - 1}."
        )
    return np.bincount(numbers.astype(np.int64), minlength=count).astype(np.float64)


def _check_classes(
    examples: LinearExamples, weights: Float64[np.ndarray, "*folds examples"], name: str
) -> None:
    """Refuse folds that lack a class to train on, where logistic models have no optimum."""
    if examples.classes is None:
        return
    used: Bool[np.ndarray, "*folds examples"] = weights > 0
    present = [
        np.any(used & (examples.target == code), axis=-1) for code in range(len(examples.classes))
    ]
    if not np.all(present):
        which = "both" if len(examples.classes) == 2 else "all"
        shown = ", ".join(str(value) for value in examples.classes[:5])
        raise InputError(
            f"`{name}` must leave {which} classes ({shown}) to train on in every fold: take "
            "`stratified_folds` with labels."
        )


def _check_range(values: Float64[np.ndarray, "..."], name: str) -> None:
    check_squares(values, name)
    largest = np.max(np.abs(values), initial=0)
    if 0 < largest < SMALLEST:
        raise InputError(
            f"`{name}` (with entries up to {largest:.1e}) must not be so small that their squares "
            "are 0 in float64: multiply all by one number."
        )


def _shown(values: np.ndarray) -> str:
    return np.array2string(values, threshold=6, edgeitems=3, separator=", ")
