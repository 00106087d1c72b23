"""Penalties of several leaves together: the functions of the leaves' penalties, leaf by leaf.

A penalty that couples leaves, such as `l1jax.coupled`, gives each of its leaves a `CoupledPart`.
The functions here take the penalties of all leaves of a tree; leaves that a penalty couples are
computed together, every other leaf by itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, Protocol

import jax
import jax.numpy as jnp

from l1jax.annotations import Array, Float, PyTree
from l1jax.penalties.base import (
    PARTS,
    STATIC,
    Penalty,
    broadcast_leaves,
    convex_part,
    leaf_penalties,
    register,
    strengths,
)
from l1jax.penalties.checks import ONE_STRENGTH
from l1jax.penalties.coupled_groups import Family, GroupSums, Plan, make_plan
from l1jax.penalties.numerics import Leaf, is_inexact, sum_leaves, tree_norm, upcast


class CoupledPenalty(Protocol):
    """A penalty of groups that lie in several leaves, by its formulas for the arrays of these.

    The arrays are at least float32. `sums` adds up the entries of each group.
    """

    def value_of(self, sums: GroupSums, xs: list[Array], /) -> Array:
        """Return R(x)."""
        ...

    def prox_of(
        self, sums: GroupSums, xs: list[Array], steps: list[Array], one_step: bool, /
    ) -> list[Array]:
        """Return the prox; with `one_step` the steps of a group are all the same.

        Args:
            sums: adds up the entries of each group.
            xs: the arrays.
            steps: the step of each entry; an array broadcasts to its x.
            one_step: whether the steps of a group are all the same.
        """
        ...

    def subgradient_of(self, sums: GroupSums, xs: list[Array], /) -> list[Array]:
        """Return the subgradient of least norm."""
        ...

    def distance_of(self, sums: GroupSums, xs: list[Array], grads: list[Array], /) -> Array:
        """Return for each group the distance of −grad to the subdifferential.

        Args:
            sums: adds up the entries of each group.
            xs: the arrays.
            grads: the gradient of the loss in each.
        """
        ...


@register
@dataclass(frozen=True)
class CoupledPart:
    """What a leaf has of a penalty that couples it with others."""

    whole: tuple[Any, ...] = field(metadata=PARTS)
    """The penalty, alone in a tuple."""
    plan: Plan = field(metadata=STATIC)
    leaf: int = field(metadata=STATIC)
    """The position of the leaf in the plan's tree."""

    def value(self, x: object) -> NoReturn:
        """Raise: a group's value is not a sum over leaves."""
        raise self._error("value")

    def prox(self, x: object, step: object) -> NoReturn:
        """Raise: the prox moves all leaves of a group together."""
        raise self._error("prox")

    def subgradient(self, x: object) -> NoReturn:
        """Raise: the subgradient of a group depends on all its leaves."""
        raise self._error("subgradient")

    def distance(self, x: object, grad: object) -> NoReturn:
        """Raise: the distance of a group depends on all its leaves."""
        raise self._error("distance")

    def convex_part(self) -> "CoupledPart":
        """Return the part of the penalty's convex part, or this itself if that is all of it."""
        (whole,) = self.whole
        convex = convex_part(whole)
        return self if convex is whole else replace(self, whole=(convex,))

    @property
    def no_largest_strength(self) -> str | None:
        """Why no strength is the smallest at which all parameters are zero."""
        return getattr(self.whole[0], "no_largest_strength", None)

    def _error(self, method: str) -> TypeError:
        name = self.plan.names[self.leaf] or "the array"
        return TypeError(
            f"`{method}` of {name} alone does not exist: `coupled` joins it with other leaves; "
            f"call `{method}` of the whole penalty on the whole tree."
        )


def is_coupled(penalty: Penalty | None) -> bool:
    """Tell whether a leaf's penalty joins it with other leaves."""
    return isinstance(penalty, CoupledPart)


def penalty_name(penalty: Penalty | None) -> str:
    """Return the name of the penalty's class, for an error."""
    whole = penalty.whole[0] if isinstance(penalty, CoupledPart) else penalty
    return type(whole).__name__


class Joint:
    """Leaves that one penalty couples."""

    def __init__(self, indices: list[int], parts: list[CoupledPart], xs: Sequence[Leaf]) -> None:
        self.indices = indices
        self.penalty: CoupledPenalty = parts[0].whole[0]
        self.xs = [upcast(xs[i]) for i in indices]
        self.sums = GroupSums.of(parts[0].plan, [part.leaf for part in parts], self.xs)

    def pick(self, arrays: Sequence[Leaf]) -> list[Array]:
        """Return what these leaves have of a list with an array per leaf, at least float32."""
        return [upcast(arrays[i]) for i in self.indices]


def joint_leaves(penalties: Sequence[Penalty | None], xs: Sequence[Leaf]) -> list[Joint]:
    """Return the sets of leaves that are coupled, each with its penalty."""
    plans: dict[Plan, list[int]] = {}
    for i, penalty in enumerate(penalties):
        if isinstance(penalty, CoupledPart):
            plans.setdefault(penalty.plan, []).append(i)
    joints = []
    for indices in plans.values():
        parts = [part for i in indices if isinstance(part := penalties[i], CoupledPart)]
        joints.append(Joint(indices, parts, xs))
    return joints


def leaf_values(penalties: Sequence[Penalty | None], xs: Sequence[Leaf]) -> list[Array]:
    """Return the values of all penalties."""
    pairs = zip(penalties, xs, strict=True)
    values = [p.value(x) for p, x in pairs if p is not None and not is_coupled(p)]
    for joint in joint_leaves(penalties, xs):
        values.append(joint.penalty.value_of(joint.sums, joint.xs))
    return values


