"""Dual averaging: sums of gradients instead of the last one, to identify the sparse structure."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from l1jax.annotations import Array, ArrayLike, PyTree
from l1jax.penalties import Penalty, check_number
from l1jax.transforms.dual_averaging_update import (
    DualAveragingRule,
    DualAveragingState,
    check_momentum,
    dual_averaging,
)
from l1jax.transforms.leaves import (
    check_rate,
    schedule_value,
)
from l1jax.transforms.strengths import Scale, bind_strength


def regularized_dual_averaging(
    learning_rate: optax.ScalarOrSchedule, penalty: Penalty, *, scale: Scale = None
) -> optax.GradientTransformation:
    """Minimise the average of all linearised losses, plus penalty, plus a growing quadratic term.

    W ← argmin over W of k·penalty(W) + ⟨Σ Gₖ, W⟩ + √k/(2η)·‖W − W⁰‖² after k updates. The threshold
    in force is the full λ per gradient, however small the steps become, so zeros come early and
    stay. For a convex loss it converges to the minimum of loss + penalty at the rate 1/√k; every
    iterate is exactly sparse.

    Args:
        learning_rate: η, the inverse of Xiao's γ; a scalar or a schedule of the updates so far.
        penalty: what to penalise, over the parameters that `update` gets; convex, or one that
            levels off (`mcp`, `scad`, `log_sum`, `group_mcp`), whose concave part then counts as
            loss.
        scale: multiplies the strength: a schedule, or a transformation such as `track_sparsity`.

    Raises:
        ValueError: from `init` if a `by_path` pattern does not fit the parameters, or a penalised
            leaf is not of floating point; from `update` without `params`.

    Source: Xiao, Dual averaging methods for regularized stochastic learning and online
    optimization, JMLR 11 (2010), algorithm 1 and section 3.1, centred at the start W⁰.

    >>> import jax.numpy as jnp, l1jax
    >>> tx = l1jax.regularized_dual_averaging(1.0, l1jax.l1(0.5))
    >>> params = jnp.zeros(2)
    >>> updates, _ = tx.update(jnp.array([2.0, 0.3]), tx.init(params), params)
    >>> (params + updates).tolist()  # −soft_threshold(2, ½)
    [-1.5, 0.0]
    """

    def weight(count: Array, k: Array) -> Array:
        return jnp.ones([], k.dtype)

    def metric(state: DualAveragingState, k: Array) -> Array:
        return jnp.sqrt(k) / schedule_value(learning_rate, state.count)

    check_rate(learning_rate)
    rule = DualAveragingRule(weight, metric, momentum=1.0, restarts=(), needs_squares=False)
    return dual_averaging(rule, bind_strength(penalty, scale))


def rmda(
    learning_rate: optax.ScalarOrSchedule,
    penalty: Penalty,
    momentum: optax.ScalarOrSchedule = 0.1,
    *,
    restarts: Sequence[int] = (),
    scale: Scale = None,
) -> optax.GradientTransformation:
    """Minimise by regularised dual averaging with momentum.

    Gradient k since the last restart has the weight sₖ = η√k. With V = Σ sₖGₖ and α = Σ sₖ,
    Ŵ = argmin over W of α·penalty(W) + ⟨V, W⟩ + ½√k·‖W − W⁰‖² and W ← (1 − c)W + cŴ.

    It converges to a stationary point of loss + penalty and identifies its zeros after finitely
    many updates, also with noisy gradients, which proximal SGD and Adam do not. Ŵ, which
    `l1jax.solution` returns, is exactly sparse; the parameters W are sparse, too, once c is 1.

    Args:
        learning_rate: η, a scalar or a schedule of the updates so far.
        penalty: what to penalise, over the parameters that `update` gets; convex, or one that
            levels off (`mcp`, `scad`, `log_sum`, `group_mcp`), whose concave part then counts as
            loss.
        momentum: c in (0, 1], the share of each step that is taken; 1 is no momentum, unlike the
            0 of `proximal_sgd`. A scalar, or a schedule of the updates so far that ends at 1, such
            as `l1jax.rising_momentum`.
        restarts: numbers of updates after which W⁰ ← W and the sums start again from zero; the
            paper restarts wherever the learning rate drops, by 10 each time.
        scale: multiplies the strength: a schedule, or a transformation such as `track_sparsity`.

    Raises:
        ValueError: for a momentum outside (0, 1] and for restarts that do not rise; from `init` if
            a `by_path` pattern does not fit the parameters, or a penalised leaf is not of floating
            point; from `update` without `params`.

    Source: Huang and Lee, Training structured neural networks through manifold identification and
    variance reduction, ICLR 2022, algorithm 1.

    >>> import jax.numpy as jnp, l1jax
    >>> tx = l1jax.rmda(1.0, l1jax.l1(0.5), momentum=0.5)
    >>> params = jnp.ones(2)
    >>> updates, state = tx.update(jnp.array([0.25, 0.75]), tx.init(params), params)
    >>> (params + updates).tolist(), l1jax.solution(state, params).tolist()  # Ŵ = (1 − g − ½)₊
    ([0.625, 0.5], [0.25, 0.0])
    """

    def weight(count: Array, k: Array) -> Array:
        return schedule_value(learning_rate, count) * jnp.sqrt(k)

    def metric(state: DualAveragingState, k: Array) -> Array:
        return jnp.sqrt(k)

    check_rate(learning_rate)
    rule = DualAveragingRule(weight, metric, momentum, restarts, needs_squares=False)
    return dual_averaging(rule, bind_strength(penalty, scale))


def ramda(
    learning_rate: optax.ScalarOrSchedule,
    penalty: Penalty,
    momentum: optax.ScalarOrSchedule = 0.01,
    eps: optax.ScalarOrSchedule = 1e-2,
    *,
    restarts: Sequence[int] = (),
    scale: Scale = None,
) -> optax.GradientTransformation:
    """Minimise by regularised adaptive momentum dual averaging: `rmda` in a diagonal metric.

    It is to `rmda` as Adam is to SGD: ½‖W − W⁰‖²_P replaces ½√k·‖W − W⁰‖², with P = ∛U + ε and
    U = Σ sₖGₖ². It converges to the same points, stationary for loss + penalty, and identifies
    their zeros likewise.

    Args:
        learning_rate: η, a scalar or a schedule of the updates so far.
        penalty: what to penalise, over the parameters that `update` gets; convex, or one that
            levels off (`mcp`, `scad`, `log_sum`, `group_mcp`), whose concave part then counts as
            loss.
        momentum: c in (0, 1], the share of each step that is taken; 1 is no momentum, unlike the
            0 of `proximal_sgd`. A scalar, or a schedule of the updates so far that ends at 1, such
            as `l1jax.rising_momentum`.
        eps: ε > 0, a scalar or a schedule of the updates so far; the paper multiplies it by 0.1 at
            each restart.
        restarts: numbers of updates after which W⁰ ← W and the sums start again from zero.
        scale: multiplies the strength: a schedule, or a transformation such as `track_sparsity`.

    Raises:
        ValueError: for the reasons of `rmda`, and if `eps` is not positive.

    Source: Huang and Lee, Regularized adaptive momentum dual averaging with an efficient inexact
    subproblem solver for training structured neural network, NeurIPS 2024, algorithm 1.

    >>> import jax.numpy as jnp, l1jax
    >>> tx = l1jax.ramda(1.0, l1jax.l1(0.5), momentum=1.0, eps=1.0)
    >>> params = jnp.array([2.0])
    >>> updates, _ = tx.update(jnp.array([1.0]), tx.init(params), params)
    >>> (params + updates).tolist()  # P = 1 + 1: 2 − 1/2 − 0.5/2
    [1.25]
    """
    if not callable(eps):
        check_number("eps", eps, exclusive=True, remedy="P = eps where the gradient is still 0")

    def weight(count: Array, k: Array) -> Array:
        return schedule_value(learning_rate, count) * jnp.sqrt(k)

    def metric(state: DualAveragingState, k: Array) -> PyTree:
        added = schedule_value(eps, state.count)
        return jax.tree.map(lambda u: _cube_root(u) + added, state.square_sum)

    check_rate(learning_rate)
    rule = DualAveragingRule(weight, metric, momentum, restarts, needs_squares=True)
    return dual_averaging(rule, bind_strength(penalty, scale))


def rising_momentum(momentum: float, begin: int = 0) -> optax.Schedule:
    """Return a momentum that is constant before `begin`, then min(1, c√k) with k = 1, 2, ….

    Args:
        momentum: c in (0, 1].
        begin: the number of updates after which it rises; in the paper this is the last restart.

    Raises:
        ValueError: if `momentum` is outside (0, 1].

    Source: Huang and Lee, ICLR 2022, section 2, and the authors' program.

    >>> import l1jax
    >>> [float(l1jax.rising_momentum(0.5, begin=2)(count)) for count in (0, 2, 5, 9)]
    [0.5, 0.5, 1.0, 1.0]
    """
    check_momentum(momentum)

    def schedule(count: ArrayLike) -> Array:
        k = jnp.maximum(jnp.asarray(count) - begin + 1.0, 1.0)
        return jnp.minimum(1.0, momentum * jnp.sqrt(k))

    return schedule


def _cube_root(u: Array) -> Array:
    """Return ∛u for u ≥ 0, exact to the last digits.

    `jnp.cbrt` takes many times longer on CPUs. The bits of a number, read as an integer, are about
    linear in its logarithm, so that y = 1/∛u costs a subtraction, to 4 %. With e = 1 − uy³ it is
    y(1 − e)^(−1/3), whose series to e² leaves an error of e³.

    Source: Lomont, Fast inverse square root (2003), for another root.
    """
    integer = jnp.int32
    magic = 0x54A232A0
    iterations = 1
    if u.dtype == jnp.float64:
        integer = jnp.int64
        magic = 0x553EF0FF289DD796
        iterations = 2
    bits = jax.lax.bitcast_convert_type(u, integer)
    third = (bits.astype(u.dtype) * (1 / 3)).astype(integer)
    inverse = jax.lax.bitcast_convert_type(jnp.asarray(magic, integer) - third, u.dtype)
    for _ in range(iterations):
        error = 1 - u * inverse * inverse * inverse
        inverse = inverse + inverse * error * (1 / 3 + error * (2 / 9))
    root = u * inverse * inverse
    error = 1 - root * inverse
    better = root + root * error * (2 / 3 + error * (5 / 9))
    return jnp.where(jnp.isfinite(root), better, root)
