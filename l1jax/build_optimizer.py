"""From the configuration of an optimiser to the transformation: algorithm, penalty, schedules."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float

from l1jax import config, penalties
from l1jax.penalties import by_path
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
from l1jax.transforms.strengths import Scale

PENALTIES: dict[type, Callable[..., penalties.Penalty]] = {
    config.L1: penalties.l1,
    config.L2: penalties.l2,
    config.ElasticNet: penalties.elastic_net,
    config.NonnegativeL1: penalties.nonnegative_l1,
    config.L0: penalties.l0,
    config.LHalf: penalties.l_half,
    config.LogSum: penalties.log_sum,
    config.Mcp: penalties.mcp,
    config.Scad: penalties.scad,
    config.GroupL1: penalties.group_l1,
    config.SparseGroupL1: penalties.sparse_group_l1,
    config.GroupMcp: penalties.group_mcp,
    config.Linf: penalties.linf,
    config.L1Ball: penalties.l1_ball,
}
GROUPS: dict[str, Callable[[], penalties.Groups]] = {
    "output_channels": penalties.output_channels,
    "input_channels": penalties.input_channels,
    "scales": penalties.scales,
}


def build_penalty(penalty: config.Penalty) -> penalties.Penalty:
    """Build the penalty that a configuration names.

    Raises:
        ValueError: if a number is out of its range.
    """
    if isinstance(penalty, config.ReweightedL1):
        return penalties.l1(penalty.strength)  # its weights are a control of the strength
    numbers = {f.name: getattr(penalty, f.name) for f in dataclasses.fields(penalty)}
    if "groups" in numbers:
        groups, block = numbers.pop("groups"), numbers.pop("block")
        numbers["axis"] = penalties.kernel_blocks(block) if groups == "blocks" else GROUPS[groups]()
    return PENALTIES[type(penalty)](**numbers)


def build_schedule(schedule: config.Schedule, updates_per_step: int = 1) -> optax.Schedule:
    """The factor as a function of the number of updates so far.

    Step t, counted from 0, has the factor (t + 1)/warmup up to the warm-up's end; then, with
    s = (t − warmup)/(steps − warmup) in [0, 1], 1 + (end − 1)·s or end + (1 − end)·½(1 + cos πs).

    Raises:
        InputError: if a schedule that comes down has no steps after its warm-up.
    """
    warmup, steps, end = schedule.warmup, schedule.steps, schedule.end
    if schedule.shape != "constant" and steps <= warmup:
        raise config.InputError(
            f"`steps` (={steps}) of a {schedule.shape} schedule must be greater than its `warmup` (={warmup}): give "
            "the step at which it is to reach its end."
        )

    def factor(count: ArrayLike) -> Array:
        step = jnp.asarray(count) // updates_per_step
        rise = jnp.minimum((step + 1) / max(warmup, 1), 1)
        s = jnp.clip((step - warmup) / max(steps - warmup, 1), 0, 1)
        match schedule.shape:
            case "constant":
                return rise
            case "linear":
                return rise * (1 + (end - 1) * s)
            case "cosine":
                return rise * (end + (1 - end) * (1 + jnp.cos(jnp.pi * s)) / 2)

    return factor


def build_optimizer(
    optimizer: config.Optimizer, updates_per_step: int = 1, max_sparsity: float = 1.0
) -> optax.GradientTransformation:
    """The optimiser with its penalty acting the way `method` says.

    Args:
        optimizer: what to build.
        updates_per_step: how often it is updated per training step, in which schedules count.
        max_sparsity: the share of zeros above which the strength falls, whatever else moves it; 1 for no limit.

    Raises:
        InputError: if algorithm, method, penalty and schedules do not go together.
    """
    o = optimizer
    _check_optimizer(o)
    try:
        penalty = by_path({o.penalised: build_penalty(o.penalty)})
    except ValueError as error:
        raise config.InputError(str(error)) from error
    scale = _build_scale(o, updates_per_step, max_sparsity)

    def make(rate: Float[Array, ""]) -> optax.GradientTransformation:
        tx = penalised(rate)
        debiasing = freeze_support(o.penalised, o.debias_after * updates_per_step)
        return optax.chain(tx, debiasing) if o.debias_after else tx

    def penalised(rate: Float[Array, ""]) -> optax.GradientTransformation:
        if _without_effect(o):
            carried = proximal(penalty, rate, scale=scale)  # its state tells the strength, 0
            return optax.chain(
                _plain(o, rate), optax.GradientTransformation(carried.init, _as_they_are)
            )
        if o.method == "metric":
            return _proximal(o, rate, penalty, scale)
        inner = _plain(o, rate)
        if o.method == "plain":
            return optax.chain(inner, proximal(penalty, rate, scale=scale))
        return optax.chain(add_subgradient(penalty, scale=scale), inner)

    rate: optax.ScalarOrSchedule = o.learning_rate
    if o.learning_rate_schedule != config.Schedule():
        factor = build_schedule(o.learning_rate_schedule, updates_per_step)
        rate = lambda count: o.learning_rate * factor(count)  # noqa: E731
    return with_learning_rate(make, rate)


def _without_effect(o: config.Optimizer) -> bool:
    """Whether the penalty is 0 everywhere, so that its prox would only cost time."""
    constrained = isinstance(o.penalty, config.NonnegativeL1 | config.L1Ball)
    return not (constrained or any(_strengths(o)) or o.algorithm in ("rmda", "ramda"))


def _as_they_are(
    updates: optax.Updates, state: Any, params: optax.Params | None = None
) -> tuple[optax.Updates, Any]:
    return updates, state


def _strengths(o: config.Optimizer) -> list[float]:
    """Of the penalty."""
    return [value for name, value in vars(o.penalty).items() if name.endswith("strength")]


def _check_optimizer(o: config.Optimizer) -> None:
    def refuse(name: str, value: Any, requirement: str) -> None:
        raise config.InputError(f"`{name}` (={value}) must be {requirement}.")

    if o.algorithm in ("rmda", "ramda") and o.method != "metric":
        refuse("method", o.method, f"metric for {o.algorithm}, which has one way to use a penalty")
    if o.algorithm in ("adam", "adagrad") and o.momentum is not None:
        refuse("momentum", o.momentum, f"None for {o.algorithm}; Adam has b1")
    adaptive = o.algorithm in (
        "adam",
        "rmsprop",
        "adagrad",
    )  # their steps differ from entry to entry
    if o.per_group and not (hasattr(o.penalty, "groups") and adaptive and o.method == "metric"):
        refuse(
            "per_group",
            True,
            "False but for a group penalty, with metric and one of adam, rmsprop, adagrad",
        )
    if o.sparsity_target and not getattr(o.penalty, "strength", 0):
        refuse(
            "sparsity_target", o.sparsity_target, "0 without a penalty whose strength it can scale"
        )
    if o.debias_after and (
        o.algorithm in ("rmda", "ramda") or o.method == "subgradient" or not any(_strengths(o))
    ):
        refuse(
            "debias_after",
            o.debias_after,
            "0 but for metric or plain with a strength, and not rmda or ramda",
        )


def _build_scale(o: config.Optimizer, updates_per_step: int, max_sparsity: float) -> Scale:
    """What moves the strength: a schedule, the sparsity tracker, the weights of reweighted L1."""
    scheduled = o.strength_schedule != config.Schedule()
    factor = (
        build_schedule(o.strength_schedule, updates_per_step) if scheduled else lambda count: 1.0
    )
    parts = []
    if o.sparsity_target:
        parts.append(
            track_sparsity(lambda count: o.sparsity_target * factor(count), o.sparsity_horizon)
        )
    elif scheduled:
        parts.append(optax.scale_by_schedule(factor))
    if max_sparsity < 1:
        parts.append(track_sparsity(max_sparsity, o.sparsity_horizon, bounds=(1e-6, 1.0)))
    if isinstance(o.penalty, config.ReweightedL1):
        parts.append(reweight(o.penalty.every, o.penalty.eps))
    if o.debias_after:
        last = o.debias_after * updates_per_step
        parts.append(
            optax.scale_by_schedule(lambda count: jnp.asarray(jnp.asarray(count) < last, float))
        )
    return optax.chain(*parts) if parts else None


def _proximal(
    o: config.Optimizer, rate: Float[Array, ""], penalty: penalties.Penalty, scale: Scale
) -> optax.GradientTransformation:
    """The form of an optimiser that solves the stated problem."""
    eps, options = _eps(o), {"scale": scale, "per_group": o.per_group}
    match o.algorithm:
        case "adam":
            return proximal_adam(rate, penalty, o.b1, o.b2, eps, **options)
        case "sgd":
            return proximal_sgd(rate, penalty, o.momentum, scale=scale)
        case "rmsprop":
            return proximal_rmsprop(rate, penalty, o.b2, eps, o.momentum, **options)
        case "adagrad":
            return proximal_adagrad(rate, penalty, eps=eps, **options)
        case "rmda":
            return rmda(rate, penalty, 0.1 if o.momentum is None else o.momentum, scale=scale)
        case "ramda":
            return ramda(
                rate, penalty, 0.01 if o.momentum is None else o.momentum, eps, scale=scale
            )


def _plain(o: config.Optimizer, rate: Float[Array, ""]) -> optax.GradientTransformation:
    """The optimiser without a penalty."""
    match o.algorithm:
        case "adam":
            return optax.adam(rate, o.b1, o.b2, _eps(o))
        case "sgd":
            return optax.sgd(rate, o.momentum)
        case "rmsprop":
            return optax.rmsprop(rate, o.b2, _eps(o), momentum=o.momentum)
        case "adagrad":
            return optax.adagrad(rate, eps=_eps(o))
    raise AssertionError(o.algorithm)  # refused before


def _eps(o: config.Optimizer) -> float:
    return {"adagrad": 1e-7, "ramda": 1e-2}.get(o.algorithm, 1e-8) if o.eps is None else o.eps
