"""The nuclear norm λ Σ σᵢ(X): matrices of low rank."""

import math
import operator
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from l1jax.annotations import Array, ArrayLike
from l1jax.penalties.base import STATIC, STRENGTH, Number, register
from l1jax.penalties.checks import check_strength
from l1jax.penalties.configuration import configured_by
from l1jax.penalties.group_prox import (
    group_distance,
    group_norm,
    group_prox,
    has_one_step_per_group,
)
from l1jax.penalties.groups import (
    Groups,
    LastAxes,
    broadcast_to_layout,
    group_axes,
    on_explicit_mesh,
)
from l1jax.penalties.leafwise import tree_distance, tree_prox, tree_subgradient, tree_value
from l1jax.penalties.singular_values import (
    matrix_prox,
    nuclear_value,
    polar_factor,
    split_by_space,
    threshold_singular_values,
)


@register
@dataclass(frozen=True)
class NuclearNorm:
    """λ Σ σᵢ of each matrix in a leaf, `strength` λ; made by `l1jax.nuclear_norm`."""

    strength: Number = field(metadata=STRENGTH)
    row_axes: int = field(default=1, metadata=STATIC)

    @property
    def axis(self) -> Groups:
        """The axes of a matrix: each is a group, which may have one step."""
        return LastAxes(self.row_axes + 1)

    @tree_value
    def value(self, x: Array) -> Array:
        """Return λ Σ σᵢ."""
        if self._is_vector(x):
            return self.strength * jnp.sum(group_norm(x, self._axes(x)))
        return self.strength * nuclear_value(self._matrices(x))

    @tree_prox
    def prox(self, x: Array, step: Array) -> Array:
        """Soft-threshold the singular values at step·λ; iterate if the entries have steps."""
        axes = self._axes(x)
        step = broadcast_to_layout(step, x.shape, x.shape)
        threshold = step * self.strength
        if self._is_vector(x):
            return group_prox(x, threshold, axes)
        matrices = self._matrices(x)
        if has_one_step_per_group(step, axes):
            if threshold.ndim:
                threshold = threshold.reshape((*matrices.shape[:-2], 1))
            return _reshape_like(threshold_singular_values(matrices, threshold), x)
        steps = self._matrices(jnp.broadcast_to(step, x.shape))
        return _reshape_like(matrix_prox(matrices, steps, self.strength), x)

    @tree_subgradient
    def subgradient(self, x: Array) -> Array:
        """Return λUVᵀ of the singular vectors whose values are not 0."""
        if self._is_vector(x):
            size = group_norm(x, self._axes(x))
            return self.strength * x / jnp.where(size == 0, 1, size)
        return _reshape_like(self.strength * polar_factor(self._matrices(x)), x)

    @tree_distance
    def distance(self, x: Array, grad: Array) -> Array:
        """Return ‖g + λUVᵀ‖ on the spaces of X and (σᵢ(g) − λ)₊ off them, per matrix."""
        if self._is_vector(x):
            return group_distance(jnp.abs, x, grad, self.strength, self._axes(x))
        matrices = self._matrices(x)
        within, off = split_by_space(matrices, -self._matrices(grad))
        pull = within - self.strength * polar_factor(matrices)
        sizes = jnp.linalg.svd(off, compute_uv=False)
        excess = jnp.maximum(sizes - self.strength, 0)
        squares = jnp.sum(jnp.square(pull), (-2, -1)) + jnp.sum(jnp.square(excess), -1)
        return jnp.sqrt(squares)

    def _axes(self, x: Array) -> tuple[int, ...]:
        return group_axes(self.axis, x.shape)

    def _is_vector(self, x: Array) -> bool:
        """Tell whether each matrix is one row or one column, whose nuclear norm is its length."""
        lengths = [x.shape[axis] for axis in self._axes(x)]
        return not lengths or min(math.prod(lengths[:-1]), lengths[-1]) <= 1

    def _matrices(self, x: Array) -> Array:
        """Reshape a leaf to its matrices, of shape (…, rows, columns), each on every device."""
        axes = self._axes(x)
        num_batch = x.ndim - len(axes)
        num_rows = math.prod(x.shape[axis] for axis in axes[:-1])
        shape = (*x.shape[:num_batch], num_rows, x.shape[-1])
        if not on_explicit_mesh(x):
            return x.reshape(shape)
        mesh = jax.typeof(x).sharding.mesh
        batch = jax.typeof(x).sharding.spec[:num_batch]
        whole = NamedSharding(mesh, PartitionSpec(*batch, *[None] * len(axes)))
        laid_out = NamedSharding(mesh, PartitionSpec(*batch, None, None))
        return jnp.reshape(jax.sharding.reshard(x, whole), shape, out_sharding=laid_out)


