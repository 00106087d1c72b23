"""Convolutions as bilinear algorithms, in one dimension: fewer products than taps.

In one dimension, let

- k be the size of the kernel, and s the stride;
- the input be cut into blocks of s pixels; the phases are the s positions in a block;
- K = ⌈k/s⌉ be the taps: each output reads K neighbouring blocks;
- r be the outputs of a tile, which are computed together from r + K − 1 blocks.

For each phase, g holds the entries of the kernel at that phase (K of them), and d the pixels of the
tile's blocks at that phase. The outputs y of the tile are

    y = Aᵀ Σ (G g ∘ B d),   the sum over the phases,

with the fixed matrices A, B and G of an `Algorithm`. For r = 2 there are K + 1 products for each
phase instead of 2K. In two dimensions the same is done along both axes, one after the other.

Example: for a 4×4 kernel of stride 2, K = 2; each pair of phases takes (K + 1)² = 9 products for
2×2 outputs, instead of 16. For a 3×3 kernel of stride 1, K = 3: there are 16 instead of 36.

With r = 1 and matrices of zeros and ones, each tap is a product. If s does not divide k, some
phases have one tap less, and leave out one of the products: for a 5×5 kernel of stride 2 there are
49 products over all phases instead of 64.

Source: Winograd, Arithmetic Complexity of Computations, SIAM 1980; Lavin, Gray, CVPR 2016.
"""

from typing import NamedTuple

Matrix = tuple[tuple[float, ...], ...]


class Transform(NamedTuple):
    """How a phase transforms its input and its kernel.

    A row of zeros stands for a product in which the phase has no part.
    """

    inputs: Matrix  # B: products × (r + K − 1)
    kernel: Matrix  # G: products × K


class Algorithm(NamedTuple):
    """A bilinear algorithm for r outputs of K taps, one row per product."""

    outputs: Matrix  # A: products × r
    full: Transform  # of phases with K taps
    short: Transform  # of phases with K − 1


WINOGRAD = {
    2: Algorithm(
        ((1, 0), (1, 1), (0, 1)),
        full=Transform(((1, -1, 0), (0, 1, 0), (0, -1, 1)), ((1, 0), (1, 1), (0, 1))),
        short=Transform(((1, 0, 0), (0, 0, 0), (0, 1, 0)), ((1, 0), (0, 0), (1, 0))),
    ),
    3: Algorithm(
        ((1, 0), (1, 1), (1, -1), (0, 1)),
        full=Transform(
            ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, -1, 0, 1)),
            ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1)),
        ),
        short=Transform(
            ((1, -1, 0, 0), (0, 1, 0, 0), (0, 0, 0, 0), (0, -1, 1, 0)),
            ((1, 0, 0), (1, 1, 0), (0, 0, 0), (0, 1, 0)),
        ),
    ),
}


def shifted(taps: int) -> Algorithm:
    """Make the algorithm of one output in which each tap is a product."""

    def first(n: int) -> Matrix:
        return tuple(tuple(float(i == j < n) for j in range(taps)) for i in range(taps))

    return Algorithm(((1.0,),) * taps, *(Transform(first(n), first(n)) for n in (taps, taps - 1)))


class Phases(NamedTuple):
    """Neighbouring phases of a block, from `start` to before `stop`, with equally many taps."""

    start: int
    stop: int
    inputs: Matrix
    kernel: Matrix

    @property
    def count(self) -> int:
        """Number of these phases."""
        return self.stop - self.start

    def has(self, product: int) -> bool:
        """Whether the phases have a part in this product."""
        return any(self.kernel[product])


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

    @property
    def is_direct(self) -> bool:
        """Whether there is neither a stride nor an algorithm with fewer products than taps."""
        return self.stride == 1 and self.tile == 1 and self.size > 1

    @property
    def phases(self) -> list[Phases]:
        """The phases of a block in each dimension."""
        full = self.stride  # phases with all taps; the others have one tap less
        if self.taps > 1:
            full = self.size - (self.taps - 1) * self.stride
        bounds = [(0, full, self.algorithm.full), (full, self.stride, self.algorithm.short)]
        return [
            Phases(start, stop, *transform) for start, stop, transform in bounds if start < stop
        ]

    def parts(self, i: int, j: int) -> list[tuple[Phases, Phases]]:
        """Return the phases of rows and of columns that have a part in the product i, j."""
        return [(p, q) for p in self.phases for q in self.phases if p.has(i) and q.has(j)]

    def along(self, length: int) -> tuple[int, int, int]:
        """Return the numbers of outputs, tiles and leading padding of an axis of the image."""
        outputs = -(-length // self.stride)
        low = max((outputs - 1) * self.stride + self.size - length, 0) // 2
        return outputs, -(-outputs // self.tile), low
