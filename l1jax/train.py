"""Train an experiment: `python -m l1jax.train --config experiments/celeba.py --workdir runs/celeba`."""

import math
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jax
import numpy as np
import tyro
from jaxtyping import Shaped
from rich.console import Console

from l1jax.build import build_model, image_shape
from l1jax.command_line import parse_experiment, run, typed_path
from l1jax.config import Config, InputError, kinds
from l1jax.data.batches import Feed, Host, load, order, resident_feed
from l1jax.data.examples import open_examples
from l1jax.data.source import Source, take
from l1jax.data.streaming import streaming_feed
from l1jax.training.checkpoint import Checkpoints, open_checkpoints
from l1jax.training.log import open_log
from l1jax.training.loop import JUDGED, NotFinite, Stopped, train
from l1jax.training.parallel import Runner, make_runner
from l1jax.training.rollback import plan_rollback, read_rollback, write_rollback
from l1jax.training.state import State, Task
from l1jax.training.task import make_task, stream
from l1jax.training.workdir import check_workdir, open_workdir
from l1jax.transforms.learning_rate import set_learning_rate_scale

SKIPPED = 10  # images that were left out, of which each is told


@dataclass(frozen=True)
class TrainOptions:
    """Train an experiment."""

    experiment: Annotated[Config, tyro.conf.arg(name="")]
    config: str
    """Experiment: a Python file with get_config(), or the name of one that comes with l1jax."""
    workdir: str
    """Where the run is kept; one that holds this experiment already is resumed."""
    data: Literal[tuple(kinds("data"))]  # type: ignore[valid-type]
    """Kind of data; changes which --data.… flags there are."""
    model: Literal[tuple(kinds("model"))]  # type: ignore[valid-type]
    """Kind of model; changes which --model.… flags there are."""
    objective: Literal[tuple(kinds("objective"))]  # type: ignore[valid-type]
    """Kind of objective; changes which --objective.… flags there are."""
    resume: bool = True
    """Go on from the newest checkpoint; --no-resume wants an empty directory, or --overwrite."""
    overwrite: bool = False
    """Delete the run in the work directory and start over."""
    summary: bool = False
    """Print the networks' layers, shapes, parameters and FLOPs, and stop."""


def main(arguments: Sequence[str]) -> int:
    """Train as the flags say; returns the exit status."""
    options = parse_experiment(TrainOptions, arguments, "python -m l1jax.train")
    experiment, workdir = options.experiment, typed_path("--workdir", options.workdir)
    console = Console(soft_wrap=True, emoji=False)

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False)

    if options.summary:
        say(build_model(experiment.model, image_shape(experiment.data)).summary())
        return 0
    check_workdir(workdir, experiment, resume=options.resume, overwrite=options.overwrite)
    devices = find_devices()
    check_batch(experiment, len(devices))
    task = make_task(experiment, image_shape(experiment.data))
    template = check_shapes(task, experiment.seed)
    source, _ = open_examples(experiment.data, experiment.holdout, experiment.cache)
    for sentence in source.skipped[:SKIPPED]:
        say(f"left out: {sentence}")
    check_labels(task.generator.classes, source)
    feed, reference = open_feed(experiment, task, source, console)
    runner = make_runner(task, feed, devices, experiment.parallel)

    with open_workdir(workdir, experiment, overwrite=options.overwrite):
        ran_before = (workdir / "metrics.jsonl").exists()
        checkpoints = open_checkpoints(workdir, experiment, source.fingerprint, say)
        job = Job(experiment, task, runner, checkpoints, template, workdir, feed, reference, console, say)
        first, state = start(job)
        if first:
            say(f"resuming {workdir} from step {first:,}")
        elif ran_before:
            say(f"{workdir} has no good checkpoint: starting from step 0")
        size = " × ".join(map(str, source.image_shape))
        say(f"{source.length:,} images of {size} on {len(devices)} × {devices[0].device_kind}, into {workdir}")
        try:
            with closing(checkpoints):
                stopped = train_and_roll_back(job, first, state)
        except NotFinite as error:
            say(
                f"error: {error}. Try a smaller --generator.learning-rate and --discriminator.learning-rate, in "
                "another --workdir."
            )
            return 1
        except OSError as error:
            raise InputError(
                f"`--workdir` (={workdir}) could not be written ({error.strerror or error}): make room or permission "
                "there and run the same command again; the checkpoints in it are intact."
            ) from error
        finally:
            feed.close()
    if source.skipped:
        say(f"{len(source.skipped):,} images could not be used and were left out; the first: {source.skipped[0]}")
    return report(stopped, first, experiment, workdir, arguments, say)


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