def leaf_proxes(
    penalties: Sequence[Penalty | None], xs: Sequence[Leaf], steps: Sequence[Leaf]
) -> list[Leaf]:
    """Return the prox of every leaf that has a penalty, and the other leaves as they are.

    Args:
        penalties: the penalty of each leaf.
        xs: the leaves.
        steps: the step of each, which broadcasts to it.
    """
    results = _alone(penalties, xs, lambda p, x, step: p.prox(x, step), steps)
    for joint in joint_leaves(penalties, xs):
        for i, new in zip(joint.indices, joint_prox(joint, steps), strict=True):
            rounded = new.astype(jnp.result_type(xs[i]))
            results[i] = jnp.where(rounded == 0, jnp.zeros_like(rounded), rounded)  # not −0.0
    return results


def joint_prox(joint: Joint, steps: Sequence[Leaf], one_step: bool = False) -> list[Array]:
    """Return the prox of leaves that are coupled, in the dtype that it is computed in.

    Args:
        joint: the leaves.
        steps: the step of every leaf of the tree.
        one_step: whether all entries of a group have the same step, as they have if all leaves
            share one number.
    """
    own = [steps[i] for i in joint.indices]
    shared = all(step is own[0] for step in own) and jnp.ndim(own[0]) == 0
    arrays = [jnp.asarray(step, x.dtype) for step, x in zip(own, joint.xs, strict=True)]
    return joint.penalty.prox_of(joint.sums, joint.xs, arrays, one_step or shared)


def leaf_subgradients(penalties: Sequence[Penalty | None], xs: Sequence[Leaf]) -> list[Leaf]:
    """Return the subgradient of every leaf, 0 for those without a penalty."""
    zeros = [jnp.zeros_like(x) if p is None else x for p, x in zip(penalties, xs, strict=True)]
    results = _alone(penalties, zeros, lambda p, x: p.subgradient(x))
    for joint in joint_leaves(penalties, xs):
        subgradients = joint.penalty.subgradient_of(joint.sums, joint.xs)
        for i, subgradient in zip(joint.indices, subgradients, strict=True):
            results[i] = subgradient.astype(jnp.result_type(xs[i]))
    return results


def leaf_distances(
    penalties: Sequence[Penalty | None], xs: Sequence[Leaf], grads: Sequence[Leaf]
) -> list[Array]:
    """Return distances of −grad to the subdifferential, in any number of arrays.

    Leaves without a penalty, and entries in no group, count with the size of their gradient.

    Args:
        penalties: the penalty of each leaf.
        xs: the leaves.
        grads: the gradient of each; that of an integer does not count.
    """
    distances = []
    for penalty, x, grad in zip(penalties, xs, grads, strict=True):
        if penalty is None:
            distances += [jnp.abs(grad)] if is_inexact(x) else []
        elif not is_coupled(penalty):
            distances.append(penalty.distance(x, grad))
    for joint in joint_leaves(penalties, xs):
        own = joint.pick(grads)
        distances.append(joint.penalty.distance_of(joint.sums, joint.xs, own))
        for grad, in_group in zip(own, joint.sums.in_groups(), strict=True):
            distances.append(jnp.where(in_group, 0, jnp.abs(grad)))
    return distances


def _alone(
    penalties: Sequence[Penalty | None],
    xs: Sequence[Leaf],
    function: Callable[..., Leaf],
    *others: Sequence[Leaf],
) -> list[Leaf]:
    """Call a function of the penalty for leaves with one of their own; return the others."""
    results = []
    for penalty, x, *rest in zip(penalties, xs, *others, strict=True):
        own = penalty is not None and not is_coupled(penalty)
        results.append(function(penalty, x, *rest) if own else x)
    return results


def value_of_tree(self: Penalty, x: PyTree) -> Float[Array, ""]:
    """Return the value of the whole tree."""
    return sum_leaves(leaf_values(leaf_penalties(self, x), jax.tree.leaves(x)))


def prox_of_tree(self: Penalty, x: PyTree, step: PyTree) -> PyTree:
    """Return the prox of the whole tree; leaves and entries in no group stay."""
    leaves, treedef = jax.tree.flatten(x)
    steps = broadcast_leaves("step", step, x)
    return treedef.unflatten(leaf_proxes(leaf_penalties(self, x), leaves, steps))


def subgradient_of_tree(self: Penalty, x: PyTree) -> PyTree:
    """Return the subgradient of least norm, 0 for entries in no group."""
    leaves, treedef = jax.tree.flatten(x)
    return treedef.unflatten(leaf_subgradients(leaf_penalties(self, x), leaves))


def distance_of_tree(self: Penalty, x: PyTree, grad: PyTree) -> Float[Array, ""]:
    """Return the distance of −grad to the subdifferential, free entries included."""
    grads = broadcast_leaves("grad", grad, x)
    return tree_norm(leaf_distances(leaf_penalties(self, x), jax.tree.leaves(x), grads))


def parts_of_tree(
    self: Penalty, families: tuple[Family, ...], tree: PyTree
) -> list[Penalty | None]:
    """Return for each leaf its part of the penalty, None for leaves without any group."""
    count = len(jax.tree.leaves(tree))
    if not count:
        return []
    for strength in strengths(self):
        if jnp.ndim(strength):
            raise ValueError(
                f"`strength` of shape {jnp.shape(strength)} must be one number; {ONE_STRENGTH}."
            )
    plan = make_plan(families, tree)
    return [CoupledPart((self,), plan, i) if i in plan.axes else None for i in range(count)]
