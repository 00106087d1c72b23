"""Proximal gradient steps: plain, and in the diagonal metric of the optimiser."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Int, PyTree

from l1jax.penalties import GroupL1, Penalty, in_layout, path_name
from l1jax.penalties.base import of_leaf, prox_of_leaf
from l1jax.penalties.groups import Groups, from_layout, layout, to_layout
from l1jax.penalties.sparsity import some
from l1jax.transforms.floats import on_floats
from l1jax.transforms.leaves import (
    at,
    check_rate,
    linearise_concave,
    matched,
    prox_update,
    prox_updates,
    wide,
)
from l1jax.transforms.preconditioners import Preconditioner
from l1jax.transforms.strengths import Scale, StrengthState, moved_by

LeafGroups: TypeAlias = list[Groups | None]  # one per leaf


class ProximalState(NamedTuple):
    """State of `proximal`."""

    count: Int[Array, ""]  # updates applied so far
    strength: StrengthState


class PreconditionedProximalState(NamedTuple):
    """State of `preconditioned_proximal`."""

    count: Int[Array, ""]  # updates applied so far
    strength: StrengthState
    inner: optax.OptState


def proximal(
    penalty: Penalty, learning_rate: optax.ScalarOrSchedule, *, scale: Scale = None
) -> optax.GradientTransformation:
    """Turn a gradient step into a proximal gradient step; chain it last.

    Replaces the update u by prox(p + u, learning_rate) − p, so that every pruned entry of
    `optax.apply_updates(params, updates)` is exactly zero. Leaves without a penalty pass untouched.

    After plain gradient descent with this learning rate the fixed points are those of loss + penalty.
    After Adam they satisfy g = −λ(√ν + ε) sign(x), a curvature-weighted L1, decoupled like AdamW's
    decay; `proximal_adam` solves the stated problem instead. After a momentum μ of optax, which is
    not normalised, give learning_rate/(1 − μ), or take `proximal_sgd`.

    Args:
        penalty: what to penalise, over the parameters that `update` gets.
        learning_rate: the step of the prox, a scalar or a schedule; the chain's own learning rate.
        scale: moves the strength: a schedule, or a transformation such as `track_sparsity`.

    Raises:
        ValueError: from `init` if a `by_path` pattern does not fit the parameters, or a penalised leaf
            is not of floating point; from `update` without `params`.

    Source: Parikh and Boyd, Proximal Algorithms (2014), section 4.2.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx = optax.chain(optax.sgd(0.5), l1jax.proximal(l1jax.l1(1.0), 0.5))
    >>> params = jnp.array([2.0, 0.1])
    >>> updates, _ = tx.update(jnp.array([1.0, 0.0]), tx.init(params), params)
    >>> optax.apply_updates(params, updates).tolist()
    [1.0, 0.0]
    """
    check_rate(learning_rate)
    strength = moved_by(penalty, scale)

    def init(params: optax.Params) -> ProximalState:
        return ProximalState(jnp.zeros([], jnp.int32), strength.init(params))

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, ProximalState]:
        params = matched(params, updates, "the prox is taken at params + updates")
        step = at(learning_rate, state.count)
        penalties, strengths = strength.update(state.strength, params)
        updates = prox_updates(penalties, updates, params, step)
        return updates, state._replace(count=optax.safe_increment(state.count), strength=strengths)

    return on_floats(optax.GradientTransformation(init, update), strength.check, moves=False)


def preconditioned_proximal(
    inner: optax.GradientTransformation,
    preconditioner: Preconditioner,
    penalty: Penalty,
    learning_rate: optax.ScalarOrSchedule,
    *,
    scale: Scale = None,
    per_group: bool = False,
) -> optax.GradientTransformation:
    """Follow an adaptive optimiser by the prox in the optimiser's own diagonal metric.

    With u the inner update and d its denominator, the new parameters are
    argmin over y of penalty(y) + ½ Σ dᵢ/learning_rate·(yᵢ − pᵢ − uᵢ)². Fixed points satisfy
    −g ∈ ∂penalty: exactly the minimisers' condition for loss + penalty, for any metric.

    MCP, SCAD, the log-sum and group MCP are an L1 or group L1 plus a smooth, concave function. That
    function counts as loss: its gradient is added before `inner`, and the prox is that of the convex
    part. Their own prox with a step of γ or more, which any learning rate over a small enough
    denominator is, would throw entries to zero from stationary points, again and again.

    Args:
        inner: an optax optimiser that includes its learning rate, such as `optax.adam(1e-3)`. Its
            own weight decay, if any, adds to the penalty.
        preconditioner: its denominator as a function of its state, from `l1jax.preconditioners`.
        penalty: what to penalise, over the parameters that `update` gets.
        learning_rate: the inner optimiser's own, a scalar or a schedule; divided by 1 − μ if the
            inner optimiser ends with optax's momentum μ, which is not normalised.
        scale: moves the strength: a schedule, or a transformation such as `track_sparsity`.
        per_group: take one step size per group, for penalties that move groups of entries together
            (`group_l1` and its like, also in a `sum_of`; for `linf` and `l1_ball` the leaf is the
            group): dᵢ becomes its root mean square over the group, in the gradient step (u times dᵢ
            over it) and in the prox, so the fixed points stay the same and a group's prox needs no
            inner iteration.

    Raises:
        ValueError: if `penalty` is none or `learning_rate` negative or not finite; from `init` if a
            `by_path` pattern does not fit the parameters, a penalised leaf is not of floating point, the
            type of the inner state shows that the preconditioner is another optimiser's (what it cannot
            show is listed in `l1jax.preconditioners`), or that has no denominator for some leaf; from
            `update` without `params`.

    Source: Yun, Lozano, Yang: Adaptive proximal gradient methods, NeurIPS 2021, algorithm 1.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> metric = l1jax.preconditioners.amsgrad()
    >>> tx = l1jax.preconditioned_proximal(optax.amsgrad(0.1), metric, l1jax.l1(2.0), 0.1)
    >>> params = jnp.array([1.0, 1.0])  # Adam's first step is 0.1; the threshold 0.1·2/|g|
    >>> updates, _ = tx.update(jnp.array([1.0, 4.0]), tx.init(params), params)
    >>> [round(x, 3) for x in optax.apply_updates(params, updates).tolist()]
    [0.7, 0.85]
    """

    def init(params: optax.Params) -> optax.OptState:
        state = inner.init(params)
        _check_denominators(
            jax.eval_shape(preconditioner, state), params
        )  # refuses another optimiser's state
        return state

    def step(
        grads: optax.Updates, state: Any, params: Any, groups: LeafGroups, rate: Array
    ) -> InnerStep:
        updates, state = inner.update(grads, state, params)
        denominators = jax.tree.leaves(preconditioner(state))
        if not any(groups):
            return InnerStep(jax.tree.leaves(updates), [1.0] * len(groups), denominators, state)
        # Behind the barrier the mean is computed from the state, not from denominators kept for it.
        again = jax.tree.leaves(preconditioner(jax.lax.optimization_barrier(state)))
        pooled = pool(groups, again, root_mean_square)

        def rescale(group: Groups | None, d: Array, common: Array) -> ArrayLike:
            return 1.0 if group is None else laid_out(group, wide(d)) / common

        factors = [rescale(*leaf) for leaf in zip(groups, denominators, pooled, strict=True)]
        return InnerStep(jax.tree.leaves(updates), factors, pooled, state)

    return proximal_in_metric(Inner(init, step), penalty, learning_rate, scale, per_group)


def _check_denominators(denominators: PyTree, params: PyTree) -> None:
    """Refuse a metric that has not a number for each parameter."""
    found = {
        path_name(path): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(denominators)
    }
    leaves = [
        (path_name(path), jnp.shape(leaf))
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    ]
    missing = [path or "the array" for path, shape in leaves if found.get(path) != shape]
    if missing:
        raise ValueError(
            f"`preconditioner` has no denominator for each entry of {some(missing)}: `inner` moves these leaves by "
            "another optimiser, as `optax.contrib.muon` does with matrices, or not at all; put "
            "`preconditioned_proximal` inside `optax.partition` or `masked`, around one optimiser."
        )


class InnerStep(NamedTuple):
    """The step direction·factor of an optimiser in the metric denominator/learning_rate.

    The lists have an entry per leaf. Where a leaf has groups, its factor and its denominator are in
    the layout of the groups, and the denominator is of length 1 along their axes.
    """

    directions: list[Array]
    factors: list[ArrayLike]
    denominators: list[Array]
    state: optax.OptState


class Inner(NamedTuple):
    """An optimiser whose denominator may be one number per group."""

    init: Callable[[optax.Params], optax.OptState]
    step: Callable[[optax.Updates, Any, Any, LeafGroups, Array], InnerStep]
    """Of the gradients, the state, the parameters, each leaf's groups, and the learning rate."""


