"""A selection: its data in folds, and its path from the first strength to the chosen one."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from rich.console import Console

from l1jax.build import build_model, image_shape
from l1jax.config import Config, InputError
from l1jax.data.batches import load_all
from l1jax.data.source import Source
from l1jax.data.splits import unit_hashes
from l1jax.evaluation.scores import NEIGHBOURS
from l1jax.selection.choosing import Choices, Rule, choose, dense_score
from l1jax.selection.experiments import tracking, with_strength
from l1jax.selection.folds import stratified_folds
from l1jax.selection.judging import make_judge
from l1jax.selection.legs import Course, Leg, make_course, run_leg
from l1jax.selection.rules import summarise
from l1jax.selection.search import INFORMATION, Point, Sizes, bisected, one_by_one, scores, together
from l1jax.selection.strengths import parse_strengths, strength_grid
from l1jax.training.task import make_task

DENSEST, SPARSEST = (
    0.1,
    0.99,
)  # shares of zeros between which the strengths lie unless they are given


class Plan(NamedTuple):
    """What path of an experiment is trained, and how its strength is chosen."""

    experiment: Config
    network: str  # whose strength
    strengths: str  # low:high:count, a list with commas, or auto:count
    rule: Rule
    precision: float  # ratio of neighbouring strengths around a target
    folds: int  # 1: judged by held-out images; information criteria use none
    steps: int  # of a run on the path
    how: str  # "together", "independent" or "warm"
    sparse_first: bool  # where a warm path starts
    halvings: int
    dense: bool  # whether strength 0 is trained too
    features: str


class Data(NamedTuple):
    """The examples of a selection: those of the source, then those held out from all folds."""

    source: Source
    held_out: Source | None
    images: np.ndarray
    labels: np.ndarray


class Parts(NamedTuple):
    """Which examples each fold is trained on, and which it is judged by."""

    members: list[np.ndarray]
    held_out: list[np.ndarray]


class Place(NamedTuple):
    """Where a selection is kept, and who is told of it."""

    workdir: Path
    console: Console
    say: Callable[[str], None]


def read_data(source: Source, held_out: Source | None) -> Data:
    """All examples, in memory; labels are 0 where there are none."""
    parts = [part for part in (source, held_out) if part is not None]
    labels = [
        np.zeros(part.length, np.int32) if part.labels is None else part.labels for part in parts
    ]
    return Data(
        source, held_out, np.concatenate([load_all(part) for part in parts]), np.concatenate(labels)
    )


def all_of(source: Source) -> Parts:
    """All examples, for both."""
    return Parts([np.arange(source.length)], [np.arange(source.length)])


def divide(plan: Plan, source: Source, held_out: Source | None) -> Parts:
    """The folds; information criteria, which judge by the training data, have but one of everything.

    Raises:
        InputError: if there are too few examples, or too few held-out ones to judge by.
    """
    if plan.rule.criterion in INFORMATION:
        parts, flag = all_of(source), f"`data` (of {source.length} images)"
    elif plan.folds == 1:
        if held_out is None:
            raise InputError(
                "`--folds` (=1) must be at least 2, or --holdout a share of the images to judge by."
            )
        parts = Parts([np.arange(source.length)], [source.length + np.arange(held_out.length)])
        flag = f"`--holdout` (={plan.experiment.holdout})"
    else:
        numbers = unit_hashes(source, f"fold {plan.experiment.seed}")
        fold, each = stratified_folds(source.labels, numbers, plan.folds), range(plan.folds)
        parts = Parts(
            [np.flatnonzero(fold != i) for i in each], [np.flatnonzero(fold == i) for i in each]
        )
        flag = f"`--folds` (={plan.folds})"
    fewest = min(map(len, parts.held_out))
    if fewest <= NEIGHBOURS:
        raise InputError(
            f"{flag} must leave at least {NEIGHBOURS + 1} images to judge each run by, and leaves {fewest}: precision "
            f"and recall look at {NEIGHBOURS} neighbours of each."
        )
    return parts


def open_course(
    plan: Plan, experiment: Config, data: Data, parts: Parts, place: Place, name: str = ""
) -> Course:
    """A path of this experiment on these parts, kept in a folder of this name."""
    shape = image_shape(experiment.data)
    task, model, examples = (
        make_task(experiment, shape),
        build_model(experiment.model, shape),
        data[2:],
    )
    judge = make_judge(
        task, model, plan.network, *examples, parts.held_out, plan.features, experiment.seed
    )
    folder, fingerprint = place.workdir / "path" / name, data.source.fingerprint
    return make_course(
        experiment,
        task,
        plan.network,
        parts.members,
        examples,
        fingerprint,
        judge,
        folder,
        *place[1:],
    )


def find_strengths(plan: Plan, data: Data, place: Place) -> np.ndarray:
    """The strengths of the plan: given ones, or those between 10 % and 99 % zeros, found by `track_sparsity`.

    Raises:
        InputError: if they are no path, or no such range is found.
    """
    if not plan.strengths.startswith("auto"):
        strengths = parse_strengths(plan.strengths)
    else:
        count = int(plan.strengths.split(":")[1])
        found = []
        for target in (DENSEST, SPARSEST):
            wanted = tracking(plan.experiment, plan.network, target, plan.steps)
            course = open_course(
                plan, wanted, data, all_of(data.source), place, f"range-{target:g}"
            )
            leg = Leg(
                "tracked", (1.0,), 0, plan.steps, said=f"which strength gives {target:.0%} zeros"
            )
            found.append(run_leg(course, leg)[0][0].strength)
        low, high = found
        if not 0 < low < high:
            raise InputError(
                f"`--strengths` (={plan.strengths}) must find a range, and 10 % zeros ended at strength {low:g}, 99 % "
                f"at {high:g}: give low:high:count, or more --path-steps."
            )
        strengths = strength_grid(low, high, count)
    return np.insert(strengths, 0, 0.0) if plan.dense and strengths[0] > 0 else strengths


class Walked(NamedTuple):
    """A path that was trained, and what it amounts to."""

    course: Course
    points: list[Point]
    choices: Choices
    sizes: Sizes


def walk(plan: Plan, data: Data, parts: Parts, place: Place) -> Walked:
    """Train the path, and more strengths around a target; then choose.

    Raises:
        InputError: if no strength can be chosen.
        Interrupted: if a signal said to stop; the same call goes on.
    """
    strengths = find_strengths(plan, data, place).tolist()
    rule, steps = plan.rule, plan.steps
    course = open_course(
        plan, with_strength(plan.experiment, plan.network, 1.0), data, parts, place
    )
    shapes = jax.eval_shape(course.task.generator.network.init, jax.random.key(0))[0]
    sizes = Sizes(data.source.length, sum(leaf.size for leaf in jax.tree.leaves(shapes)))

    def score(points: Sequence[Point]) -> np.ndarray:
        return summarise(scores(points, rule.criterion, sizes)).mean

    if plan.how == "together":
        points = together(course, strengths, steps, plan.halvings, score)
    else:
        turns = strengths[::-1] if plan.how == "warm" and plan.sparse_first else strengths
        points = one_by_one(course, turns, steps, warm=plan.how == "warm", name=plan.how)
    points = sorted(points, key=lambda point: point.strength)
    if rule.zeros:
        points = bisected(
            course, points, lambda point: point.zeros >= rule.zeros, steps, plan.precision
        )
    elif rule.worse:
        dense = dense_score(points, summarise(scores(points, rule.criterion, sizes)))
        bound = dense + rule.worse * abs(dense)
        points = bisected(
            course, points, lambda point: not score([point])[0] <= bound, steps, plan.precision
        )
    return Walked(course, points, choose(points, rule, sizes, steps), sizes)
