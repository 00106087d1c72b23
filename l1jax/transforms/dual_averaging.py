"""Dual averaging: sums of gradients instead of the last one, which identifies the sparse structure."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Float, Int, PyTree

from l1jax.penalties import Penalty, check_number, convex_part, is_concrete_number
from l1jax.penalties.numerics import upcast
from l1jax.transforms.floating_leaves import on_floating_leaves
from l1jax.transforms.leaves import (
    check_rate,
    copy_leaves,
    linearise_concave,
    prox_leaves,
    require_params_like,
    schedule_value,
)
from l1jax.transforms.strengths import Scale, Strength, StrengthState, bind_strength


class DualAveragingState(NamedTuple):
    """State of `regularized_dual_averaging`, `rmda` and `ramda`; the sums since the last restart."""

    count: Int[Array, ""]  # updates applied so far
    strength: StrengthState
    start: PyTree  # W⁰, the parameters at the last restart
    gradient_sum: PyTree  # V = Σ sₖGₖ, at least float32
    square_sum: PyTree  # U = Σ sₖGₖ², at least float32; None unless `ramda`
    weight_sum: Float[Array, ""]  # α = Σ sₖ
    scale_sum: PyTree  # Σ sₖ·scaleₖ, α while nothing moves the strength
    solution: PyTree  # Ŵ, exactly sparse, like the parameters


def regularized_dual_averaging(
    learning_rate: optax.ScalarOrSchedule, penalty: Penalty, *, scale: Scale = None
) -> optax.GradientTransformation:
    """Minimise the average of all linearised losses, plus penalty, plus a growing quadratic term.

    W ← argmin over W of k·penalty(W) + ⟨Σ Gₖ, W⟩ + √k/(2η)·‖W − W⁰‖² after k updates: the threshold
    in force is the full λ per gradient, however small the steps become, so zeros come early and
    stay. Converges to the minimum of loss + penalty at the rate 1/√k; every iterate is exactly sparse.

    Args:
        learning_rate: η, the inverse of Xiao's γ; a scalar or a schedule of the updates so far.
        penalty: what to penalise, over the parameters that `update` gets; convex, or one that levels
            off (`mcp`, `scad`, `log_sum`, `group_mcp`), whose concave part then counts as loss.
        scale: moves the strength: a schedule, or a transformation such as `track_sparsity`.

    Raises:
        ValueError: from `init` if a `by_path` pattern does not fit the parameters, or a penalised leaf
            is not of floating point; from `update` without `params`.

    Source: Xiao, Dual averaging methods for regularized stochastic learning and online optimization,
    JMLR 11 (2010), algorithm 1 and section 3.1, centred at the start W⁰.

    >>> import jax.numpy as jnp, l1jax
    >>> tx, params = l1jax.regularized_dual_averaging(1.0, l1jax.l1(0.5)), jnp.zeros(2)
    >>> updates, _ = tx.update(jnp.array([2.0, 0.3]), tx.init(params), params)
    >>> (params + updates).tolist()  # −soft_threshold(2, ½)
    [-1.5, 0.0]
    """

    def weight(count: Array, k: Array) -> Array:
        return jnp.ones([], k.dtype)

    def metric(state: DualAveragingState, k: Array) -> Array:
        return jnp.sqrt(k) / schedule_value(learning_rate, state.count)

    return _dual_averaging(
        learning_rate,
        weight,
        metric,
        bind_strength(penalty, scale),
        momentum=1.0,
        restarts=(),
        squares=False,
    )


def rmda(
    learning_rate: optax.ScalarOrSchedule,
    penalty: Penalty,
    momentum: optax.ScalarOrSchedule = 0.1,
    *,
    restarts: Sequence[int] = (),
    scale: Scale = None,
) -> optax.GradientTransformation:
    """Regularised dual averaging with momentum.

    Gradient k since the last restart has the weight sₖ = η√k; with V = Σ sₖGₖ and α = Σ sₖ,
    Ŵ = argmin over W of α·penalty(W) + ⟨V, W⟩ + ½√k·‖W − W⁰‖² and W ← (1 − c)W + cŴ.
    Converges to a stationary point of loss + penalty and identifies its zeros after finitely many
    updates, also with noisy gradients, which proximal SGD and Adam do not. Ŵ, which
    `l1jax.solution` returns, is exactly sparse; the parameters W are once c is 1.

    Args:
        learning_rate: η, a scalar or a schedule of the updates so far.
        penalty: what to penalise, over the parameters that `update` gets; convex, or one that levels
            off (`mcp`, `scad`, `log_sum`, `group_mcp`), whose concave part then counts as loss.
        momentum: c in (0, 1], a scalar or a schedule of the updates so far that ends at 1, such as
            `l1jax.rising_momentum`.
        restarts: numbers of updates after which W⁰ ← W and the sums start again from zero; the
            paper restarts wherever the learning rate drops, by 10 each time.
        scale: moves the strength: a schedule, or a transformation such as `track_sparsity`.

    Raises:
        ValueError: from `init` if a `by_path` pattern does not fit the parameters, or a penalised leaf
            is not of floating point; from `update` without `params`; for a momentum outside (0, 1] and
            for restarts that do not rise.

    Source: Huang and Lee, Training structured neural networks through manifold identification and
    variance reduction, ICLR 2022, algorithm 1.

    >>> import jax.numpy as jnp, l1jax
    >>> tx, params = l1jax.rmda(1.0, l1jax.l1(0.5), momentum=0.5), jnp.ones(2)
    >>> updates, state = tx.update(jnp.array([0.25, 0.75]), tx.init(params), params)
    >>> (params + updates).tolist(), l1jax.solution(state, params).tolist()  # Ŵ = (1 − g − ½)₊
    ([0.625, 0.5], [0.25, 0.0])
    """

    def weight(count: Array, k: Array) -> Array:
        return schedule_value(learning_rate, count) * jnp.sqrt(k)

    def metric(state: DualAveragingState, k: Array) -> Array:
        return jnp.sqrt(k)

    return _dual_averaging(
        learning_rate,
        weight,
        metric,
        bind_strength(penalty, scale),
        momentum,
        restarts,
        squares=False,
    )


def ramda(
    learning_rate: optax.ScalarOrSchedule,
    penalty: Penalty,
    momentum: optax.ScalarOrSchedule = 0.01,
    eps: optax.ScalarOrSchedule = 1e-2,
    *,
    restarts: Sequence[int] = (),
    scale: Scale = None,
) -> optax.GradientTransformation:
    """Regularised adaptive momentum dual averaging: `rmda` in a diagonal metric, as Adam is to SGD.

    As `rmda` with ½‖W − W⁰‖²_P instead of ½√k·‖W − W⁰‖², P = ∛U + ε and U = Σ sₖGₖ². Converges to the
    same points, stationary for loss + penalty, and identifies their zeros likewise.

    Args:
        learning_rate: η, a scalar or a schedule of the updates so far.
        penalty: what to penalise, over the parameters that `update` gets; convex, or one that levels
            off (`mcp`, `scad`, `log_sum`, `group_mcp`), whose concave part then counts as loss.
        momentum: c in (0, 1], a scalar or a schedule of the updates so far that ends at 1, such as
            `l1jax.rising_momentum`.
        eps: ε > 0, a scalar or a schedule of the updates so far; the paper multiplies it by 0.1 at
            each restart.
        restarts: numbers of updates after which W⁰ ← W and the sums start again from zero.
        scale: moves the strength: a schedule, or a transformation such as `track_sparsity`.

    Raises:
        ValueError: as `rmda`, and if `eps` is not positive.

    Source: Huang and Lee, Regularized adaptive momentum dual averaging with an efficient inexact
    subproblem solver for training structured neural network, NeurIPS 2024, algorithm 1.

    >>> import jax.numpy as jnp, l1jax
    >>> tx, params = l1jax.ramda(1.0, l1jax.l1(0.5), momentum=1.0, eps=1.0), jnp.array([2.0])
    >>> updates, _ = tx.update(jnp.array([1.0]), tx.init(params), params)
    >>> (params + updates).tolist()  # P = 1 + 1: 2 − 1/2 − 0.5/2
    [1.25]
    """

    if not callable(eps):
        check_number("eps", eps, strict=True, remedy="P = eps where the gradient is still 0")

    def weight(count: Array, k: Array) -> Array:
        return schedule_value(learning_rate, count) * jnp.sqrt(k)

    def metric(state: DualAveragingState, k: Array) -> PyTree:
        return jax.tree.map(
            lambda u: _cube_root(u) + schedule_value(eps, state.count), state.square_sum
        )

    return _dual_averaging(
        learning_rate,
        weight,
        metric,
        bind_strength(penalty, scale),
        momentum,
        restarts,
        squares=True,
    )


def rising_momentum(momentum: float, begin: int = 0) -> optax.Schedule:
    """A momentum that is constant before `begin` and then min(1, c√k), k = 1, 2, … from there on.

    Args:
        momentum: c in (0, 1].
        begin: the number of updates after which it rises, in the paper the last restart.

    Raises:
        ValueError: if `momentum` is outside (0, 1].

    Source: Huang and Lee, ICLR 2022, section 2, and the authors' program.

    >>> import l1jax
    >>> [float(l1jax.rising_momentum(0.5, begin=2)(count)) for count in (0, 2, 5, 9)]
    [0.5, 0.5, 1.0, 1.0]
    """
    _check_momentum(momentum)
    return lambda count: jnp.minimum(
        1.0, momentum * jnp.sqrt(jnp.maximum(jnp.asarray(count) - begin + 1.0, 1.0))
    )


def _dual_averaging(
    learning_rate: optax.ScalarOrSchedule,
    weight: Callable[[Array, Array], Array],
    metric: Callable[[DualAveragingState, Array], PyTree],
    strength: Strength,
    momentum: optax.ScalarOrSchedule,
    restarts: Sequence[int],
    squares: bool,
) -> optax.GradientTransformation:
    """Ŵ = prox of α/P·penalty at W⁰ − V/P, then W ← (1 − c)W + cŴ.

    A strength that moves has the mean of its values so far, weighted as the gradients are: each gradient meets the
    penalty of its own update (the cumulative form of McMahan, AISTATS 2011).
    """
    _check_momentum(momentum)
    check_rate(learning_rate)
    if isinstance(restarts, int):
        raise ValueError(
            f"`restarts` (={restarts}) must be a sequence of numbers of updates, such as ({restarts},)."
        )
    if any(later <= earlier for earlier, later in zip((0, *restarts), restarts, strict=False)):
        raise ValueError(
            f"`restarts` (={tuple(restarts)}) must be positive and rise, such as (3000, 6000)."
        )

    def init(params: optax.Params) -> DualAveragingState:
        start, solution = copy_leaves(params), copy_leaves(params)

        def zeros() -> PyTree:
            return jax.tree.map(lambda p: jnp.zeros_like(upcast(p)), start)

        square_sum = zeros() if squares else None
        count, weight_sum, moved = (
            jnp.zeros([], jnp.int32),
            jnp.zeros([], float),
            strength.init(params),
        )
        scale, _ = jax.eval_shape(strength.next_scale, moved, params)
        scale_sum = jax.tree.map(lambda x: jnp.zeros(x.shape, float), scale)
        return DualAveragingState(
            count, moved, start, zeros(), square_sum, weight_sum, scale_sum, solution
        )

    def restart(state: DualAveragingState, params: PyTree, k: Array) -> DualAveragingState:
        fresh = init(params)

        def choose(new: PyTree, old: PyTree) -> PyTree:
            return jax.tree.map(lambda n, o: jnp.where(k == 1, n, o), new, old)

        kept = ("start", "gradient_sum", "square_sum", "weight_sum", "scale_sum")
        return state._replace(
            **{name: choose(getattr(fresh, name), getattr(state, name)) for name in kept}
        )

    def update(
        updates: optax.Updates, state: PyTree, params: optax.Params | None = None
    ) -> tuple[optax.Updates, DualAveragingState]:
        params = require_params_like(
            params, updates, "they are averaged with the minimiser and start each stage"
        )
        begin = sum(
            jnp.where(state.count >= r, r - last, 0)
            for last, r in zip((0, *restarts), restarts, strict=False)
        )
        k = jnp.asarray(state.count - begin + 1, float)
        state = restart(state, params, k) if restarts else state
        s, c = weight(state.count, k), schedule_value(momentum, state.count)
        scale, strengths = strength.next_scale(state.strength, state.solution)  # whose zeros count
        _, updates = linearise_concave(strength.penalties(scale, params), updates, params)

        def add(total: Array, g: Array) -> Array:
            return total + s.astype(total.dtype) * g

        state = state._replace(
            strength=strengths,
            gradient_sum=jax.tree.map(lambda v, g: add(v, upcast(g)), state.gradient_sum, updates),
            square_sum=jax.tree.map(
                lambda u, g: add(u, jnp.square(upcast(g))), state.square_sum, updates
            )
            if squares
            else None,
            weight_sum=add(state.weight_sum, jnp.ones([])),
            scale_sum=jax.tree.map(add, state.scale_sum, scale),
        )
        penalties = strength.penalties(
            jax.tree.map(lambda x: x / state.weight_sum, state.scale_sum), params
        )
        penalties = [penalty and convex_part(penalty) for penalty in penalties]
        inverse = jax.tree.map(lambda p: 1 / p, jax.tree.broadcast(metric(state, k), params))
        minimum = jax.tree.map(
            lambda w, v, p: upcast(w) - v * p, state.start, state.gradient_sum, inverse
        )
        minimum = prox_leaves(
            penalties, minimum, jax.tree.map(lambda p: state.weight_sum * p, inverse)
        )
        updates = jax.tree.map(
            lambda g, w, p: (c * (w - upcast(p))).astype(g.dtype), updates, minimum, params
        )
        solution = jax.tree.map(lambda w, p: w.astype(p.dtype), minimum, params)
        return updates, state._replace(count=optax.safe_increment(state.count), solution=solution)

    return on_floating_leaves(optax.GradientTransformation(init, update), strength.check)


def _cube_root(u: Array) -> Array:
    """∛u for u ≥ 0, to the last digits; `jnp.cbrt` takes many times longer on CPUs.

    The bits of a number, read as an integer, are about linear in its logarithm, so that y = 1/∛u costs
    a subtraction, to 4 %. With e = 1 − uy³ it is y(1 − e)^(−1/3), whose series to e² leaves e³.

    Source: Lomont, Fast inverse square root (2003), for another root.
    """
    double = u.dtype == jnp.float64
    integer = jnp.int64 if double else jnp.int32
    magic = 0x553EF0FF289DD796 if double else 0x54A232A0
    third = (jax.lax.bitcast_convert_type(u, integer).astype(u.dtype) * (1 / 3)).astype(integer)
    inverse = jax.lax.bitcast_convert_type(jnp.asarray(magic, integer) - third, u.dtype)
    for _ in range(2 if double else 1):
        error = 1 - u * inverse * inverse * inverse
        inverse = inverse + inverse * error * (1 / 3 + error * (2 / 9))
    root = u * inverse * inverse
    error = 1 - root * inverse
    better = root + root * error * (2 / 3 + error * (5 / 9))
    return jnp.where(jnp.isfinite(root), better, root)


def _check_momentum(momentum: ArrayLike | optax.Schedule) -> None:
    if is_concrete_number(momentum) and not (
        np.float32(momentum) > 0 and momentum <= 1
    ):  # 1e-50 is 0 in float32
        raise ValueError(
            f"`momentum` (={momentum}) must be above 0 and at most 1, which averages nothing."
        )