def _reshape_like(matrices: Array, like: Array) -> Array:
    """Reshape the matrices of a leaf back to it, and lay it out over the same devices."""
    if not on_explicit_mesh(like):
        return matrices.reshape(like.shape)
    sharding = jax.typeof(like).sharding
    num_batch = matrices.ndim - 2
    num_inner = like.ndim - num_batch
    whole = PartitionSpec(*sharding.spec[:num_batch], *[None] * num_inner)
    y = jnp.reshape(matrices, like.shape, out_sharding=NamedSharding(sharding.mesh, whole))
    return jax.sharding.reshard(y, sharding)


@configured_by("NuclearNorm")
def nuclear_norm(strength: ArrayLike, row_axes: int = 1) -> NuclearNorm:
    """Penalise λ Σ σᵢ of each matrix, the sum of its singular values: matrices of low rank.

    The last axis of a leaf is the columns, and the `row_axes` axes in front of it together are the
    rows; any axes before these count matrices, each penalised by itself. So 1 takes a stack of
    dense kernels (layers, in, out) as that many matrices, and 3 takes a Conv kernel (height, width,
    in, out) as one matrix of height·width·in rows. A leaf with fewer axes is one matrix, and a
    vector is a matrix of one row, whose nuclear norm is its length; choose the kernels by
    `by_path`.

    A fixed point has −g = λ(UVᵀ + W), with the singular vectors of X, and W of spectral norm at
    most 1 whose rows and columns are orthogonal to those of X. Zero singular values are exact only
    up to rounding; `jnp.linalg.matrix_rank` counts the others. A matrix that is zero is exactly
    zero.

    With one step per matrix the prox takes one singular value decomposition. In the diagonal metric
    of an adaptive optimiser it takes as many as an inner iteration needs, hundreds if the steps
    differ by a factor of a thousand, and has no reverse-mode derivative: give `per_group=True` to
    `proximal_adam` and its kind, which then have one step per matrix. A decomposition needs the
    whole matrix, so that matrices that are spread over devices are gathered.

    Args:
        strength: λ ≥ 0.
        row_axes: how many axes in front of the last one are the rows, at least 1.

    Raises:
        ValueError: if `strength` is negative or not finite, or `row_axes` is no whole number of at
            least 1.

    Source: Cai, Candès, Shen, SIAM J. Optim. 20 (2010), theorem 2.1; distance: Watson, Linear
    Algebra Appl. 170 (1992).

    >>> import jax.numpy as jnp, l1jax
    >>> kernel = jnp.array([[3.0, 1.0], [1.0, 3.0]])  # the singular values are 4 and 2
    >>> new = l1jax.nuclear_norm(2.5).prox(kernel, 1.0)
    >>> [[round(x, 3) for x in row] for row in new.tolist()]
    [[0.75, 0.75], [0.75, 0.75]]
    """
    check_strength("strength", strength)
    try:
        num_axes = operator.index(row_axes)
    except TypeError:
        num_axes = 0
    if num_axes < 1:
        raise ValueError(
            f"`row_axes` (={row_axes!r}) must be a whole number of at least 1: 1 for dense "
            "kernels, 3 for Conv kernels."
        )
    return NuclearNorm(strength, num_axes)
