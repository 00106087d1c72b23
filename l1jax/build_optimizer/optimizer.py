"""From the configuration of an optimiser to the transformation."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float

from l1jax import config
from l1jax.build_optimizer.checks import DUAL_AVERAGING, check_optimizer
from l1jax.build_optimizer.penalty import (
    ChannelGroups,
    CountedGroups,
    build_penalty,
    counted_groups,
)
from l1jax.build_optimizer.pruning import prune_updates, prunes
from l1jax.build_optimizer.schedules import build_ramp, build_schedule
from l1jax.penalties import Penalty, by_path, strengths
from l1jax.transforms import (
    add_subgradient,
    freeze_support,
    proximal,
    proximal_adagrad,
    proximal_adam,
    proximal_rmsprop,
    proximal_sgd,
    ramda,
    reweight,
    rmda,
    track_sparsity,
)
from l1jax.transforms.learning_rate import with_learning_rate
from l1jax.transforms.strength_control import MIN_HORIZON
from l1jax.transforms.strengths import Scale

APPROACHES = 4
"""How often a target of zeros could be approached before the zeros are frozen, at least."""


def build_optimizer(
    optimizer: config.Optimizer,
    updates_per_step: int = 1,
    max_sparsity: float = 1.0,
    channels: ChannelGroups | None = None,
    seed: int = 0,
) -> optax.GradientTransformation:
    """Build an optimiser that uses its penalty the way `method` says, or prunes.

    Args:
        optimizer: what to build.
        updates_per_step: how often it is updated per training step; schedules count steps.
        max_sparsity: the share of zeros above which the strength falls, whatever else changes it;
            1 for no limit.
        channels: finds the groups of a penalty of channels; None where they cannot be found.
        seed: of the zeros that a method draws.

    Raises:
        InputError: if algorithm, method, penalty and schedules do not go together.
    """
    try:
        leaf_penalty = build_penalty(optimizer.penalty, channels)
        penalty = by_path({optimizer.penalised: leaf_penalty})
    except ValueError as error:
        raise config.InputError(str(error)) from error
    check_optimizer(optimizer, leaf_penalty)
    groups = counted_groups(optimizer.penalty, leaf_penalty)
    scale = _build_scale(optimizer, updates_per_step, max_sparsity, groups)

    def make(rate: Float[Array, ""], b2: ArrayLike) -> optax.GradientTransformation:
        if _has_no_effect(optimizer, leaf_penalty):
            plain = _plain(optimizer, rate, b2)
            if prunes(optimizer):
                plain = prune_updates(plain, optimizer, updates_per_step, seed)
            tx = optax.chain(plain, _carry_state(proximal(penalty, rate, scale=scale)))
        elif optimizer.method == "metric":
            tx = _proximal(optimizer, rate, b2, penalty, scale)
        elif optimizer.method == "plain":
            tx = optax.chain(_plain(optimizer, rate, b2), proximal(penalty, rate, scale=scale))
        else:
            tx = optax.chain(add_subgradient(penalty, scale=scale), _plain(optimizer, rate, b2))
        if not optimizer.debias_after:
            return tx
        return optax.chain(tx, _build_freeze(optimizer, updates_per_step, groups))

    b2 = build_ramp(optimizer.b2, optimizer.b2_ramp, updates_per_step)
    if optimizer.learning_rate_schedule == config.Schedule():
        return with_learning_rate(make, optimizer.learning_rate, b2)
    factor = build_schedule(optimizer.learning_rate_schedule, updates_per_step)
    return with_learning_rate(make, lambda count: optimizer.learning_rate * factor(count), b2)


def _has_no_effect(optimizer: config.Optimizer, penalty: Penalty) -> bool:
    """Tell whether the penalty is 0 everywhere, so that its prox would only cost time."""
    is_constraint = getattr(penalty, "is_constraint", False)
    is_dual_averaging = optimizer.algorithm in DUAL_AVERAGING
    return not (is_constraint or is_dual_averaging or any(strengths(penalty)))


def _carry_state(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """Keep a transformation's state, which tells that the strength is 0, without its updates."""

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        return updates, state

    return optax.GradientTransformation(tx.init, update)


