"""Group penalties whose groups lie in several leaves, such as all that belongs to a channel."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from l1jax.annotations import Array, ArrayLike, Float, PyTree
from l1jax.penalties.base import (
    STATIC,
    STRENGTH,
    Number,
    Penalty,
    broadcast_leaves,
    leaf_penalties,
    register,
)
from l1jax.penalties.checks import ONE_STRENGTH, check_number, check_strength
from l1jax.penalties.concave import mcp_prox
from l1jax.penalties.coupled_groups import Family, FamilyMapping, GroupSums, Slices, make_plan
from l1jax.penalties.coupled_leaves import (
    CoupledPart,
    leaf_distances,
    leaf_proxes,
    leaf_subgradients,
    leaf_values,
)
from l1jax.penalties.coupled_prox import coupled_group_prox, coupled_shrinkage
from l1jax.penalties.l0 import ANY_STRENGTH
from l1jax.penalties.numerics import sum_leaves, tree_norm


def _value(self: Penalty, x: PyTree) -> Float[Array, ""]:
    """Return the value of the whole tree."""
    return sum_leaves(leaf_values(leaf_penalties(self, x), jax.tree.leaves(x)))


def _prox(self: Penalty, x: PyTree, step: PyTree) -> PyTree:
    """Return the prox of the whole tree; leaves and entries in no group stay."""
    leaves, treedef = jax.tree.flatten(x)
    steps = broadcast_leaves("step", step, x)
    return treedef.unflatten(leaf_proxes(leaf_penalties(self, x), leaves, steps))


def _subgradient(self: Penalty, x: PyTree) -> PyTree:
    """Return the subgradient of least norm, 0 for entries in no group."""
    leaves, treedef = jax.tree.flatten(x)
    return treedef.unflatten(leaf_subgradients(leaf_penalties(self, x), leaves))


def _distance(self: Penalty, x: PyTree, grad: PyTree) -> Float[Array, ""]:
    """Return the distance of −grad to the subdifferential, free entries included."""
    grads = broadcast_leaves("grad", grad, x)
    return tree_norm(leaf_distances(leaf_penalties(self, x), jax.tree.leaves(x), grads))


def _parts(self: Penalty, families: tuple[Family, ...], tree: PyTree) -> list[Penalty | None]:
    """Return for each leaf its part of the penalty, None for leaves without any group."""
    count = len(jax.tree.leaves(tree))
    if not count:
        return []
    strength = getattr(self, "strength")  # noqa: B009
    if jnp.ndim(strength):
        raise ValueError(
            f"`strength` of shape {jnp.shape(strength)} must be one number; {ONE_STRENGTH}."
        )
    plan = make_plan(families, tree)
    return [CoupledPart((self,), plan, i) if i in plan.axes else None for i in range(count)]


@register
@dataclass(frozen=True)
class Coupled:
    """λ Σ_g √n_g ‖x_g‖ over groups that lie in several leaves; made by `l1jax.coupled`."""

    strength: Number = field(metadata=STRENGTH)
    families: tuple[Family, ...] = field(metadata=STATIC)

    value = _value
    prox = _prox
    subgradient = _subgradient
    distance = _distance

    def per_leaf(self, tree: PyTree) -> list[Penalty | None]:
        """Return for each leaf its part of the penalty."""
        return _parts(self, self.families, tree)

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
        return _radial(sums, xs, self._per_group(sums) / jnp.where(size == 0, 1, size))

    def distance_of(self, sums: GroupSums, xs: list[Array], grads: list[Array]) -> Array:
        """Return ‖g + λ_g x/‖x‖‖ where the group is not 0, (‖g‖ − λ_g)₊ where it is."""
        return _group_distance(sums, xs, grads, self._per_group(sums))

    def _per_group(self, sums: GroupSums) -> Array:
        return _per_group(self.strength, np.sqrt(sums.sizes()))


@register
@dataclass(frozen=True)
class CoupledMcp:
    """Σ_g MCP(‖x_g‖; λ√n_g, γ) over groups in several leaves; made by `l1jax.coupled_mcp`."""

    strength: Number = field(metadata=STRENGTH)
    gamma: Number
    families: tuple[Family, ...] = field(metadata=STATIC)
    convex: ClassVar[bool] = False

    value = _value
    prox = _prox
    subgradient = _subgradient
    distance = _distance

    def per_leaf(self, tree: PyTree) -> list[Penalty | None]:
        """Return for each leaf its part of the penalty."""
        return _parts(self, self.families, tree)

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
        return _radial(sums, xs, self._slope(sums, size) / jnp.where(size == 0, 1, size))

    def distance_of(self, sums: GroupSums, xs: list[Array], grads: list[Array]) -> Array:
        """Return ‖g + (λ_g − ‖x‖/γ)₊ x/‖x‖‖, or (‖g‖ − λ_g)₊ where the group is 0."""
        return _group_distance(sums, xs, grads, self._slope(sums, sums.norm(xs)))

    def _slope(self, sums: GroupSums, size: Array) -> Array:
        return jnp.maximum(self._per_group(sums) - size / self.gamma, 0)

    def _per_group(self, sums: GroupSums) -> Array:
        return _per_group(self.strength, np.sqrt(sums.sizes()))


@register
@dataclass(frozen=True)
class CoupledL0:
    """λ Σ n_g over the groups that are not zero; made by `l1jax.coupled_l0`."""

    strength: Number = field(metadata=STRENGTH)
    families: tuple[Family, ...] = field(metadata=STATIC)
    convex: ClassVar[bool] = False
    no_largest_strength: ClassVar[str] = ANY_STRENGTH

    value = _value
    prox = _prox
    subgradient = _subgradient
    distance = _distance

    def per_leaf(self, tree: PyTree) -> list[Penalty | None]:
        """Return for each leaf its part of the penalty."""
        return _parts(self, self.families, tree)

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
        return _per_group(self.strength, sums.sizes())


def _per_group(strength: ArrayLike, factors: Float[np.ndarray, " groups"]) -> Array:
    """Multiply the strength by a factor of each group."""
    return strength * jnp.asarray(factors, jnp.result_type(strength, float))


def _radial(sums: GroupSums, xs: list[Array], factors: Array) -> list[Array]:
    """Multiply each group by its factor, and entries in no group by 0."""
    pairs = zip(xs, sums.spread(factors), strict=True)
    return [x * factor.astype(x.dtype) for x, factor in pairs]


def _group_distance(sums: GroupSums, xs: list[Array], grads: list[Array], slope: Array) -> Array:
    """Return ‖g + slope·x/‖x‖‖ where the group is not 0, (‖g‖ − slope)₊ where it is."""
    size = sums.norm(xs)
    pulls = _radial(sums, xs, slope / jnp.where(size == 0, 1, size))
    left = sums.norm([grad + pull for grad, pull in zip(grads, pulls, strict=True)])
    return jnp.where(size > 0, left, jnp.maximum(left - slope, 0))


def as_families(groups: object) -> tuple[Family, ...]:
    """Return groups as they are stored: tuples, in the order in which they were given.

    Raises:
        ValueError: if they are not mappings from paths to axes or slices.
    """
    mappings = [groups] if isinstance(groups, Mapping) else groups
    if not isinstance(mappings, Sequence) or not mappings:
        raise ValueError(
            f"`groups` (={groups!r}) must be mappings from a leaf's path to the axis that numbers "
            "its groups, such as [{'up/kernel': -1, 'down/kernel': 0}]."
        )
    return tuple(_as_family(mapping) for mapping in mappings)


def _as_family(mapping: object) -> Family:
    if not isinstance(mapping, Mapping) or not mapping:
        raise ValueError(
            f"`groups` has {mapping!r}, which must be a mapping from a leaf's path to an axis, "
            "such as {'up/kernel': -1, 'down/kernel': 0}."
        )
    members: list[tuple[str, Slices]] = []
    for path, slices in mapping.items():
        if isinstance(slices, int | np.integer) and not isinstance(slices, bool):
            slices = Slices(int(slices))
        if not isinstance(path, str) or not isinstance(slices, Slices):
            raise ValueError(
                f"`groups` has {path!r}: {slices!r}, which must be a path and an axis, or a path "
                "and `l1jax.Slices`."
            )
        if slices.groups is not None:
            numbers = np.asarray(slices.groups)
            if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
                raise ValueError(
                    f"`groups` has {slices!r} for {path!r}, whose groups must be whole numbers, "
                    "one per index, −1 for none."
                )
            slices = Slices(slices.axis, tuple(numbers.tolist()))
        members.append((path.removeprefix("params/"), slices))
    return tuple(members)


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

    >>> params = {"up": jnp.array([[6.0, 0.1]]), "down": jnp.array([[8.0], [0.1]])}
    >>> penalty = l1jax.coupled(12.5**0.5, {"up": -1, "down": 0})  # λ√n = 5, half of ‖(6, 8)‖
    >>> jax.tree.map(lambda leaf: leaf.round(1).tolist(), penalty.prox(params, 1.0))
    {'down': [[4.0], [0.0]], 'up': [[3.0, 0.0]]}
    """
    check_strength("strength", strength)
    return Coupled(strength, as_families(groups))


