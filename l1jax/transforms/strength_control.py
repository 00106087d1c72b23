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
from l1jax.penalties.groups import Groups
from l1jax.transforms.leaves import require_params, schedule_value
from l1jax.transforms.mean_sizes import CoupledGroups, check_group_scope, shares_of_zero_groups
from l1jax.transforms.scopes import (
    check_scope,
    leaf_scopes,
    scope_sizes,
    shares_of_zeros,
)

# The constants of `track_sparsity`. They were chosen on a lasso, two classifiers and an autoencoder
# (SGD and Adam, batches of 32 and 64, constant rates, targets 0.5, 0.9, 0.99, horizon 1000).
# Without the trend the networks, which need ever less strength for the same zeros, stayed 1 to 2
# points above the target. Without its factor of the share of non-zeros it oscillates at 0.99, where
# sparsity responds weakly to the strength.
GAIN = 60.0  # e-folds of strength per horizon and missing share of zeros
DAMPING = 8.0  # e-folds taken back per share of zeros gained
SMOOTHING = 20.0  # the horizon over the time constant of the smoothing
TREND = 300.0  # e-folds per horizon², missing share of zeros and share of non-zeros
# A target that a schedule moves by less than this share per horizon is followed without the damping
# of a jump, which would keep the zeros behind a ramp.
FOLLOWED = 4.0
MIN_HORIZON = 20  # updates; the smoothing then takes the last value alone


class TrackSparsityState(NamedTuple):
    """State of `track_sparsity`: one number, or with a scope other than "global" one of each."""

    count: Int[Array, ""]  # updates so far
    log_scale: Float[Array, "*scopes"]  # natural logarithm of the factor
    trend: Float[Array, "*scopes"]  # added to log_scale at every update, learnt near the target
    zeros: Float[Array, "*scopes"]  # share of zeros, in [0, 1], smoothed over the last updates


class ReweightState(NamedTuple):
    """State of `reweight`."""

    count: Int[Array, ""]  # updates so far
    weights: PyTree  # one per penalised entry, in (0, 1]


