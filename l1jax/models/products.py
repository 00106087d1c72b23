"""Convolutions as matrix products over channels.

Each transforms its operands, multiplies matrices and transforms the result. On CPUs that is faster
than XLA's convolutions, above all its gradients of strided ones. The three functions share their
products: `_to_images` is `_of_images` transposed, and likewise the other pairs.
"""

import math
from collections.abc import Sequence
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from l1jax.models.bilinear import Geometry, Phases

Images = Float[Array, "batch _height _width _channels"]
Kernel = Float[Array, "size size _inputs _outputs"]
Grid = list[list[Any]]  # an array for each pixel of a tile, or for each product; None for zeros
Size = Any  # of the batch: an integer, or JAX's symbol for one
Matrices = list[Float[Array, "_rows _columns"]]


def convolution(g: Geometry, x: Images, kernel: Kernel) -> Images:
    """Compute the SAME convolution of this geometry.

    Args:
        g: sizes, stride and algorithm.
        x: the images.
        kernel: the kernel.
    """
    products = [v @ u for v, u in zip(_of_images(g, x), _of_kernel(g, kernel), strict=True)]
    return _to_outputs(g, products, x.shape[0])


def image_gradient(g: Geometry, y: Images, kernel: Kernel) -> Images:
    """Compute the gradient of Σ y·convolution(x, kernel) with respect to x.

    Args:
        g: sizes, stride and algorithm.
        y: weights of the outputs.
        kernel: the kernel.
    """
    products = [m @ u.T for m, u in zip(_of_outputs(g, y), _of_kernel(g, kernel), strict=True)]
    return _to_images(g, products, y.shape[0])


def kernel_gradient(g: Geometry, x: Images, y: Images) -> Kernel:
    """Compute the gradient of Σ y·convolution(x, kernel) with respect to the kernel.

    Args:
        g: sizes, stride and algorithm.
        x: the images.
        y: weights of the outputs.
    """
    products = [v.T @ m for v, m in zip(_of_images(g, x), _of_outputs(g, y), strict=True)]
    return _to_kernel(g, products)


def direct_kernel_gradient(g: Geometry, x: Images, y: Images) -> Kernel:
    """Compute `kernel_gradient` for a stride of 1 as one product, without tiles.

    With the images shifted along columns by j, and the weights against them along rows by i, one
    product of matrices has the sums for each pair i, j. The shifts are gathers, which XLA compiles
    faster than slices that are put together.

    Args:
        g: sizes; the stride is 1.
        x: the images.
        y: weights of the outputs.
    """
    size = g.size
    _, _, low = g.along(g.height)
    high = size - 1 - low
    x = jnp.pad(x, ((0, 0), (0, 0), (low, high), (0, 0)))
    y = jnp.pad(y, ((0, 0), (high, low), (0, 0), (0, 0)))
    taps = np.arange(size)
    across = x[:, :, np.arange(g.width)[:, None] + taps]  # batch, rows, columns, j, inputs
    down = y[:, np.arange(g.height)[:, None] + taps[::-1]]  # batch, rows, i, columns, outputs
    across = across.reshape(-1, size * x.shape[-1])
    down = down.swapaxes(2, 3).reshape(-1, size * y.shape[-1])
    sums = (across.T @ down).reshape(size, x.shape[-1], size, y.shape[-1])
    return sums.transpose(2, 0, 1, 3)


def _of_images(g: Geometry, x: Images) -> Matrices:
    """B d: per product a matrix, tiles × channels of blocks."""
    _, rows, top = g.along(g.height)
    _, columns, left = g.along(g.width)
    batch, s, channels = x.shape[0], g.stride, x.shape[-1]
    seen = g.tile + g.taps - 1  # blocks of a tile, in each dimension
    height, width = (g.tile * tiles + g.taps - 1 for tiles in (rows, columns))
    after = (s * height - top - g.height, s * width - left - g.width)
    x = jnp.pad(x, ((0, 0), (top, after[0]), (left, after[1]), (0, 0)))
    x = x.reshape(batch, height, s, width, s, channels)

    def combined(p: Phases, q: Phases) -> Grid:
        """Compute sums of blocks, of which each pixel of all tiles is a slice."""
        own = x[:, :, p.start : p.stop, :, q.start : q.stop].swapaxes(2, 3)
        own = jax.lax.optimization_barrier(own.reshape(batch, height, width, -1))
        across = [own[:, :, j : j + (columns - 1) * g.tile + 1 : g.tile] for j in range(seen)]
        down = [slice(i, i + (rows - 1) * g.tile + 1, g.tile) for i in range(seen)]
        return _combine(p.inputs, [[part[:, along] for part in across] for along in down], q.inputs)

    grids = [_flat(combined(p, q)) for p in g.phases for q in g.phases]
    products = [_concatenated(parts) for parts in zip(*grids, strict=True)]
    return _joined(g, [product.reshape(-1, product.shape[-1]) for product in products], -1)


