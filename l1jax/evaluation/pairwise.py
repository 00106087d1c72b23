"""Inner products and distances of all pairs of rows, in float64 and one tile at a time."""

import operator
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Float64, Num

from l1jax.arrays import TableLike, as_matrix, check_finite, check_matrix, check_squares
from l1jax.config import InputError

Features: TypeAlias = TableLike
"""A row for each sample. What is no matrix is refused with a message, not with a type error."""
Rows = Num[np.ndarray, "_ _"] | Bool[np.ndarray, "_ _"]  # features on the host

ELEMENTS = 2**22  # entries of a tile's features, and at most as many products: 32 MiB of float64


class Tile(NamedTuple):
    """Numbers of all pairs of some rows of x and some rows of y."""

    rows: slice  # of x
    columns: slice  # rows of y
    values: Float64[np.ndarray, "rows columns"]


def row_slices(rows: int, features: int) -> list[slice]:
    """Cut rows into slices whose features fit a tile."""
    size = int(np.clip(ELEMENTS // max(features, 1), 256, 2048))
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def feature_matrix(features: Features, name: str, least: int = 1) -> Rows:
    """Check features as all metrics do, and take them to the host.

    Args:
        features: a row for each sample.
        name: the argument's name, for messages.
        least: the smallest number of rows.

    Raises:
        InputError: if they are no matrix of real numbers, have fewer than `least` rows, or some are
            not finite.
    """
    rows = as_matrix(features, name)
    _check_num_rows(len(rows), name, least)
    check_finite(rows, name, "the model that made them diverged, or an image could not be read")
    check_squares(rows, name)
    return rows


def feature_matrix_or_tracer(features: Features, name: str, least: int = 1) -> Rows | Array:
    """Check features like `feature_matrix`, but pass on an array that JAX traces.

    Only the shape of such an array is known, so only that is checked.

    Args:
        features: a row for each sample.
        name: the argument's name, for messages.
        least: the smallest number of rows.

    Raises:
        InputError: if they are no matrix of real numbers, have fewer than `least` rows, or some are
            not finite.
    """
    if not isinstance(features, Tracer):
        return feature_matrix(features, name, least)
    check_matrix(features.shape, name)
    _check_num_rows(len(features), name, least)
    return features


def as_floating(rows: Rows | Array) -> Float[Array, "_ _"]:
    """Put rows on the device: floats in their precision, integers and booleans as JAX's floats."""
    array = jnp.asarray(rows)
    if jnp.issubdtype(array.dtype, jnp.inexact):
        return array
    return array.astype(float)


def _check_num_rows(rows: int, name: str, least: int) -> None:
    if rows < least:
        raise InputError(
            f"`{name}` (of {rows} rows) must have at least {least} rows; draw more samples."
        )


def check_integer(value: object, name: str, least: int) -> int:
    """Return an argument as an integer.

    Args:
        value: what the caller gave.
        name: the argument's name, for messages.
        least: the smallest value that is accepted.

    Raises:
        InputError: if it is no whole number, or too small.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise InputError(f"`{name}` (={value!r}) must be a whole number.") from None
    if number < least:
        raise InputError(f"`{name}` (={number}) must be at least {least}.")
    return number


def require_same_features(a: int, b: int, names: str = "`a` and `b`") -> None:
    """Raise unless two samples have the same number of features.

    Args:
        a: number of features of one sample.
        b: number of features of the other.
        names: the arguments' names, for the message.

    Raises:
        InputError: if the numbers differ.
    """
    if a != b:
        raise InputError(
            f"{names} (of {a} and {b} features) must be features of the same function."
        )


def inner_products(x: Rows, y: Rows | None = None) -> Iterator[Tile]:
    """Yield tiles of x yᵀ until every pair has come once.

    Without `y` the pairs are those of x with itself. A tile above the diagonal then stands for its
    transpose too.
    """
    other = x if y is None else y
    slices = row_slices(*other.shape)
    for i, rows in enumerate(row_slices(*x.shape)):
        left = x[rows].astype(np.float64)
        first = i if y is None else 0
        for columns in slices[first:]:
            right = left
            if y is not None or columns != rows:
                right = other[columns].astype(np.float64)
            yield Tile(rows, columns, left @ right.T)


def squared_distances(x: Rows, y: Rows | None = None) -> Iterator[Tile]:
    """Yield tiles of the squared Euclidean distances; they come as from `inner_products`."""
    x_norms = squared_norms(x)
    y_norms = x_norms if y is None else squared_norms(y)
    for rows, columns, values in inner_products(x, y):
        values *= -2
        values += x_norms[rows, None]
        values += y_norms[columns]
        yield Tile(rows, columns, np.maximum(values, 0, out=values))


def squared_norms(x: Rows) -> Float64[np.ndarray, " n"]:
    """Compute Σ x² of every row."""
    norms = np.empty(len(x))
    for piece in row_slices(*x.shape):
        rows = x[piece].astype(np.float64)
        norms[piece] = np.einsum("nd,nd->n", rows, rows)
    return norms