def track_sparsity(
    target: optax.ScalarOrSchedule,
    horizon: float = 1000,
    *,
    bounds: tuple[float, float] = (1e-6, 1e6),
    scope: str = "global",
    until: int | None = None,
    groups: Groups | CoupledGroups | None = None,
) -> optax.GradientTransformation:
    """Scale the strength up or down until the penalised leaves have the target share of zeros.

    With z the share of exact zeros and z̄ its average over the last horizon/20 updates, log(scale)
    is 60/horizon·Σ (target − z) − 8z̄: an integral controller, damped by z̄, that approaches the
    target from one side. Within 3 points of it (fewer where few entries are not zero) a second
    integral learns the rate at which the strength has to go on changing while the network trains,
    so that no lag remains. At rest z = target, and the parameters are a stationary point of
    loss + scale·penalty. Where a schedule moves the target by less than four times the whole range
    in a horizon, the damping is of z̄ − target, so that it does not keep z behind a ramp.

    The mean over some horizon/20 updates meets the target. From one update to the next z may jump,
    as noisy gradients make it do at a constant strength, too; the controller neither adds to that
    nor reduces it. Under `rmda` and `ramda`, whose zeros settle, it hardly jumps.

    Args:
        target: the share of exact zeros over all penalised entries, in [0, 1); a scalar or a
            schedule of the number of updates so far.
        horizon: about how many updates the approach may take; at least ten times as many as the
            zeros need to follow a change of the strength, else the controller oscillates. A longer
            horizon makes a calmer run.
        bounds: the smallest and the largest factor. With a largest factor of 1, `target` is a
            limit: the strength falls where it would give more zeros, and is left alone where it
            gives fewer.
        scope: "global" for one factor, with which the penalised leaves reach the target together;
            "group" for one of each block, such as `block_0`, that reaches it by itself; "leaf" for
            one of each leaf. One factor makes the leaves whose gradients are small empty long
            before the others.
        until: the update, counted from 0, from which the factors stay as they are; None for never.
        groups: the `axis` of a group penalty, or the `groups` of `coupled`, as `freeze_support`
            takes them. Then the share is that of the entries in groups that are zero, among all
            that are in groups: what counts if whole groups are to be removed. None to count single
            zeros, those in groups that are not zero among them.

    Raises:
        ValueError: if `target` is outside [0, 1), `horizon` is below 20, `bounds` are not
            positive and rising, or `scope` or `until` is none of the above; if `scope` is not
            "global" for groups of several leaves; from `init` if `groups` do not fit.

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
    _check_tracking(target, horizon, bounds, scope, until)
    check_group_scope(groups, scope)

    def init(params: optax.Params) -> TrackSparsityState:
        zeros = _zeros(params, scope, groups)
        return TrackSparsityState(
            count=jnp.zeros([], jnp.int32),
            log_scale=jnp.zeros(zeros.shape, float),
            trend=jnp.zeros(zeros.shape, float),
            zeros=zeros,
        )

    def update(
        updates: optax.Updates, state: PyTree, params: optax.Params | None = None
    ) -> tuple[optax.Updates, TrackSparsityState]:
        params = require_params(params, "their zeros are counted")
        scopes = leaf_scopes(params, scope)
        entries = jnp.asarray(scope_sizes(params, scopes), float).reshape(state.zeros.shape)
        zeros = _zeros(params, scope, groups)
        wanted = schedule_value(target, state.count)
        before = schedule_value(target, jnp.maximum(state.count - 1, 0))
        followed = jnp.clip(wanted - before, -FOLLOWED / horizon, FOLLOWED / horizon)
        new = _control(state, zeros, wanted, followed, entries, horizon, bounds)
        if until is not None:
            is_held = state.count >= until
            held = state._replace(count=new.count)
            new = jax.tree.map(lambda old, new: jnp.where(is_held, old, new), held, new)
        factors = jnp.exp(new.log_scale)
        if scope == "global":
            return jax.tree.map(lambda s: s * factors, updates), new
        leaves, treedef = jax.tree.flatten(jax.tree.broadcast(updates, params))
        columns = zip(leaves, scopes.index, strict=True)
        return treedef.unflatten([s * factors[place] for s, place in columns]), new

    return optax.GradientTransformation(init, update)


def _check_tracking(
    target: optax.ScalarOrSchedule,
    horizon: float,
    bounds: tuple[float, float],
    scope: str,
    until: int | None,
) -> None:
    """Raise unless the arguments of `track_sparsity` are in their ranges."""
    if is_concrete_number(target) and not 0 <= target < 1:
        raise ValueError(
            f"`target` (={target}) must be a share of zeros of at least 0 and below 1."
        )
    if not MIN_HORIZON <= horizon < math.inf:
        raise ValueError(
            f"`horizon` (={horizon}) must be finite and at least {MIN_HORIZON} updates: a faster "
            "controller oscillates."
        )
    check_number("bounds", np.asarray(bounds), exclusive=True, remedy="such as (1e-6, 1e6)")
    if not 0 < bounds[0] < bounds[1]:
        raise ValueError(f"`bounds` (={bounds}) must be positive and rise, such as (1e-6, 1e6).")
    check_scope(scope)
    if until is not None and until < 0:
        raise ValueError(f"`until` (={until}) must be an update of at least 0, or None for never.")


def _control(
    state: TrackSparsityState,
    zeros: Float[Array, "*scopes"],
    wanted: Array,
    followed: Array,
    entries: Float[Array, "*scopes"],
    horizon: float,
    bounds: tuple[float, float],
) -> TrackSparsityState:
    """Return the state of `track_sparsity` after one update.

    Args:
        state: before it.
        zeros: the share of zeros of each scope.
        wanted: the target.
        followed: how far a schedule has moved the target since the last update.
        entries: the number of entries of each scope.
        horizon: updates that the approach takes.
        bounds: of the factor.
    """
    missing = wanted - zeros
    gained = SMOOTHING / horizon * (zeros - state.zeros)
    is_near = jnp.abs(wanted - state.zeros - gained) < jnp.minimum(0.03, 0.3 * (1 - wanted))
    # Less than half an entry is missing if the target is reached as closely as it can be.
    is_near &= jnp.abs(missing) * entries > 0.5
    learnt = TREND * (1 - wanted) / horizon**2 * missing
    forgotten = -SMOOTHING / horizon * state.trend
    trend = state.trend + jnp.where(is_near, learnt, forgotten)
    change = trend + GAIN / horizon * missing - DAMPING * (gained - followed)
    unbounded = state.log_scale + change
    log_scale = jnp.clip(unbounded, math.log(bounds[0]), math.log(bounds[1]))
    return TrackSparsityState(
        count=jnp.asarray(optax.safe_increment(state.count)),
        log_scale=log_scale,
        trend=jnp.where(log_scale == unbounded, trend, 0),  # nothing is learnt at a bound
        zeros=state.zeros + gained,
    )


def _zeros(
    params: PyTree, scope: str, groups: Groups | CoupledGroups | None
) -> Float[Array, "*scopes"]:
    """Return the share of zeros of each scope; a number where there is one of all leaves."""
    if groups is None:
        shares = shares_of_zeros(params, leaf_scopes(params, scope))
    else:
        shares = shares_of_zero_groups(params, groups, scope)
    return shares[0] if scope == "global" else shares


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
