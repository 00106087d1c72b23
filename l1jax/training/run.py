"""A run of an experiment in its work directory, from opening the data to the last checkpoint."""

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree, Shaped
from rich.console import Console

from l1jax.build import image_shape
from l1jax.compilation import jit_once
from l1jax.config import Config, InputError
from l1jax.data.batches import Feed
from l1jax.data.class_labels import describe_classes
from l1jax.data.source import Source
from l1jax.training.callbacks import (
    NonFiniteError,
    chunk_length,
    make_callbacks,
    make_grid_saver,
)
from l1jax.training.checkpoint import Checkpoints, open_checkpoints
from l1jax.training.input_checks import check_batch, check_labels, check_shapes, find_devices
from l1jax.training.keys import named_seed_key
from l1jax.training.log import open_log
from l1jax.training.loop import ChunkProgram, LoopEnd, run_chunks
from l1jax.training.parallel import Runner, make_runner
from l1jax.training.rollback import (
    Rollback,
    count_rollbacks,
    plan_rollback,
    read_rollback,
    refuse_other_run,
    write_rollback,
)
from l1jax.training.run_data import open_feed, open_training_data, write_classes
from l1jax.training.state import State, Task
from l1jax.training.task import make_task
from l1jax.training.workdir import check_workdir, open_workdir, read_config, write_config
from l1jax.transforms.learning_rate import set_learning_rate_scale


class Outcome(NamedTuple):
    """Where a run began, and where and why it ended."""

    first_step: int
    end: LoopEnd


class TrainingRun(NamedTuple):
    """Everything that a run needs, opened and checked."""

    experiment: Config
    task: Task
    runner: Runner
    checkpoints: Checkpoints
    template: State  # shapes and dtypes of the state
    workdir: Path
    feed: Feed
    reference: Shaped[np.ndarray, "n h w c"]  # real images to compare with
    console: Console
    say: Callable[[str], None]


def run_experiment(
    experiment: Config,
    workdir: Path,
    console: Console,
    say: Callable[[str], None],
    *,
    resume: bool,
    overwrite: bool,
) -> Outcome:
    """Train an experiment in its work directory, from the newest checkpoint there if there is one.

    Args:
        experiment: what to train.
        workdir: where the run is kept.
        console: for progress.
        say: called with one sentence at a time.
        resume: whether an existing run of this experiment is resumed.
        overwrite: whether an existing run is deleted first.

    Raises:
        InputError: if the experiment, its data or its work directory cannot be used.
        NonFiniteError: if no step is finite any more, however small the learning rate.
    """
    check_workdir(workdir, experiment, resume=resume, overwrite=overwrite)
    devices = find_devices()
    check_batch(experiment, len(devices))
    task = make_task(experiment, image_shape(experiment.data))
    template = check_shapes(task, experiment.seed)
    source, held_out = open_training_data(experiment, workdir, say, overwrite=overwrite)
    check_labels(task.generator.classes, source)
    feed, reference = open_feed(experiment, task, source, held_out, console)
    runner = make_runner(task, feed, devices, experiment.parallel)

    previous_config = None
    if not overwrite:
        previous_config = read_config(workdir)
    with open_workdir(workdir, experiment, overwrite=overwrite):
        has_metrics = (workdir / "metrics.jsonl").exists()
        try:
            with closing(
                open_checkpoints(workdir, experiment, source.fingerprint, say)
            ) as checkpoints:
                run = TrainingRun(
                    experiment,
                    task,
                    runner,
                    checkpoints,
                    template,
                    workdir,
                    feed,
                    reference,
                    console,
                    say,
                )
                first_step, state = keep_config_if_refused(run, previous_config)
                report_start(run, first_step, has_metrics, source, devices)
                write_classes(workdir, source)
                end = train_and_roll_back(run, first_step, state)
        except OSError as error:
            raise InputError(
                f"`--workdir` (={workdir}) could not be written ({error.strerror or error}): make "
                "room or permission there and run the same command again; the checkpoints in it "
                "are intact."
            ) from error
        finally:
            feed.close()
    if source.skipped:
        say(f"{len(source.skipped):,} left out in all; the first: {source.skipped[0]}")
    return Outcome(first_step, end)


