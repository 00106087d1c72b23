"""Train the experiment at every value of a grid, one after another, and choose."""

import numpy as np

from l1jax.selection.choose import Choices, agree_on_choices
from l1jax.selection.fold_data import SelectionData
from l1jax.selection.grid import Grid, choose_value, with_value
from l1jax.selection.path_run import PathResult, make_patience, model_size, open_path_run
from l1jax.selection.plan import Plan
from l1jax.selection.schedule import train_points
from l1jax.selection.score_table import score_table
from l1jax.selection.stages import RunContext, Stage


def run_grid(plan: Plan, grid: Grid, data: SelectionData, context: RunContext) -> PathResult:
    """Train the experiment at every value of a grid, and choose the one of the best score.

    The folds of a value train side by side. All values have the same start, batches and random
    numbers. Each is compiled by itself, because the numbers of a configuration are constants of
    its program.

    Args:
        plan: the experiment, its folds, and the criterion.
        grid: the values.
        data: what is trained on.
        context: where the runs are kept.

    Returns:
        What was trained, each point's `strength` being its value, and the choice.

    Raises:
        InputError: if no value has a score, or one is refused.
        Interrupted: if a signal stopped it; the same call resumes.
    """
    points = []
    runs = []
    for value in grid.values:
        experiment = with_value(plan.experiment, grid.field, value)
        run = open_path_run(
            plan, experiment, data.fingerprint, data.in_folds, context, moves_strength=False
        )
        if experiment.patience:
            run = run._replace(patience=make_patience(plan, model_size(run.task, data)))
        stage = Stage(f"grid-{value!r}", (1.0,), 0, plan.steps, label=f"{grid.field} {value:g}")
        (point,) = train_points(run, stage, plan.steps).values()
        points.append(point._replace(strength=value))
        runs.append(run)
    size = model_size(runs[0].task, data)  # the same for all
    table = np.asarray(score_table(points, plan.rule.criterion, size))

    def choose() -> Choices:
        best = choose_value(table, grid)
        return Choices(best, best, None)

    return PathResult(data, runs[0], points, agree_on_choices(choose), size)
