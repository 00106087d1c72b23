"""Convolutions in the form that the backend runs best, with SAME padding and square kernels.

On a GPU that is the library's. On a CPU XLA's gradients of strided convolutions are slow, and every convolution
is written as matrix products here. With a kernel of size k and stride s it is one of K = ⌈k/s⌉ taps and stride 1
over blocks of s×s pixels. In one dimension a tile of r outputs y is a bilinear algorithm

    y = Aᵀ(G k ∘ B d),   d the r + K − 1 blocks that the tile sees,

and so in two, one dimension after the other; its products are matrix products over channels. For r = 2 there
are K + 1 of them in each dimension instead of 2K: 9 instead of 16 for a 4×4 kernel of stride 2, 16 instead of 36
for a 3×3 kernel. With r = 1 and matrices of zeros and ones each tap is a product. Summed against weights of y
the form is trilinear: its derivatives are the same products with A, B and G transposed, so convolution,
transposed convolution and the kernel's gradient are each other's derivatives, of any order.

Source: Winograd, Arithmetic Complexity of Computations, SIAM 1980; Lavin, Gray, CVPR 2016.
"""

import math
from collections.abc import Sequence
from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

Images = Float[Array, "batch _height _width _channels"]
Kernel = Float[Array, "size size _inputs _outputs"]
Grid = list[list[Array]]  # an array for each pixel of a tile, or for each product
Matrices = list[Float[Array, "_rows _columns"]]


class Algorithm(NamedTuple):
    """A bilinear algorithm for r outputs of K taps, one row per product."""

    outputs: tuple[tuple[float, ...], ...]  # A: products × r
    inputs: tuple[tuple[float, ...], ...]  # B: products × (r + K − 1)
    kernel: tuple[tuple[float, ...], ...]  # G: products × K


WINOGRAD = {
    2: Algorithm(((1, 0), (1, 1), (0, 1)), ((1, -1, 0), (0, 1, 0), (0, -1, 1)), ((1, 0), (1, 1), (0, 1))),
    3: Algorithm(
        ((1, 0), (1, 1), (1, -1), (0, 1)),
        ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, -1, 0, 1)),
        ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1)),
    ),
}
SMALLEST = 32  # channels from which on tiles of 2×2 are used: the sums in front and behind cost per channel


def shifted(taps: int) -> Algorithm:
    """One output, each tap a product."""
    identity = tuple(tuple(float(i == j) for j in range(taps)) for i in range(taps))
    return Algorithm(((1.0,),) * taps, identity, identity)