def _build_scale(
    optimizer: config.Optimizer,
    updates_per_step: int,
    max_sparsity: float,
    groups: CountedGroups,
) -> Scale:
    """Chain what multiplies the strength: schedule, sparsity tracker, weights of reweighted L1.

    Args:
        optimizer: what to build.
        updates_per_step: how often it is updated per training step.
        max_sparsity: the share of single zeros above which the strength falls; 1 for no limit.
        groups: that the target of zeros counts.
    """
    links: list[optax.GradientTransformation] = []
    horizon = optimizer.sparsity_horizon
    end = None
    if optimizer.debias_after:
        end = optimizer.debias_after * updates_per_step
        horizon = min(horizon, max(end // APPROACHES, MIN_HORIZON))
    is_scheduled = optimizer.strength_schedule != config.Schedule()
    factor = build_schedule(optimizer.strength_schedule, updates_per_step)

    def scheduled_target(count: ArrayLike) -> ArrayLike:
        return optimizer.sparsity_target * factor(count)

    if optimizer.sparsity_target and not prunes(optimizer):
        target = scheduled_target if is_scheduled else optimizer.sparsity_target
        scope = optimizer.sparsity_scope
        links.append(track_sparsity(target, horizon, scope=scope, until=end, groups=groups))
    elif is_scheduled:
        links.append(optax.scale_by_schedule(factor))
    if max_sparsity < 1:
        limit_horizon = optimizer.sparsity_horizon
        links.append(track_sparsity(max_sparsity, limit_horizon, bounds=(1e-6, 1.0)))
    if isinstance(optimizer.penalty, config.ReweightedL1):
        links.append(reweight(optimizer.penalty.every, optimizer.penalty.eps))
    if end is not None:
        links.append(
            optax.scale_by_schedule(lambda count: jnp.asarray(jnp.asarray(count) < end, float))
        )
    return optax.chain(*links) if links else None


def _build_freeze(
    optimizer: config.Optimizer,
    updates_per_step: int,
    groups: CountedGroups,
) -> optax.GradientTransformation:
    """Build the debiasing phase, which begins with the target of zeros if there is one."""
    start = optimizer.debias_after * updates_per_step
    if not optimizer.sparsity_target:
        return freeze_support(optimizer.penalised, start, groups=groups)
    factor = build_schedule(optimizer.strength_schedule, updates_per_step)
    return freeze_support(
        optimizer.penalised,
        start,
        target=optimizer.sparsity_target * factor(start),
        scope=optimizer.sparsity_scope,
        groups=groups,
    )


def _proximal(
    optimizer: config.Optimizer,
    rate: Float[Array, ""],
    b2: ArrayLike,
    penalty: Penalty,
    scale: Scale,
) -> optax.GradientTransformation:
    """Build the form of an optimiser that solves the stated problem.

    Args:
        optimizer: what to build.
        rate: the learning rate of this update.
        b2: the decay of the second moment of this update.
        penalty: what is minimised along with the loss.
        scale: multiplies its strength.
    """
    b1 = optimizer.b1
    eps = _eps(optimizer)
    momentum = optimizer.momentum
    per_group = optimizer.per_group
    match optimizer.algorithm:
        case "adam":
            return proximal_adam(rate, penalty, b1, b2, eps, scale=scale, per_group=per_group)
        case "sgd":
            return proximal_sgd(rate, penalty, momentum, scale=scale)
        case "rmsprop":
            return proximal_rmsprop(
                rate, penalty, b2, eps, momentum, scale=scale, per_group=per_group
            )
        case "adagrad":
            return proximal_adagrad(rate, penalty, eps=eps, scale=scale, per_group=per_group)
        case "rmda":
            return rmda(rate, penalty, 0.1 if momentum is None else momentum, scale=scale)
        case "ramda":
            return ramda(rate, penalty, 0.01 if momentum is None else momentum, eps, scale=scale)


def _plain(
    optimizer: config.Optimizer, rate: Float[Array, ""], b2: ArrayLike
) -> optax.GradientTransformation:
    """Build the optimiser without a penalty."""
    eps = _eps(optimizer)
    match optimizer.algorithm:
        case "adam":
            return optax.adam(rate, optimizer.b1, b2, eps)
        case "sgd":
            return optax.sgd(rate, optimizer.momentum)
        case "rmsprop":
            return optax.rmsprop(rate, b2, eps, momentum=optimizer.momentum)
        case "adagrad":
            return optax.adagrad(rate, eps=eps)
    raise AssertionError(optimizer.algorithm)  # refused before


def _eps(optimizer: config.Optimizer) -> float:
    """Return the optimiser's `eps`, by default the one that is usual for the algorithm."""
    if optimizer.eps is not None:
        return optimizer.eps
    return {"adagrad": 1e-7, "ramda": 1e-2}.get(optimizer.algorithm, 1e-8)