def train_and_roll_back(job: Job, first: int, state: State) -> Stopped:
    """Train on from a state; where nothing is finite any more, go back with a smaller learning rate.

    Raises:
        NotFinite: if that does not help either.
    """
    resident, most = job.runner.replicate(job.feed.resident), job.experiment.rollbacks
    while True:
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
            rollback = plan_rollback(read_rollback(job.workdir), error.began, job.checkpoints.steps(), most)
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
    except (RuntimeError, AssertionError) as error:  # JAX asserts where it was compiled without that kind
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
    factors |= {"`accumulate`": experiment.accumulate, "`model.packing`": getattr(experiment.model, "packing", 1)}
    divisor = math.prod(factors.values())
    if size % divisor:
        nearest = max(divisor, round(size / divisor) * divisor)
        by = " times ".join(name for name, factor in factors.items() if factor > 1)
        raise InputError(
            f"`batch_size` (={size}) must be divisible by {by} (={divisor}); the nearest that is: {nearest}."
        )


def check_labels(classes: int, source: Source) -> None:
    """Refuse data whose labels are not those of a class-conditional model.

    Raises:
        InputError: if there are none, or others than 0 to classes − 1.
    """
    if not classes:
        return
    if source.labels is None:
        raise InputError(f"`model.classes` (={classes}) must be 0 for these images, which have no labels.")
    if source.labels.min() < 0 or source.labels.max() >= classes:
        raise InputError(
            f"`model.classes` (={classes}) must be at least {source.labels.max() + 1}: the labels of these images go "
            f"from {source.labels.min()} to {source.labels.max()}."
        )


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
    experiment: Config, task: Task, source: Source, console: Console
) -> tuple[Feed, Shaped[np.ndarray, "n h w c"]]:
    """Choose between data on the device and streaming; also the real images that samples are compared with."""
    arguments = (experiment.seed, task.draws, experiment.batch_size)
    host = Host(jax.process_index(), jax.process_count())
    chosen = order(experiment.seed, 0, min(JUDGED, source.length), source.length)
    if source.length * np.prod(source.image_shape) * np.dtype(source.dtype).itemsize > experiment.resident_mib * 2**20:
        return streaming_feed(source, *arguments, experiment.workers, host), take(source, chosen)
    with console.status(f"reading {source.length:,} images"):
        images = load(source)
    return resident_feed(images, *arguments, source.labels, host), images[chosen]


def start(job: Job) -> tuple[int, State]:
    """The newest good checkpoint, or fresh networks, with the step that it stands at and the rollback heeded."""
    rollback = read_rollback(job.workdir)
    if rollback and rollback.useless in job.checkpoints.steps():
        job.checkpoints.set_aside(rollback.useless, "led to no finite step")
    example = job.runner.replicate(np.zeros(()))
    first, state = job.checkpoints.restore(
        jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=example.sharding), job.template)
    ) or (0, jax.jit(job.task.init)(stream(job.experiment.seed, "parameters")))
    if rollback and first <= rollback.step:
        state = set_learning_rate_scale(state, rollback.learning_rate_scale)
    return first, job.runner.replicate(state)


def report(stopped: Stopped, first: int, experiment: Config, workdir: Path, arguments: Sequence[str], say: Any) -> int:
    """Say where everything is and what to do next."""
    if stopped.signal is not None and stopped.step < experiment.steps:
        name = signal.Signals(stopped.signal).name
        say(f"stopped by {name}, saved at step {stopped.step:,}; go on with:")
        say(f"  {command('l1jax.train', *(a for a in arguments if a not in ('--overwrite', '--no-resume')))}")
        return 128 + stopped.signal
    if first >= experiment.steps:
        say(f"already trained to step {first:,}; a larger --steps goes on.")
    grid = workdir / "samples" / f"step_{stopped.step:06d}.png"
    say(f"samples     {grid if grid.exists() else grid.parent}")
    say(f"checkpoint  {workdir / 'checkpoints' / str(stopped.step)}")
    say(f"metrics     {workdir / 'metrics.jsonl'}")
    say(f"more images: {command('l1jax.sample', '--workdir', str(workdir), '--count', '64', '--output', 'grid.png')}")
    return 0


def command(module: str, *arguments: str) -> str:
    """A command line to copy, with the Python that runs this."""
    python = sys.executable
    if shutil.which("python") == python:
        python = "python"
    elif Path(python).is_relative_to(Path.cwd()):
        python = str(Path(python).relative_to(Path.cwd()))
    return shlex.join([python, "-m", module, *arguments])


if __name__ == "__main__":
    run(main)