class Geometry(NamedTuple):
    """How the SAME convolution of an image of this height and width is computed."""

    height: int
    width: int
    size: int  # of the kernel
    stride: int
    algorithm: Algorithm

    @property
    def taps(self) -> int:
        """K, blocks that an output sees in each dimension."""
        return -(-self.size // self.stride)

    @property
    def tile(self) -> int:
        """r, outputs of a tile in each dimension."""
        return len(self.algorithm.outputs[0])

    def along(self, length: int) -> tuple[int, int, int]:
        """Of an axis of the image: outputs, tiles, leading padding."""
        outputs = -(-length // self.stride)
        low = max((outputs - 1) * self.stride + self.size - length, 0) // 2
        return outputs, -(-outputs // self.tile), low


def convolve(x: Images, kernel: Kernel, stride: int) -> Images:
    """SAME convolution: y[n] = Σ_t kernel[t]·x[stride·n + t − low], `low` half the padding."""
    if jax.default_backend() != "cpu":
        return jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
    geometry = _geometry(x.shape[1], x.shape[2], kernel, stride)
    return _convolve(geometry, *_alike(x, kernel))


def convolve_transposed(x: Images, kernel: Kernel, stride: int) -> Images:
    """SAME transposed convolution, as `jax.lax.conv_transpose`; output is stride × as large."""
    if jax.default_backend() != "cpu":
        return jax.lax.conv_transpose(x, kernel, (stride, stride), "SAME")
    # The gradient, with respect to its image, of the convolution with the same kernel mirrored.
    mirrored = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    geometry = _geometry(x.shape[1] * stride, x.shape[2] * stride, mirrored, stride)
    return _spread(geometry, *_alike(x, mirrored))


def _geometry(height: int, width: int, kernel: Kernel, stride: int) -> Geometry:
    """Choose the algorithm."""
    size, _, inputs, outputs = kernel.shape
    taps = -(-size // stride)
    fast = taps in WINOGRAD and min(stride**2 * inputs, outputs) >= SMALLEST
    return Geometry(height, width, size, stride, WINOGRAD[taps] if fast else shifted(taps))


def _alike(x: Array, kernel: Array) -> tuple[Array, Array]:
    """Both of the same type and varying over the same mapped axes, as their derivatives need it."""
    x, kernel = promote_dtype(x, kernel)
    axes_x, axes_kernel = (jax.typeof(a).manual_axis_type.varying for a in (x, kernel))
    x = jax.lax.pcast(x, tuple(axes_kernel - axes_x), to="varying")
    return x, jax.lax.pcast(kernel, tuple(axes_x - axes_kernel), to="varying")


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _convolve(geometry: Geometry, x: Images, kernel: Kernel) -> Images:
    products = [v @ u for v, u in zip(_of_images(geometry, x), _of_kernel(geometry, kernel), strict=True)]
    return _to_outputs(geometry, products, x.shape[0])


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _spread(geometry: Geometry, y: Images, kernel: Kernel) -> Images:
    """The gradient of Σ y·_convolve(x, kernel) with respect to x."""
    products = [m @ u.T for m, u in zip(_of_outputs(geometry, y), _of_kernel(geometry, kernel), strict=True)]
    return _to_images(geometry, products, y.shape[0])


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _correlate(geometry: Geometry, x: Images, y: Images) -> Kernel:
    """The gradient of Σ y·_convolve(x, kernel) with respect to the kernel."""
    products = [v.T @ m for v, m in zip(_of_images(geometry, x), _of_outputs(geometry, y), strict=True)]
    return _to_kernel(geometry, products)


_convolve.defvjp(
    lambda geometry, x, kernel: (_convolve(geometry, x, kernel), (x, kernel)),
    lambda geometry, seen, y: (_spread(geometry, y, seen[1]), _correlate(geometry, seen[0], y)),
)
_spread.defvjp(
    lambda geometry, y, kernel: (_spread(geometry, y, kernel), (y, kernel)),
    lambda geometry, seen, x: (_convolve(geometry, x, seen[1]), _correlate(geometry, x, seen[0])),
)
_correlate.defvjp(
    lambda geometry, x, y: (_correlate(geometry, x, y), (x, y)),
    lambda geometry, seen, kernel: (_spread(geometry, seen[1], kernel), _convolve(geometry, seen[0], kernel)),
)


def _of_images(g: Geometry, x: Images) -> Matrices:
    """B d: per product a matrix, tiles × channels of blocks."""
    (_, rows, top), (_, columns, left) = g.along(g.height), g.along(g.width)
    seen, s = g.tile + g.taps - 1, g.stride
    height, width = ((g.tile * tiles + g.taps - 1) * s for tiles in (rows, columns))
    pads = ((0, 0), (top, height - top - g.height), (left, width - left - g.width), (0, 0))
    x = jax.lax.optimization_barrier(jnp.pad(x, pads))
    x = x.reshape(x.shape[0], height, width // s, s * x.shape[-1])

    def block(phase: int, i: int, j: int) -> Array:
        """Pixels of one row of all blocks i, j of tiles."""
        first, step = i * s + phase, g.tile * s
        return x[:, first : first + (rows - 1) * step + 1 : step, j : j + (columns - 1) * g.tile + 1 : g.tile]

    phases = [
        _combine(g.algorithm.inputs, [[block(phase, i, j) for j in range(seen)] for i in range(seen)])
        for phase in range(s)
    ]
    blocks = [jnp.stack(parts, -2) for parts in zip(*map(_flat, phases), strict=True)]
    return _joined(g, [b.reshape(-1, s * x.shape[-1]) for b in blocks], -1)


def _to_images(g: Geometry, products: Matrices, batch: int) -> Images:
    """`_of_images` transposed."""
    (_, rows, top), (_, columns, left) = g.along(g.height), g.along(g.width)
    s, tile = g.stride, g.tile
    products = [p.reshape(batch, rows, columns, s, -1) for p in _split(g, products, -1)]
    grid = _combine(_transposed(g.algorithm.inputs), _square(products))

    def overlapped(parts: Sequence[Array], axis: int) -> Array:
        """Blocks of neighbouring tiles summed, and in their order."""
        reach = -(-len(parts) // tile)

        def placed(part: Array, q: int) -> Array:
            return jnp.pad(part, [(q, reach - 1 - q) if a == axis else (0, 0) for a in range(part.ndim)])

        sums = [_sum([placed(part, q) for q, part in enumerate(parts[e::tile])]) for e in range(tile)]
        return jnp.stack(sums, axis + 1).reshape(*sums[0].shape[:axis], -1, *sums[0].shape[axis + 1 :])

    blocks = overlapped([overlapped(row, 2) for row in grid], 1)
    x = blocks.transpose(0, 1, 3, 2, 4).reshape(batch, blocks.shape[1] * s, blocks.shape[2] * s, -1)
    return x[:, top : top + g.height, left : left + g.width]


def _of_kernel(g: Geometry, kernel: Kernel) -> Matrices:
    """G k: per product a matrix, channels of blocks × outputs."""
    missing, s = g.taps * g.stride - g.size, g.stride
    kernel = jnp.pad(kernel, ((0, missing), (0, missing), (0, 0), (0, 0)))
    blocks = kernel.reshape(g.taps, s, g.taps, s, *kernel.shape[2:]).transpose(0, 2, 1, 3, 4, 5)
    blocks = blocks.reshape(g.taps, g.taps, -1, kernel.shape[-1])
    return _joined(g, _flat(_combine(g.algorithm.kernel, [list(row) for row in blocks])), 0)


def _to_kernel(g: Geometry, products: Matrices) -> Kernel:
    """`_of_kernel` transposed."""
    grid = _combine(_transposed(g.algorithm.kernel), _square(_split(g, products, 0)))
    blocks, s = jnp.stack([jnp.stack(row) for row in grid]), g.stride
    blocks = blocks.reshape(g.taps, g.taps, s, s, -1, blocks.shape[-1]).transpose(0, 2, 1, 3, 4, 5)
    return blocks.reshape(g.taps * s, g.taps * s, *blocks.shape[4:])[: g.size, : g.size]


def _of_outputs(g: Geometry, y: Images) -> Matrices:
    """A y: per product a matrix, tiles × outputs."""
    (height, rows, _), (width, columns, _) = g.along(g.height), g.along(g.width)
    y = jnp.pad(y, ((0, 0), (0, rows * g.tile - height), (0, columns * g.tile - width), (0, 0)))
    tiles = [[y[:, i :: g.tile, j :: g.tile] for j in range(g.tile)] for i in range(g.tile)]
    products = [p.reshape(-1, y.shape[-1]) for p in _flat(_combine(g.algorithm.outputs, tiles))]
    return products[:1] if g.tile == 1 else products


def _to_outputs(g: Geometry, products: Matrices, batch: int) -> Images:
    """`_of_outputs` transposed."""
    (height, rows, _), (width, columns, _) = g.along(g.height), g.along(g.width)
    if g.tile == 1:
        return products[0].reshape(batch, height, width, -1)
    grid = _square([p.reshape(batch, rows, columns, -1) for p in products])
    tiles = _combine(_transposed(g.algorithm.outputs), grid)
    y = jnp.stack([jnp.stack(row, 3) for row in tiles], 2)
    return y.reshape(batch, rows * g.tile, columns * g.tile, -1)[:, :height, :width]


def _joined(g: Geometry, matrices: Matrices, axis: int) -> Matrices:
    """Products that are only summed are one product of longer matrices."""
    return [jnp.concatenate(matrices, axis)] if g.tile == 1 else matrices


def _split(g: Geometry, matrices: Matrices, axis: int) -> Matrices:
    return jnp.split(matrices[0], g.taps**2, axis) if g.tile == 1 else matrices


def _combine(matrix: Sequence[Sequence[float]], grid: Sequence[Sequence[Array]]) -> Grid:
    """matrix · grid · matrixᵀ."""
    half = [_mixed(matrix, column) for column in zip(*grid, strict=True)]
    return [_mixed(matrix, row) for row in zip(*half, strict=True)]


def _mixed(matrix: Sequence[Sequence[float]], arrays: Sequence[Array]) -> list[Array]:
    """matrix · arrays, its zeros left out."""
    return [_sum([a if c == 1 else c * a for c, a in zip(row, arrays, strict=True) if c]) for row in matrix]


def _sum(terms: Sequence[Array]) -> Array:
    return reduce(jnp.add, terms)


def _flat(grid: Grid) -> list[Array]:
    return [entry for row in grid for entry in row]


def _square(entries: Sequence[Array]) -> Grid:
    side = math.isqrt(len(entries))
    return [list(entries[i : i + side]) for i in range(0, len(entries), side)]


def _transposed(matrix: Sequence[Sequence[float]]) -> list[tuple[float, ...]]:
    return list(zip(*matrix, strict=True))
