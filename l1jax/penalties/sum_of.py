"""Sums of penalties whose prox is the composition of the parts'."""

import operator
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from l1jax.penalties.base import (
    Number,
    Penalty,
    check_shape,
    convex_part,
    distances,
    on_trees,
    per_leaf,
)
from l1jax.penalties.concave import LogSum, Mcp, Scad
from l1jax.penalties.group import GroupL1, SparseGroupL1
from l1jax.penalties.group_mcp import GroupMcp
from l1jax.penalties.groups import Groups, lay_out, layout
from l1jax.penalties.l0 import L0, LHalf
from l1jax.penalties.l1 import L1, L2, ElasticNet, NonnegativeL1, WeightedL1
from l1jax.penalties.max_norm import L1Ball, Linf

_ENTRIES = (L1, WeightedL1, NonnegativeL1)
_ALONE = (L0, LHalf, Mcp, Scad, LogSum, GroupMcp, Linf, L1Ball)


@on_trees
@dataclass(frozen=True)
class SumOf:
    """½μ Σ xᵢ² plus one or two penalties, an entrywise one before a group one; made by `l1jax.sum_of`."""

    parts: tuple[Any, ...]
    l2_strength: Number

    @property
    def axis(self) -> Groups | None:
        """The groups of its last part, if that has any."""
        return getattr(self.parts[-1], "axis", None) if self.parts else None

    def value(self, x: Array) -> Array:
        """The sum of the values."""
        value = self.l2_strength / 2 * jnp.sum(jnp.square(x))
        for part in self.parts:
            value += part.value(x)
        return value

    def prox(self, x: Array, step: Array) -> Array:
        """The quadratic joins the metric: steps t/(1 + μt), start x/(1 + μt); then part after part."""
        shrink = 1 + self.l2_strength * step
        x, step = x / shrink, step / shrink
        for part in self.parts:
            x = part.prox(x, step)
        return x

    def subgradient(self, x: Array) -> Array:
        """The sum of the subgradients, which has the least norm for these sums."""
        subgradient = self.l2_strength * x
        for part in self.parts:
            subgradient += part.subgradient(x)
        return subgradient

    def distance(self, x: Array, grad: Array) -> Array:
        """That of the parts for the gradient g + μx."""
        grad = grad + self.l2_strength * x
        if not self.parts:
            return jnp.abs(grad)
        if len(self.parts) == 1:
            return distances(self.parts[0], x, grad)
        entries, group = self.parts
        return group.distance_with(lambda g: distances(entries, x, g), x, grad)

    def convex_part(self) -> "SumOf":
        """The sum of the parts' convex parts, or this itself if they are all convex."""
        parts = tuple(convex_part(part) for part in self.parts)
        return self if all(map(operator.is_, parts, self.parts)) else SumOf(parts, self.l2_strength)

    def per_leaf(self, tree: PyTree) -> list[Any]:
        """The same sum with each part's own penalty of the leaf."""
        columns = [per_leaf(part, tree) for part in self.parts]
        return [
            SumOf(tuple(column[leaf] for column in columns), self.l2_strength)
            for leaf in range(len(jax.tree.leaves(tree)))
        ]

    def check(self, shape: tuple[int, ...], path: str) -> None:
        """Refuse a leaf that does not fit a part."""
        for part in self.parts:
            check_shape(part, shape, path)


def in_layout(penalty: Any, shape: tuple[int, ...]) -> Any:
    """The penalty of a leaf of this shape, for that leaf in the layout of its groups, in which they are whole axes."""
    laid_out, axes = layout(penalty.axis, shape)
    if laid_out == shape:
        return penalty
    if isinstance(penalty, SumOf):
        *entries, group = penalty.parts
        weighted = [
            replace(part, weights=lay_out(jnp.asarray(part.weights), shape, laid_out))
            if isinstance(part, WeightedL1)
            else part
            for part in entries
        ]
        return replace(penalty, parts=(*weighted, in_layout(group, shape)))
    return replace(penalty, axis=axes)


def sum_of(*penalties: Penalty) -> SumOf:
    """Add penalties, where the prox of the sum is known exactly, in any diagonal metric.

    Any number of `l2`, with one of `l1`, `weighted_l1`, `nonnegative_l1`, and with one `group_l1`;
    `elastic_net` and `sparse_group_l1` count as the two that they add up. Or any number of `l2` and
    one other penalty. First the quadratic joins the metric, then comes the entrywise prox, then that
    of the groups. Fixed points are those of loss + the sum.

    Args:
        *penalties: the parts, in any order, sums among them too.

    Raises:
        ValueError: for any other sum, which it names; a `by_path` goes around sums, not into one.

    Source: Yu: On decomposing the proximal map, NeurIPS 2013.

    >>> l1jax.sum_of(l1jax.nonnegative_l1(1.0), l1jax.l2(1.0)).prox(jnp.array([-3.0, 0.5, 2.0]), 1.0)
    Array([0. , 0. , 0.5], dtype=float32)
    """
    l2_strength: Any = 0.0
    parts: list[Any] = []
    for penalty in penalties:
        if isinstance(penalty, SumOf):
            l2_strength, parts = l2_strength + penalty.l2_strength, [*parts, *penalty.parts]
        elif isinstance(penalty, L2):
            l2_strength = l2_strength + penalty.strength
        elif isinstance(penalty, ElasticNet):
            l2_strength, parts = l2_strength + penalty.l2_strength, [*parts, L1(penalty.strength)]
        elif isinstance(penalty, SparseGroupL1):
            parts += [L1(penalty.strength), GroupL1(penalty.group_strength, penalty.axis)]
        else:
            parts.append(penalty)
    parts.sort(key=lambda part: isinstance(part, GroupL1))
    entries = sum(isinstance(part, _ENTRIES) for part in parts)
    groups = sum(isinstance(part, GroupL1) for part in parts)
    alone = len(parts) == 1 and isinstance(parts[0], _ALONE)
    if not penalties or not (
        alone or (entries <= 1 and groups <= 1 and entries + groups == len(parts))
    ):
        raise ValueError(
            f"`penalties` (={' + '.join(type(penalty).__name__ for penalty in penalties) or 'none'}) must have a prox "
            "in closed form: any number of l2, with at most one of l1, weighted_l1, nonnegative_l1 or elastic_net and "
            "one group_l1 (or a sparse_group_l1 for both), or with one other penalty alone; add up strengths of the "
            "same kind, and put sums inside `by_path`."
        )
    return SumOf(tuple(parts), l2_strength)