def coupled_mcp(
    strength: ArrayLike, gamma: ArrayLike, groups: FamilyMapping | Sequence[FamilyMapping]
) -> CoupledMcp:
    """Penalise Σ_g MCP(‖x_g‖; λ√n_g, γ): `coupled` without its bias on large groups.

    A fixed point is a stationary point, as with `group_mcp`. The prox is exact with one step.
    `preconditioned_proximal` and the optimisers made of it take
    that of `coupled`, and count the concave rest as a part of the loss.

    Args:
        strength: λ ≥ 0.
        gamma: γ > 0; `coupled` as γ → ∞.
        groups: as for `coupled`.

    Raises:
        ValueError: as from `coupled`, if `gamma` is not positive and finite, and from `prox` if the
            steps are not one number.

    Source: Huang, Breheny, Ma, Statistical Science 27 (2012).

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

    >>> params = {"up": jnp.array([[3.0, 0.1]]), "down": jnp.array([[4.0], [0.1]])}
    >>> penalty = l1jax.coupled_l0(1.0, {"up": -1, "down": 0})
    >>> jax.tree.map(lambda leaf: leaf.round(1).tolist(), penalty.prox(params, 1.0))
    {'down': [[4.0], [0.0]], 'up': [[3.0, 0.0]]}
    """
    check_strength("strength", strength)
    return CoupledL0(strength, as_families(groups))
