"""Decide which strengths of a path train when, for how long, and from which states."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from l1jax.config.choices import PathMode, WarmOrder
from l1jax.processes.agreement import lead
from l1jax.selection.replicas import strength_groups
from l1jax.selection.rules import bisect_strength, halving_survivors
from l1jax.selection.score_table import PathPoint
from l1jax.selection.stage_results import read_best_steps
from l1jax.selection.stages import PathRun, Stage, run_stage

MeanScores = Callable[[Sequence[PathPoint]], Float[np.ndarray, " strengths"]]


def train_strengths(
    run: PathRun, strengths: Sequence[float], steps: int, how: PathMode, order: WarmOrder
) -> list[PathPoint]:
    """Train every strength, group by group, as `train_path` does in memory.

    Args:
        run: what the stages share.
        strengths: from weak to strong.
        steps: of each strength.
        how: which strengths train together, and from where; see `train_path`.
        order: in which the groups of "warm" follow each other.

    Returns:
        A point for each strength, in the given order.
    """
    points: dict[float, PathPoint] = {}
    stage = None
    first = 0
    for number, group in enumerate(strength_groups(len(strengths), how, order)):
        members = tuple(float(strengths[index]) for index in group)
        origin = stage if how == "warm" else None
        stage = Stage(f"{how}-{number}", members, first, first + steps, origin)
        points |= train_points(run, stage, steps)
        if how == "warm":
            first = stage.last
    return [points[strength] for strength in strengths]


def train_with_halvings(
    run: PathRun,
    strengths: Sequence[float],
    steps: int,
    halvings: int,
    mean_scores: MeanScores,
) -> list[PathPoint]:
    """Train all strengths together, and stop the worse half of them at steps/2ʰ, …, steps/2.

    Args:
        run: what the stages share.
        strengths: in any order.
        steps: of the strengths that train to the end.
        halvings: how often half of them is stopped.
        mean_scores: points → a score for each, lower being better.

    Returns:
        A point for each strength, in the given order; those that were stopped, at their last step.

    Source: Jamieson, Talwalkar, AISTATS 2016, algorithm 1.
    """
    points: dict[float, PathPoint] = {}
    running = tuple(strengths)
    selected: tuple[int, ...] = ()
    stage = None
    first = 0
    for number, last in enumerate(halving_steps(steps, halvings, run.experiment.log_every)):
        stage = Stage(f"together-{number}", running, first, last, stage, selected)
        of_stage = train_points(run, stage, last)
        points |= of_stage
        if last < steps:
            scores = mean_scores(list(of_stage.values()))
            num_survivors = math.ceil(len(running) / 2)
            selected = tuple(lead(partial(_select_survivors, scores, num_survivors)))
            running = tuple(running[index] for index in selected)
            first = last
    return [points[strength] for strength in strengths]


def _select_survivors(scores: Float[np.ndarray, " strengths"], count: int) -> list[int]:
    return np.flatnonzero(halving_survivors(scores, count)).tolist()


def halving_steps(steps: int, halvings: int, log_every: int) -> list[int]:
    """Return the steps at which halvings happen, and the last step.

    Args:
        steps: of the strengths that train to the end.
        halvings: h; halvings happen at steps/2ʰ, …, steps/2.
        log_every: the halvings' steps are rounded to a multiple of it.
    """
    ends = {steps}
    for halving in range(1, halvings + 1):
        rounded = round(steps / 2**halving / log_every) * log_every
        ends.add(max(log_every, rounded))
    return sorted(end for end in ends if end <= steps)


def train_points(run: PathRun, stage: Stage, trained: int) -> dict[float, PathPoint]:
    """Train a stage, whose strengths then had `trained` steps in all, and score it.

    Args:
        run: what the stages share.
        stage: what to train.
        trained: the steps of each strength, earlier stages included; with patience, those to the
            best score are counted instead.

    Returns:
        A point for each strength of the stage, in its order.
    """
    results = run_stage(run, stage)
    steps = [trained] * len(stage.strengths)
    if run.patience is not None:
        steps = lead(partial(read_best_steps, run.context.folder / stage.name))
    return {
        strength: PathPoint(strength, steps_of_strength, folds)
        for strength, steps_of_strength, folds in zip(stage.strengths, steps, results, strict=True)
    }


def refine_around_target(
    run: PathRun,
    points: Sequence[PathPoint],
    beyond: Callable[[PathPoint], bool],
    steps: int,
    ratio: float,
) -> list[PathPoint]:
    """Train more strengths around a target, by bisection, until two neighbours enclose it closely.

    Args:
        run: what the stages share.
        points: of the path so far.
        beyond: whether a point is beyond the target.
        steps: of each strength.
        ratio: of the two neighbours, greater than 1.

    Returns:
        All points in order of their strengths; no new ones if the target is not between two of
        the given points.
    """
    by_strength = {point.strength: point for point in points}
    positive = [by_strength[strength] for strength in sorted(by_strength) if strength > 0]

    def is_beyond(strength: float) -> bool:
        stage = Stage(f"bisection-{strength:.6g}-0", (strength,), 0, steps)
        by_strength.update(train_points(run, stage, steps))
        return beyond(by_strength[strength])

    for weaker, stronger in pairwise(positive):
        if beyond(stronger) and not beyond(weaker):
            bisect_strength(is_beyond, weaker.strength, stronger.strength, ratio)
            break
    return [by_strength[strength] for strength in sorted(by_strength)]
