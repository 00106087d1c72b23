"""Group lasso over groups whose entries lie in several leaves, such as all of a channel."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import jax.numpy as jnp
import numpy as np

from l1jax.annotations import Array, ArrayLike, PyTree
from l1jax.penalties.base import STATIC, STRENGTH, Number, Penalty, register
from l1jax.penalties.checks import check_strength
from l1jax.penalties.coupled_groups import Family, FamilyMapping, GroupSums, as_families
from l1jax.penalties.coupled_leaves import (
    distance_of_tree,
    parts_of_tree,
    prox_of_tree,
    subgradient_of_tree,
    value_of_tree,
)
from l1jax.penalties.coupled_prox import (
    coupled_group_prox,
    coupled_shrinkage,
    distance_of_groups,
    scale_groups,
    strength_of_groups,
)


@register
@dataclass(frozen=True)
class Coupled:
    """λ Σ_g √n_g ‖x_g‖ over groups that lie in several leaves; made by `l1jax.coupled`."""

    strength: Number = field(metadata=STRENGTH)
    families: tuple[Family, ...] = field(metadata=STATIC)

    value = value_of_tree
    prox = prox_of_tree
    subgradient = subgradient_of_tree
    distance = distance_of_tree

    def per_leaf(self, tree: PyTree) -> list[Penalty | None]:
        """Return for each leaf its part of the penalty."""
        return parts_of_tree(self, self.families, tree)

    def value_of(self, sums: GroupSums, xs: list[Array]) -> Array:
        """Return λ Σ_g √n_g ‖x_g‖."""
        return jnp.sum(self._per_group(sums) * sums.norm(xs))

    def prox_of(
        self, sums: GroupSums, xs: list[Array], steps: list[Array], one_step: bool
    ) -> list[Array]:
        """Return the prox of Σ_g λ_g‖x_g‖ with λ_g = λ√n_g."""
        spread = sums.spread(self._per_group(sums))
        pairs = zip(steps, spread, strict=True)
        thresholds = [step * strength.astype(step.dtype) for step, strength in pairs]
        if one_step:
            return coupled_shrinkage(sums, xs, thresholds)
        return coupled_group_prox(sums, xs, thresholds)

    def subgradient_of(self, sums: GroupSums, xs: list[Array]) -> list[Array]:
        """Return λ√n_g x_g/‖x_g‖, and 0 where the group is 0."""
        size = sums.norm(xs)
        return scale_groups(sums, xs, self._per_group(sums) / jnp.where(size == 0, 1, size))

    def distance_of(self, sums: GroupSums, xs: list[Array], grads: list[Array]) -> Array:
        """Return ‖g + λ_g x/‖x‖‖ where the group is not 0, (‖g‖ − λ_g)₊ where it is."""
        return distance_of_groups(sums, xs, grads, self._per_group(sums))

    def _per_group(self, sums: GroupSums) -> Array:
        return strength_of_groups(self.strength, np.sqrt(sums.sizes()))


def coupled(strength: ArrayLike, groups: FamilyMapping | Sequence[FamilyMapping]) -> Coupled:
    """Penalise λ Σ_g √n_g ‖x_g‖₂ over groups whose entries lie in several leaves.

    A hidden unit is a column of one kernel, an entry of its bias and a row of the next kernel: as
    one group they are zero together or not at all, and a zero group is a unit that can be removed.
    `l1jax.compaction.channel_groups` finds the groups of a Flax Linen network.

    Each mapping names one kind of group: the leaves' paths, as `by_path` knows them, and in each of
    them the axis whose index is the number of the group. `Slices` says of each index which group it
    belongs to. The groups of different mappings are different groups. Entries in no group are free.
    Groups must not overlap.

    A fixed point has the gradient −λ√n_g x_g/‖x_g‖ in a group that is not zero, over all of its
    leaves, and one of norm at most λ√n_g in a group that is. The prox is exact, with one step or in
    a diagonal metric. n_g counts the entries of all leaves. In a `by_path`, a group consists of
    what it has in the leaves that the pattern matches.

    Args:
        strength: λ ≥ 0.
        groups: one mapping or several, path → axis or `Slices`.

    Raises:
        ValueError: if `strength` is negative or not finite, or `groups` are no such mappings; and
            from the penalty's functions if a path is not in the tree, an axis does not fit, or
            groups overlap.

    Source: Yuan and Lin, J. R. Stat. Soc. B 68 (2006); across layers: Fang et al., DepGraph, CVPR
    2023.

    >>> import jax, jax.numpy as jnp, l1jax
    >>> params = {"up": jnp.array([[6.0, 0.1]]), "down": jnp.array([[8.0], [0.1]])}
    >>> penalty = l1jax.coupled(12.5**0.5, {"up": -1, "down": 0})  # λ√n = 5, half of ‖(6, 8)‖
    >>> jax.tree.map(lambda leaf: leaf.round(1).tolist(), penalty.prox(params, 1.0))
    {'down': [[4.0], [0.0]], 'up': [[3.0, 0.0]]}
    """
    check_strength("strength", strength)
    return Coupled(strength, as_families(groups))
