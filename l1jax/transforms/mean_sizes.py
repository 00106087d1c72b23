"""The root mean square of each entry's group, of single leaves or of several together."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from l1jax.annotations import Array
from l1jax.penalties.coupled_groups import GroupSums, Plan
from l1jax.penalties.groups import Groups, from_layout, group_layout, to_layout
from l1jax.penalties.numerics import Leaf
from l1jax.penalties.sparsity import show_paths


class MeanSizes(NamedTuple):
    """How large the groups of some leaves of a tree are.

    Attributes:
        leaves: the positions of these leaves in the tree.
        of: arrays in their places → for each entry the root mean square of its group; the entry's
            own size where it is in no group.
        is_free: for each leaf, which entries are in no group though others are; it broadcasts.
        has_groups: whether there are groups, rather than single entries.
    """

    leaves: list[int]
    of: Callable[[Sequence[Array]], list[Array]]
    is_free: list[np.ndarray]
    has_groups: bool


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

    no_entry = [np.zeros((), bool) for _ in leaves]
    return MeanSizes(leaves, lambda xs: [size(x) for x in xs], no_entry, groups is not None)


def coupled_sizes(selected: list[int], tree: Sequence[Leaf], plan: Plan) -> MeanSizes:
    """Return the sizes of groups that lie in several leaves, of what they have in some leaves.

    Args:
        selected: the positions of the leaves that count; those without groups are left out.
        tree: all leaves.
        plan: where the groups are.

    Raises:
        ValueError: if none of the selected leaves has a group.
    """
    leaves = [i for i in selected if i in plan.axes]
    if not leaves:
        grouped = show_paths([plan.names[i] for i in plan.axes])
        raise ValueError(f"`pattern` must select a leaf that has `groups`; these have: {grouped}.")
    sums = GroupSums.of(plan, leaves, [tree[i] for i in leaves])
    in_groups = sums.in_groups()
    entries = np.maximum(sums.sizes(), 1)

    def sizes(xs: Sequence[Array]) -> list[Array]:
        mean = sums.norm(xs)
        mean = mean / jnp.asarray(np.sqrt(entries), mean.dtype)
        triples = zip(xs, sums.spread(mean), in_groups, strict=True)
        return [jnp.where(inside, own, jnp.abs(x)) for x, own, inside in triples]

    return MeanSizes(leaves, sizes, [~inside for inside in in_groups], True)
