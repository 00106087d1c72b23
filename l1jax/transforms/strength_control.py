"""What moves the strength's scale during training, given as `scale=` to any transformation with a penalty.

Each is an optax transformation of the scale (the number that multiplies every strength) whose
`params` are the penalised leaves; `optax.chain` combines them with each other and with schedules.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PyTree

from l1jax.penalties import check_number, is_concrete_number
from l1jax.transforms.leaves import require_params, schedule_value

# Of `track_sparsity`: e-folds of strength per horizon and missing share of zeros; e-folds taken back per
# share of zeros gained; the horizon over the time constant of the smoothing; and e-folds per horizon, per
# horizon, missing share of zeros and living share. Chosen on a lasso, two classifiers and an autoencoder
# (SGD and Adam, batches of 32 and 64, constant rates, targets 0.5, 0.9, 0.99, horizon 1000). Without the
# trend the networks, which need ever less strength for the same zeros, stayed 1 to 2 points above the
# target; without its factor of the living share it oscillates at 0.99, where zeros answer feebly.
GAIN = 60.0
DAMPING = 8.0
SMOOTHING = 20.0
TREND = 300.0


class TrackSparsityState(NamedTuple):
    """State of `track_sparsity`."""

    count: Int[Array, ""]  # updates so far
    log_scale: Float[Array, ""]  # natural logarithm of the factor
    trend: Float[Array, ""]  # what log_scale gains at every update, learnt close to the target
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

    With z the share of exact zeros and z̄ its average over the last horizon/20 updates, log(scale) is
    60/horizon·Σ (target − z) − 8z̄: an integral controller, damped by z̄, that approaches the target
    from one side. Within 3 points of it (fewer where few entries live) a second integral learns at
    which rate the strength has to go on changing while the network trains, so that no lag stays. At
    rest z = target, and the parameters are a stationary point of loss + scale·penalty.

    It is the mean over some horizon/20 updates that meets the target. From one update to the next z
    may jump as noisy gradients make it do at a constant strength too; the controller adds nothing to
    that and takes nothing away. Under `rmda` and `ramda`, whose zeros settle, it hardly jumps.

    Args:
        target: the share of exact zeros over all penalised entries, in [0, 1); a scalar or a
            schedule of the number of updates so far.
        horizon: about how many updates the approach may take; at least ten times what the zeros
            need to follow a change of strength. Longer is calmer.
        bounds: the smallest and the largest factor. With a largest of 1, `target` is a limit: the
            strength falls where it would give more zeros, and is left alone where it gives fewer.

    Raises:
        ValueError: if `target` is outside [0, 1), `horizon` below 200, or `bounds` not positive and rising.

    Source: Åström and Murray, Feedback Systems (2008), section 10.5 (PI control with setpoint weight 0).

    >>> import jax.numpy as jnp, l1jax, optax
    >>> points, params = jnp.linspace(0.0, 1.0, 200), jnp.linspace(0.0, 1.0, 200)
    >>> tx = l1jax.proximal_sgd(0.5, l1jax.l1(0.01), scale=l1jax.track_sparsity(0.6, horizon=200))
    >>> def step(carry, _):
    ...     params, state = carry
    ...     updates, state = tx.update(params - points, state, params)
    ...     return (optax.apply_updates(params, updates), state), None
    >>> (params, state), _ = jax.lax.scan(step, (params, tx.init(params)), length=1000)
    >>> round(float(l1jax.sparsity(params).total), 2), round(float(l1jax.strength(state)), 2)
    (0.6, 0.6)
    """
    if is_concrete_number(target) and not 0 <= target < 1:
        raise ValueError(
            f"`target` (={target}) must be a share of zeros of at least 0 and below 1."
        )
    if not 200 <= horizon < math.inf:
        raise ValueError(
            f"`horizon` (={horizon}) must be finite and at least 200 updates: a faster loop oscillates."
        )
    check_number("bounds", np.asarray(bounds), strict=True, remedy="such as (1e-6, 1e6)")
    if not 0 < bounds[0] < bounds[1]:
        raise ValueError(f"`bounds` (={bounds}) must be positive and rise, such as (1e-6, 1e6).")

    def init(params: optax.Params) -> TrackSparsityState:
        none = jnp.zeros([], float)
        return TrackSparsityState(
            jnp.zeros([], jnp.int32), none, jnp.copy(none), _share_of_zeros(params)
        )

    def update(
        updates: optax.Updates, state: PyTree, params: optax.Params | None = None
    ) -> tuple[optax.Updates, TrackSparsityState]:
        zeros = _share_of_zeros(require_params(params, "their zeros are counted"))
        wanted = schedule_value(target, state.count)
        missing, gained = wanted - zeros, SMOOTHING / horizon * (zeros - state.zeros)
        near = jnp.abs(wanted - state.zeros - gained) < jnp.minimum(0.03, 0.3 * (1 - wanted))
        near &= (
            jnp.abs(missing) * sum(map(jnp.size, jax.tree.leaves(params))) > 0.5
        )  # of an entry: else it has arrived
        learnt = jnp.where(
            near, TREND * (1 - wanted) / horizon**2 * missing, -SMOOTHING / horizon * state.trend
        )
        trend = state.trend + learnt
        move = trend + GAIN / horizon * missing - DAMPING * gained
        log_scale = jnp.clip(state.log_scale + move, math.log(bounds[0]), math.log(bounds[1]))
        trend = jnp.where(
            log_scale == state.log_scale + move, trend, 0
        )  # nothing is learnt at a bound
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

    The first round is the ordinary penalty; from then on large entries are hardly shrunk and zeros
    are held by the full λ. Converges to a stationary point of loss + λ·ε Σ log(1 + |xᵢ|/ε), which
    penalises like a count of non-zeros for small ε. Candès' weights 1/(|x| + ε) are these over ε.

    Args:
        every: updates between two renewals.
        eps: ε > 0, in units of the parameters: entries well above it are nearly free.

    Raises:
        ValueError: if `every` is below 1 or `eps` not positive; a penalty of groups must not be
            given one weight per entry, and says so.

    Source: Candès, Wakin, Boyd, Enhancing sparsity by reweighted ℓ1 minimization, J. Fourier Anal.
    Appl. 14 (2008), section 2.2.

    >>> import jax.numpy as jnp, l1jax
    >>> tx, params = l1jax.proximal_sgd(1.0, l1jax.l1(0.5), scale=l1jax.reweight(1, eps=1.0)), jnp.array([4.0, 0.3])
    >>> state = tx.init(params)
    >>> for _ in range(2):  # 4 − ½ = 3.5, then 3.5 − ½/(3.5 + 1)
    ...     updates, state = tx.update(jnp.zeros(2), state, params)
    ...     params = params + updates
    >>> [round(x, 3) for x in params.tolist()]
    [3.389, 0.0]
    """
    if every < 1:
        raise ValueError(f"`every` (={every}) must be at least 1 update.")
    check_number("eps", eps, strict=True, remedy="it is in units of the parameters, such as 0.1")

    def init(params: optax.Params) -> ReweightState:
        weights = jax.tree.map(lambda p: jnp.ones_like(p, float), params)
        return ReweightState(jnp.zeros([], jnp.int32), weights)

    def update(
        updates: optax.Updates, state: PyTree, params: optax.Params | None = None
    ) -> tuple[optax.Updates, ReweightState]:
        params = require_params(params, "the weights follow their size")
        renew = (state.count % every == 0) & (state.count > 0)
        weights = jax.tree.map(
            lambda w, p: jnp.where(renew, eps / (jnp.abs(jnp.asarray(p, w.dtype)) + eps), w),
            state.weights,
            params,
        )
        updates = jax.tree.map(
            lambda scale, w: scale * w, jax.tree.broadcast(updates, weights), weights
        )
        return updates, state._replace(count=optax.safe_increment(state.count), weights=weights)

    return optax.GradientTransformation(init, update)


def _share_of_zeros(params: PyTree) -> Float[Array, ""]:
    """`sparsity(params).total`, in one pass over the parameters.

    XLA:CPU adds up the results of arithmetic as it computes them, but those of comparisons it would keep first, in new
    memory at every update; so this adds up |sign|.
    """
    leaves = jax.tree.leaves(params)
    zeros = [jnp.size(leaf) - jnp.sum(jnp.abs(jnp.sign(leaf)), dtype=float) for leaf in leaves]
    return jnp.asarray(sum(zeros) / max(sum(jnp.size(leaf) for leaf in leaves), 1), float)
