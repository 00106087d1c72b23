"""Proximal gradient steps: plain, and in the diagonal metric of the optimiser."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree

from l1jax.penalties import Penalty, in_layout
from l1jax.penalties.groups import Groups, layout
from l1jax.transforms.leaves import at, check_rate, linearise_concave, matched, prox_updates, wide
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
        ValueError: from `init` if a `by_path` pattern does not fit the parameters; from `update`
            without `params`.

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
        updates = prox_updates(penalties, updates, params, jax.tree.map(lambda _: step, updates))
        return updates, state._replace(count=optax.safe_increment(state.count), strength=strengths)

    return optax.GradientTransformation(init, update)


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
            `by_path` pattern does not fit the parameters, or the preconditioner is another optimiser's;
            from `update` without `params`.

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
        jax.eval_shape(preconditioner, state)  # refuses the state of another optimiser
        return state

    def metric(moved: Any, groups: LeafGroups) -> PyTree:
        return group_means(groups, preconditioner(moved[1]), _root_mean_square)

    def direction(moved: Any, pooled: PyTree, groups: LeafGroups) -> optax.Updates:
        updates, state = moved

        def rescale(group: Groups | None, u: Array, d: Array, common: Array) -> Array:
            if group is None:
                return u
            return (laid_out(group, wide(u)) * (laid_out(group, wide(d)) / common)).reshape(u.shape).astype(u.dtype)

        return map_leaves(rescale, groups, updates, preconditioner(state), pooled)

    return proximal_in_metric(Inner(init, inner.update, metric, direction), penalty, learning_rate, scale, per_group)


class Inner(NamedTuple):
    """An optimiser in three parts. `groups` says of each leaf over which groups d is one number; None: over none.

    init: params → state.
    update: (grads, state, params) → (whatever `metric` and `direction` need besides, state).
    metric: (what `update` returned, groups) → d, in the groups' layout and of length 1 along their axes.
    direction: (what `update` returned, d, groups) → updates.
    twice: whether to compute the direction once more for the norms of groups, as is cheap for plain products of the
        state: kept between two passes it would be new memory at every step, whose page faults on CPUs cost more.
    """

    init: Callable[[optax.Params], optax.OptState]
    update: Callable[[optax.Updates, Any, Any], tuple[PyTree, Any]]
    metric: Callable[[Any, LeafGroups], PyTree]
    direction: Callable[[Any, PyTree, LeafGroups], optax.Updates]
    twice: bool = False


def proximal_in_metric(
    inner: Inner, penalty: Penalty, learning_rate: optax.ScalarOrSchedule, scale: Scale, per_group: bool
) -> optax.GradientTransformation:
    """Let the prox in the metric d/learning_rate follow an optimiser.

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
        return PreconditionedProximalState(jnp.zeros([], jnp.int32), strength.init(params), inner.init(params))

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, PreconditionedProximalState]:
        params = matched(params, updates, "the prox is taken at params + updates")
        penalties, strengths = strength.update(state.strength, params)
        penalties, updates = linearise_concave(penalties, updates, params)
        groups = [getattr(p, "axis", None) if per_group else None for p in penalties]
        moved = inner.update(updates, state.inner, params)
        metric = inner.metric(moved, groups)
        updates, same = inner.direction(moved, metric, groups), None
        if per_group and inner.twice:
            moved_too, metric_too, params_too = jax.lax.optimization_barrier((moved, metric, params))
            same = jax.tree.map(
                lambda p, u: wide(p) + wide(u), params_too, inner.direction(moved_too, metric_too, groups)
            )
        rate = at(learning_rate, state.count)
        steps = jax.tree.map(lambda d: rate * (1 / wide(d)), metric)
        updates = _prox_in_layout(groups, penalties, updates, params, steps, same)
        count = optax.safe_increment(state.count)
        return updates, state._replace(count=count, strength=strengths, inner=moved[1])

    return optax.GradientTransformation(init_all, update)


def map_leaves(f: Callable[..., Array], groups: LeafGroups, tree: PyTree, *rest: PyTree) -> PyTree:
    """f(groups, leaf, …) of each leaf."""
    leaves, treedef = jax.tree.flatten(tree)
    columns = (groups, leaves, *(jax.tree.leaves(other) for other in rest))
    return treedef.unflatten([f(*row) for row in zip(*columns, strict=True)])


def laid_out(groups: Groups | None, x: Array) -> Array:
    """The array in the layout of its groups, if it has any."""
    return x if groups is None else x.reshape(layout(groups, x.shape)[0])


def group_means(groups: LeafGroups, tree: PyTree, mean: Callable[..., Array] = jnp.mean) -> PyTree:
    """The mean of each group, in the groups' layout and of length 1 along their axes; other leaves as they are."""

    def pool(group: Groups | None, leaf: Array) -> Array:
        if group is None:
            return leaf
        shape, axes = layout(group, leaf.shape)
        return mean(wide(leaf).reshape(shape), axes, keepdims=True)

    return map_leaves(pool, groups, tree)


def _root_mean_square(d: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    return jnp.sqrt(jnp.mean(jnp.square(d), axes, keepdims=keepdims))


def _prox_in_layout(
    groups: LeafGroups,
    penalties: list[Penalty | None],
    updates: PyTree,
    params: PyTree,
    steps: PyTree,
    same: PyTree,
) -> PyTree:
    """`prox_updates` with each leaf in the layout of its groups."""
    leaves, treedef = jax.tree.flatten(updates)
    points = [laid_out(group, p) for group, p in zip(groups, jax.tree.leaves(params), strict=True)]
    moves = [laid_out(group, u) for group, u in zip(groups, leaves, strict=True)]
    again = None if same is None else [laid_out(g, x) for g, x in zip(groups, jax.tree.leaves(same), strict=True)]
    laid = [
        in_layout(penalty, u.shape) if penalty is not None and group is not None else penalty
        for group, penalty, u in zip(groups, penalties, leaves, strict=True)
    ]
    moved = prox_updates(laid, moves, points, jax.tree.leaves(steps), again)
    return treedef.unflatten([new.reshape(u.shape) for new, u in zip(moved, leaves, strict=True)])
