"""MCP and L0 of groups whose entries lie in several leaves."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import jax.numpy as jnp
import numpy as np

from l1jax.annotations import Array, ArrayLike, PyTree
from l1jax.penalties.base import STATIC, STRENGTH, Number, Penalty, register
from l1jax.penalties.checks import check_number, check_strength
from l1jax.penalties.concave import mcp_prox
from l1jax.penalties.coupled import Coupled
from l1jax.penalties.coupled_groups import Family, FamilyMapping, GroupSums, as_families
from l1jax.penalties.coupled_leaves import (
    distance_of_tree,
    parts_of_tree,
    prox_of_tree,
    subgradient_of_tree,
    value_of_tree,
)
from l1jax.penalties.coupled_prox import distance_of_groups, scale_groups, strength_of_groups
from l1jax.penalties.l0 import ANY_STRENGTH


@register
@dataclass(frozen=True)
class CoupledMcp:
    """Σ_g MCP(‖x_g‖; λ√n_g, γ) over groups in several leaves; made by `l1jax.coupled_mcp`."""

    strength: Number = field(metadata=STRENGTH)
    gamma: Number
    families: tuple[Family, ...] = field(metadata=STATIC)
    convex: ClassVar[bool] = False

    value = value_of_tree
    prox = prox_of_tree
    subgradient = subgradient_of_tree
    distance = distance_of_tree

    def per_leaf(self, tree: PyTree) -> list[Penalty | None]:
        """Return for each leaf its part of the penalty."""
        return parts_of_tree(self, self.families, tree)

    def convex_part(self) -> Coupled:
        """Return Σ_g λ_g‖x_g‖; the rest is smooth and concave."""
        return Coupled(self.strength, self.families)

    def value_of(self, sums: GroupSums, xs: list[Array]) -> Array:
        """Add up λ_g‖x_g‖ − ‖x_g‖²/2γ where ‖x_g‖ ≤ γλ_g, ½γλ_g² beyond."""
        strength = self._per_group(sums)
        size = jnp.minimum(sums.norm(xs), self.gamma * strength)
        return jnp.sum(size * (strength - size / (2 * self.gamma)))

    def prox_of(
        self, sums: GroupSums, xs: list[Array], steps: list[Array], one_step: bool
    ) -> list[Array]:
        """Scale each group so that its norm is the prox of MCP of ‖x_g‖.

        Raises:
            ValueError: if the entries of a group have different steps.
        """
        if not one_step:
            raise ValueError(
                "`step` must be one number for `coupled_mcp`, whose prox has no exact form in a "
                "metric; `preconditioned_proximal` and its kind need none, and take the prox of "
                "its convex part."
            )
        strengths = sums.spread(self._per_group(sums))
        new = []
        columns = zip(xs, sums.spread(sums.norm(xs)), steps, strengths, strict=True)
        for x, size, step, strength in columns:
            radial = mcp_prox(size, step, strength, jnp.asarray(self.gamma, size.dtype))
            new.append(x * (radial / jnp.where(size == 0, 1, size)).astype(x.dtype))
        pairs = zip(sums.in_groups(), xs, new, strict=True)
        return [jnp.where(in_group, y, x) for in_group, x, y in pairs]

    def subgradient_of(self, sums: GroupSums, xs: list[Array]) -> list[Array]:
        """Return (λ_g − ‖x_g‖/γ)₊ x_g/‖x_g‖, and 0 where the group is 0."""
        size = sums.norm(xs)
        return scale_groups(sums, xs, self._slope(sums, size) / jnp.where(size == 0, 1, size))

    def distance_of(self, sums: GroupSums, xs: list[Array], grads: list[Array]) -> Array:
        """Return ‖g + (λ_g − ‖x‖/γ)₊ x/‖x‖‖, or (‖g‖ − λ_g)₊ where the group is 0."""
        return distance_of_groups(sums, xs, grads, self._slope(sums, sums.norm(xs)))

    def _slope(self, sums: GroupSums, size: Array) -> Array:
        return jnp.maximum(self._per_group(sums) - size / self.gamma, 0)

    def _per_group(self, sums: GroupSums) -> Array:
        return strength_of_groups(self.strength, np.sqrt(sums.sizes()))


@register
@dataclass(frozen=True)
class CoupledL0:
    """λ Σ n_g over the groups that are not zero; made by `l1jax.coupled_l0`."""

    strength: Number = field(metadata=STRENGTH)
    families: tuple[Family, ...] = field(metadata=STATIC)
    convex: ClassVar[bool] = False
    no_largest_strength: ClassVar[str] = ANY_STRENGTH

    value = value_of_tree
    prox = prox_of_tree
    subgradient = subgradient_of_tree
    distance = distance_of_tree

    def per_leaf(self, tree: PyTree) -> list[Penalty | None]:
        """Return for each leaf its part of the penalty."""
        return parts_of_tree(self, self.families, tree)

    def value_of(self, sums: GroupSums, xs: list[Array]) -> Array:
        """Return λ Σ n_g over the groups that are not zero."""
        return jnp.sum(jnp.where(sums.norm(xs) > 0, self._per_group(sums), 0))

    def prox_of(
        self, sums: GroupSums, xs: list[Array], steps: list[Array], one_step: bool
    ) -> list[Array]:
        """Return 0 where ½ Σ xᵢ²/stepᵢ ≤ λn_g, which is exact in any metric, else x_g."""
        pairs = list(zip(xs, steps, strict=True))
        costs = [jnp.where(x == 0, 0, jnp.square(x) / (2 * step)) for x, step in pairs]
        zero = sums.total(costs) <= self._per_group(sums)
        spread = sums.spread(zero, False)
        return [jnp.where(is_zero, 0, x) for is_zero, x in zip(spread, xs, strict=True)]

    def subgradient_of(self, sums: GroupSums, xs: list[Array]) -> list[Array]:
        """Return 0, because the penalty is level wherever it is continuous."""
        return [jnp.zeros_like(x) for x in xs]

    def distance_of(self, sums: GroupSums, xs: list[Array], grads: list[Array]) -> Array:
        """Return ‖g‖ where the group is not 0, 0 where it is."""
        return jnp.where(sums.norm(xs) > 0, sums.norm(grads), 0)

    def _per_group(self, sums: GroupSums) -> Array:
        return strength_of_groups(self.strength, sums.sizes())


def coupled_mcp(
    strength: ArrayLike, gamma: ArrayLike, groups: FamilyMapping | Sequence[FamilyMapping]
) -> CoupledMcp:
    """Penalise Σ_g MCP(‖x_g‖; λ√n_g, γ): `coupled` without its bias on large groups.

    A fixed point is a stationary point, as with `group_mcp`. The prox is exact with one step.
    `preconditioned_proximal` and the optimisers made of it take that of `coupled`, and count the
    concave rest as a part of the loss.

    Args:
        strength: λ ≥ 0.
        gamma: γ > 0; `coupled` as γ → ∞.
        groups: as for `coupled`.

    Raises:
        ValueError: as from `coupled`, if `gamma` is not positive and finite, and from `prox` if the
            steps are not one number.

    Source: Huang, Breheny, Ma, Statistical Science 27 (2012).

    >>> import jax, jax.numpy as jnp, l1jax
    >>> params = {"up": jnp.array([[3.0, 0.1]]), "down": jnp.array([[4.0], [0.1]])}
    >>> penalty = l1jax.coupled_mcp(1.0, 3.0, {"up": -1, "down": 0})
    >>> jax.tree.map(lambda leaf: leaf.round(1).tolist(), penalty.prox(params, 1.0))
    {'down': [[4.0], [0.0]], 'up': [[3.0, 0.0]]}
    """
    check_strength("strength", strength)
    check_number("gamma", gamma, exclusive=True, remedy="3 is usual")
    return CoupledMcp(strength, gamma, as_families(groups))


def coupled_l0(strength: ArrayLike, groups: FamilyMapping | Sequence[FamilyMapping]) -> CoupledL0:
    """Penalise λ Σ n_g over the groups that are not zero: λ for each entry that is kept.

    The prox keeps a group as it is where ½ Σ xᵢ²/stepᵢ > λn_g; it is exact in any diagonal metric.
    Every zero group is a fixed point, so what is reached depends on the start and on the steps.

    Args:
        strength: λ ≥ 0, in units of the loss per entry.
        groups: as for `coupled`.

    Raises:
        ValueError: as from `coupled`.

    Source: Blumensath and Davies, J. Fourier Anal. Appl. 14 (2008), for groups.

    >>> import jax, jax.numpy as jnp, l1jax
    >>> params = {"up": jnp.array([[3.0, 0.1]]), "down": jnp.array([[4.0], [0.1]])}
    >>> penalty = l1jax.coupled_l0(1.0, {"up": -1, "down": 0})
    >>> jax.tree.map(lambda leaf: leaf.round(1).tolist(), penalty.prox(params, 1.0))
    {'down': [[4.0], [0.0]], 'up': [[3.0, 0.0]]}
    """
    check_strength("strength", strength)
    return CoupledL0(strength, as_families(groups))
