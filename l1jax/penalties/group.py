"""Group lasso and sparse group lasso: whole channels, filters or blocks are zero at once."""

from collections.abc import Callable
from dataclasses import dataclass, field

import jax.numpy as jnp

from l1jax.annotations import Array, ArrayLike
from l1jax.penalties.base import STATIC, STRENGTH, Number, register
from l1jax.penalties.checks import check_strength
from l1jax.penalties.configuration import configured_by
from l1jax.penalties.group_prox import (
    group_distance,
    group_norm,
    group_prox,
    group_shrinkage,
    strength_per_group,
)
from l1jax.penalties.groups import (
    Groups,
    as_groups,
    broadcast_to_layout,
    from_layout,
    group_layout,
    to_layout,
)
from l1jax.penalties.l1 import L1, soft_threshold
from l1jax.penalties.leafwise import (
    array_distance,
    tree_distance,
    tree_prox,
    tree_subgradient,
    tree_value,
)
from l1jax.penalties.numerics import absolute


@register
@dataclass(frozen=True)
class GroupL1:
    """λ Σ_g √n_g ‖x_g‖ over groups of n_g entries, `strength` λ; made by `l1jax.group_l1`."""

    strength: Number = field(metadata=STRENGTH)
    axis: Groups = field(metadata=STATIC)

    @tree_value
    def value(self, x: Array) -> Array:
        """Return λ Σ_g √n_g ‖x_g‖."""
        shape, axes = group_layout(self.axis, x.shape)
        strength = strength_per_group(self.strength, shape, axes)
        return jnp.sum(strength * group_norm(to_layout(x, shape), axes))

    @tree_prox
    def prox(self, x: Array, step: Array) -> Array:
        """Return `group_prox` with the thresholds step·λ√n_g."""
        shape, axes = group_layout(self.axis, x.shape)
        step = broadcast_to_layout(step, x.shape, shape)
        threshold = step * strength_per_group(self.strength, shape, axes)
        return from_layout(group_prox(to_layout(x, shape), threshold, axes), x)

    def shrinkage(self, x: Array, step: Array) -> Array:
        """Return the factor by which `prox` multiplies each group.

        It exists where the groups extend over whole axes and each has one step.
        """
        _, axes = group_layout(self.axis, x.shape)
        return group_shrinkage(x, step * strength_per_group(self.strength, x.shape, axes), axes)

    @tree_subgradient
    def subgradient(self, x: Array) -> Array:
        """Return λ√n_g x_g/‖x_g‖, and 0 where the group is 0."""
        shape, axes = group_layout(self.axis, x.shape)
        y = to_layout(x, shape)
        size = group_norm(y, axes)
        strength = strength_per_group(self.strength, shape, axes)
        return from_layout(strength * y / jnp.where(size == 0, 1, size), x)

    @tree_distance
    def distance(self, x: Array, grad: Array) -> Array:
        """Return ‖g + λ_g x/‖x‖‖ where the group is not 0, (‖g‖ − λ_g)₊ where it is."""
        return self.distance_with(jnp.abs, x, grad)

    def distance_with(self, distance: Callable[[Array], Array], x: Array, grad: Array) -> Array:
        """Return the distance of −g to the subdifferential of a separable R plus this penalty.

        Args:
            distance: gradient → its distance to −∂R at `x`, entry by entry.
            x: the parameters.
            grad: g.

        Returns:
            One distance per group.
        """
        shape, axes = group_layout(self.axis, x.shape)

        def distance_in_layout(g: Array) -> Array:
            return to_layout(distance(from_layout(g, x)), shape)

        strength = strength_per_group(self.strength, shape, axes)
        y = to_layout(x, shape)
        return group_distance(distance_in_layout, y, to_layout(grad, shape), strength, axes)