def proximal_in_metric(
    inner: Inner,
    penalty: Penalty,
    learning_rate: optax.ScalarOrSchedule,
    scale: Scale,
    per_group: bool,
) -> optax.GradientTransformation:
    """Let the prox in the metric denominator/learning_rate follow an optimiser.

    Args:
        inner: the optimiser.
        penalty: as for `preconditioned_proximal`, like all that follow.
        learning_rate: a scalar or a schedule.
        scale: moves the strength.
        per_group: whether there are groups.
    """
    check_rate(learning_rate)
    strength = moved_by(penalty, scale)

    def init_all(params: optax.Params) -> PreconditionedProximalState:
        return PreconditionedProximalState(
            jnp.zeros([], jnp.int32), strength.init(params), inner.init(params)
        )

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, PreconditionedProximalState]:
        params = matched(params, updates, "the prox is taken at params + updates")
        penalties, strengths = strength.update(state.strength, params)
        penalties, updates = linearise_concave(penalties, updates, params)
        groups = [getattr(p, "axis", None) if per_group else None for p in penalties]
        rate = at(learning_rate, state.count)
        step = inner.step(updates, state.inner, params, groups, rate)
        steps = [rate * (1 / wide(d)) for d in step.denominators]
        leaves, treedef = jax.tree.flatten(params)
        columns = (penalties, groups, step.directions, step.factors, leaves, steps)
        moved = treedef.unflatten([_prox_update(*leaf) for leaf in zip(*columns, strict=True)])
        count = optax.safe_increment(state.count)
        return moved, state._replace(count=count, strength=strengths, inner=step.state)

    return on_floats(optax.GradientTransformation(init_all, update), strength.check)


