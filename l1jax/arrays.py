"""What a user gives as numbers, in NumPy: arrays, lists and data frames are; the rest is refused in a sentence."""

from numbers import Real
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Bool, Float64, Num, Shaped

from l1jax.config import InputError

TableLike: TypeAlias = Any  # an array, nested lists or a data frame, with a row for each example
PIECE = 2**22  # entries that are looked at in one go
LARGEST = 1e150  # whose square is still far from the end of float64


def as_array(values: TableLike, name: str) -> Shaped[np.ndarray, "..."]:
    """An array of whatever type; pandas and polars are known by their protocol.

    Raises:
        InputError: if it is traced by JAX or sparse, some of its entries are masked, or its rows
            differ in length.
    """
    if isinstance(values, Tracer):
        raise InputError(
            f"`{name}` (of shape {values.shape}, traced by JAX) must be concrete: call this function "
            "outside of `jit`, `vmap` and `grad`."
        )
    if hasattr(values, "toarray") and hasattr(values, "nnz"):  # as SciPy's sparse arrays have
        size = 8 * np.prod(values.shape, dtype=float) / 2**20
        raise InputError(
            f"`{name}` (a sparse {type(values).__name__} of shape {tuple(values.shape)}) must be dense: "
            f"give `{name}.toarray()`, which takes {size:,.1f} MiB in float64."
        )
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        missing = int(np.ma.count_masked(values))
        raise InputError(
            f"`{name}` (with {missing} masked entries) must have all its entries: leave out or fill in what is missing."
        )
    try:
        return np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(
            f"`{name}` (of type {type(values).__name__}) must be an array, a data frame or lists of one "
            f"length, and NumPy makes no array of it ({error})."
        ) from None


def as_numbers(values: TableLike, name: str) -> Num[np.ndarray, "..."] | Bool[np.ndarray, "..."]:
    """An array of real numbers in their own type; float64 where they are Python's or a data frame's objects.

    Raises:
        InputError: if it is no array, or holds text, dates, complex numbers or anything else.
    """
    array = as_array(values, name)
    if array.dtype == object and array.ndim:
        _refuse_other_objects(array, name, getattr(values, "columns", None))
        return array.astype(np.float64)
    real = jnp.issubdtype(array.dtype, np.number) and not jnp.issubdtype(
        array.dtype, np.complexfloating
    )
    if not real and array.dtype != bool:
        raise InputError(
            f"`{name}` (a {type(values).__name__} of dtype {array.dtype}) must hold real numbers: convert "
            "it first, text for instance by `.astype(float)`."
        )
    return array


def as_matrix(
    values: TableLike, name: str
) -> Num[np.ndarray, "rows columns"] | Bool[np.ndarray, "rows columns"]:
    """A matrix of real numbers with at least one column.

    Raises:
        InputError: if it is none, with what makes it one.
    """
    array = as_numbers(values, name)
    check_matrix(array.shape, name)
    return array


def check_matrix(shape: tuple[int, ...], name: str) -> None:
    """Refuse shapes that are no matrix's, or that of a matrix without columns.

    Raises:
        InputError: with what makes it one.
    """
    if len(shape) == 2 and shape[1]:
        return
    remedies = {
        1: f"`{name}.reshape(-1, 1)` is one number for each row, `{name}.reshape(1, -1)` a single row",
        2: "there is nothing in it to look at",
    }
    remedy = remedies.get(
        len(shape), f"`{name}.reshape({shape[0]}, -1)` makes a row of each" if shape else ""
    )
    raise InputError(
        f"`{name}` (of shape {shape}) must be a matrix, a row for each example and a column for each feature"
        + (f"; {remedy}." if remedy else ".")
    )


def as_vector(values: TableLike, name: str) -> Shaped[np.ndarray, " length"]:
    """One value for each example; a column is taken for the vector that it holds.

    Raises:
        InputError: if it is anything else.
    """
    array = as_array(values, name)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise InputError(
            f"`{name}` (of shape {array.shape}) must be a vector: one value for each example."
        )
    return array


def check_finite(
    rows: Num[np.ndarray, "rows ..."] | Bool[np.ndarray, "rows ..."], name: str, remedy: str = ""
) -> None:
    """Refuse NaN and infinity.

    Raises:
        InputError: with the number of rows that have any.
    """
    if not jnp.issubdtype(rows.dtype, np.inexact):
        return
    size = max(1, PIECE // max(1, int(np.prod(rows.shape[1:]))))
    pieces = [rows[start : start + size] for start in range(0, len(rows), size)]
    bad = sum(
        int((~np.isfinite(piece)).reshape(len(piece), -1).any(axis=1).sum()) for piece in pieces
    )
    if bad:
        raise InputError(
            f"`{name}` (of {len(rows)} rows, {bad} of them with NaN or infinity) must be finite"
            + (f": {remedy}." if remedy else ".")
        )


def check_squares(
    rows: Num[np.ndarray, "rows ..."] | Bool[np.ndarray, "rows ..."], name: str
) -> None:
    """Refuse finite numbers whose squares are not: nothing that is computed of them would be.

    Raises:
        InputError: with the largest of them.
    """
    if rows.dtype.itemsize < 8 or not rows.size:
        return
    largest = float(np.maximum(np.max(rows), -np.min(rows)))
    if largest > LARGEST:
        raise InputError(
            f"`{name}` (with entries up to {largest:.1e}) must be at most {LARGEST:g} in size, for their "
            "squares to be finite: divide by one number, such as their standard deviation."
        )


def as_float64(values: TableLike, name: str, remedy: str = "") -> Float64[np.ndarray, "..."]:
    """Finite real numbers in float64.

    Raises:
        InputError: if they are no numbers, or not finite.
    """
    array = as_numbers(values, name)
    check_finite(np.atleast_1d(array), name, remedy)
    return array.astype(np.float64)


def _refuse_other_objects(array: Shaped[np.ndarray, "..."], name: str, columns: Any) -> None:
    """Refuse the first entry that is no real number, by its place."""
    found = next(
        (i for i, value in enumerate(array.flat) if not isinstance(value, Real | np.bool_)), None
    )
    if found is None:
        return
    place = np.unravel_index(found, array.shape)
    where = ", ".join(str(int(index)) for index in place)
    if columns is not None and len(place) == 2:
        where = f"row {place[0]} of column {columns[place[1]]!r}"
    value = array[place]
    raise InputError(
        f"`{name}` (with {value!r}, a {type(value).__name__}, at {where}) must hold real numbers: leave "
        "out or fill in what is missing, and encode classes as numbers."
    )
