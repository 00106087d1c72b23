"""A run of an experiment in its work directory, from opening the data to the last checkpoint."""

import math
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Shaped
from rich.console import Console

from l1jax.build import image_shape
from l1jax.config import Config, InputError
from l1jax.data.batches import Feed, Host, load_all, resident_feed, shuffled_indices
from l1jax.data.class_labels import class_counts, describe_classes
from l1jax.data.opening import open_examples
from l1jax.data.source import Source, take
from l1jax.data.streaming import streaming_feed
from l1jax.files import write_json
from l1jax.training.checkpoint import Checkpoints, open_checkpoints
from l1jax.training.compilation import jit_once
from l1jax.training.judge import EVALUATED, JUDGED
from l1jax.training.log import open_log
from l1jax.training.loop import NotFinite, Stopped, train
from l1jax.training.parallel import Runner, make_runner
from l1jax.training.rollback import (
    Rollback,
    count_rollbacks,
    plan_rollback,
    read_rollback,
    refuse_other_run,
    write_rollback,
)
from l1jax.training.state import State, Task
from l1jax.training.task import make_task, stream
from l1jax.training.workdir import check_workdir, open_workdir, read_config, write_config
from l1jax.transforms.learning_rate import set_learning_rate_scale

SKIPPED = 10  # images that were left out, of which each is told


class Outcome(NamedTuple):
    """Where a run began, and where and why it ended."""

    first: int
    stopped: Stopped


