"""Proximal gradient steps: plain, and in the diagonal metric of the optimiser."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree

from l1jax.penalties import Penalty, check_metric, in_layout
from l1jax.penalties.groups import layout
from l1jax.transforms.leaves import at, check_rate, matched, prox_updates, wide
from l1jax.transforms.preconditioners import Preconditioner
from l1jax.transforms.strengths import Scale, StrengthState, moved_by


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
            `by_path` pattern does not fit the parameters, or a `group_mcp` would meet steps that
            differ within its groups, or the preconditioner is another optimiser's; from `update` without
            `params`.

    Source: Yun, Lozano, Yang: Adaptive proximal gradient methods, NeurIPS 2021, algorithm 1.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> metric = l1jax.preconditioners.amsgrad()
    >>> tx = l1jax.preconditioned_proximal(optax.amsgrad(0.1), metric, l1jax.l1(2.0), 0.1)
    >>> params = jnp.array([1.0, 1.0])  # Adam's first step is 0.1; the threshold 0.1·2/|g|
    >>> updates, _ = tx.update(jnp.array([1.0, 4.0]), tx.init(params), params)
    >>> [round(x, 3) for x in optax.apply_updates(params, updates).tolist()]
    [0.7, 0.85]
    """
    check_rate(learning_rate)
    strength = moved_by(penalty, scale)

    def init(params: optax.Params) -> PreconditionedProximalState:
        if not per_group:
            check_metric(penalty, params, "take `per_group=True`")
        strengths, inner_state = strength.init(params), inner.init(params)
        jax.eval_shape(preconditioner, inner_state)  # refuses the state of another optimiser
        return PreconditionedProximalState(jnp.zeros([], jnp.int32), strengths, inner_state)

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, PreconditionedProximalState]:
        params = matched(params, updates, "the prox is taken at params + updates")
        updates, inner_state = inner.update(updates, state.inner, params)
        penalties, strengths = strength.update(state.strength, params)
        step, metric = at(learning_rate, state.count), preconditioner(inner_state)
        if per_group:
            updates = _prox_per_group(penalties, updates, params, metric, step)
        else:
            updates = prox_updates(penalties, updates, params, jax.tree.map(lambda d: step / wide(d), metric))
        return updates, state._replace(count=optax.safe_increment(state.count), strength=strengths, inner=inner_state)

    return optax.GradientTransformation(init, update)


def _prox_per_group(
    penalties: list[Penalty | None], updates: PyTree, params: PyTree, metric: PyTree, learning_rate: Array
) -> PyTree:
    """`prox_updates` in the metric pooled over each group, in which the gradient step is taken too."""

    def pool(penalty: Penalty | None, u: Array, p: Array, d: Array) -> tuple[Penalty | None, Array, Array, Array]:
        groups = getattr(penalty, "axis", None)
        if penalty is None or groups is None:
            return penalty, u, p, learning_rate / wide(d)
        shape, axes = layout(groups, d.shape)
        d = wide(d).reshape(shape)
        pooled = jnp.sqrt(jnp.mean(jnp.square(d), axes, keepdims=True))
        u = (wide(u).reshape(shape) * (d / pooled)).astype(u.dtype)
        return in_layout(penalty, p.shape), u, p.reshape(shape), learning_rate / pooled

    leaves, treedef = jax.tree.flatten(updates)
    columns = (penalties, leaves, jax.tree.leaves(params), jax.tree.leaves(metric))
    rows = [pool(*row) for row in zip(*columns, strict=True)]
    moved = prox_updates([row[0] for row in rows], *([row[i] for row in rows] for i in (1, 2, 3)))
    return treedef.unflatten([new.reshape(u.shape) for new, u in zip(moved, leaves, strict=True)])
