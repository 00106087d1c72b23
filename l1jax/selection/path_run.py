"""Train the path of a plan, from the first strength to the chosen one."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from l1jax.build import example_shape
from l1jax.config import Config, InputError
from l1jax.processes.agreement import lead
from l1jax.selection.choose import Choices, agree_on_choices, choose, dense_score
from l1jax.selection.experiments import tracking, with_strength
from l1jax.selection.fold_data import FoldedData, SelectionData
from l1jax.selection.plan import Plan
from l1jax.selection.rules import summarize_scores
from l1jax.selection.schedule import refine_around_target, train_strengths, train_with_halvings
from l1jax.selection.score_table import ModelSize, PathPoint, score_table
from l1jax.selection.stage_results import Patience, StageResults
from l1jax.selection.stages import PathRun, RunContext, Stage, cached_replicas, run_stage
from l1jax.selection.strengths import parse_strengths, strength_grid
from l1jax.training.patience import first_counted_step
from l1jax.training.state import Task
from l1jax.training.task import make_task

# Shares of zeros between which the strengths lie unless they are given.
LOW_SPARSITY = 0.1
HIGH_SPARSITY = 0.99


class PathResult(NamedTuple):
    """A path that was trained, and the strengths that were chosen from it."""

    data: SelectionData
    run: PathRun
    points: list[PathPoint]  # from weak to strong
    choices: Choices
    size: ModelSize


def open_path_run(
    plan: Plan,
    experiment: Config,
    fingerprint: str,
    divide: Callable[[Task], FoldedData],
    context: RunContext,
    *,
    moves_strength: bool = True,
) -> PathRun:
    """Prepare the stages of a path.

    Args:
        plan: for the network whose strength is chosen.
        experiment: what is trained at every strength; its own strength is 1 if that is moved.
        fingerprint: of the data.
        divide: task → the data in folds.
        context: where the stages are kept.
        moves_strength: whether the strengths of the stages scale the experiment's own.
    """
    task = make_task(experiment, example_shape(experiment.data))
    folded = divide(task)
    return PathRun(
        experiment=experiment,
        task=task,
        network=plan.network,
        feed=folded.feed,
        fingerprint=fingerprint,
        scorer=folded.scorer,
        context=context,
        replicas=cached_replicas(
            experiment,
            task,
            plan.network if moves_strength else None,
            folded.feed,
            plan.weights,
        ),
    )


def find_strengths(
    plan: Plan, data: SelectionData, context: RunContext
) -> Float[np.ndarray, " strengths"]:
    """Return the strengths of a plan: given ones, or those between 10 % and 99 % zeros.

    The latter are found by two runs with `track_sparsity`. Several processes take the strengths
    that process 0 finds.

    Args:
        plan: whose strengths.
        data: what the runs are trained on.
        context: where the runs are kept.

    Raises:
        InputError: if the strengths are not those of a path, or no such range is found.
    """
    if plan.finds_strengths:
        found = [
            strength_at_sparsity(plan, sparsity, data, context)
            for sparsity in (LOW_SPARSITY, HIGH_SPARSITY)
        ]
        low, high = lead(lambda: found)
        if not 0 < low < high:
            raise InputError(
                f"`--strengths` (={plan.strengths}) must find a range, and 10 % zeros ended at "
                f"strength {low:g}, 99 % at {high:g}: give low:high:count, or more --path-steps."
            )
        strengths = strength_grid(low, high, int(plan.strengths.split(":")[1]))
    else:
        strengths = parse_strengths(plan.strengths)
    if plan.dense and strengths[0] > 0:
        strengths = np.insert(strengths, 0, 0.0)
    return strengths


def strength_at_sparsity(
    plan: Plan, sparsity: float, data: SelectionData, context: RunContext
) -> float:
    """Train with a strength that is moved until it gives this share of zeros; return the strength.

    Args:
        plan: what is trained.
        sparsity: the share of zeros.
        data: all of which is trained on.
        context: where the run is kept.
    """
    experiment = tracking(plan.experiment, plan.network, sparsity, plan.steps)
    context = context._replace(folder=context.folder / f"range-{sparsity:g}")
    run = open_path_run(plan, experiment, data.fingerprint, data.whole, context)
    label = f"which strength gives {sparsity:.0%} zeros"
    stage = Stage("tracked", (1.0,), 0, plan.steps, label=label)
    return run_stage(run, stage)[0][0].strength


def model_size(task: Task, data: SelectionData) -> ModelSize:
    """Return the counts that information criteria need."""
    shapes, _ = jax.eval_shape(task.generator.network.init, jax.random.key(0))
    return ModelSize(data.count, sum(leaf.size for leaf in jax.tree.leaves(shapes)))


def make_patience(plan: Plan, size: ModelSize) -> Patience:
    """Return when the strengths of a path stop: by the criterion that also chooses among them.

    Args:
        plan: for its patience and its criterion.
        size: which information criteria need.
    """

    def mean_scores(results: StageResults) -> Float[np.ndarray, " strengths"]:
        points = [PathPoint(0.0, 0, folds) for folds in results]
        return summarize_scores(score_table(points, plan.rule.criterion, size)).mean

    experiment = plan.experiment
    return Patience(experiment.patience, first_counted_step(experiment), mean_scores)


def run_path(plan: Plan, data: SelectionData, context: RunContext) -> PathResult:
    """Train the path, and more strengths around a target; then choose.

    Args:
        plan: what is trained and how its strength is chosen.
        data: what it is trained on.
        context: where the stages are kept.

    Raises:
        InputError: if no strength can be chosen.
        Interrupted: if a signal stopped it; the same call resumes.
    """
    strengths = find_strengths(plan, data, context).tolist()
    experiment = with_strength(plan.experiment, plan.network, 1.0)
    run = open_path_run(plan, experiment, data.fingerprint, data.in_folds, context)
    size = model_size(run.task, data)
    rule = plan.rule
    if plan.experiment.patience:
        run = run._replace(patience=make_patience(plan, size))

    def mean_scores(points: Sequence[PathPoint]) -> Float[np.ndarray, " strengths"]:
        return summarize_scores(score_table(points, rule.criterion, size)).mean

    if plan.halvings:
        points = train_with_halvings(run, strengths, plan.steps, plan.halvings, mean_scores)
    else:
        points = train_strengths(run, strengths, plan.steps, plan.how, plan.order)
    if rule.target_sparsity:

        def beyond(point: PathPoint) -> bool:
            return lead(lambda: bool(point.zeros >= rule.target_sparsity))

        points = refine_around_target(run, points, beyond, plan.steps, plan.precision)
    elif rule.allowed_loss:
        dense = dense_score(points, mean_scores(points))
        bound = dense + rule.allowed_loss * abs(dense)

        def beyond(point: PathPoint) -> bool:
            # A NaN is beyond, too.
            return lead(lambda: not mean_scores([point])[0] <= bound)

        points = refine_around_target(run, points, beyond, plan.steps, plan.precision)
    choices = agree_on_choices(lambda: choose(points, rule, size, plan.steps))
    return PathResult(data, run, points, choices, size)
