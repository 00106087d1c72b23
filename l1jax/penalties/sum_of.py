"""Sums of penalties whose prox is the composition of the parts' proxes."""

import operator
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp

from l1jax.annotations import Array, PyTree
from l1jax.penalties.base import (
    PARTS,
    STRENGTH,
    Number,
    Penalty,
    check_shape,
    convex_part,
    penalty_groups,
    per_leaf,
    register,
)
from l1jax.penalties.group import GroupL1, SparseGroupL1
from l1jax.penalties.groups import Groups, broadcast_to_layout, group_layout
from l1jax.penalties.l1 import L1, L2, ElasticNet, NonnegativeL1, WeightedL1
from l1jax.penalties.leafwise import (
    array_distance,
    is_leafwise,
    tree_distance,
    tree_prox,
    tree_subgradient,
    tree_value,
)

ENTRYWISE = (L1, WeightedL1, NonnegativeL1)
"""The penalties of entries whose prox composes with that of a group lasso."""


@register
@dataclass(frozen=True)
class SumOf:
    """½μ Σ xᵢ² plus at most two penalties, an entrywise one first; made by `l1jax.sum_of`."""

    parts: tuple[Penalty, ...] = field(metadata=PARTS)
    l2_strength: Number = field(metadata=STRENGTH)

    @property
    def axis(self) -> Groups | None:
        """The groups of its last part, if that has any."""
        if not self.parts:
            return None
        return penalty_groups(self.parts[-1])

    @tree_value
    def value(self, x: Array) -> Array:
        """Add up the values of the parts."""
        value = self.l2_strength / 2 * jnp.sum(jnp.square(x))
        for part in self.parts:
            value += part.value(x)
        return value

    @tree_prox
    def prox(self, x: Array, step: Array) -> Array:
        """Take the prox of part after part.

        The quadratic joins the metric first: the steps are t/(1 + μt) and the start is x/(1 + μt).
        """
        shrink = 1 + self.l2_strength * step
        x = x / shrink
        step = step / shrink
        for part in self.parts:
            x = part.prox(x, step)
        return x

    @tree_subgradient
    def subgradient(self, x: Array) -> Array:
        """Add up the subgradients, which gives the least norm for these sums."""
        subgradient = self.l2_strength * x
        for part in self.parts:
            subgradient += part.subgradient(x)
        return subgradient

    @tree_distance
    def distance(self, x: Array, grad: Array) -> Array:
        """Return the distance of the parts for the gradient g + μx."""
        grad = grad + self.l2_strength * x
        if not self.parts:
            return jnp.abs(grad)
        if len(self.parts) == 1:
            return array_distance(self.parts[0], x, grad)
        entries, group = self.parts
        assert isinstance(group, GroupL1)
        return group.distance_with(lambda g: array_distance(entries, x, g), x, grad)

    def convex_part(self) -> "SumOf":
        """Return the sum of the parts' convex parts, or this itself if they are all convex."""
        parts = tuple(convex_part(part) for part in self.parts)
        if all(map(operator.is_, parts, self.parts)):
            return self
        return SumOf(parts, self.l2_strength)

    def per_leaf(self, tree: PyTree) -> list[Penalty | None]:
        """Return for each leaf the sum of the parts' penalties for that leaf."""
        columns = [per_leaf(part, tree) for part in self.parts]
        sums: list[Penalty | None] = []
        for leaf in range(len(jax.tree.leaves(tree))):
            parts = tuple(column[leaf] for column in columns)
            assert all(part is not None for part in parts)  # no part is a `by_path`
            sums.append(SumOf(parts, self.l2_strength))  # pyright: ignore[reportArgumentType]
        return sums

    def check(self, shape: tuple[int, ...], path: str) -> None:
        """Raise unless the leaf fits every part."""
        for part in self.parts:
            check_shape(part, shape, path)


def in_layout(penalty: Penalty, shape: tuple[int, ...]) -> Penalty:
    """Return the penalty of a leaf for that leaf in the layout of its groups.

    In that layout the groups extend over whole axes.

    Args:
        penalty: the penalty of the leaf, which has groups.
        shape: the shape of the leaf.
    """
    groups = penalty_groups(penalty)
    assert groups is not None
    laid_out, axes = group_layout(groups, shape)
    if laid_out == shape:
        return penalty
    if isinstance(penalty, SumOf):
        *entrywise, group = penalty.parts
        parts = [
            _weights_in_layout(part, shape, laid_out) if isinstance(part, WeightedL1) else part
            for part in entrywise
        ]
        return replace(penalty, parts=(*parts, in_layout(group, shape)))
    return replace(penalty, axis=axes)  # pyright: ignore[reportArgumentType]


def _weights_in_layout(
    penalty: WeightedL1, shape: tuple[int, ...], laid_out: tuple[int, ...]
) -> WeightedL1:
    weights = broadcast_to_layout(jnp.asarray(penalty.weights), shape, laid_out)
    return replace(penalty, weights=weights)


def sum_of(*penalties: Penalty) -> SumOf:
    """Add penalties, where the prox of the sum is known exactly, in any diagonal metric.

    The parts may be

    - any number of `l2`, at most one of `l1`, `weighted_l1` and `nonnegative_l1`, and at most one
      `group_l1`; `elastic_net` and `sparse_group_l1` count as the two penalties that they add up;
    - or any number of `l2` and one other penalty.

    First the quadratic joins the metric, then comes the prox of the entries, then that of the
    groups. The fixed points are those of loss + the sum.

    Args:
        *penalties: the parts, in any order, sums among them too.

    Raises:
        ValueError: for any other sum, which the error names. A `by_path` may contain sums, but a
            sum contains no `by_path`.

    Source: Yu, On decomposing the proximal map, NeurIPS 2013.

    >>> penalty = l1jax.sum_of(l1jax.nonnegative_l1(1.0), l1jax.l2(1.0))
    >>> penalty.prox(jnp.array([-3.0, 0.5, 2.0]), 1.0)
    Array([0. , 0. , 0.5], dtype=float32)
    """
    l2_strength: Number = 0.0
    parts: list[Penalty] = []
    for penalty in penalties:
        match penalty:
            case SumOf():
                l2_strength = l2_strength + penalty.l2_strength
                parts += penalty.parts
            case L2():
                l2_strength = l2_strength + penalty.strength
            case ElasticNet():
                l2_strength = l2_strength + penalty.l2_strength
                parts.append(L1(penalty.strength))
            case SparseGroupL1():
                parts.append(L1(penalty.strength))
                parts.append(GroupL1(penalty.group_strength, penalty.axis))
            case _:
                parts.append(penalty)
    parts.sort(key=lambda part: isinstance(part, GroupL1))
    if not penalties or not _has_closed_form(parts):
        names = " + ".join(type(penalty).__name__ for penalty in penalties) or "none"
        raise ValueError(
            f"`penalties` (={names}) must have a prox in closed form: any number of l2, with at "
            "most one of l1, weighted_l1, nonnegative_l1 or elastic_net and one group_l1 (or a "
            "sparse_group_l1 for both), or with one other penalty alone; add up strengths of the "
            "same kind, and put sums inside `by_path`."
        )
    return SumOf(tuple(parts), l2_strength)


def _has_closed_form(parts: list[Penalty]) -> bool:
    """Tell whether the prox of a sum without its quadratic is known."""
    entrywise = sum(isinstance(part, ENTRYWISE) for part in parts)
    groups = sum(isinstance(part, GroupL1) for part in parts)
    if entrywise + groups == len(parts):
        return entrywise <= 1 and groups <= 1
    return len(parts) == 1 and is_leafwise(parts[0])
