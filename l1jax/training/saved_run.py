"""A finished or running training run, loaded for sampling, evaluation or compaction."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax

from l1jax.build import example_shape
from l1jax.config import Config, InputError
from l1jax.models import Generator
from l1jax.terminal import Say
from l1jax.training.checkpoint import Checkpoints, open_checkpoints
from l1jax.training.keys import named_seed_key
from l1jax.training.state import State, Task, require_images
from l1jax.training.stopping import read_end
from l1jax.training.task import make_task
from l1jax.training.workdir import read_config


class SavedRun(NamedTuple):
    """What a work directory holds; the state is on the first device."""

    experiment: Config
    task: Task
    state: State
    step: int


def load_run(workdir: Path, step: int | None, say: Callable[[str], None]) -> SavedRun:
    """Load the configuration and a checkpoint, without changing anything.

    Args:
        workdir: of the run.
        step: which checkpoint; None for the best one of a run that ended with patience, and else
            for the newest good one.
        say: called with a sentence about each checkpoint that is passed over.

    Raises:
        InputError: if there is no run, or no good checkpoint of it.
    """
    experiment = None
    if os.path.isdir(workdir):
        experiment = read_config(workdir)
    if experiment is None or not (workdir / "checkpoints").is_dir():
        raise InputError(
            f"`--workdir` (={workdir}) must hold a training run: train one there with "
            "python -m l1jax.train."
        )
    task = make_task(experiment, example_shape(experiment.data))
    checkpoints = open_checkpoints(workdir, experiment, None, say, read_only=True)
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    template = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        jax.eval_shape(task.init, named_seed_key(experiment.seed, "parameters")),
    )
    if step is None:
        step = _best_step(workdir, checkpoints, say)
    restored = checkpoints.restore(template, step)
    checkpoints.close()
    if restored is None:
        raise InputError(f"`--workdir` (={workdir}) must hold a good checkpoint; it has none yet.")
    return SavedRun(experiment, task, restored.state, restored.step)


def _best_step(workdir: Path, checkpoints: Checkpoints, say: Say) -> int | None:
    """Return the step of the best checkpoint of a run that ended with patience, or None."""
    end = read_end(workdir)
    if end is None:
        return None
    good = set(checkpoints.steps()) - checkpoints.damaged_steps
    if end.step in good:
        return end.step
    say(f"the best checkpoint, of step {end.step:,}, is gone or damaged; using the newest.")
    return None


def image_generator(trained: SavedRun, workdir: Path) -> Generator:
    """Return the generator of a run of images or points.

    Args:
        trained: the run.
        workdir: where it was loaded from.

    Raises:
        InputError: if it is a run of text.
    """
    try:
        return require_images(trained.task)
    except InputError as error:
        raise InputError(
            f"`--workdir` (={workdir}) holds a run of text, and this command works on images and "
            "points: python -m l1jax.sample draws text from it."
        ) from error
