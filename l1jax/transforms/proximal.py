"""Proximal gradient steps: plain, and in the diagonal metric of the optimiser."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree

from l1jax.penalties import Penalty
from l1jax.penalties.groups import layout
from l1jax.transforms.leaves import at, prox_updates, required, wide
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
    strength = moved_by(penalty, scale)

    def init(params: optax.Params) -> ProximalState:
        return ProximalState(jnp.zeros([], jnp.int32), strength.init(params))

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, ProximalState]:
        params = required(params, "the prox is taken at params + updates")
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
        per_group: take one step size per group, for penalties that have an `axis` to reduce over:
            dᵢ becomes its root mean square over the group, in the gradient step (u times dᵢ over
            it) and in the prox, so the fixed points stay the same and a group's prox needs no
            inner iteration. Its step has length 1 along the group's axes.

    Raises:
        ValueError: from `init` if a `by_path` pattern does not fit the parameters; from `update`
            without `params`.

    Source: Yun, Lozano, Yang: Adaptive proximal gradient methods, NeurIPS 2021, algorithm 1.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> metric = l1jax.preconditioners.amsgrad()
    >>> tx = l1jax.preconditioned_proximal(optax.amsgrad(0.1), metric, l1jax.l1(2.0), 0.1)
    >>> params = jnp.array([1.0, 1.0])  # Adam's first step is 0.1; the threshold 0.1·2/|g|
    >>> updates, _ = tx.update(jnp.array([1.0, 4.0]), tx.init(params), params)
    >>> [round(x, 3) for x in optax.apply_updates(params, updates).tolist()]
    [0.7, 0.85]
    """
    strength = moved_by(penalty, scale)

    def init(params: optax.Params) -> PreconditionedProximalState:
        return PreconditionedProximalState(jnp.zeros([], jnp.int32), strength.init(params), inner.init(params))

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, PreconditionedProximalState]:
        params = required(params, "the prox is taken at params + updates")
        updates, inner_state = inner.update(updates, state.inner, params)
        penalties, strengths = strength.update(state.strength, params)
        metric = preconditioner(inner_state)
        if per_group:
            updates, metric = _one_step_per_group(penalties, updates, metric)
        step = at(learning_rate, state.count)
        updates = prox_updates(penalties, updates, params, jax.tree.map(lambda d: step / wide(d), metric))
        return updates, state._replace(count=optax.safe_increment(state.count), strength=strengths, inner=inner_state)

    return optax.GradientTransformation(init, update)


def _one_step_per_group(penalties: list[Penalty | None], updates: PyTree, metric: PyTree) -> tuple[PyTree, PyTree]:
    """Pool the metric over each group's axes, and take the gradient step in the pooled metric too."""

    def pool(penalty: Penalty | None, d: Array) -> Array:
        groups = getattr(penalty, "axis", None)
        if groups is None:
            return d
        shape, axes = layout(groups, d.shape)
        pooled = jnp.sqrt(jnp.mean(jnp.square(wide(d)).reshape(shape), axes, keepdims=True))
        return pooled if shape == d.shape else jnp.broadcast_to(pooled, shape).reshape(d.shape)

    leaves, treedef = jax.tree.flatten(metric)
    pooled = treedef.unflatten([pool(*row) for row in zip(penalties, leaves, strict=True)])
    updates = jax.tree.map(
        lambda u, d, group: (wide(u) * (wide(d) / wide(group))).astype(u.dtype), updates, metric, pooled
    )
    return updates, pooled
