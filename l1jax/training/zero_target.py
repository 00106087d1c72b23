"""Whether the networks of a run have the share of zeros that they are to have."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from l1jax.build_optimizer import CountedGroups, prunes
from l1jax.config import Config, Optimizer
from l1jax.penalties import select_leaves, sparsity
from l1jax.training.state import NetworkState, State, Task
from l1jax.transforms import TrackSparsityState, solution
from l1jax.transforms.mean_sizes import shares_of_zero_groups
from l1jax.transforms.scopes import leaf_scopes

TOLERANCE = 0.01  # of a share of zeros, beyond which the run says that the target is missed
LARGE_CORRECTION = 0.05  # of a share of zeros, by single entries as the zeros are frozen

ReportTarget = Callable[[int, int, State], None]
"""(steps before a chunk, steps after it, state after it) → None."""


class Counted(NamedTuple):
    """What a share of zeros counts in a network."""

    pattern: str  # regular expression of the paths
    groups: CountedGroups


class Tracked(NamedTuple):
    """The share of zeros of the scope that was furthest from its target."""

    scope: str  # "" if there is one of all penalised parameters
    zeros: float


def make_target_report(
    experiment: Config, task: Task, report: Callable[[int, str, str], None]
) -> ReportTarget:
    """Build what says, once, that a network has missed its target of zeros, or nearly did.

    It looks as the zeros are frozen, or at the end of a run that does not freeze them.

    Args:
        experiment: the targets.
        task: which parameters of its networks count, and their groups.
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
            counted = Counted(task.penalised[name], task.groups.get(name))
            if prunes(optimizer):
                sentence = ""
                if step == experiment.steps:
                    sentence = _describe_pruned(name, optimizer, network, counted)
            elif frozen_at and first_step <= frozen_at < step:
                sentence = _describe_freeze(name, optimizer, network, counted)
            elif not frozen_at and step == experiment.steps:
                sentence = _describe_end(name, optimizer, network, counted)
            else:
                continue
            if sentence:
                report(step, f"{name}/sparsity_target", sentence)

    return report_target


def _describe_freeze(
    name: str, optimizer: Optimizer, network: NetworkState, counted: Counted
) -> str:
    """Say that the zeros were frozen away from the target, or were moved far to it; or nothing.

    Args:
        name: of the network.
        optimizer: its target.
        network: its state after the freeze.
        counted: what its share of zeros counts.
    """
    target = optimizer.sparsity_target
    tracked = _tracked(optimizer, network, counted)
    share = _share(network.params, counted)
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


def _describe_end(name: str, optimizer: Optimizer, network: NetworkState, counted: Counted) -> str:
    """Say that the training ended away from the target; or nothing.

    Args:
        name: of the network.
        optimizer: its target.
        network: its state at the end.
        counted: what its share of zeros counts.
    """
    target = optimizer.sparsity_target
    tracked = _tracked(optimizer, network, counted)
    if abs(tracked.zeros - target) <= TOLERANCE:
        return ""
    place = tracked.scope and f" in {tracked.scope}"
    return (
        f"the {name} ends with {tracked.zeros:.1%} zeros{place}, and the target is {target:.1%}: "
        f"train for longer, give a shorter --{name}.sparsity-horizon, or set "
        f"--{name}.debias-after, which meets the target exactly."
    )


def _describe_pruned(
    name: str, optimizer: Optimizer, network: NetworkState, counted: Counted
) -> str:
    """Say that pruning ended away from the target; or nothing.

    Args:
        name: of the network.
        optimizer: its target.
        network: its state at the end.
        counted: what its share of zeros counts.
    """
    target = optimizer.sparsity_target
    share = _share(network.params, counted)
    if abs(share - target) <= TOLERANCE:
        return ""
    return (
        f"the {name} ends with {share:.1%} zeros, and the target is {target:.1%}: end the pruning "
        f"earlier by a smaller --{name}.pruning.begin, --{name}.pruning.steps or "
        f"--{name}.pruning.every, or train for longer."
    )


def _tracked(optimizer: Optimizer, network: NetworkState, counted: Counted) -> Tracked:
    """Return the share of zeros, smoothed over steps, that is furthest from the target.

    Args:
        optimizer: the target.
        network: the state of the network.
        counted: what its share of zeros counts.
    """
    nodes = jax.tree.leaves(network.opt_state, is_leaf=_is_tracker)
    shares = np.atleast_1d(next(node.zeros for node in nodes if _is_tracker(node)))
    worst = int(np.argmax(np.abs(shares - optimizer.sparsity_target)))
    chosen = _chosen_leaves(solution(network.opt_state, network.params), counted)
    names = leaf_scopes(chosen, optimizer.sparsity_scope).names
    return Tracked(names[worst], float(shares[worst]))


def _share(params: PyTree, counted: Counted) -> float:
    """Return the share of zeros: of entries in zero groups, or of single entries."""
    if counted.groups is None:
        return float(sparsity(params, counted.pattern).total)
    return float(
        shares_of_zero_groups(_chosen_leaves(params, counted), counted.groups, "global")[0]
    )


def _chosen_leaves(params: PyTree, counted: Counted) -> PyTree:
    """Return the parameters that count, and None in place of the others."""
    selected = select_leaves(params, counted.pattern)
    return jax.tree.map(lambda p, is_chosen: p if is_chosen else None, params, selected)


def _is_tracker(node: PyTree) -> bool:
    return isinstance(node, TrackSparsityState)
