"""Choose the strength of a penalty.

Run: `python -m l1jax.select --config digits --strengths 1e-5:1e-2:8`.
"""

from l1jax.cli.early_answers import answer_early, check_experiment_flags
from l1jax.cli.experiment_options import SelectOptions, refuse_flags_of_strengths

if __name__ == "__main__":
    answer_early(check_experiment_flags(SelectOptions, "python -m l1jax.select", "runs/{}-path"))


import dataclasses
import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from rich.console import Console

from l1jax.build import build_model, example_shape
from l1jax.cli.experiment import parse_experiment
from l1jax.cli.flags import parse_path
from l1jax.cli.origins import find_start
from l1jax.cli.process import run_command, shell_command, stop_status
from l1jax.config import Config, InputError, Text
from l1jax.data.opening import open_examples
from l1jax.data.text_source import open_text
from l1jax.evaluation.tensors import Tensors, load_tensors
from l1jax.processes.agreement import is_leader, lead, require_same
from l1jax.processes.storage import check_shared_storage
from l1jax.reporting.strength_path import show_path
from l1jax.selection.choose import ChoiceRule, check_criterion
from l1jax.selection.experiments import debiased, with_strength
from l1jax.selection.fold_data import (
    SelectionData,
    check_resident,
    divide_into_folds,
    load_image_data,
)
from l1jax.selection.grid import parse_grid, with_value
from l1jax.selection.grid_run import run_grid
from l1jax.selection.path_run import PathResult, run_path
from l1jax.selection.plan import Plan, check_plan
from l1jax.selection.report import path_report, write_report
from l1jax.selection.settings import record_settings
from l1jax.selection.stages import Interrupted, RunContext
from l1jax.selection.text_folds import open_text_data
from l1jax.terminal import Say, make_console, make_say
from l1jax.training.callbacks import NonFiniteError
from l1jax.training.input_checks import check_batch, check_labels, check_shapes, find_devices
from l1jax.training.loop import remember_signals
from l1jax.training.origin import ORIGIN_FILE, check_origin, read_origin, write_origin
from l1jax.training.run import run_experiment
from l1jax.training.state import Task, require_images
from l1jax.training.stopping import read_end
from l1jax.training.task import make_task
from l1jax.training.workdir import hold, read_config


def main(arguments: Sequence[str]) -> int:
    """Select as the flags say; return the exit status."""
    options = parse_experiment(SelectOptions, arguments, "python -m l1jax.select", "runs/{}-path")
    console = make_console(quiet=not is_leader())
    say = make_say(console)
    with remember_signals(say):
        return select(options, arguments, console, say)


def select(options: SelectOptions, arguments: Sequence[str], console: Console, say: Say) -> int:
    """Train the path, choose, and refit; return the exit status.

    Args:
        options: the command's flags.
        arguments: the same as the user typed them.
        console: for progress.
        say: prints one sentence on a line of its own.
    """
    workdir = parse_path("--workdir", options.workdir)
    resume = shell_command("l1jax.select", *(a for a in arguments if a != "--overwrite"))
    start = find_start(options, options.experiment, workdir, say, overwrite=options.overwrite)
    options = dataclasses.replace(options, experiment=start.experiment)
    plan = make_plan(options)
    experiment = options.experiment
    shape = example_shape(experiment.data)
    # What a value or the refitted run would refuse is refused before anything is trained.
    values = (1.0,) if plan.grid is None else plan.grid.values
    tasks = [make_task(refitted(options, value), shape) for value in values]
    task = tasks[0]
    if plan.grid is None:
        task = make_task(with_strength(experiment, options.network, 1.0), shape)
    template = check_shapes(task, experiment.seed)
    lead(partial(check_origin, experiment, template, start.weights))
    check_batch(experiment, len(find_devices()))
    load = open_data(plan, task)
    try:
        with ExitStack() as stack:
            lead(partial(open_selection, stack, workdir, plan, overwrite=options.overwrite))
            lead(partial(write_origin, workdir, start.weights))
            check_shared_storage(workdir)
            if experiment.origin is not None:
                weights = read_origin(workdir, experiment, template)
                plan = plan._replace(weights=weights)
            with console.status("reading the data"):
                data = load()
            result = train(plan, data, RunContext(workdir / "path", console, say))
            report = path_report(plan, result)
            lead(partial(write_report, workdir, report, result))
    except Interrupted as stop:
        say(f"stopped by {signal.Signals(stop.signal).name}, saved along the path. To resume:")
        say(f"  {resume}")
        return stop_status(stop.signal)
    except OSError as error:
        raise InputError(
            f"`--workdir` (={workdir}) could not be written ({error.strerror or error}): make room "
            "or permission there and run the same command again; what was trained is kept."
        ) from error
    show_path(report, console)
    say(f"plots       {workdir / 'path.png'}")
    say(f"samples     {workdir / ('samples.txt' if data.noun == 'text' else 'samples.png')}")
    say(f"all numbers {workdir / 'path.json'}")
    say(f"as a page:  {shell_command('l1jax.report', '--workdir', str(workdir))}")
    if not options.refit:
        return 0
    strength = float(result.choices.chosen.strength)
    folder = workdir / f"refit-{strength!r}"
    if plan.grid is None:
        folder = Path(lead(lambda: str(refit_folder(workdir, options.network, strength))))
    return refit(options, strength, folder, resume, console, say)


def train(plan: Plan, data: SelectionData, context: RunContext) -> PathResult:
    """Train the grid of a plan, or its path of strengths, and choose.

    Args:
        plan: what is trained, and how it is compared.
        data: the examples.
        context: where results are kept, and what tells the user about them.
    """
    if plan.grid is not None:
        return run_grid(plan, plan.grid, data, context)
    return run_path(plan, data, context)


