"""Inner products and distances of all pairs of rows in float64, a tile at a time."""

import operator
from collections.abc import Iterator
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Float64, Num

from l1jax.arrays import TableLike, as_matrix, check_finite, check_matrix, check_squares
from l1jax.config import InputError

Features: TypeAlias = TableLike  # a row for each sample; what is no matrix is refused in words
Rows = Num[np.ndarray, "_ _"] | Bool[np.ndarray, "_ _"]  # the same, on the host
Tile = tuple[slice, slice, Float64[np.ndarray, "rows columns"]]

ELEMENTS = 2**22  # of a tile of features, and at most as many products: 32 MiB of float64


def row_slices(rows: int, features: int) -> list[slice]:
    """Cut rows into slices whose features fit a tile."""
    size = int(np.clip(ELEMENTS // max(features, 1), 256, 2048))
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def feature_matrix(features: Features, name: str, least: int = 1) -> Rows:
    """Take features to the host: the one check that all metrics on features share.

    Raises:
        InputError: if they are no matrix of real numbers, have fewer than `least` rows, or some are not
            finite.
    """
    rows = as_matrix(features, name)
    _check_least(len(rows), name, least)
    check_finite(rows, name, "the model that made them diverged, or an image could not be read")
    check_squares(rows, name)
    return rows


def feature_matrix_or_tracer(features: Features, name: str, least: int = 1) -> Rows | Array:
    """The same; of an array that JAX traces, all that can be known of it: its shape.

    Raises:
        InputError: if they are no matrix of real numbers, have fewer than `least` rows, or some are not
            finite.
    """
    if not isinstance(features, Tracer):
        return feature_matrix(features, name, least)
    check_matrix(features.shape, name)
    _check_least(len(features), name, least)
    return features


def as_floating(rows: Rows | Array) -> Float[Array, "_ _"]:
    """The same on the device, in their own precision; whole numbers and booleans as JAX's floats."""
    array = jnp.asarray(rows)
    return array if jnp.issubdtype(array.dtype, jnp.inexact) else array.astype(float)


def _check_least(rows: int, name: str, least: int) -> None:
    if rows < least:
        raise InputError(
            f"`{name}` (of {rows} rows) must have at least {least} rows; draw more samples."
        )


def check_integer(value: Any, name: str, least: int) -> int:
    """Refuse what is no whole number, or one that is too small.

    Raises:
        InputError: if it is.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise InputError(f"`{name}` (={value!r}) must be a whole number.") from None
    if number < least:
        raise InputError(f"`{name}` (={number}) must be at least {least}.")
    return number


def require_same_features(a: int, b: int, names: str = "`a` and `b`") -> None:
    """Refuse two sets of features that differ in their number.

    Raises:
        InputError: if they do.
    """
    if a != b:
        raise InputError(
            f"{names} (of {a} and {b} features) must be features of the same function."
        )


def inner_products(x: Rows, y: Rows | None = None) -> Iterator[Tile]:
    """Yield (rows of x, rows of y, their inner products) until all pairs have come once.

    Without `y` the pairs are those of x with itself: a tile above the diagonal stands for its transpose too.
    """
    other = x if y is None else y
    columns = row_slices(*other.shape)
    for i, rows in enumerate(row_slices(*x.shape)):
        left = x[rows].astype(np.float64)
        for piece in columns[i if y is None else 0 :]:
            right = left if y is None and piece == rows else other[piece].astype(np.float64)
            yield rows, piece, left @ right.T


def squared_distances(x: Rows, y: Rows | None = None) -> Iterator[Tile]:
    """Yield (rows of x, rows of y, their squared Euclidean distances); tiles as those of `inner_products`."""
    x_norms = squared_norms(x)
    y_norms = x_norms if y is None else squared_norms(y)
    for rows, columns, tile in inner_products(x, y):
        tile *= -2
        tile += x_norms[rows, None]
        tile += y_norms[columns]
        yield rows, columns, np.maximum(tile, 0, out=tile)


def squared_norms(x: Rows) -> Float64[np.ndarray, " n"]:
    """Σ x² of every row."""
    found = np.empty(len(x))
    for piece in row_slices(*x.shape):
        rows = x[piece].astype(np.float64)
        found[piece] = np.einsum("nd,nd->n", rows, rows)
    return found
