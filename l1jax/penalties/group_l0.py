"""L0 of groups: it counts the entries of the groups that are not zero."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

import jax.numpy as jnp

from l1jax.annotations import Array, ArrayLike
from l1jax.penalties.base import STATIC, STRENGTH, Number, register
from l1jax.penalties.checks import check_strength
from l1jax.penalties.configuration import configured_by
from l1jax.penalties.group_prox import group_norm
from l1jax.penalties.groups import (
    Groups,
    as_groups,
    broadcast_to_layout,
    from_layout,
    group_layout,
    to_layout,
)
from l1jax.penalties.l0 import ANY_STRENGTH
from l1jax.penalties.leafwise import tree_distance, tree_prox, tree_subgradient, tree_value


@register
@dataclass(frozen=True)
class GroupL0:
    """λ Σ n_g over the groups that are not zero, `strength` λ; made by `l1jax.group_l0`."""

    strength: Number = field(metadata=STRENGTH)
    axis: Groups = field(metadata=STATIC)
    convex: ClassVar[bool] = False
    no_largest_strength: ClassVar[str] = ANY_STRENGTH

    @tree_value
    def value(self, x: Array) -> Array:
        """Return λ Σ n_g over the groups that are not zero."""
        shape, axes = group_layout(self.axis, x.shape)
        alive = group_norm(to_layout(x, shape), axes) > 0
        return self.strength * _group_size(shape, axes) * jnp.sum(alive, dtype=x.dtype)

    @tree_prox
    def prox(self, x: Array, step: Array) -> Array:
        """Return 0 where ½ Σ xᵢ²/stepᵢ ≤ λn_g, which is exact in any diagonal metric, else x_g."""
        shape, axes = group_layout(self.axis, x.shape)
        y = to_layout(x, shape)
        t = broadcast_to_layout(step, x.shape, shape)
        cost = jnp.sum(jnp.where(y == 0, 0, jnp.square(y) / (2 * t)), axis=axes, keepdims=True)
        zero = cost <= self.strength * _group_size(shape, axes)
        return from_layout(jnp.where(zero, jnp.zeros_like(y), y), x)

    @tree_subgradient
    def subgradient(self, x: Array) -> Array:
        """Return 0, because the penalty is level wherever it is continuous."""
        return jnp.zeros_like(x)

    @tree_distance
    def distance(self, x: Array, grad: Array) -> Array:
        """Return ‖g‖ where the group is not 0, 0 where it is."""
        shape, axes = group_layout(self.axis, x.shape)
        alive = group_norm(to_layout(x, shape), axes) > 0
        return jnp.where(alive, group_norm(to_layout(grad, shape), axes), 0)


@configured_by("GroupL0")
def group_l0(strength: ArrayLike, axis: Groups | list[int]) -> GroupL0:
    """Penalise λ Σ n_g over the groups that are not zero: λ for each entry that is kept.

    The prox keeps a group as it is where ½ Σ xᵢ²/stepᵢ > λn_g; it is exact in any diagonal metric.
    Every zero group is a fixed point, and every other group is one where its gradient is 0; so what
    is reached depends on the start and on the steps.

    Args:
        strength: λ ≥ 0, in units of the loss per entry.
        axis: the groups, as for `group_l1`.

    Raises:
        ValueError: if `strength` is negative or not finite, or `axis` names no groups; from the
            penalty's functions if a leaf does not have the axes.

    Source: Blumensath and Davies, J. Fourier Anal. Appl. 14 (2008), for groups.

    >>> penalty = l1jax.group_l0(1.0, axis=0)
    >>> penalty.prox(jnp.array([[3.0, 0.3], [4.0, 0.4]]), 1.0)
    Array([[3., 0.],
           [4., 0.]], dtype=float32)
    """
    check_strength("strength", strength)
    return GroupL0(strength, as_groups(axis))


def _group_size(shape: tuple[int, ...], axes: tuple[int, ...]) -> int:
    return math.prod(shape[axis] for axis in axes)
