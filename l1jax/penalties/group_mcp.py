"""Group MCP: zero groups, and no shrinkage of the groups that are large."""

from dataclasses import dataclass, field

import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, ArrayLike

from l1jax.penalties.base import Number, on_trees
from l1jax.penalties.concave import mcp_prox
from l1jax.penalties.group import GroupL1, group_distance, group_norm, group_prox, group_weight
from l1jax.penalties.groups import Groups, as_groups, from_layout, lay_out, layout, to_layout
from l1jax.penalties.numbers import check_number, check_strength


@on_trees
@dataclass(frozen=True)
class GroupMcp:
    """Σ_g MCP(‖x_g‖; λ√n_g, γ), `strength` λ, `gamma` γ; made by `l1jax.group_mcp`."""

    strength: Number
    gamma: Number
    axis: Groups = field(metadata={"static": True})

    def value(self, x: Array) -> Array:
        """Σ_g λ_g‖x_g‖ − ‖x_g‖²/2γ where ‖x_g‖ ≤ γλ_g, ½γλ_g² beyond; λ_g = λ√n_g."""
        shape, axes = layout(self.axis, x.shape)
        weight = group_weight(self.strength, shape, axes)
        size = jnp.minimum(group_norm(to_layout(x, shape), axes), self.gamma * weight)
        return jnp.sum(size * (weight - size / (2 * self.gamma)))

    def prox(self, x: Array, step: Array) -> Array:
        """One step per group: `mcp_prox` of ‖x_g‖. In a metric with steps < γ, x_g where ‖x_g‖ ≥ γλ_g.

        Else the concave part −‖x‖²/2γ joins the metric: the group prox of x/(1 − t/γ) with the
        steps t/(1 − t/γ). Steps that differ within a group and reach γ are refused.
        """
        shape, axes = layout(self.axis, x.shape)
        y, t = to_layout(x, shape), lay_out(step, x.shape, shape)
        weight = group_weight(self.strength, shape, axes)
        size = group_norm(y, axes)
        if t.ndim == 0 or all(t.shape[axis] == 1 for axis in axes):
            radial = mcp_prox(size, t, weight, self.gamma) / jnp.where(size == 0, 1, size)
            return from_layout(y * radial, x)

        t = jnp.broadcast_to(t, shape)
        most = jnp.max(t, axis=axes, keepdims=True, initial=0)
        least = jnp.min(t, axis=axes, keepdims=True, initial=jnp.inf)
        mixed = (most >= self.gamma) & (least < most) & (size > 0)
        self._refuse(mixed, most)
        convex = most < self.gamma
        stretch = jnp.where(convex, 1 - t / self.gamma, 1)
        metric = group_prox(y / stretch, weight * t / stretch, axes)
        metric = jnp.where(size >= self.gamma * weight, y, metric)
        jump = jnp.where(size <= weight * jnp.sqrt(self.gamma * most), 0, y)
        return from_layout(jnp.where(mixed, jnp.nan, jnp.where(convex, metric, jump)), x)

    def subgradient(self, x: Array) -> Array:
        """(λ_g − ‖x_g‖/γ)₊ x_g/‖x_g‖, 0 where the group is 0."""
        shape, axes = layout(self.axis, x.shape)
        y = to_layout(x, shape)
        size = group_norm(y, axes)
        return from_layout(self._slope(size, shape, axes) * y / jnp.where(size == 0, 1, size), x)

    def distance(self, x: Array, grad: Array) -> Array:
        """‖g + (λ_g − ‖x‖/γ)₊ x/‖x‖‖ where the group is not 0, (‖g‖ − λ_g)₊ where it is."""
        shape, axes = layout(self.axis, x.shape)
        y = to_layout(x, shape)
        slope = self._slope(group_norm(y, axes), shape, axes)
        return group_distance(jnp.abs, y, to_layout(grad, shape), slope, axes)

    def convex_part(self) -> GroupL1:
        """Σ_g λ_g‖x_g‖: the rest is −½‖x_g‖²/γ, and from γλ_g on ½γλ_g² − λ_g‖x_g‖."""
        return GroupL1(self.strength, self.axis)

    def _slope(self, size: Array, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
        return jnp.maximum(group_weight(self.strength, shape, axes) - size / self.gamma, 0)

    def _refuse(self, mixed: Array, steps: Array) -> None:
        if not isinstance(mixed, Tracer) and bool(jnp.any(mixed)):
            raise ValueError(
                f"`gamma` (={self.gamma}) must be greater than every step of a group in which the steps differ, here "
                f"up to {jnp.max(steps):.3g}; give one step per group, smaller steps or a larger `gamma`."
            )


def group_mcp(strength: ArrayLike, gamma: ArrayLike, axis: Groups | list[int]) -> GroupMcp:
    """Penalise Σ_g MCP(‖x_g‖; λ√n_g, γ): the group lasso without its bias on large groups.

    A fixed point has the gradient −(λ_g − ‖x_g‖/γ)₊ x_g/‖x_g‖ in a group that is not zero, so 0 beyond
    γλ_g, and of norm at most λ_g in one that is. It is a stationary point.

    The prox is exact with one step per group, and in a diagonal metric whose steps are below γ. In a
    group whose steps differ and reach γ it has no closed form: refused; where the steps are traced,
    so that they cannot be looked at, that group becomes NaN. (`preconditioned_proximal` and its kin
    take the prox of the group lasso instead, and are free of this.)

    Args:
        strength: λ ≥ 0.
        gamma: γ > 0; the group lasso as γ → ∞.
        axis: as for `group_l1`.

    Raises:
        ValueError: if `strength` is negative or not finite, `gamma` not positive and finite, or `axis`
            names no groups; when it meets a leaf, if that does not have the axes; and from `prox`, if
            steps differ within a group and reach γ.

    Source: Huang, Breheny, Ma: A selective review of group selection, Statistical Science 27 (2012).

    >>> l1jax.group_mcp(1.0, gamma=3.0, axis=0).prox(jnp.array([[3.0, 0.3, 30.0], [4.0, 0.4, 40.0]]), 1.0)
    Array([[ 3.,  0., 30.],
           [ 4.,  0., 40.]], dtype=float32)
    """
    check_strength("strength", strength)
    check_number("gamma", gamma, strict=True, remedy="3 is usual")
    return GroupMcp(strength, gamma, as_groups(axis))