def open_data(plan: Plan, task: Task) -> Callable[[], SelectionData]:
    """Open the data of a selection, and return () → the same in memory.

    Args:
        plan: what is selected, and how.
        task: that is trained on the data.

    Raises:
        InputError: if the data cannot be used, are too large or too few, or differ between
            processes.
    """
    experiment = plan.experiment
    remedy = "give each the same files, with the same flags for them"
    if isinstance(experiment.data, Text):
        training, text_held_out = open_text(experiment.data, experiment.holdout)
        require_same("`data`", training.fingerprint, remedy)
        text = open_text_data(plan, experiment.data, training, text_held_out)
        return lambda: text
    source, held_out = open_examples(experiment.data, experiment.holdout, experiment.cache)
    check_labels(require_images(task).classes, source)
    check_resident(source, experiment)
    require_same("`data`", source.fingerprint, remedy)
    folds = divide_into_folds(plan, source, held_out)
    return lambda: load_image_data(plan, source, held_out, folds)


def open_selection(stack: ExitStack, workdir: Path, plan: Plan, *, overwrite: bool) -> None:
    """Lock the work directory and record in it what is selected.

    Args:
        stack: unlocks the directory.
        workdir: of the selection.
        plan: what is selected, and how.
        overwrite: whether a path that is already there is deleted first.
    """
    stack.enter_context(hold(workdir))
    record_settings(workdir, plan, overwrite=overwrite)


def make_plan(options: SelectOptions) -> Plan:
    """Return the plan that the flags describe.

    Raises:
        InputError: if the flags do not go together, or not with the model.
    """
    experiment = options.experiment
    model = build_model(experiment.model, example_shape(experiment.data))
    criterion = check_criterion(options.criterion, model)
    plan = Plan(
        experiment=experiment,
        network=options.network,
        strengths=options.strengths,
        rule=ChoiceRule(criterion, options.rule, options.zeros, options.worse),
        precision=options.precision,
        folds=options.folds,
        steps=options.path_steps or experiment.steps,
        how=options.how,
        order=options.order,
        halvings=options.halvings,
        dense=options.dense,
        features=options.features,
        grid=parse_grid(options.grid),
    )
    if plan.grid is not None:
        refuse_flags_of_strengths(options)
    check_plan(plan, default_criterion=options.criterion == "default")
    if options.debias_steps < 0:
        raise InputError(f"`--debias-steps` (={options.debias_steps}) must be at least 0.")
    if options.debias_steps and not options.refit:
        raise InputError(
            f"`--debias-steps` (={options.debias_steps}) must be 0 with --no-refit: they are steps "
            "of the refitted run."
        )
    return plan


def refitted(options: SelectOptions, strength: float) -> Config:
    """Return the experiment at this strength, with the steps that debias it.

    With --grid it is the experiment at this value of the grid's field.
    """
    grid = parse_grid(options.grid)
    if grid is not None:
        return with_value(options.experiment, grid.field, strength)
    chosen = with_strength(options.experiment, options.network, strength)
    if not strength:  # without the penalty there is nothing to debias
        return chosen
    return debiased(chosen, options.network, options.debias_steps)


def refit_folder(workdir: Path, network: str, strength: float) -> Path:
    """Return the folder of the run that is refitted with this strength.

    Its name has four digits of the strength, and all of them if the run of another strength has
    the shorter name.

    Args:
        workdir: of the selection.
        network: whose strength is chosen.
        strength: the chosen one.

    Raises:
        InputError: if the configuration of a run that is already there cannot be read.
    """
    exact = workdir / f"refit-{strength!r}"
    rounded = workdir / f"refit-{strength:.4g}"
    if exact.exists():
        return exact
    stored = read_config(rounded)
    if stored is None:
        return rounded
    penalty = getattr(getattr(stored, network), "penalty", None)
    if getattr(penalty, "strength", strength) == strength:
        return rounded
    return exact


def read_kept_weights(workdir: Path) -> Tensors | None:
    """Return the weights that every strength began from, in process 0.

    Raises:
        InputError: if they cannot be read.
    """
    weights = None

    def read() -> None:
        nonlocal weights
        weights, _ = load_tensors(workdir / ORIGIN_FILE)

    lead(read)
    return weights


def refit(
    options: SelectOptions,
    strength: float,
    folder: Path,
    resume: str,
    console: Console,
    say: Say,
) -> int:
    """Train on all data with the chosen strength, as an ordinary run; return the exit status.

    Args:
        options: the experiment, and how it is refitted.
        strength: the chosen one.
        folder: of the run.
        resume: the command that resumes the run.
        console: for progress.
        say: prints one sentence on a line of its own.
    """
    chosen = refitted(options, strength)
    weights = None
    if chosen.origin is not None:
        weights = read_kept_weights(folder.parent)
    try:
        _, end = run_experiment(
            chosen, folder, console, say, resume=True, overwrite=False, origin_weights=weights
        )
    except NonFiniteError as error:
        say(f"error: {error}. Try a smaller learning rate.")
        return 1
    if end.signal is not None and end.step < chosen.steps:
        name = signal.Signals(end.signal).name
        say(f"stopped by {name}, saved at step {end.step:,}. To resume:")
        say(f"  {resume}")
        return stop_status(end.signal)
    stopped = read_end(folder)
    if stopped is not None:
        say(f"{stopped.reason}.")
    say(f"refitted    {folder}")
    say(f"evaluate it: {shell_command('l1jax.evaluate', '--workdir', str(folder))}")
    return 0


if __name__ == "__main__":
    run_command(main, is_shared=True)
