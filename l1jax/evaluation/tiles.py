"""Inner products and distances of all pairs of rows in float64, a tile at a time."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Array, Float, Float64

Features = Float[Array | np.ndarray, "_ _"]  # a row for each sample; two of them may differ in size
Rows = Float[np.ndarray, "_ _"]  # the same, on the host
Tile = tuple[slice, slice, Float64[np.ndarray, "rows columns"]]

ELEMENTS = 2**22  # of a tile of features, and at most as many products: 32 MiB of float64


def pieces(rows: int, features: int) -> list[slice]:
    """Cut rows into slices whose features fit a tile."""
    size = int(np.clip(ELEMENTS // max(features, 1), 256, 2048))
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def rows_of(features: Features, name: str, least: int) -> Rows:
    """Take features to the host.

    Raises:
        ValueError: if there are fewer than `least` rows, or some features are not finite.
    """
    rows = np.asarray(features)
    if len(rows) < least:
        raise ValueError(f"`{name}` (of {len(rows)} rows) must have at least {least} rows; draw more samples.")
    finite = [np.isfinite(rows[piece]).all(axis=1) for piece in pieces(*rows.shape)]
    if bad := len(rows) - sum(int(piece.sum()) for piece in finite):
        raise ValueError(f"`{name}` (of {len(rows)} rows, {bad} of them with NaN or infinity) must be finite.")
    return rows


def same_features(a: int, b: int, names: str = "`a` and `b`") -> None:
    """Refuse two sets of features that differ in their number.

    Raises:
        ValueError: if they do.
    """
    if a != b:
        raise ValueError(f"{names} (of {a} and {b} features) must be features of the same function.")


def products(x: Rows, y: Rows | None = None) -> Iterator[Tile]:
    """Yield (rows of x, rows of y, their inner products) until all pairs have come once.

    Without `y` the pairs are those of x with itself: a tile above the diagonal stands for its transpose too.
    """
    other = x if y is None else y
    columns = pieces(*other.shape)
    for i, rows in enumerate(pieces(*x.shape)):
        left = x[rows].astype(np.float64)
        for piece in columns[i if y is None else 0 :]:
            right = left if y is None and piece == rows else other[piece].astype(np.float64)
            yield rows, piece, left @ right.T


def squared_distances(x: Rows, y: Rows | None = None) -> Iterator[Tile]:
    """Yield (rows of x, rows of y, their squared Euclidean distances); tiles as of `products`."""
    x_norms = squared_norms(x)
    y_norms = x_norms if y is None else squared_norms(y)
    for rows, columns, tile in products(x, y):
        tile *= -2
        tile += x_norms[rows, None]
        tile += y_norms[columns]
        yield rows, columns, np.maximum(tile, 0, out=tile)


def squared_norms(x: Rows) -> Float64[np.ndarray, " n"]:
    """Σ x² of every row."""
    found = np.empty(len(x))
    for piece in pieces(*x.shape):
        rows = x[piece].astype(np.float64)
        found[piece] = np.einsum("nd,nd->n", rows, rows)
    return found
