"""Transformations that scale the strength during training, as `scale=` of any other with a penalty.

Each is an optax transformation of the scale (the number that multiplies every strength) whose
`params` are the penalised leaves; `optax.chain` combines them with each other and with schedules.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from l1jax.annotations import Array, ArrayLike, Float, Int, PyTree
from l1jax.penalties import check_number, is_concrete_number
from l1jax.transforms.leaves import require_params, schedule_value

# The constants of `track_sparsity`. They were chosen on a lasso, two classifiers and an autoencoder
# (SGD and Adam, batches of 32 and 64, constant rates, targets 0.5, 0.9, 0.99, horizon 1000).
# Without the trend the networks, which need ever less strength for the same zeros, stayed 1 to 2
# points above the target. Without its factor of the share of non-zeros it oscillates at 0.99, where
# sparsity responds weakly to the strength.
GAIN = 60.0  # e-folds of strength per horizon and missing share of zeros
DAMPING = 8.0  # e-folds taken back per share of zeros gained
SMOOTHING = 20.0  # the horizon over the time constant of the smoothing
TREND = 300.0  # e-folds per horizon², missing share of zeros and share of non-zeros


class TrackSparsityState(NamedTuple):
    """State of `track_sparsity`."""

    count: Int[Array, ""]  # updates so far
    log_scale: Float[Array, ""]  # natural logarithm of the factor
    trend: Float[Array, ""]  # added to log_scale at every update, learnt close to the target
    zeros: Float[Array, ""]  # share of zeros, in [0, 1], smoothed over the last updates


class ReweightState(NamedTuple):
    """State of `reweight`."""

    count: Int[Array, ""]  # updates so far
    weights: PyTree  # one per penalised entry, in (0, 1]


def track_sparsity(
    target: optax.ScalarOrSchedule,
    horizon: float = 1000,
    *,
    bounds: tuple[float, float] = (1e-6, 1e6),
) -> optax.GradientTransformation:
    """Scale the strength up or down until the penalised leaves have the target share of zeros.

    With z the share of exact zeros and z̄ its average over the last horizon/20 updates, log(scale)
    is 60/horizon·Σ (target − z) − 8z̄: an integral controller, damped by z̄, that approaches the
    target from one side. Within 3 points of it (fewer where few entries are not zero) a second
    integral learns the rate at which the strength has to go on changing while the network trains,
    so that no lag remains. At rest z = target, and the parameters are a stationary point of
    loss + scale·penalty.

    The mean over some horizon/20 updates meets the target. From one update to the next z may jump,
    as noisy gradients make it do at a constant strength, too; the controller neither adds to that
    nor reduces it. Under `rmda` and `ramda`, whose zeros settle, it hardly jumps.

    Args:
        target: the share of exact zeros over all penalised entries, in [0, 1); a scalar or a
            schedule of the number of updates so far.
        horizon: about how many updates the approach may take; at least ten times as many as the
            zeros need to follow a change of the strength. A longer horizon makes a calmer run.
        bounds: the smallest and the largest factor. With a largest factor of 1, `target` is a
            limit: the strength falls where it would give more zeros, and is left alone where it
            gives fewer.

    Raises:
        ValueError: if `target` is outside [0, 1), `horizon` is below 200, or `bounds` are not
            positive and rising.

    Source: Åström and Murray, Feedback Systems (2008), section 10.5 (PI control with setpoint
    weight 0).

    >>> import jax.numpy as jnp, l1jax, optax
    >>> points = jnp.linspace(0.0, 1.0, 200)
    >>> tx = l1jax.proximal_sgd(0.5, l1jax.l1(0.01), scale=l1jax.track_sparsity(0.6, horizon=200))
    >>> def step(carry, _):
    ...     params, state = carry
    ...     updates, state = tx.update(params - points, state, params)
    ...     return (optax.apply_updates(params, updates), state), None
    >>> (params, state), _ = jax.lax.scan(step, (points, tx.init(points)), length=1000)
    >>> round(float(l1jax.sparsity(params).total), 2), round(float(l1jax.strength(state)), 2)
    (0.6, 0.6)
    """
    if is_concrete_number(target) and not 0 <= target < 1:
        raise ValueError(
            f"`target` (={target}) must be a share of zeros of at least 0 and below 1."
        )
    if not 200 <= horizon < math.inf:
        raise ValueError(
            f"`horizon` (={horizon}) must be finite and at least 200 updates: a faster controller "
            "oscillates."
        )
    check_number("bounds", np.asarray(bounds), exclusive=True, remedy="such as (1e-6, 1e6)")
    if not 0 < bounds[0] < bounds[1]:
        raise ValueError(f"`bounds` (={bounds}) must be positive and rise, such as (1e-6, 1e6).")

    def init(params: optax.Params) -> TrackSparsityState:
        return TrackSparsityState(
            count=jnp.zeros([], jnp.int32),
            log_scale=jnp.zeros([], float),
            trend=jnp.zeros([], float),
            zeros=_share_of_zeros(params),
        )

    def update(
        updates: optax.Updates, state: PyTree, params: optax.Params | None = None
    ) -> tuple[optax.Updates, TrackSparsityState]:
        params = require_params(params, "their zeros are counted")
        zeros = _share_of_zeros(params)
        wanted = schedule_value(target, state.count)
        missing = wanted - zeros
        gained = SMOOTHING / horizon * (zeros - state.zeros)
        is_near = jnp.abs(wanted - state.zeros - gained) < jnp.minimum(0.03, 0.3 * (1 - wanted))
        # Less than half an entry is missing if the target is reached as closely as it can be.
        entries = sum(map(jnp.size, jax.tree.leaves(params)))
        is_near &= jnp.abs(missing) * entries > 0.5
        learnt = TREND * (1 - wanted) / horizon**2 * missing
        forgotten = -SMOOTHING / horizon * state.trend
        trend = state.trend + jnp.where(is_near, learnt, forgotten)
        change = trend + GAIN / horizon * missing - DAMPING * gained
        unbounded = state.log_scale + change
        log_scale = jnp.clip(unbounded, math.log(bounds[0]), math.log(bounds[1]))
        trend = jnp.where(log_scale == unbounded, trend, 0)  # nothing is learnt at a bound
        updates = jax.tree.map(lambda s: s * jnp.exp(log_scale), updates)
        return updates, state._replace(
            count=optax.safe_increment(state.count),
            log_scale=log_scale,
            trend=trend,
            zeros=state.zeros + gained,
        )

    return optax.GradientTransformation(init, update)


def reweight(every: int, eps: float = 0.1) -> optax.GradientTransformation:
    """Give each entry its own strength λ·ε/(|x| + ε), renewed after every so many updates.

    The first round is the ordinary penalty. From then on large entries are hardly shrunk, and zeros
    have the full strength λ. It converges to a stationary point of loss + λ·ε Σ log(1 + |xᵢ|/ε),
    which for small ε is close to a count of the non-zeros. The weights 1/(|x| + ε) of the source
    are these divided by ε.

    Args:
        every: updates between two renewals.
        eps: ε > 0, in units of the parameters: entries well above it are nearly free.

    Raises:
        ValueError: if `every` is below 1 or `eps` is not positive; and from `update` if the penalty
            is one of groups, which cannot have one weight per entry.

    Source: Candès, Wakin, Boyd, Enhancing sparsity by reweighted ℓ1 minimization, J. Fourier Anal.
    Appl. 14 (2008), section 2.2.

    >>> import jax.numpy as jnp, l1jax
    >>> tx = l1jax.proximal_sgd(1.0, l1jax.l1(0.5), scale=l1jax.reweight(1, eps=1.0))
    >>> params = jnp.array([4.0, 0.3])
    >>> state = tx.init(params)
    >>> for _ in range(2):  # 4 − ½ = 3.5, then 3.5 − ½/(3.5 + 1)
    ...     updates, state = tx.update(jnp.zeros(2), state, params)
    ...     params = params + updates
    >>> [round(x, 3) for x in params.tolist()]
    [3.389, 0.0]
    """
    if every < 1:
        raise ValueError(f"`every` (={every}) must be at least 1 update.")
    check_number("eps", eps, exclusive=True, remedy="it is in units of the parameters, such as 0.1")

    def init(params: optax.Params) -> ReweightState:
        weights = jax.tree.map(lambda p: jnp.ones_like(p, float), params)
        return ReweightState(jnp.zeros([], jnp.int32), weights)

    def update(
        updates: optax.Updates, state: PyTree, params: optax.Params | None = None
    ) -> tuple[optax.Updates, ReweightState]:
        params = require_params(params, "the weights follow their size")
        renew = (state.count % every == 0) & (state.count > 0)

        def next_weight(w: Array, p: ArrayLike) -> Array:
            return jnp.where(renew, eps / (jnp.abs(jnp.asarray(p, w.dtype)) + eps), w)

        weights = jax.tree.map(next_weight, state.weights, params)
        scales = jax.tree.broadcast(updates, weights)
        updates = jax.tree.map(lambda scale, w: scale * w, scales, weights)
        return updates, state._replace(count=optax.safe_increment(state.count), weights=weights)

    return optax.GradientTransformation(init, update)


def _share_of_zeros(params: PyTree) -> Float[Array, ""]:
    """Return `sparsity(params).total`, in one pass over the parameters.

    XLA on CPUs adds up the results of arithmetic as it computes them, but it would first store the
    results of comparisons, in new memory at every update; so this adds up |sign|.
    """
    leaves = jax.tree.leaves(params)
    zeros = [jnp.size(leaf) - jnp.sum(jnp.abs(jnp.sign(leaf)), dtype=float) for leaf in leaves]
    entries = max(sum(jnp.size(leaf) for leaf in leaves), 1)
    return jnp.asarray(sum(zeros) / entries, float)