def run_experiment(
    experiment: Config,
    workdir: Path,
    console: Console,
    say: Callable[[str], None],
    *,
    resume: bool,
    overwrite: bool,
) -> Outcome:
    """Train an experiment in its work directory, going on from the newest checkpoint there.

    Args:
        experiment: what to train.
        workdir: where the run is kept.
        console: for progress.
        say: told one sentence at a time.
        resume: whether a run that is there already may be gone on with.
        overwrite: whether such a run is deleted first.

    Raises:
        InputError: if the experiment, its data or its work directory cannot be used.
        NotFinite: if no step is finite any more, however small the learning rate.
    """
    check_workdir(workdir, experiment, resume=resume, overwrite=overwrite)
    devices = find_devices()
    check_batch(experiment, len(devices))
    task = make_task(experiment, image_shape(experiment.data))
    template = check_shapes(task, experiment.seed)
    source, held_out = open_examples(experiment.data, experiment.holdout, experiment.cache)
    for sentence in source.skipped[:SKIPPED]:
        say(f"left out: {sentence}")
    if (
        workdir / "config.json"
    ).exists() and not overwrite:  # the run was begun, so its question was settled
        source = source._replace(label_ambiguity="")
    check_labels(task.generator.classes, source)
    feed, reference = open_feed(experiment, task, source, held_out, console)
    runner = make_runner(task, feed, devices, experiment.parallel)

    before = None if overwrite else read_config(workdir)
    with open_workdir(workdir, experiment, overwrite=overwrite):
        ran_before = (workdir / "metrics.jsonl").exists()
        try:
            with closing(
                open_checkpoints(workdir, experiment, source.fingerprint, say)
            ) as checkpoints:
                job = Job(
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
                first, state = start_or_restore(job, before)
                tell_start(job, first, ran_before, source, devices)
                write_classes(workdir, source)
                stopped = train_and_roll_back(job, first, state)
        except OSError as error:
            raise InputError(
                f"`--workdir` (={workdir}) could not be written ({error.strerror or error}): make room or permission "
                "there and run the same command again; the checkpoints in it are intact."
            ) from error
        finally:
            feed.close()
    if source.skipped:
        say(f"{len(source.skipped):,} left out in all; the first: {source.skipped[0]}")
    return Outcome(first, stopped)


class Job(NamedTuple):
    """A run in its work directory."""

    experiment: Config
    task: Task
    runner: Runner
    checkpoints: Checkpoints
    template: Any
    workdir: Path
    feed: Feed
    reference: Shaped[np.ndarray, "n h w c"]
    console: Console
    say: Callable[[str], None]


def tell_start(
    job: Job, first: int, ran_before: bool, source: Source, devices: Sequence[Any]
) -> None:
    """Say where training begins, on what, and where it is kept."""
    if first:
        job.say(f"resuming {job.workdir} from step {first:,}")
    elif ran_before:
        job.say(f"{job.workdir} has no good checkpoint: starting from step 0")
    classes = describe_classes(source)
    if classes:
        job.say(classes)
    size = " × ".join(map(str, source.image_shape))
    kind = f"{len(devices)} × {devices[0].device_kind}"
    job.say(f"{source.length:,} images of {size} on {kind}, into {job.workdir}")


def train_and_roll_back(job: Job, first: int, state: State) -> Stopped:
    """Train on from a state; where nothing is finite any more, go back with a smaller learning rate.

    Raises:
        NotFinite: if that does not help either.
    """
    resident, most = job.runner.replicate(job.feed.resident), job.experiment.rollbacks
    while True:
        counted = count_rollbacks(state)  # the state itself is given away
        try:
            with open_log(job.workdir, first, job.experiment.steps, job.console) as log:
                return train(
                    job.experiment,
                    job.task,
                    job.runner,
                    state,
                    resident,
                    lambda first, steps: job.runner.put(job.feed.chunk(first, steps)),
                    job.reference,
                    job.workdir,
                    job.checkpoints,
                    log,
                )
        except NotFinite as error:
            last = read_rollback(job.workdir) or (Rollback(0, counted, None) if counted else None)
            rollback = plan_rollback(last, error.began, job.checkpoints.steps(), most)
            if rollback is None:
                raise
            write_rollback(job.workdir, rollback)
            job.say(
                f"{error}: going back to step {rollback.step:,} with {rollback.learning_rate_scale:g} of the learning "
                f"rate (rollback {rollback.count} of at most {most})"
            )
        first, state = start(job)


def find_devices() -> list[Any]:
    """The devices to train on, all that JAX finds.

    Raises:
        InputError: if it finds none of the kind that was asked for.
    """
    try:
        return jax.devices()
    except (
        RuntimeError,
        AssertionError,
    ) as error:  # JAX asserts where it was compiled without that kind
        raise InputError(
            f"JAX finds no device of the kind that JAX_PLATFORMS (={os.environ.get('JAX_PLATFORMS', '')}) asks for: "
            "unset it, or install l1jax with the extra for that kind."
        ) from error


def check_batch(experiment: Config, devices: int) -> None:
    """Refuse a batch that devices, the parts of each and the packs of each part cannot share evenly.

    Raises:
        InputError: naming the nearest size that they can.
    """
    size, factors = experiment.batch_size, {"the number of devices": devices}
    factors |= {
        "`accumulate`": experiment.accumulate,
        "`model.packing`": getattr(experiment.model, "packing", 1),
    }
    divisor = math.prod(factors.values())
    if size % divisor:
        nearest = max(divisor, round(size / divisor) * divisor)
        by = " times ".join(name for name, factor in factors.items() if factor > 1)
        raise InputError(
            f"`batch_size` (={size}) must be divisible by {by} (={divisor}); the nearest that is: {nearest}."
        )


def check_labels(classes: int, source: Source) -> None:
    """Refuse data whose labels are in doubt, or are not those of a class-conditional model.

    Raises:
        InputError: if it is not clear what the labels are, or the model has classes and there are no
            labels, or others than 0 to classes − 1.
    """
    if source.label_ambiguity:
        raise InputError(source.label_ambiguity)
    if not classes:
        return
    if source.labels is None:
        raise InputError(
            f"`model.classes` (={classes}) must be 0 for these images, which have no labels."
        )
    first, last = int(source.labels.min()), int(source.labels.max())
    if last >= classes:
        from_one = (
            " (they seem to be numbered from 1: save them less 1 to have no empty class 0)"
            if first == 1
            else ""
        )
        raise InputError(
            f"`model.classes` (={classes}) must be at least {last + 1}: the labels of these images go from {first} to "
            f"{last}{from_one}."
        )


def write_classes(workdir: Path, source: Source) -> None:
    """Keep the classes' labels, names and counts in `classes.json`; there is none where there are no labels."""
    path = workdir / "classes.json"
    counts = class_counts(source)
    if counts:
        write_json(path, [count._asdict() for count in counts])
    else:
        path.unlink(missing_ok=True)


def check_shapes(task: Task, seed: int) -> State:
    """Shapes and dtypes of the state that training starts from.

    Raises:
        InputError: if networks and optimisers do not fit, such as a pattern that matches no parameter.
    """
    try:
        return jax.eval_shape(task.init, stream(seed, "parameters"))
    except ValueError as error:
        raise InputError(str(error)) from error


def open_feed(
    experiment: Config, task: Task, source: Source, held_out: Source | None, console: Console
) -> tuple[Feed, Shaped[np.ndarray, "n h w c"]]:
    """Choose between data on the device and streaming; also the real images to judge by, in random order.

    Where training evaluates and some are held out, those.
    """
    arguments = (experiment.seed, task.draws, experiment.batch_size)
    host = Host(jax.process_index(), jax.process_count())
    judges = held_out if experiment.evaluate_every and held_out is not None else source
    most = min(EVALUATED if experiment.evaluate_every else JUDGED, judges.length)
    chosen = shuffled_indices(experiment.seed, 0, most, judges.length)
    if (
        source.length * np.prod(source.image_shape) * np.dtype(source.dtype).itemsize
        > experiment.resident_mib * 2**20
    ):
        return streaming_feed(source, *arguments, experiment.workers, host), take(judges, chosen)
    with console.status(f"reading {source.length:,} images"):
        images = load_all(source)
    return resident_feed(images, *arguments, source.labels, host), images[
        chosen
    ] if judges is source else take(judges, chosen)


def start_or_restore(job: Job, before: Config | None) -> tuple[int, State]:
    """Start; where that is refused, `config.json` is what it was `before`, other paths of the data included."""
    try:
        return start(job)
    except InputError:
        if before is not None:
            write_config(job.workdir, before)
        raise


def start(job: Job) -> tuple[int, State]:
    """The newest good checkpoint, or fresh networks, with the step that it stands at and the rollback heeded."""
    rollback = read_rollback(job.workdir)
    if rollback and rollback.useless is not None:
        if rollback.useless in job.checkpoints.steps():
            job.checkpoints.set_aside(rollback.useless, "led to no finite step")
        rollback = rollback._replace(useless=None)  # the next checkpoint of that step is another
        write_rollback(job.workdir, rollback)
    example = job.runner.replicate(np.zeros(()))
    first, state = job.checkpoints.restore(
        jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=example.sharding),
            job.template,
        )
    ) or (0, jit_once(job.task.init)(stream(job.experiment.seed, "parameters")))
    if rollback:
        refuse_other_run(job.workdir, rollback, first, state)
    if rollback and first <= rollback.step:
        state = set_learning_rate_scale(state, rollback.learning_rate_scale)
    return first, job.runner.replicate(state)
