"""The update that all methods of dual averaging share."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from l1jax.annotations import Array, ArrayLike, Float, Int, PyTree
from l1jax.penalties import convex_part, is_concrete_number
from l1jax.penalties.numerics import upcast
from l1jax.transforms.floating_leaves import on_floating_leaves
from l1jax.transforms.leaves import (
    copy_leaves,
    linearise_concave,
    prox_leaves,
    require_params_like,
    schedule_value,
)
from l1jax.transforms.strengths import Strength, StrengthState


class DualAveragingState(NamedTuple):
    """State of `regularized_dual_averaging`, `rmda`, `ramda`; the sums since the last restart."""

    count: Int[Array, ""]  # updates applied so far
    strength: StrengthState
    start: PyTree  # W⁰, the parameters at the last restart
    gradient_sum: PyTree  # V = Σ sₖGₖ, at least float32
    square_sum: PyTree  # U = Σ sₖGₖ², at least float32; None unless `ramda`
    weight_sum: Float[Array, ""]  # α = Σ sₖ
    scale_sum: PyTree  # Σ sₖ·scaleₖ, which is α while nothing scales the strength
    solution: PyTree  # Ŵ, exactly sparse, like the parameters


class DualAveragingRule(NamedTuple):
    """What the methods of dual averaging differ in."""

    weight: Callable[[Array, Array], Array]
    """s of the next gradient, from the number of updates so far and k since the last restart."""
    metric: Callable[[DualAveragingState, Array], PyTree]
    """P of the quadratic term, a number or a tree, from the state with the next gradient and k."""
    momentum: optax.ScalarOrSchedule
    """c."""
    restarts: Sequence[int]
    """Numbers of updates after which the sums start again."""
    needs_squares: bool
    """Whether the metric reads the sum of squared gradients."""


def dual_averaging(rule: DualAveragingRule, strength: Strength) -> optax.GradientTransformation:
    """Take Ŵ = prox of α/P·penalty at W⁰ − V/P, then W ← (1 − c)W + cŴ.

    A strength that changes has the mean of its values so far, weighted as the gradients are: each
    gradient meets the penalty of its own update (the cumulative form of McMahan, AISTATS 2011).
    """
    check_momentum(rule.momentum)
    _check_restarts(rule.restarts)
    stages = list(zip((0, *rule.restarts), rule.restarts, strict=False))

    def init(params: optax.Params) -> DualAveragingState:
        start = copy_leaves(params)

        def zeros() -> PyTree:
            return jax.tree.map(lambda p: jnp.zeros_like(upcast(p)), start)

        strength_state = strength.init(params)
        scale, _ = jax.eval_shape(strength.next_scale, strength_state, params)
        return DualAveragingState(
            count=jnp.zeros([], jnp.int32),
            strength=strength_state,
            start=start,
            gradient_sum=zeros(),
            square_sum=zeros() if rule.needs_squares else None,
            weight_sum=jnp.zeros([], float),
            scale_sum=jax.tree.map(lambda x: jnp.zeros(x.shape, float), scale),
            solution=copy_leaves(params),
        )

    def updates_since_restart(count: Array) -> Array:
        begin = sum(jnp.where(count >= end, end - start, 0) for start, end in stages)
        return jnp.asarray(count - begin + 1, float)

    def restart(state: DualAveragingState, params: PyTree, k: Array) -> DualAveragingState:
        """Start the sums again at the first update of a stage."""
        fresh = init(params)
        restarted = ("start", "gradient_sum", "square_sum", "weight_sum", "scale_sum")

        def choose(name: str) -> PyTree:
            return jax.tree.map(
                lambda new, old: jnp.where(k == 1, new, old),
                getattr(fresh, name),
                getattr(state, name),
            )

        return state._replace(**{name: choose(name) for name in restarted})

    def update(
        updates: optax.Updates, state: PyTree, params: optax.Params | None = None
    ) -> tuple[optax.Updates, DualAveragingState]:
        reason = "they are averaged with the minimiser and start each stage"
        params = require_params_like(params, updates, reason)
        k = updates_since_restart(state.count)
        if rule.restarts:
            state = restart(state, params, k)
        s = rule.weight(state.count, k)
        c = schedule_value(rule.momentum, state.count)
        # Controllers of the strength count the zeros of the sparse iterate.
        scale, strength_state = strength.next_scale(state.strength, state.solution)
        _, grads = linearise_concave(strength.penalties(scale, params), updates, params)

        def add(total: Array, x: ArrayLike) -> Array:
            return total + s.astype(total.dtype) * x

        def add_square(total: Array, g: Array) -> Array:
            return add(total, jnp.square(upcast(g)))

        square_sum = None
        if rule.needs_squares:
            square_sum = jax.tree.map(add_square, state.square_sum, grads)
        state = state._replace(
            strength=strength_state,
            gradient_sum=jax.tree.map(
                lambda total, g: add(total, upcast(g)), state.gradient_sum, grads
            ),
            square_sum=square_sum,
            weight_sum=add(state.weight_sum, jnp.ones([])),
            scale_sum=jax.tree.map(add, state.scale_sum, scale),
        )
        inverse = jax.tree.map(lambda p: 1 / p, jax.tree.broadcast(rule.metric(state, k), params))
        minimum = minimise(state, inverse, params)
        new_updates = jax.tree.map(
            lambda g, w, p: (c * (w - upcast(p))).astype(g.dtype), grads, minimum, params
        )
        solution = jax.tree.map(lambda w, p: w.astype(p.dtype), minimum, params)
        count = optax.safe_increment(state.count)
        return new_updates, state._replace(count=count, solution=solution)

    def minimise(state: DualAveragingState, inverse: PyTree, params: PyTree) -> PyTree:
        """Return Ŵ, with `inverse` 1/P."""
        mean_scale = jax.tree.map(lambda total: total / state.weight_sum, state.scale_sum)
        penalties = [
            None if penalty is None else convex_part(penalty)
            for penalty in strength.penalties(mean_scale, params)
        ]
        points = jax.tree.map(
            lambda w, v, p: upcast(w) - v * p, state.start, state.gradient_sum, inverse
        )
        steps = jax.tree.map(lambda p: state.weight_sum * p, inverse)
        return prox_leaves(penalties, points, steps)

    return on_floating_leaves(optax.GradientTransformation(init, update), strength.check)


def _check_restarts(restarts: Sequence[int]) -> None:
    if isinstance(restarts, int):
        raise ValueError(
            f"`restarts` (={restarts}) must be a sequence of numbers of updates, such as "
            f"({restarts},)."
        )
    if any(later <= earlier for earlier, later in zip((0, *restarts), restarts, strict=False)):
        raise ValueError(
            f"`restarts` (={tuple(restarts)}) must be positive and rise, such as (3000, 6000)."
        )


def check_momentum(momentum: ArrayLike | optax.Schedule) -> None:
    """Raise if a concrete momentum is outside (0, 1]; schedules and tracers pass."""
    if not is_concrete_number(momentum):
        return
    if not (np.float32(momentum) > 0 and momentum <= 1):  # 1e-50 is 0 in float32
        raise ValueError(
            f"`momentum` (={momentum}) must be above 0 and at most 1, which averages nothing."
        )
