"""A run of an experiment in its work directory, from opening the data to the last checkpoint."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree
from rich.console import Console

from l1jax.build import example_shape
from l1jax.compilation import jit_once
from l1jax.config import Config, InputError
from l1jax.evaluation.tensors import Tensors
from l1jax.processes.agreement import (
    is_leader,
    lead,
    num_processes,
    require_same,
    shared_errors,
)
from l1jax.processes.loss import remedy_for_loss
from l1jax.training.callbacks import (
    NonFiniteError,
    chunk_length,
    lead_callbacks,
    make_callbacks,
    on_one_device,
)
from l1jax.training.checkpoint import Checkpoints, digest, open_checkpoints
from l1jax.training.input_checks import check_batch, check_shapes, find_devices
from l1jax.training.keys import named_seed_key
from l1jax.training.log import make_silent_log, open_log
from l1jax.training.loop import ChunkProgram, LoopEnd, run_chunks
from l1jax.training.observer import Observer
from l1jax.training.origin import check_origin, read_origin, write_origin
from l1jax.training.parallel import Runner, make_runner
from l1jax.training.patience import BestSoFar, check_patience, find_watched, has_run_out
from l1jax.training.rollback import (
    Rollback,
    count_rollbacks,
    plan_rollback,
    read_rollback,
    refuse_other_run,
    write_rollback,
)
from l1jax.training.run_inputs import RunInputs, open_run_inputs
from l1jax.training.shared_run import check_processes, describe_restart, lock_shared_workdir
from l1jax.training.state import NO_WEIGHTS, State, Task
from l1jax.training.stopping import forget_end, resume_best, write_end
from l1jax.training.task import make_task
from l1jax.training.tracker import OpenTracker
from l1jax.training.workdir import check_workdir, write_config
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
    inputs: RunInputs
    console: Console
    say: Callable[[str], None]
    open_tracker: OpenTracker | None  # for what shows the run besides TensorBoard


def run_experiment(
    experiment: Config,
    workdir: Path,
    console: Console,
    say: Callable[[str], None],
    *,
    resume: bool,
    overwrite: bool,
    open_tracker: OpenTracker | None = None,
    origin_weights: Tensors | None = None,
) -> Outcome:
    """Train an experiment in its work directory, from the newest checkpoint there if there is one.

    Args:
        experiment: what to train.
        workdir: where the run is kept.
        console: for progress.
        say: called with one sentence at a time.
        resume: whether an existing run of this experiment is resumed.
        overwrite: whether an existing run is deleted first.
        open_tracker: for what shows the run besides TensorBoard.
        origin_weights: in process 0, the weights that `experiment.origin` describes, by name; None
            if the work directory has them.

    Raises:
        InputError: if the experiment, its data or its work directory cannot be used.
        NonFiniteError: if no step is finite any more, however small the learning rate.
    """
    lead(lambda: check_workdir(workdir, experiment, resume=resume, overwrite=overwrite))
    check_patience(experiment)
    devices = find_devices()
    check_batch(experiment, len(devices))
    check_processes(experiment)
    task = make_task(experiment, example_shape(experiment.data))
    template = check_shapes(task, experiment.seed)
    lead(partial(check_origin, experiment, template, origin_weights))
    inputs = open_run_inputs(experiment, task, workdir, console, say, overwrite=overwrite)
    runner = make_runner(task, inputs.feed, devices, experiment.parallel)

    with (
        lock_shared_workdir(workdir, experiment, overwrite=overwrite) as previous_config,
        remedy_for_loss(partial(describe_restart, workdir)),
    ):
        lead(partial(write_origin, workdir, origin_weights))
        has_metrics = lead((workdir / "metrics.jsonl").exists)
        try:
            with (
                closing(
                    open_checkpoints(workdir, experiment, inputs.fingerprint, say)
                ) as checkpoints,
                shared_errors(),
            ):
                run = TrainingRun(
                    experiment,
                    task,
                    runner,
                    checkpoints,
                    template,
                    workdir,
                    inputs,
                    console,
                    say,
                    open_tracker,
                )
                first_step, state = restore_config_if_refused(run, previous_config)
                report_start(run, first_step, has_metrics, devices)
                lead(lambda: inputs.write_notes(workdir))
                end = train_and_roll_back(run, first_step, state)
        except OSError as error:
            raise InputError(
                f"`--workdir` (={workdir}) could not be written ({error.strerror or error}): make "
                "room or permission there and run the same command again; the checkpoints in it "
                "are intact."
            ) from error
        finally:
            inputs.feed.close()
    if inputs.skipped:
        say(f"{len(inputs.skipped):,} left out in all; the first: {inputs.skipped[0]}")
    return Outcome(first_step, end)


def report_start(
    run: TrainingRun,
    first_step: int,
    has_metrics: bool,
    devices: Sequence[Any],
) -> None:
    """Say where training begins, on what, and where it is kept.

    Args:
        run: for its work directory and its data.
        first_step: number of steps so far.
        has_metrics: whether the work directory held metrics of a run.
        devices: that training uses.
    """
    if first_step:
        run.say(f"resuming {run.workdir} from step {first_step:,}")
    elif has_metrics:
        run.say(f"{run.workdir} has no good checkpoint: starting from step 0")
    origin = run.experiment.origin
    if origin is not None and not first_step:
        networks = " and ".join(origin.networks)
        run.say(f"beginning from the {networks} of {origin.source} at step {origin.step:,}")
    if run.inputs.classes:
        run.say(run.inputs.classes)
    hardware = f"{len(devices)} × {devices[0].device_kind}"
    run.say(f"{run.inputs.description} on {hardware}, into {run.workdir}")


def restore_config_if_refused(
    run: TrainingRun, previous_config: Config | None
) -> tuple[int, State]:
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
    rollback = agree_on_rollback(run.workdir)
    if rollback and rollback.abandoned_step is not None:
        if rollback.abandoned_step in run.checkpoints.steps():
            run.checkpoints.set_aside(rollback.abandoned_step, "led to no finite step")
        # The next checkpoint of that step will be another one.
        rollback = rollback._replace(abandoned_step=None)
        lead(partial(write_rollback, run.workdir, rollback))
    sharding = run.runner.replicate(np.zeros(())).sharding
    template = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), run.template
    )
    restored = run.checkpoints.restore(template)
    if restored is not None:
        first_step, state = restored
    else:
        first_step = 0
        weights = NO_WEIGHTS
        if run.experiment.origin is not None:
            weights = read_origin(run.workdir, run.experiment, run.template)
        key = named_seed_key(run.experiment.seed, "parameters")
        state = jit_once(run.task.init)(key, dict(weights))
        if num_processes() > 1:
            require_same(
                "the first parameters", digest(state), "use machines of one kind, with one JAX"
            )
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
            last = agree_on_rollback(run.workdir)
            if last is None and num_rollbacks:
                last = Rollback(0, num_rollbacks, None)
            steps = run.checkpoints.steps()
            rollback = plan_rollback(last, error.first_step, steps, max_rollbacks)
            if rollback is None:
                raise
            lead(partial(write_rollback, run.workdir, rollback))
            run.say(
                f"{error}: going back to step {rollback.step:,} with "
                f"{rollback.learning_rate_scale:g} of the learning rate (rollback "
                f"{rollback.count} of at most {max_rollbacks})"
            )
        first_step, state = restore_or_init(run)


def agree_on_rollback(workdir: Path) -> Rollback | None:
    """Return the last rollback as process 0 reads it; None if there was none."""
    rollback = lead(partial(read_rollback, workdir))
    if rollback is None:
        return None
    return Rollback(*rollback)


def make_program(run: TrainingRun) -> ChunkProgram:
    """Connect the compiled steps with the data they are trained on."""
    resident = run.runner.keep(run.inputs.feed.resident)
    key = run.runner.replicate(named_seed_key(run.experiment.seed, "training"))

    def load_chunk(first_step: int, num_steps: int) -> PyTree:
        return run.runner.put(run.inputs.feed.chunk(first_step, num_steps))

    def run_chunk(state: State, chunk: PyTree):
        return run.runner.run(state, resident, chunk, key)

    return ChunkProgram(partial(chunk_length, run.experiment), load_chunk, run_chunk)


def train(run: TrainingRun, program: ChunkProgram, first_step: int, state: State) -> LoopEnd:
    """Run the loop with a log, to the last step or until a signal or patience stops it.

    Args:
        run: what to train.
        program: its compiled steps.
        first_step: number of steps so far.
        state: on the devices; donated.

    Raises:
        NonFiniteError: if no step of a chunk was finite.
    """
    experiment = run.experiment
    with ExitStack() as stack:
        log = make_silent_log()
        if is_leader():
            log = stack.enter_context(
                open_log(run.workdir, first_step, experiment.steps, run.console, run.open_tracker)
            )
        observer = run.inputs.make_observer()
        best = agree_on_best(run, observer, first_step)
        callbacks = make_callbacks(experiment, run.task, observer, log, best)
        if first_step == 0:
            lead(lambda: observer.show_samples(0, on_one_device(state), log))
        shared = lead_callbacks(callbacks, run.checkpoints)
        end = LoopEnd(first_step, None)
        if not has_run_out(experiment.patience, best):
            lead(partial(forget_end, run.workdir))
            _, end = run_chunks(state, experiment.steps, program, shared, run.checkpoints, log.say)
        best = shared.best_so_far()
        has_ended = end.step == experiment.steps or has_run_out(experiment.patience, best)
        if experiment.patience and best is not None and has_ended:
            arguments = (run.workdir, run.checkpoints, best, end.step, experiment.steps)
            lead(lambda: write_end(*arguments))
    return end


def agree_on_best(run: TrainingRun, observer: Observer, first_step: int) -> BestSoFar | None:
    """Return the best score so far, as process 0 knows it; None if there is none.

    Args:
        run: that begins or is resumed.
        observer: names the scores.
        first_step: number of steps so far.
    """
    watched = find_watched(run.experiment, observer)
    best = lead(partial(resume_best, run.checkpoints, first_step, watched, run.say))
    return None if best is None else BestSoFar(*best)
