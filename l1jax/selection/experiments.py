"""Set the strength of an experiment's penalty."""

import dataclasses
from dataclasses import replace

from l1jax.config import Config, InputError, Optimizer


def with_strength(experiment: Config, network: str, strength: float) -> Config:
    """Return the experiment with this strength in a network's penalty.

    If the penalty has several strengths, the others keep their ratio to the first.

    Args:
        experiment: what to change.
        network: such as "generator".
        strength: the new strength.

    Raises:
        InputError: if there is no such network, or its penalty has no strength to set.
    """
    optimizer = getattr(experiment, network)
    if not isinstance(optimizer, Optimizer):
        raise InputError(
            f"`--network` (={network}) must be one that the experiment has, and it has no "
            f"`{network}`."
        )
    penalty = optimizer.penalty
    names = [f.name for f in dataclasses.fields(penalty) if f.metadata.get("strength")]
    if not names:
        raise InputError(
            f"`{network}.penalty` (={type(penalty).__name__}) must have a strength to choose: L1, "
            "for instance."
        )
    first = getattr(penalty, names[0])
    others = names[1:]
    if any(getattr(penalty, name) for name in others) and not first:
        raise InputError(
            f"`{network}.penalty.strength` (=0) must be greater than 0 beside `{others[0]}`, "
            "because the two tell their ratio."
        )
    ratios = {name: getattr(penalty, name) / (first or 1) for name in others}
    values = {names[0]: strength, **{name: strength * ratio for name, ratio in ratios.items()}}
    changed = replace(optimizer, penalty=replace(penalty, **values))
    return replace(experiment, **{network: changed})


def tracking(experiment: Config, network: str, target: float, steps: int) -> Config:
    """Return the experiment with a strength that is moved until this share of the entries is zero.

    Where groups are penalised, it is the share of the entries in zero groups.

    Args:
        experiment: what to change.
        network: whose strength is moved.
        target: the share of zeros.
        steps: of the run.
    """
    optimizer = getattr(experiment, network)
    start = optimizer.penalty.strength or 1e-3
    horizon = min(optimizer.sparsity_horizon, max(200, steps // 4))
    changed = replace(optimizer, sparsity_target=target, sparsity_horizon=horizon)
    return with_strength(replace(experiment, **{network: changed}), network, start)


def debiased(experiment: Config, network: str, steps: int) -> Config:
    """Return the experiment with further steps, without the penalty, in which zeros stay zero.

    Args:
        experiment: what to change.
        network: whose penalty is switched off.
        steps: how many are added.
    """
    if not steps:
        return experiment
    optimizer = replace(getattr(experiment, network), debias_after=experiment.steps)
    return replace(experiment, steps=experiment.steps + steps, **{network: optimizer})