@register
@dataclass(frozen=True)
class SparseGroupL1:
    """λ₁ Σ |xᵢ| + λ₂ Σ_g √n_g ‖x_g‖; made by `l1jax.sparse_group_l1`."""

    strength: Number = field(metadata=STRENGTH)
    group_strength: Number = field(metadata=STRENGTH)
    axis: Groups = field(metadata=STATIC)

    @tree_value
    def value(self, x: Array) -> Array:
        """Return λ₁ Σ |xᵢ| + λ₂ Σ_g √n_g ‖x_g‖."""
        return self.strength * jnp.sum(absolute(x)) + self._group().value(x)

    @tree_prox
    def prox(self, x: Array, step: Array) -> Array:
        """Soft-threshold at step·λ₁, then take the group prox: exact in any diagonal metric."""
        return self._group().prox(soft_threshold(x, step * self.strength), step)

    @tree_subgradient
    def subgradient(self, x: Array) -> Array:
        """Return λ₁ sign x + λ₂√n_g x_g/‖x_g‖, which is 0 at 0."""
        return self.strength * jnp.sign(x) + self._group().subgradient(x)

    @tree_distance
    def distance(self, x: Array, grad: Array) -> Array:
        """Return L1's distance of g + λ_g x/‖x‖, or (‖S_λ₁(g)‖ − λ_g)₊ where the group is 0."""
        entries = L1(self.strength)
        return self._group().distance_with(lambda g: array_distance(entries, x, g), x, grad)

    def _group(self) -> GroupL1:
        return GroupL1(self.group_strength, self.axis)


@configured_by("GroupL1")
def group_l1(strength: ArrayLike, axis: Groups | list[int]) -> GroupL1:
    """Penalise λ Σ_g √n_g ‖x_g‖₂, the group lasso: every group is zero as a whole or not at all.

    A fixed point has the gradient −λ√n_g x_g/‖x_g‖ in a group that is not zero, and one of norm at
    most λ√n_g in a group that is. With one step per group (a scalar, or length 1 along the axes)
    the prox is a closed form; in a diagonal metric it takes a few Newton steps.

    Args:
        strength: λ ≥ 0.
        axis: the axes to reduce over, one group per remaining index: `(0, 1, 2)` for the output
            channels of a Conv kernel; or `output_channels()`, `input_channels()`,
            `kernel_blocks(shape)`, `scales()`.

    Raises:
        ValueError: if `strength` is negative or not finite, or `axis` names no groups; and from the
            penalty's functions if a leaf does not have the axes.

    Source: Yuan and Lin, J. R. Stat. Soc. B 68 (2006); prox: Parikh and Boyd, Proximal Algorithms
    (2014), section 6.5.4.

    >>> x = jnp.array([[4.0, 0.5], [4.0, 0.5], [4.0, 0.5], [4.0, 0.5]])
    >>> l1jax.group_l1(1.0, axis=0).prox(x, 1.0)
    Array([[3., 0.],
           [3., 0.],
           [3., 0.],
           [3., 0.]], dtype=float32)
    """
    check_strength("strength", strength)
    return GroupL1(strength, as_groups(axis))


@configured_by("SparseGroupL1")
def sparse_group_l1(
    strength: ArrayLike, group_strength: ArrayLike, axis: Groups | list[int]
) -> SparseGroupL1:
    """Penalise λ₁‖x‖₁ + λ₂ Σ_g √n_g ‖x_g‖₂: zero groups, and zeros within the groups that stay.

    A fixed point has the gradient −λ₁ sign(xᵢ) − λ₂√n_g xᵢ/‖x_g‖ where xᵢ ≠ 0, and one of at most
    λ₁ where xᵢ = 0 in a group that is not zero. Where the group is 0, ‖S_λ₁(g)‖ ≤ λ₂√n_g, with
    S_λ₁ the soft-threshold at λ₁.

    Args:
        strength: λ₁ ≥ 0, of the entries.
        group_strength: λ₂ ≥ 0, of the groups.
        axis: the groups, as for `group_l1`.

    Raises:
        ValueError: for the reasons of `group_l1`.

    Source: Simon, Friedman, Hastie, Tibshirani, J. Comput. Graph. Stat. 22 (2013).

    >>> x = jnp.array([[5.0, 0.5], [0.5, 1.5], [0.0, 0.0], [0.0, 0.0]])
    >>> l1jax.sparse_group_l1(1.0, 0.5, axis=0).prox(x, 1.0)
    Array([[3., 0.],
           [0., 0.],
           [0., 0.],
           [0., 0.]], dtype=float32)
    """
    check_strength("strength", strength)
    check_strength("group_strength", group_strength)
    return SparseGroupL1(strength, group_strength, as_groups(axis))
