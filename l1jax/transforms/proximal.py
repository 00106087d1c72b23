"""Proximal gradient steps: plain, and in the diagonal metric of the optimiser."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from l1jax.penalties import Penalty, leaf_penalties, scaled
from l1jax.transforms import preconditioners
from l1jax.transforms.preconditioners import Preconditioner


class ProximalState(NamedTuple):
    """State of `proximal`."""

    count: Int[Array, ""]  # updates applied so far
    scale: Float[Array, ""]  # multiplies every strength of the penalty


class PreconditionedProximalState(NamedTuple):
    """State of `preconditioned_proximal`."""

    count: Int[Array, ""]  # updates applied so far
    scale: Float[Array, ""]  # multiplies every strength of the penalty
    inner: optax.OptState


def proximal(penalty: Penalty, learning_rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """Turn a gradient step into a proximal gradient step; chain it last.

    Replaces the update u by prox(p + u, learning_rate) − p, so that every pruned entry of
    `optax.apply_updates(params, updates)` is exactly zero. Leaves without a penalty pass untouched.

    After plain gradient descent with this learning rate the fixed points are those of loss + penalty.
    After Adam they satisfy g = −λ(√ν + ε) sign(x), a curvature-weighted L1, decoupled like AdamW's
    decay; `proximal_adam` solves the stated problem instead.

    Args:
        penalty: what to penalise, over the parameters that `update` gets.
        learning_rate: the step of the prox, a scalar or a schedule; the chain's own learning rate.

    Raises:
        ValueError: from `init` if a `by_path` pattern does not fit the parameters; from `update`
            without `params`.

    Source: Parikh and Boyd, Proximal Algorithms (2014), section 4.2.
    """

    def init(params: optax.Params) -> ProximalState:
        leaf_penalties(penalty, params)  # refuse patterns that match nothing before training starts
        return ProximalState(count=jnp.zeros([], jnp.int32), scale=jnp.ones([], float))

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, ProximalState]:
        step = _at(learning_rate, state.count)
        updates = _prox_updates(scaled(penalty, state.scale), updates, params, jax.tree.map(lambda _: step, updates))
        return updates, state._replace(count=optax.safe_increment(state.count))

    return optax.GradientTransformation(init, update)


def preconditioned_proximal(
    inner: optax.GradientTransformation,
    preconditioner: Preconditioner,
    penalty: Penalty,
    learning_rate: optax.ScalarOrSchedule,
) -> optax.GradientTransformation:
    """Follow an adaptive optimiser by the prox in the optimiser's own diagonal metric.

    With u the inner update and d its denominator, the new parameters are
    argmin over y of penalty(y) + ½ Σ dᵢ/learning_rate·(yᵢ − pᵢ − uᵢ)². Fixed points satisfy
    −g ∈ ∂penalty: exactly the minimisers' condition for loss + penalty, for any metric.

    Args:
        inner: an optax optimiser that includes its learning rate, such as `optax.adam(1e-3)`.
        preconditioner: its denominator as a function of its state, from `l1jax.preconditioners`.
        penalty: what to penalise, over the parameters that `update` gets.
        learning_rate: the inner optimiser's own, a scalar or a schedule.

    Raises:
        ValueError: from `init` if a `by_path` pattern does not fit the parameters; from `update`
            without `params`.

    Source: Yun, Lozano, Yang: Adaptive proximal gradient methods, NeurIPS 2021, algorithm 1.
    """

    def init(params: optax.Params) -> PreconditionedProximalState:
        leaf_penalties(penalty, params)  # refuse patterns that match nothing before training starts
        return PreconditionedProximalState(jnp.zeros([], jnp.int32), jnp.ones([], float), inner.init(params))

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, PreconditionedProximalState]:
        updates, inner_state = inner.update(updates, state.inner, params)
        step = _at(learning_rate, state.count)
        steps = jax.tree.map(lambda d: step / d, preconditioner(inner_state))
        updates = _prox_updates(scaled(penalty, state.scale), updates, params, steps)
        return updates, state._replace(count=optax.safe_increment(state.count), inner=inner_state)

    return optax.GradientTransformation(init, update)


def proximal_adam(
    learning_rate: optax.ScalarOrSchedule,
    penalty: Penalty,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
) -> optax.GradientTransformation:
    """Adam whose every step ends with the prox in Adam's own metric, step learning_rate/(√ν̂ + ε).

    For L1 each entry is soft-thresholded at learning_rate·λ/(√ν̂ᵢ + ε), both moments bias-corrected.
    Converges (learning rate decayed) to the true optimum of loss + penalty, with exact zeros.

    Args:
        learning_rate: a scalar or a schedule of the number of updates so far.
        penalty: what to penalise, over the parameters that `update` gets.
        b1: decay of the first moment, in [0, 1).
        b2: decay of the second moment, in [0, 1).
        eps: added to the root of the second moment.
        eps_root: added inside that root.

    Source: Kingma and Ba, ICLR 2015; Yun, Lozano, Yang, NeurIPS 2021.
    """
    inner = optax.adam(learning_rate, b1=b1, b2=b2, eps=eps, eps_root=eps_root)
    return preconditioned_proximal(inner, preconditioners.adam(b2, eps, eps_root), penalty, learning_rate)


def _at(learning_rate: optax.ScalarOrSchedule, count: Int[Array, ""]) -> Any:
    return learning_rate(count) if callable(learning_rate) else learning_rate


def _prox_updates(penalty: Penalty, updates: PyTree, params: PyTree | None, steps: PyTree) -> PyTree:
    """prox(p + u, step) − p for the leaves that have a penalty, u for the others."""
    if params is None:
        raise ValueError("`params` (=None) must be given to `update`: the prox is taken at params + updates.")

    def move(leaf_penalty: Penalty | None, u: Array, p: Array, step: Any) -> Array:
        if leaf_penalty is None:
            return u
        wide = jnp.promote_types(p.dtype, jnp.float32)
        start = p.astype(wide)
        return (leaf_penalty.prox(start + u.astype(wide), step) - start).astype(u.dtype)

    leaves, treedef = jax.tree.flatten(updates)
    columns = (leaf_penalties(penalty, params), leaves, jax.tree.leaves(params), jax.tree.leaves(steps))
    return treedef.unflatten([move(*row) for row in zip(*columns, strict=True)])