def _to_images(g: Geometry, products: Matrices, batch: Size) -> Images:
    """`_of_images` transposed."""
    _, rows, top = g.along(g.height)
    _, columns, left = g.along(g.width)
    by_phase = _split(g, [p.reshape(batch, rows, columns, -1) for p in products], -1)

    def overlapped(parts: Sequence[Array | None], axis: int) -> Array:
        """Blocks of neighbouring tiles summed, and in their order."""
        reach = -(-len(parts) // g.tile)

        def placed(part: Array, q: int) -> Array:
            return jnp.pad(
                part, [(q, reach - 1 - q) if a == axis else (0, 0) for a in range(part.ndim)]
            )

        sums = [
            _sum([placed(part, q) for q, part in enumerate(parts[e :: g.tile]) if part is not None])
            for e in range(g.tile)
        ]
        return jnp.stack(sums, axis + 1).reshape(
            *sums[0].shape[:axis], -1, *sums[0].shape[axis + 1 :]
        )

    def blocks(p: Phases, q: Phases) -> Array:
        """batch × rows of blocks × columns of blocks × row phases × column phases × channels."""
        grid = _combine(_transposed(p.inputs), by_phase[p, q], _transposed(q.inputs))
        whole = overlapped([overlapped(row, 2) if row[0] is not None else None for row in grid], 1)
        return whole.reshape(*whole.shape[:3], p.count, q.count, -1)

    x = jnp.concatenate([jnp.concatenate([blocks(p, q) for q in g.phases], 4) for p in g.phases], 3)
    x = x.swapaxes(2, 3)
    x = x.reshape(batch, x.shape[1] * g.stride, x.shape[3] * g.stride, -1)
    return x[:, top : top + g.height, left : left + g.width]


def _of_kernel(g: Geometry, kernel: Kernel) -> Matrices:
    """G k: per product a matrix, channels of blocks × outputs."""
    missing, s = g.taps * g.stride - g.size, g.stride
    kernel = jnp.pad(kernel, ((0, missing), (0, missing), (0, 0), (0, 0)))
    kernel = kernel.reshape(g.taps, s, g.taps, s, *kernel.shape[2:]).transpose(0, 2, 1, 3, 4, 5)

    def combined(p: Phases, q: Phases) -> Grid:
        own = kernel[:, :, p.start : p.stop, q.start : q.stop].reshape(
            g.taps, g.taps, -1, kernel.shape[-1]
        )
        return _combine(p.kernel, [list(row) for row in own], q.kernel)

    grids = [_flat(combined(p, q)) for p in g.phases for q in g.phases]
    return _joined(g, [_concatenated(parts, 0) for parts in zip(*grids, strict=True)], 0)


def _to_kernel(g: Geometry, products: Matrices) -> Kernel:
    """`_of_kernel` transposed."""
    by_phase, s = _split(g, products, 0), g.stride

    def taps(p: Phases, q: Phases) -> Array:
        """taps × taps × row phases × column phases × inputs × outputs."""
        grid = _combine(_transposed(p.kernel), by_phase[p, q], _transposed(q.kernel))
        zeros = jnp.zeros_like(grid[0][0])
        own = jnp.stack([jnp.stack([zeros if tap is None else tap for tap in row]) for row in grid])
        return own.reshape(g.taps, g.taps, p.count, q.count, -1, own.shape[-1])

    phases = [jnp.concatenate([taps(p, q) for q in g.phases], 3) for p in g.phases]
    kernel = jnp.concatenate(phases, 2).transpose(0, 2, 1, 3, 4, 5)
    return kernel.reshape(g.taps * s, g.taps * s, *kernel.shape[4:])[: g.size, : g.size]


def _of_outputs(g: Geometry, y: Images) -> Matrices:
    """Compute A y: for each product a matrix, tiles × outputs."""
    (height, rows, _), (width, columns, _) = g.along(g.height), g.along(g.width)
    y = jnp.pad(y, ((0, 0), (0, rows * g.tile - height), (0, columns * g.tile - width), (0, 0)))
    tiles = [[y[:, i :: g.tile, j :: g.tile] for j in range(g.tile)] for i in range(g.tile)]
    products = [
        p.reshape(-1, y.shape[-1])
        for p in _flat(_combine(g.algorithm.outputs, tiles, g.algorithm.outputs))
    ]
    return products[:1] if g.tile == 1 else products


def _to_outputs(g: Geometry, products: Matrices, batch: Size) -> Images:
    """`_of_outputs` transposed."""
    (height, rows, _), (width, columns, _) = g.along(g.height), g.along(g.width)
    if g.tile == 1:
        return products[0].reshape(batch, height, width, -1)
    grid = _square([p.reshape(batch, rows, columns, -1) for p in products])
    outputs = _transposed(g.algorithm.outputs)
    tiles = _combine(outputs, grid, outputs)
    y = jnp.stack([jnp.stack(row, 3) for row in tiles], 2)
    return y.reshape(batch, rows * g.tile, columns * g.tile, -1)[:, :height, :width]


def _joined(g: Geometry, matrices: Matrices, axis: int) -> Matrices:
    """Products that are only summed are one product of longer matrices."""
    return [jnp.concatenate(matrices, axis)] if g.tile == 1 else matrices


def _split(g: Geometry, products: Sequence[Array], axis: int) -> dict[tuple[Phases, Phases], Grid]:
    """Split products into the parts of each phase, None where it has none; undo `_joined`.

    The axis leads with phases, their channels inside.
    """
    side = len(g.algorithm.outputs)
    parts = [[g.parts(i, j) for j in range(side)] for i in range(side)]
    counts = [p.count * q.count for own in _flat(parts) for p, q in own]
    length = sum(product.shape[axis] for product in products) // sum(counts)  # channels
    if g.tile == 1:
        pieces = jnp.split(products[0], np.cumsum(np.array(counts) * length)[:-1], axis)
    else:
        pieces = []
        for product, own in zip(products, _flat(parts), strict=True):
            ends = np.cumsum([p.count * q.count * length for p, q in own])[:-1]
            pieces += jnp.split(product, ends, axis)
    grids: dict[tuple[Phases, Phases], Grid] = {
        (p, q): [[None] * side for _ in range(side)] for p in g.phases for q in g.phases
    }
    places = [(pq, i, j) for i in range(side) for j in range(side) for pq in parts[i][j]]
    for piece, (pq, i, j) in zip(pieces, places, strict=True):
        grids[pq][i][j] = piece
    return grids


def _combine(left: Sequence[Sequence[float]], grid: Grid, right: Sequence[Sequence[float]]) -> Grid:
    """left · grid · rightᵀ, None where it is zero."""
    half = [_mixed(left, column) for column in zip(*grid, strict=True)]
    return [_mixed(right, row) for row in zip(*half, strict=True)]


def _mixed(matrix: Sequence[Sequence[float]], arrays: Sequence[Array | None]) -> list[Array | None]:
    """matrix · arrays, zeros left out."""
    rows = [
        [a if c == 1 else c * a for c, a in zip(row, arrays, strict=True) if c and a is not None]
        for row in matrix
    ]
    return [_sum(terms) if terms else None for terms in rows]


def _sum(terms: Sequence[Array]) -> Array:
    return reduce(jnp.add, terms)


def _concatenated(arrays: Sequence[Array | None], axis: int = -1) -> Array:
    return jnp.concatenate([array for array in arrays if array is not None], axis)


def _flat(grid: Sequence[Sequence[Any]]) -> list[Any]:
    return [entry for row in grid for entry in row]


def _square(entries: Sequence[Array]) -> Grid:
    side = math.isqrt(len(entries))
    return [list(entries[i : i + side]) for i in range(0, len(entries), side)]


def _transposed(matrix: Sequence[Sequence[float]]) -> list[tuple[float, ...]]:
    return list(zip(*matrix, strict=True))
