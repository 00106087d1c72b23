"""Group MCP: zero groups, and no shrinkage of the groups that are large."""

from dataclasses import dataclass, field
from typing import ClassVar

import jax.numpy as jnp
from jax.core import Tracer

from l1jax.annotations import Array, ArrayLike
from l1jax.penalties.base import STATIC, STRENGTH, Number, register
from l1jax.penalties.checks import check_number, check_strength
from l1jax.penalties.concave import mcp_prox
from l1jax.penalties.configuration import configured_by
from l1jax.penalties.group import GroupL1
from l1jax.penalties.group_prox import (
    group_distance,
    group_norm,
    group_prox,
    has_one_step_per_group,
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
from l1jax.penalties.leafwise import tree_distance, tree_prox, tree_subgradient, tree_value


@register
@dataclass(frozen=True)
class GroupMcp:
    """Σ_g MCP(‖x_g‖; λ√n_g, γ), `strength` λ, `gamma` γ; made by `l1jax.group_mcp`."""

    strength: Number = field(metadata=STRENGTH)
    gamma: Number
    axis: Groups = field(metadata=STATIC)
    convex: ClassVar[bool] = False

    @tree_value
    def value(self, x: Array) -> Array:
        """Add up λ_g‖x_g‖ − ‖x_g‖²/2γ where ‖x_g‖ ≤ γλ_g, ½γλ_g² beyond, with λ_g = λ√n_g."""
        shape, axes = group_layout(self.axis, x.shape)
        strength = strength_per_group(self.strength, shape, axes)
        size = jnp.minimum(group_norm(to_layout(x, shape), axes), self.gamma * strength)
        return jnp.sum(size * (strength - size / (2 * self.gamma)))

    @tree_prox
    def prox(self, x: Array, step: Array) -> Array:
        """Scale each group, if it has one step t, so that its norm is `mcp_prox` of ‖x_g‖.

        If the steps of a group differ and are all below γ, a group with ‖x_g‖ ≥ γλ_g stays. For the
        others the concave part −‖x‖²/2γ joins the metric: they get the group prox of x/(1 − t/γ)
        with the steps t/(1 − t/γ). Steps that differ within a group and reach γ are an error.
        """
        shape, axes = group_layout(self.axis, x.shape)
        y = to_layout(x, shape)
        t = broadcast_to_layout(step, x.shape, shape)
        strength = strength_per_group(self.strength, shape, axes)
        size = group_norm(y, axes)
        if has_one_step_per_group(t, axes):
            radial = mcp_prox(size, t, strength, self.gamma) / jnp.where(size == 0, 1, size)
            return from_layout(y * radial, x)

        t = jnp.broadcast_to(t, shape)
        largest = jnp.max(t, axis=axes, keepdims=True, initial=0)
        smallest = jnp.min(t, axis=axes, keepdims=True, initial=jnp.inf)
        unsolved = (largest >= self.gamma) & (smallest < largest) & (size > 0)
        self._check_steps(unsolved, largest)
        convex = largest < self.gamma
        stretch = jnp.where(convex, 1 - t / self.gamma, 1)
        shrunk = group_prox(y / stretch, strength * t / stretch, axes)
        shrunk = jnp.where(size >= self.gamma * strength, y, shrunk)
        thresholded = jnp.where(size <= strength * jnp.sqrt(self.gamma * largest), 0, y)
        solved = jnp.where(convex, shrunk, thresholded)
        return from_layout(jnp.where(unsolved, jnp.nan, solved), x)

    @tree_subgradient
    def subgradient(self, x: Array) -> Array:
        """Return (λ_g − ‖x_g‖/γ)₊ x_g/‖x_g‖, and 0 where the group is 0."""
        shape, axes = group_layout(self.axis, x.shape)
        y = to_layout(x, shape)
        size = group_norm(y, axes)
        return from_layout(self._slope(size, shape, axes) * y / jnp.where(size == 0, 1, size), x)

    @tree_distance
    def distance(self, x: Array, grad: Array) -> Array:
        """Return ‖g + (λ_g − ‖x‖/γ)₊ x/‖x‖‖, or (‖g‖ − λ_g)₊ where the group is 0."""
        shape, axes = group_layout(self.axis, x.shape)
        y = to_layout(x, shape)
        slope = self._slope(group_norm(y, axes), shape, axes)
        return group_distance(jnp.abs, y, to_layout(grad, shape), slope, axes)

    def convex_part(self) -> GroupL1:
        """Return Σ_g λ_g‖x_g‖; the rest is −½‖x_g‖²/γ, and from γλ_g on ½γλ_g² − λ_g‖x_g‖."""
        return GroupL1(self.strength, self.axis)

    def _slope(self, size: Array, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
        return jnp.maximum(strength_per_group(self.strength, shape, axes) - size / self.gamma, 0)

    def _check_steps(self, unsolved: Array, largest: Array) -> None:
        if not isinstance(unsolved, Tracer) and bool(jnp.any(unsolved)):
            raise ValueError(
                f"`gamma` (={self.gamma}) must be greater than every step of a group in which the "
                f"steps differ, here up to {jnp.max(largest):.3g}; give one step per group, "
                "smaller steps or a larger `gamma`."
            )


@configured_by("GroupMcp")
def group_mcp(strength: ArrayLike, gamma: ArrayLike, axis: Groups | list[int]) -> GroupMcp:
    """Penalise Σ_g MCP(‖x_g‖; λ√n_g, γ): the group lasso without its bias on large groups.

    A fixed point has the gradient −(λ_g − ‖x_g‖/γ)₊ x_g/‖x_g‖ in a group that is not zero, so 0
    beyond γλ_g, and one of norm at most λ_g in a group that is. It is a stationary point.

    The prox is exact with one step per group, and in a diagonal metric whose steps are below γ. In
    a group whose steps differ and reach γ it has no closed form, which is an error; where the steps
    are traced, so that their values are not known, that group becomes NaN. This does not concern
    `preconditioned_proximal` and the optimisers made of it, which take the prox of the group lasso
    instead.

    Args:
        strength: λ ≥ 0.
        gamma: γ > 0; the group lasso as γ → ∞.
        axis: the groups, as for `group_l1`.

    Raises:
        ValueError: if `strength` is negative or not finite, `gamma` not positive and finite, or
            `axis` names no groups; from the penalty's functions if a leaf does not have the axes;
            and from `prox` if steps differ within a group and reach γ.

    Source: Huang, Breheny, Ma, A selective review of group selection in high-dimensional models,
    Statistical Science 27 (2012).

    >>> penalty = l1jax.group_mcp(1.0, gamma=3.0, axis=0)
    >>> penalty.prox(jnp.array([[3.0, 0.3, 30.0], [4.0, 0.4, 40.0]]), 1.0)
    Array([[ 3.,  0., 30.],
           [ 4.,  0., 40.]], dtype=float32)
    """
    check_strength("strength", strength)
    check_number("gamma", gamma, exclusive=True, remedy="3 is usual")
    return GroupMcp(strength, gamma, as_groups(axis))