def laid_out(groups: Groups | None, x: Array) -> Array:
    """The array in the layout of its groups, if it has any."""
    return x if groups is None else to_layout(x, layout(groups, x.shape)[0])


def pool(
    groups: LeafGroups, leaves: list[Array], mean: Callable[..., Array] = jnp.mean
) -> list[Array]:
    """The mean of each group, in the groups' layout and of length 1 along their axes; other leaves as they are."""

    def pool_leaf(group: Groups | None, leaf: Array) -> Array:
        if group is None:
            return leaf
        shape, axes = layout(group, leaf.shape)
        return mean(to_layout(wide(leaf), shape), axes, keepdims=True)

    return [pool_leaf(group, leaf) for group, leaf in zip(groups, leaves, strict=True)]


def root_mean_square(d: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    """√(mean of d²) over these axes."""
    return jnp.sqrt(jnp.mean(jnp.square(d), axes, keepdims=keepdims))


def _prox_update(
    penalty: Penalty | None,
    group: Groups | None,
    direction: Array,
    factor: ArrayLike,
    p: Array,
    step: Array,
) -> Array:
    """prox(p + direction·factor, step) − p of one leaf; the step alone where it has no penalty."""
    if penalty is None or group is None:
        return prox_update(penalty, (direction * factor).astype(direction.dtype), p, step)

    def point(direction: Array, factor: ArrayLike, p: Array) -> Array:
        return wide(p) + wide(direction) * factor

    inputs = laid_out(group, direction), factor, laid_out(group, p)
    x = point(*inputs)
    penalty = in_layout(penalty, p.shape)
    if isinstance(penalty, GroupL1) and jnp.shape(factor) == step.shape:
        # XLA would keep x between the pass that takes the norms and the one that shrinks, on CPUs
        # in new memory at every step. Behind a barrier x is another value, computed once more.
        again = point(*jax.lax.optimization_barrier(inputs))
        new = of_leaf(GroupL1.shrinkage, penalty, again, step) * x
    else:
        new = prox_of_leaf(penalty, x, step)
    return from_layout(new - inputs[2], p).astype(direction.dtype)
