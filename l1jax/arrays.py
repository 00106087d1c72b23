"""Turn what a user gives as numbers into NumPy arrays, or raise an error that says what to do.

Arrays, nested lists and data frames are accepted.
"""

from numbers import Real
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Bool, Float64, Num, Shaped

from l1jax.config import InputError

TableLike: TypeAlias = Any  # an array, nested lists or a data frame, with a row for each example
CHUNK_ENTRIES = 2**22  # entries that are checked at a time, to save memory
MAX_MAGNITUDE = 1e150  # of a number whose square is still far from the end of float64


def as_array(values: TableLike, name: str) -> Shaped[np.ndarray, "..."]:
    """Make an array of any type; pandas and polars are recognized by their protocol.

    Raises:
        InputError: if `values` is traced by JAX or sparse, has masked entries, or has rows of
            different lengths.
    """
    if isinstance(values, Tracer):
        raise InputError(
            f"`{name}` (of shape {values.shape}, traced by JAX) must be concrete: call this "
            "function outside of `jit`, `vmap` and `grad`."
        )
    if hasattr(values, "toarray") and hasattr(values, "nnz"):  # as SciPy's sparse arrays have
        raise _sparse_error(values, name, "toarray")
    if is_jax_sparse(values):
        raise _sparse_error(values, name, "todense")
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        masked = int(np.ma.count_masked(values))
        raise InputError(
            f"`{name}` (with {masked} masked entries) must have all its entries: leave out or "
            "fill in what is missing."
        )
    try:
        return np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(
            f"`{name}` (of type {type(values).__name__}) must be an array, a data frame or lists "
            f"of one length, and NumPy makes no array of it ({error})."
        ) from None


def is_jax_sparse(values: object) -> bool:
    """Tell whether an array is a sparse one of JAX, such as BCOO, without importing these."""
    return hasattr(values, "todense") and hasattr(values, "nse")


def _sparse_error(values: TableLike, name: str, method: str) -> InputError:
    mebibytes = 8 * np.prod(values.shape, dtype=float) / 2**20
    return InputError(
        f"`{name}` (a sparse {type(values).__name__} of shape {tuple(values.shape)}) must be "
        f"dense: give `{name}.{method}()`, which takes {mebibytes:,.1f} MiB in float64."
    )


def as_numbers(values: TableLike, name: str) -> Num[np.ndarray, "..."] | Bool[np.ndarray, "..."]:
    """Make an array of real numbers in their own type.

    Python's numbers, and those that a data frame holds as objects, become float64.

    Raises:
        InputError: if `values` is no array, or holds text, dates, complex numbers or anything else.
    """
    array = as_array(values, name)
    if array.dtype == object and array.ndim:
        _check_objects(array, name, getattr(values, "columns", None))
        return array.astype(np.float64)
    is_complex = jnp.issubdtype(array.dtype, np.complexfloating)
    is_number = jnp.issubdtype(array.dtype, np.number) and not is_complex
    if not is_number and array.dtype != bool:
        raise InputError(
            f"`{name}` (a {type(values).__name__} of dtype {array.dtype}) must hold real numbers: "
            "convert it first, text for instance by `.astype(float)`."
        )
    return array


def as_matrix(
    values: TableLike, name: str
) -> Num[np.ndarray, "rows columns"] | Bool[np.ndarray, "rows columns"]:
    """Make a matrix of real numbers with at least one column.

    Raises:
        InputError: if `values` is not a matrix, saying how to make it one.
    """
    array = as_numbers(values, name)
    check_matrix(array.shape, name)
    return array


def check_matrix(shape: tuple[int, ...], name: str) -> None:
    """Check that a shape is that of a matrix with at least one column.

    Raises:
        InputError: if it is not, saying how to make it one.
    """
    if len(shape) == 2 and shape[1]:
        return
    remedy = ""
    if len(shape) == 1:
        remedy = (
            f"; `{name}.reshape(-1, 1)` is one number for each row, `{name}.reshape(1, -1)` a "
            "single row"
        )
    elif len(shape) == 2:
        remedy = "; there is nothing in it to look at"
    elif len(shape) > 2:
        remedy = f"; `{name}.reshape({shape[0]}, -1)` makes a row of each"
    raise InputError(
        f"`{name}` (of shape {shape}) must be a matrix, a row for each example and a column for "
        f"each feature{remedy}."
    )


def as_vector(values: TableLike, name: str) -> Shaped[np.ndarray, " length"]:
    """Make a vector with one value for each example; a single column is taken for a vector.

    Raises:
        InputError: if `values` is anything else.
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
    """Check that there is neither NaN nor infinity.

    Args:
        rows: the numbers, one row for each example.
        name: what an error calls them.
        remedy: what an error tells the user to do.

    Raises:
        InputError: with the number of rows that have any.
    """
    if not jnp.issubdtype(rows.dtype, np.inexact):
        return
    entries_per_row = max(1, int(np.prod(rows.shape[1:])))
    chunk_size = max(1, CHUNK_ENTRIES // entries_per_row)
    bad_rows = 0
    for start in range(0, len(rows), chunk_size):
        chunk = rows[start : start + chunk_size]
        is_bad = ~np.isfinite(chunk)
        bad_rows += int(is_bad.reshape(len(chunk), -1).any(axis=1).sum())
    if bad_rows:
        ending = f": {remedy}." if remedy else "."
        raise InputError(
            f"`{name}` (of {len(rows)} rows, {bad_rows} of them with NaN or infinity) must be "
            f"finite{ending}"
        )


def check_squares(
    rows: Num[np.ndarray, "rows ..."] | Bool[np.ndarray, "rows ..."], name: str
) -> None:
    """Check that the squares of finite numbers are finite, too.

    Raises:
        InputError: with the largest number.
    """
    if rows.dtype.itemsize < 8 or not rows.size:
        return
    largest = float(np.maximum(np.max(rows), -np.min(rows)))
    if largest > MAX_MAGNITUDE:
        raise InputError(
            f"`{name}` (with entries up to {largest:.1e}) must be at most {MAX_MAGNITUDE:g} in "
            "size, for their squares to be finite: divide by one number, such as their standard "
            "deviation."
        )


def as_float64(values: TableLike, name: str, remedy: str = "") -> Float64[np.ndarray, "..."]:
    """Make an array of finite real numbers in float64.

    Args:
        values: the numbers.
        name: what an error calls them.
        remedy: what an error about NaN and infinity tells the user to do.

    Raises:
        InputError: if `values` are no numbers, or not finite.
    """
    array = as_numbers(values, name)
    check_finite(np.atleast_1d(array), name, remedy)
    return array.astype(np.float64)


def _check_objects(array: Shaped[np.ndarray, "..."], name: str, columns: Any) -> None:
    """Check that objects are real numbers; `columns` names those of a data frame.

    Raises:
        InputError: with the first that is not, and its place.
    """
    position = next(
        (i for i, value in enumerate(array.flat) if not isinstance(value, Real | np.bool_)), None
    )
    if position is None:
        return
    index = np.unravel_index(position, array.shape)
    place = ", ".join(str(int(i)) for i in index)
    if columns is not None and len(index) == 2:
        place = f"row {index[0]} of column {columns[index[1]]!r}"
    value = array[index]
    raise InputError(
        f"`{name}` (with {value!r}, a {type(value).__name__}, at {place}) must hold real numbers: "
        "leave out or fill in what is missing, and encode classes as numbers."
    )