def report_start(
    run: TrainingRun,
    first_step: int,
    has_metrics: bool,
    source: Source,
    devices: Sequence[Any],
) -> None:
    """Say where training begins, on what, and where it is kept.

    Args:
        run: for its work directory.
        first_step: number of steps so far.
        has_metrics: whether the work directory held metrics of a run.
        source: the data.
        devices: that training uses.
    """
    if first_step:
        run.say(f"resuming {run.workdir} from step {first_step:,}")
    elif has_metrics:
        run.say(f"{run.workdir} has no good checkpoint: starting from step 0")
    classes = describe_classes(source)
    if classes:
        run.say(classes)
    size = " × ".join(map(str, source.image_shape))
    hardware = f"{len(devices)} × {devices[0].device_kind}"
    run.say(f"{source.length:,} images of {size} on {hardware}, into {run.workdir}")


def keep_config_if_refused(run: TrainingRun, previous_config: Config | None) -> tuple[int, State]:
    """Restore or draw the state; if that is refused, put the previous `config.json` back."""
    try:
        return restore_or_init(run)
    except InputError:
        if previous_config is not None:
            write_config(run.workdir, previous_config)
        raise


def restore_or_init(run: TrainingRun) -> tuple[int, State]:
    """Restore the newest good checkpoint, or draw fresh parameters; apply a planned rollback.

    Returns:
        The number of steps so far, and the state on the devices.
    """
    rollback = read_rollback(run.workdir)
    if rollback and rollback.abandoned_step is not None:
        if rollback.abandoned_step in run.checkpoints.steps():
            run.checkpoints.set_aside(rollback.abandoned_step, "led to no finite step")
        # The next checkpoint of that step will be another one.
        rollback = rollback._replace(abandoned_step=None)
        write_rollback(run.workdir, rollback)
    sharding = run.runner.replicate(np.zeros(())).sharding
    template = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), run.template
    )
    restored = run.checkpoints.restore(template)
    if restored is not None:
        first_step, state = restored
    else:
        first_step = 0
        state = jit_once(run.task.init)(named_seed_key(run.experiment.seed, "parameters"))
    if rollback:
        refuse_other_run(run.workdir, rollback, first_step, state)
        if first_step <= rollback.step:
            state = set_learning_rate_scale(state, rollback.learning_rate_scale)
    return first_step, run.runner.replicate(state)


def train_and_roll_back(run: TrainingRun, first_step: int, state: State) -> LoopEnd:
    """Train to the last step; if nothing is finite any more, go back with a smaller learning rate.

    Args:
        run: what to train.
        first_step: number of steps so far.
        state: on the devices; donated.

    Raises:
        NonFiniteError: if going back does not help either.
    """
    max_rollbacks = run.experiment.rollbacks
    program = make_program(run)
    while True:
        num_rollbacks = count_rollbacks(state)  # now, as the loop donates the state
        try:
            return train(run, program, first_step, state)
        except NonFiniteError as error:
            last = read_rollback(run.workdir)
            if last is None and num_rollbacks:
                last = Rollback(0, num_rollbacks, None)
            steps = run.checkpoints.steps()
            rollback = plan_rollback(last, error.first_step, steps, max_rollbacks)
            if rollback is None:
                raise
            write_rollback(run.workdir, rollback)
            run.say(
                f"{error}: going back to step {rollback.step:,} with "
                f"{rollback.learning_rate_scale:g} of the learning rate (rollback "
                f"{rollback.count} of at most {max_rollbacks})"
            )
        first_step, state = restore_or_init(run)


def make_program(run: TrainingRun) -> ChunkProgram:
    """Connect the compiled steps with the data they are trained on."""
    resident = run.runner.replicate(run.feed.resident)
    key = named_seed_key(run.experiment.seed, "training")

    def load_chunk(first_step: int, num_steps: int) -> PyTree:
        return run.runner.put(run.feed.chunk(first_step, num_steps))

    def run_chunk(state: State, chunk: PyTree):
        return run.runner.run(state, resident, chunk, key)

    return ChunkProgram(partial(chunk_length, run.experiment), load_chunk, run_chunk)


def train(run: TrainingRun, program: ChunkProgram, first_step: int, state: State) -> LoopEnd:
    """Run the loop with a log, to the last step or until a signal asks to stop.

    Args:
        run: what to train.
        program: its compiled steps.
        first_step: number of steps so far.
        state: on the devices; donated.

    Raises:
        NonFiniteError: if no step of a chunk was finite.
    """
    experiment = run.experiment
    with open_log(run.workdir, first_step, experiment.steps, run.console) as log:
        save_grid = make_grid_saver(run.task.generator, run.reference, experiment.seed, log)
        callbacks = make_callbacks(
            experiment, run.task, run.reference, save_grid, run.checkpoints, log
        )
        if first_step == 0:
            save_grid(0, state)
        _, end = run_chunks(state, experiment.steps, program, callbacks, run.checkpoints, log.say)
    return end
