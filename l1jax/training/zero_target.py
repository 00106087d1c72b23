"""Whether the networks of a run have the share of zeros that they are to have."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from l1jax.build_optimizer import prunes
from l1jax.config import Config, Optimizer
from l1jax.penalties import select_leaves, sparsity
from l1jax.training.state import NetworkState, State
from l1jax.transforms import TrackSparsityState, solution
from l1jax.transforms.scopes import leaf_scopes

TOLERANCE = 0.01  # of a share of zeros, beyond which the run says that the target is missed
LARGE_CORRECTION = 0.05  # of a share of zeros, by single entries as the zeros are frozen

ReportTarget = Callable[[int, int, State], None]
"""(steps before a chunk, steps after it, state after it) → None."""


class Tracked(NamedTuple):
    """The share of zeros of the scope that was furthest from its target."""

    scope: str  # "" if there is one of all penalised parameters
    zeros: float


def make_target_report(
    experiment: Config, penalised: Mapping[str, str], report: Callable[[int, str, str], None]
) -> ReportTarget:
    """Build what says, once, that a network has missed its target of zeros, or nearly did.

    It looks as the zeros are frozen, or at the end of a run that does not freeze them.

    Args:
        experiment: the targets.
        penalised: by the name of a network, the regular expression of the paths that count.
        report: (step, name, sentence) → None.
    """

    def report_target(first_step: int, step: int, state: State) -> None:
        for name in ("generator", "discriminator", "encoder"):
            optimizer: Optimizer | None = getattr(experiment, name)
            network: NetworkState | None = getattr(state, name, None)
            if optimizer is None or network is None or not optimizer.sparsity_target:
                continue
            if optimizer.strength_schedule.shape != "constant":
                continue  # the target moves to the end
            frozen_at = optimizer.debias_after
            if prunes(optimizer):
                sentence = ""
                if step == experiment.steps:
                    sentence = _describe_pruned(name, optimizer, network, penalised[name])
            elif frozen_at and first_step <= frozen_at < step:
                sentence = _describe_freeze(name, optimizer, network, penalised[name])
            elif not frozen_at and step == experiment.steps:
                sentence = _describe_end(name, optimizer, network, penalised[name])
            else:
                continue
            if sentence:
                report(step, f"{name}/sparsity_target", sentence)

    return report_target


def _describe_freeze(name: str, optimizer: Optimizer, network: NetworkState, penalised: str) -> str:
    """Say that the zeros were frozen away from the target, or were moved far to it; or nothing.

    Args:
        name: of the network.
        optimizer: its target.
        network: its state after the freeze.
        penalised: regular expression of the paths that count.
    """
    target = optimizer.sparsity_target
    tracked = _tracked(optimizer, network, penalised)
    share = float(sparsity(network.params, penalised).total)
    change = "greater" if tracked.zeros < target else "smaller"
    remedy = (
        f"let --{name}.debias-after come later, end --{name}.strength-schedule.warmup earlier, or "
        f"begin with a {change} --{name}.penalty.strength"
    )
    if abs(share - target) > TOLERANCE:
        return (
            f"the {name}'s zeros are frozen at {share:.1%}, and the target is {target:.1%}: "
            f"{remedy}, or single entries instead of groups."
        )
    if abs(tracked.zeros - target) > LARGE_CORRECTION:
        place = tracked.scope and f" in {tracked.scope}"
        return (
            f"the {name}'s zeros are frozen at the target of {target:.1%}, but the penalty had "
            f"made {tracked.zeros:.1%}{place}, and the size of the entries decided about the "
            f"others: {remedy}."
        )
    return ""


def _describe_end(name: str, optimizer: Optimizer, network: NetworkState, penalised: str) -> str:
    """Say that the training ended away from the target; or nothing.

    Args:
        name: of the network.
        optimizer: its target.
        network: its state at the end.
        penalised: regular expression of the paths that count.
    """
    target = optimizer.sparsity_target
    tracked = _tracked(optimizer, network, penalised)
    if abs(tracked.zeros - target) <= TOLERANCE:
        return ""
    place = tracked.scope and f" in {tracked.scope}"
    return (
        f"the {name} ends with {tracked.zeros:.1%} zeros{place}, and the target is {target:.1%}: "
        f"train for longer, give a shorter --{name}.sparsity-horizon, or set "
        f"--{name}.debias-after, which meets the target exactly."
    )


def _describe_pruned(name: str, optimizer: Optimizer, network: NetworkState, penalised: str) -> str:
    """Say that pruning ended away from the target; or nothing.

    Args:
        name: of the network.
        optimizer: its target.
        network: its state at the end.
        penalised: regular expression of the paths that count.
    """
    target = optimizer.sparsity_target
    share = float(sparsity(network.params, penalised).total)
    if abs(share - target) <= TOLERANCE:
        return ""
    return (
        f"the {name} ends with {share:.1%} zeros, and the target is {target:.1%}: end the pruning "
        f"earlier by a smaller --{name}.pruning.begin, --{name}.pruning.steps or "
        f"--{name}.pruning.every, or train for longer."
    )


def _tracked(optimizer: Optimizer, network: NetworkState, penalised: str) -> Tracked:
    """Return the share of zeros, smoothed over steps, that is furthest from the target.

    Args:
        optimizer: the target.
        network: the state of the network.
        penalised: regular expression of the paths that count.
    """
    nodes = jax.tree.leaves(network.opt_state, is_leaf=_is_tracker)
    shares = np.atleast_1d(next(node.zeros for node in nodes if _is_tracker(node)))
    worst = int(np.argmax(np.abs(shares - optimizer.sparsity_target)))
    params = solution(network.opt_state, network.params)
    selected = select_leaves(params, penalised)
    chosen = jax.tree.map(lambda p, is_chosen: p if is_chosen else None, params, selected)
    names = leaf_scopes(chosen, optimizer.sparsity_scope).names
    return Tracked(names[worst], float(shares[worst]))


def _is_tracker(node: PyTree) -> bool:
    return isinstance(node, TrackSparsityState)
