"""The prox in the diagonal metric of an optimiser, entry by entry or with one step per group."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from l1jax.annotations import Array, ArrayLike, Int, PyTree
from l1jax.penalties import GroupL1, Penalty, in_layout, penalty_groups
from l1jax.penalties.coupled_leaves import (
    CoupledPart,
    Joint,
    is_coupled,
    joint_leaves,
    joint_prox,
)
from l1jax.penalties.groups import Groups, from_layout, group_layout, to_layout
from l1jax.penalties.leafwise import array_prox, on_array
from l1jax.penalties.numerics import upcast
from l1jax.transforms.floating_leaves import on_floating_leaves
from l1jax.transforms.leaves import (
    check_rate,
    difference,
    linearise_concave,
    prox_update,
    require_params_like,
    schedule_value,
)
from l1jax.transforms.strengths import Scale, StrengthState, bind_strength

LeafGroups: TypeAlias = list[Groups | CoupledPart | None]
"""The groups of each leaf, None where every entry has its own step."""


class PreconditionedProximalState(NamedTuple):
    """State of `preconditioned_proximal`."""

    count: Int[Array, ""]  # updates applied so far
    strength: StrengthState
    inner: optax.OptState


class MetricStep(NamedTuple):
    """The step direction·factor − decay·p of an optimiser in the metric denominator/learning_rate.

    The lists have an entry per leaf. Where a leaf has groups, its factor and its denominator are in
    the layout of the groups, and the denominator is of length 1 along their axes.
    """

    directions: list[Array]
    factors: Sequence[ArrayLike]
    denominators: list[Array]
    state: optax.OptState
    decays: Sequence[Array | None] | None = None  # None where a leaf does not decay


class MetricStepFunction(Protocol):
    """The step of a `MetricOptimizer`."""

    def __call__(
        self,
        grads: optax.Updates,
        state: optax.OptState,
        params: optax.Params,
        groups: LeafGroups,
        rate: Array,
        /,
    ) -> MetricStep:
        """Return the step for these gradients at this learning rate, and the next state."""
        ...


class MetricOptimizer(NamedTuple):
    """An optimiser whose denominator may be one number per group."""

    init: Callable[[optax.Params], optax.OptState]
    step: MetricStepFunction


def proximal_in_metric(
    optimizer: MetricOptimizer,
    penalty: Penalty,
    learning_rate: optax.ScalarOrSchedule,
    scale: Scale,
    per_group: bool,
) -> optax.GradientTransformation:
    """Follow an optimiser by the prox in the metric denominator/learning_rate.

    Args:
        optimizer: the optimiser.
        penalty: what to penalise.
        learning_rate: a scalar or a schedule of the number of updates so far.
        scale: multiplies the strength.
        per_group: whether each group of the penalty has one step size.
    """
    check_rate(learning_rate)
    strength = bind_strength(penalty, scale)

    def init(params: optax.Params) -> PreconditionedProximalState:
        return PreconditionedProximalState(
            jnp.zeros([], jnp.int32), strength.init(params), optimizer.init(params)
        )

    def update(
        updates: optax.Updates, state: PyTree, params: optax.Params | None = None
    ) -> tuple[optax.Updates, PreconditionedProximalState]:
        params = require_params_like(params, updates, "the prox is taken at params + updates")
        penalties, strengths = strength.update(state.strength, params)
        penalties, grads = linearise_concave(penalties, updates, params)
        groups: LeafGroups = [None] * len(penalties)
        if per_group:
            groups = [_groups_of_leaf(leaf_penalty) for leaf_penalty in penalties]
        rate = schedule_value(learning_rate, state.count)
        step = optimizer.step(grads, state.inner, params, groups, rate)
        steps = [rate * (1 / upcast(d)) for d in step.denominators]
        leaves, treedef = jax.tree.flatten(params)
        decays = step.decays or [None] * len(leaves)
        rows = zip(
            *(penalties, groups, step.directions, step.factors, decays, leaves, steps), strict=True
        )
        new = [None if is_coupled(row[0]) else _metric_prox_update(*row) for row in rows]
        _add_coupled_updates(new, penalties, step, leaves, steps, per_group)
        new_updates = treedef.unflatten(new)
        count = optax.safe_increment(state.count)
        return new_updates, state._replace(count=count, strength=strengths, inner=step.state)

    return on_floating_leaves(optax.GradientTransformation(init, update), strength.check)


def recompute(function: Callable[..., PyTree], *inputs: PyTree) -> PyTree:
    """Return `function(*inputs)`, computed anew although the same value exists already.

    XLA would keep the value between two passes over it, on CPUs in memory that is newly allocated
    at every step, which costs more than the arithmetic. It takes what comes from behind the
    optimisation barrier for another value.
    """
    return function(*jax.lax.optimization_barrier(inputs))


def to_group_layout(groups: Groups | CoupledPart | None, x: Array) -> Array:
    """Reshape an array to the layout of its groups, if it has any."""
    if groups is None or isinstance(groups, CoupledPart):
        return x
    return to_layout(x, group_layout(groups, x.shape).shape)


def group_means(
    groups: LeafGroups, leaves: list[Array], mean: Callable[..., Array] = jnp.mean
) -> list[Array]:
    """Return the mean of each group, and the leaves without groups as they are.

    Args:
        groups: the groups of each leaf.
        leaves: the arrays.
        mean: the kind of mean, a function like `jnp.mean` or `root_mean_square`.

    Returns:
        Arrays in the layout of the groups, of length 1 along the axes of a group.
    """

    def mean_of_leaf(group: Groups | CoupledPart | None, leaf: Array) -> Array:
        if group is None or isinstance(group, CoupledPart):
            return leaf
        shape, axes = group_layout(group, leaf.shape)
        return mean(to_layout(upcast(leaf), shape), axes, keepdims=True)

    means = [mean_of_leaf(group, leaf) for group, leaf in zip(groups, leaves, strict=True)]
    parts = [group if isinstance(group, CoupledPart) else None for group in groups]
    for joint in joint_leaves(parts, leaves):
        for i, own in zip(joint.indices, _coupled_means(joint, mean), strict=True):
            means[i] = own
    return means


def _coupled_means(joint: Joint, mean: Callable[..., Array]) -> list[Array]:
    """Return the mean of each group over all its leaves; entries in no group stay.

    The arithmetic mean of the root mean squares that leaves have would be wrong, so the leaves'
    entries, or their squares, are added up.
    """
    squared = mean is root_mean_square
    entries = [jnp.square(x) if squared else x for x in joint.xs]
    means = joint.sums.total(entries) / np.maximum(joint.sums.sizes(), 1)
    spread = joint.sums.spread(jnp.sqrt(means) if squared else means)
    columns = zip(joint.sums.in_groups(), spread, joint.xs, strict=True)
    return [
        own.astype(x.dtype) if in_group.all() else jnp.where(in_group, own.astype(x.dtype), x)
        for in_group, own, x in columns
    ]


def _groups_of_leaf(penalty: Penalty | None) -> Groups | CoupledPart | None:
    if isinstance(penalty, CoupledPart):
        return penalty
    return penalty_groups(penalty)


def _add_coupled_updates(
    new: list[Array | None],
    penalties: list[Penalty | None],
    step: MetricStep,
    leaves: list[Array],
    steps: list[Array],
    per_group: bool,
) -> None:
    """Add the updates of the leaves that a penalty couples.

    Args:
        new: the updates of the other leaves, with None for these.
        penalties: the penalty of each leaf.
        step: the optimiser's step.
        leaves: the parameters.
        steps: the step of each leaf's prox.
        per_group: whether these are the same throughout a group.
    """
    decays = step.decays or [None] * len(leaves)
    points: list[Array | None] = []
    rows = zip(penalties, leaves, step.directions, step.factors, decays, strict=True)
    for penalty, p, direction, factor, decay in rows:
        point = None
        if is_coupled(penalty):
            start = upcast(p) if decay is None else (1 - decay) * upcast(p)
            point = start + upcast(direction) * factor
        points.append(point)
    for joint in joint_leaves(penalties, points):
        proxes = joint_prox(joint, steps, one_step=per_group)
        for i, prox in zip(joint.indices, proxes, strict=True):
            new[i] = difference(prox, leaves[i], step.directions[i])


def root_mean_square(d: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    """Return √(mean of d²).

    Args:
        d: the array.
        axes: the axes over which the mean is taken.
        keepdims: whether these axes stay, with length 1.
    """
    return jnp.sqrt(jnp.mean(jnp.square(d), axes, keepdims=keepdims))


def _metric_prox_update(
    penalty: Penalty | None,
    group: Groups | CoupledPart | None,
    direction: Array,
    factor: ArrayLike,
    decay: Array | None,
    p: Array,
    step: Array,
) -> Array:
    """Return the prox at p − decay·p + direction·factor, minus p; without a penalty the step."""
    if penalty is None or group is None:
        u = direction * factor
        if decay is not None:
            u = u - decay * upcast(p)
        return prox_update(penalty, u.astype(direction.dtype), p, step)

    def take_step(direction: Array, factor: ArrayLike, p: Array) -> Array:
        start = upcast(p)
        if decay is not None:
            start = (1 - decay) * start
        return start + upcast(direction) * factor

    laid_out = to_group_layout(group, p)
    inputs = (to_group_layout(group, direction), factor, laid_out)
    x = take_step(*inputs)
    penalty = in_layout(penalty, p.shape)
    if isinstance(penalty, GroupL1) and jnp.shape(factor) == step.shape:
        # One pass over x takes the norms of the groups, a second one shrinks them.
        shrinkage = on_array(GroupL1.shrinkage, penalty, recompute(take_step, *inputs), step)
        new = shrinkage * x
    else:
        new = array_prox(penalty, x, step)
    return from_layout(new - laid_out, p).astype(direction.dtype)
