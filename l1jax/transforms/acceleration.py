"""Accelerated proximal gradient descent for deterministic problems."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from l1jax.annotations import Array, Float, Int, PyTree
from l1jax.penalties import Penalty
from l1jax.penalties.numerics import upcast
from l1jax.transforms.floating_leaves import on_floating_leaves
from l1jax.transforms.leaves import (
    check_rate,
    copy_leaves,
    prox_updates,
    require_params_like,
    schedule_value,
)
from l1jax.transforms.strengths import Scale, StrengthState, bind_strength


class AcceleratedState(NamedTuple):
    """State of `accelerated`."""

    count: Int[Array, ""]  # updates applied so far
    strength: StrengthState
    momentum: Float[Array, ""]  # FISTA's t, 1 after a restart
    solution: PyTree  # the sparse iterate x, like the parameters


def accelerated(
    learning_rate: optax.ScalarOrSchedule, penalty: Penalty, *, scale: Scale = None
) -> optax.GradientTransformation:
    """Minimise by FISTA with adaptive restart, an optimiser for full, deterministic gradients.

    With y the parameters (where the gradient g is taken) and x the sparse iterate in the state,
    x⁺ = prox(y − ηg, η), t⁺ = (1 + √(1 + 4t²))/2, y⁺ = x⁺ + (t − 1)/t⁺·(x⁺ − x). t returns to 1
    whenever ⟨y − x⁺, x⁺ − x⟩ > 0, that is when the momentum points uphill. It converges to the
    minimum of loss + penalty at the rate 1/k² after k updates, and linearly where that is
    strongly convex.

    The solution is `l1jax.solution(opt_state, params)`, which is exactly sparse; the parameters
    themselves are extrapolated past it.

    Args:
        learning_rate: η, at most 1/L with L the largest curvature of the loss; a scalar or a
            schedule of the number of updates so far.
        penalty: what to penalise, over the parameters that `update` gets; convex.
        scale: multiplies the strength: a schedule, or a transformation such as `track_sparsity`.

    Raises:
        ValueError: from `init` if a `by_path` pattern does not fit the parameters, or a penalised
            leaf is not of floating point; from `update` without `params`.

    Source: Beck and Teboulle, SIAM J. Imaging Sci. 2 (2009), section 4; restart: O'Donoghue and
    Candès, Found. Comput. Math. 15 (2015), section 3.2.

    >>> import jax, jax.numpy as jnp, l1jax, optax
    >>> tx = l1jax.accelerated(0.5, l1jax.l1(1.0))
    >>> params = jnp.array([3.0, 0.2])
    >>> state = tx.init(params)
    >>> update = jax.jit(tx.update)
    >>> for _ in range(50):  # ½‖p − (3, 0.2)‖² + ‖p‖₁ has its minimum at (2, 0)
    ...     updates, state = update(params - jnp.array([3.0, 0.2]), state, params)
    ...     params = optax.apply_updates(params, updates)
    >>> l1jax.solution(state, params).round(3).tolist()
    [2.0, 0.0]
    """
    check_rate(learning_rate)
    strength = bind_strength(penalty, scale)

    def init(params: optax.Params) -> AcceleratedState:
        return AcceleratedState(
            count=jnp.zeros([], jnp.int32),
            strength=strength.init(params),
            momentum=jnp.ones([], float),
            solution=copy_leaves(params),
        )

    def update(
        updates: optax.Updates, state: PyTree, params: optax.Params | None = None
    ) -> tuple[optax.Updates, AcceleratedState]:
        params = require_params_like(params, updates, "the prox is taken at params + updates")
        step = schedule_value(learning_rate, state.count)
        # Controllers of the strength count the zeros of the sparse iterate.
        penalties, strengths = strength.update(state.strength, state.solution)
        descent = jax.tree.map(lambda g: (-step * upcast(g)).astype(g.dtype), updates)
        to_solution = prox_updates(penalties, descent, params, step)
        solution = jax.tree.map(
            lambda y, u: (upcast(y) + upcast(u)).astype(y.dtype), params, to_solution
        )
        change = jax.tree.map(lambda x, old: upcast(x) - upcast(old), solution, state.solution)
        products = jax.tree.map(lambda u, c: -jnp.sum(u * c), to_solution, change)
        uphill = sum(jax.tree.leaves(products))
        momentum = jnp.where(uphill > 0, 1.0, state.momentum)
        next_momentum = (1 + jnp.sqrt(1 + 4 * jnp.square(momentum))) / 2
        extrapolation = (momentum - 1) / next_momentum
        updates = jax.tree.map(
            lambda u, c: (upcast(u) + extrapolation * c).astype(u.dtype), to_solution, change
        )
        return updates, state._replace(
            count=optax.safe_increment(state.count),
            strength=strengths,
            momentum=next_momentum.astype(momentum.dtype),
            solution=solution,
        )

    return on_floating_leaves(optax.GradientTransformation(init, update), strength.check)
