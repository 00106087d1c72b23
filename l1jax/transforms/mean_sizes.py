"""Which groups are zero and how large the others are, in single leaves or in several together."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias, TypeGuard, cast

import jax
import jax.numpy as jnp
import numpy as np

from l1jax.annotations import Array, Float, PyTree
from l1jax.penalties.coupled_groups import FamilyMapping, GroupSums, Plan, as_families, make_plan
from l1jax.penalties.groups import Groups, from_layout, group_layout, to_layout
from l1jax.penalties.numerics import Leaf, is_inexact
from l1jax.penalties.sparsity import path_name, show_paths
from l1jax.transforms.scopes import LeafScopes, leaf_scopes

CoupledGroups: TypeAlias = FamilyMapping | Sequence[FamilyMapping]
"""Groups that lie in several leaves, as `coupled` takes them."""


class MeanSizes(NamedTuple):
    """How large the groups of some leaves of a tree are.

    Attributes:
        leaves: the positions of these leaves in the tree.
        of: arrays in their places → for each entry the root mean square of its group; the entry's
            own size where it is in no group.
        is_alive: arrays in their places → for each entry whether its group is not zero, or itself
            where it is in no group.
        is_free: for each leaf, which entries are in no group though others are; it broadcasts.
        has_groups: whether there are groups, rather than single entries.
    """

    leaves: list[int]
    of: Callable[[Sequence[Array]], list[Array]]
    is_alive: Callable[[Sequence[Array]], list[Array]]
    is_free: list[np.ndarray]
    has_groups: bool

    def scopes(self, tree: PyTree, scope: str) -> LeafScopes:
        """Tell which of the leaves share a target.

        Args:
            tree: all leaves.
            scope: one of `SCOPES`.
        """
        leaves, treedef = jax.tree.flatten(tree)
        counted = [leaf if i in self.leaves else None for i, leaf in enumerate(leaves)]
        return leaf_scopes(treedef.unflatten(counted), scope)

    def num_entries(self, arrays: Sequence[Leaf]) -> list[int]:
        """Return for each leaf the number of its entries that are in groups."""
        pairs = zip(arrays, self.is_free, strict=True)
        return [jnp.size(x) // max(free.size, 1) * int(np.sum(~free)) for x, free in pairs]

    def num_alive(self, arrays: Sequence[Array]) -> list[Float[Array, ""]]:
        """Return for each leaf the number of its entries in groups that are not zero.

        An entry that is zero in such a group counts, too.
        """
        counts = []
        for x, alive, free in zip(arrays, self.is_alive(arrays), self.is_free, strict=True):
            is_counted = jnp.broadcast_to(alive & ~free, x.shape)
            counts.append(jnp.sum(is_counted, dtype=float))
        return counts


def are_coupled(groups: object) -> TypeGuard[CoupledGroups]:
    """Tell whether groups are given by mappings, as those of several leaves are."""
    if isinstance(groups, Sequence) and groups:
        groups = groups[0]
    return isinstance(groups, Mapping)


def check_group_scope(groups: object, scope: str) -> None:
    """Raise `ValueError` if groups of several leaves are to have a share in each block or leaf."""
    if are_coupled(groups):
        as_families(groups)
        if scope != "global":
            raise ValueError(
                f"`scope` (={scope!r}) must be 'global' with `groups` that lie in several leaves: "
                "such a group belongs to no leaf or block alone."
            )


def mean_sizes(
    params: PyTree, selected: PyTree | None, groups: Groups | CoupledGroups | None
) -> MeanSizes:
    """Return the sizes of the groups of a tree, or of its entries without groups.

    Args:
        params: all leaves; those that are not of floating point have no groups.
        selected: a tree of booleans that says which of them count. None if all do; then a group of
            several leaves consists of what it has in those that are there.
        groups: as `freeze_support` takes them.

    Raises:
        ValueError: if `groups` do not fit.
    """
    leaves, treedef = jax.tree.flatten(params)
    counts = [True] * len(leaves)
    if selected is not None:
        counts = treedef.flatten_up_to(selected)
    chosen = [i for i, (p, own) in enumerate(zip(leaves, counts, strict=True)) if own]
    chosen = [i for i in chosen if is_inexact(leaves[i])]
    if not are_coupled(groups):
        return sizes_by_leaf(chosen, cast(Groups | None, groups))
    families = as_families(groups)
    if selected is None:
        paths = {path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)}
        families = tuple(
            tuple(member for member in family if member[0] in paths) for family in families
        )
    return coupled_sizes(chosen, leaves, make_plan(families, params))


def shares_of_zero_groups(
    params: PyTree, groups: Groups | CoupledGroups, scope: str
) -> Float[Array, " scopes"]:
    """Return of each scope the share of the entries in groups whose group is zero.

    Args:
        params: the leaves that count.
        groups: as `track_sparsity` takes them.
        scope: one of `SCOPES`.
    """
    sizes = mean_sizes(params, None, groups)
    leaves = jax.tree.leaves(params)
    arrays = [jnp.asarray(leaves[i]) for i in sizes.leaves]
    scopes = sizes.scopes(params, scope)
    entries = jnp.asarray(scopes.total(sizes.num_entries(arrays)), float)
    alive = jnp.asarray(scopes.total(sizes.num_alive(arrays)), float)
    return (entries - alive) / jnp.maximum(entries, 1)


def sizes_by_leaf(leaves: list[int], groups: Groups | None) -> MeanSizes:
    """Return the sizes of groups that lie in one leaf each; |x| without groups.

    Args:
        leaves: the positions of the leaves.
        groups: the axes over which a group extends, or None.
    """

    def size(x: Array) -> Array:
        if groups is None:
            return jnp.abs(x)
        shape, axes = group_layout(groups, x.shape)
        square = jnp.mean(jnp.square(to_layout(x, shape)), axes, keepdims=True)
        return from_layout(jnp.broadcast_to(jnp.sqrt(square), shape), x)

    def is_alive(x: Array) -> Array:
        if groups is None:
            return x != 0
        shape, axes = group_layout(groups, x.shape)
        nonzeros = jnp.sum(jnp.abs(jnp.sign(to_layout(x, shape))), axes, keepdims=True)
        return from_layout(jnp.broadcast_to(nonzeros != 0, shape), x)

    return MeanSizes(
        leaves,
        of=lambda xs: [size(x) for x in xs],
        is_alive=lambda xs: [is_alive(x) for x in xs],
        is_free=[np.zeros((), bool) for _ in leaves],
        has_groups=groups is not None,
    )


def coupled_sizes(selected: list[int], tree: Sequence[Leaf], plan: Plan) -> MeanSizes:
    """Return the sizes of groups that lie in several leaves, of what they have in some leaves.

    Args:
        selected: the positions of the leaves that count; those without groups are left out.
        tree: all leaves.
        plan: where the groups are.

    Raises:
        ValueError: if none of the leaves that count has a group.
    """
    leaves = [i for i in selected if i in plan.axes]
    if not leaves:
        grouped = show_paths([plan.names[i] for i in plan.axes])
        raise ValueError(
            f"`groups` must lie in leaves that count here, but those that have some are {grouped}: "
            "let `pattern` select one of them."
        )
    sums = GroupSums.of(plan, leaves, [tree[i] for i in leaves])
    in_groups = sums.in_groups()
    entries = np.maximum(sums.sizes(), 1)

    def sizes(xs: Sequence[Array]) -> list[Array]:
        mean = sums.norm(xs)
        mean = mean / jnp.asarray(np.sqrt(entries), mean.dtype)
        triples = zip(xs, sums.spread(mean), in_groups, strict=True)
        return [jnp.where(inside, own, jnp.abs(x)) for x, own, inside in triples]

    def is_alive(xs: Sequence[Array]) -> list[Array]:
        nonzeros = sums.total([jnp.abs(jnp.sign(x)) for x in xs])
        triples = zip(xs, sums.spread(nonzeros != 0, False), in_groups, strict=True)
        return [jnp.where(inside, own, x != 0) for x, own, inside in triples]

    is_free = [~inside for inside in in_groups]
    return MeanSizes(leaves, sizes, is_alive, is_free, has_groups=True)
