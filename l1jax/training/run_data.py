"""The data of a run: opened, fed to the training steps, and described in its work directory."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Int, Shaped
from rich.console import Console

from l1jax.config import Config
from l1jax.data.batches import Feed, Host, load_all, resident_feed, shuffled_indices
from l1jax.data.class_labels import class_counts
from l1jax.data.opening import open_examples
from l1jax.data.source import Source, take
from l1jax.data.split_data import split_feed
from l1jax.data.streaming import streaming_feed
from l1jax.files import write_json
from l1jax.models.network import AXIS
from l1jax.processes.agreement import is_leader, lead
from l1jax.training.sample_quality import NUM_EVALUATION_IMAGES, NUM_METRIC_IMAGES
from l1jax.training.state import Task

MAX_SKIPPED_REPORTED = 10  # skipped images that are reported one by one


def open_training_data(
    experiment: Config, workdir: Path, say: Callable[[str], None], *, overwrite: bool
) -> tuple[Source, Source | None]:
    """Open the data to train on, and the data kept back, if any.

    Args:
        experiment: with the configuration of the data.
        workdir: of the run.
        say: called with a sentence about each of the first images that are skipped.
        overwrite: whether an existing run is deleted.
    """
    source, held_out = open_examples(experiment.data, experiment.holdout, experiment.cache)
    for sentence in source.skipped[:MAX_SKIPPED_REPORTED]:
        say(f"left out: {sentence}")
    if lead((workdir / "config.json").exists) and not overwrite:
        # The user settled the question about the labels when the run began.
        source = source._replace(label_ambiguity="")
    return source, held_out


def open_feed(
    experiment: Config, task: Task, source: Source, held_out: Source | None, console: Console
) -> tuple[Feed, Shaped[np.ndarray, "n h w c"]]:
    """Open the data that steps are trained on, on the devices if it fits there, else streamed.

    On the devices of one process each has all of the data, or its part if not all fits. With
    several processes each device has its part, so that each process reads its share only.

    Args:
        experiment: with the limit for data on the device.
        task: for the number of batches of a step.
        source: the data to train on.
        held_out: the data kept back, if any.
        console: for progress.

    Returns:
        The feed, and the real images that generated ones are compared with, in random order:
        held-out ones where training evaluates and there are any. Process 0 compares, so others
        have none of these.
    """
    arguments = (experiment.seed, task.batches_per_step, experiment.batch_size)
    host = Host(jax.process_index(), jax.process_count())
    reference_source, chosen = choose_reference(experiment, source, held_out)
    num_bytes = source.length * np.prod(source.image_shape) * np.dtype(source.dtype).itemsize
    max_bytes = experiment.resident_mib * 2**20  # on each device
    num_devices = len(jax.devices())
    may_split = num_devices > 1 and experiment.parallel == "shard_map"
    if num_bytes <= max_bytes and host.count == 1:
        with console.status(f"reading {source.length:,} images"):
            images = load_all(source)
        feed = resident_feed(images, *arguments, source.labels, host)
        if reference_source is source:
            return feed, images[chosen]
    elif may_split and num_bytes <= max_bytes * num_devices:
        with console.status(f"reading this process's share of {source.length:,} images"):
            feed = split_feed(source, *arguments, num_devices, AXIS, host)
    else:
        feed = streaming_feed(source, *arguments, experiment.workers, host)
    return feed, take(reference_source, chosen)


def choose_reference(
    experiment: Config, source: Source, held_out: Source | None
) -> tuple[Source, Int[np.ndarray, " count"]]:
    """Choose the real images that generated ones are compared with: where from, and which.

    Args:
        experiment: says whether training evaluates.
        source: the data to train on.
        held_out: the data kept back, if any.
    """
    reference_source = source
    max_reference = NUM_METRIC_IMAGES
    if experiment.evaluate_every:
        max_reference = NUM_EVALUATION_IMAGES
        if held_out is not None:
            reference_source = held_out
    count = min(max_reference, reference_source.length)
    chosen = shuffled_indices(experiment.seed, 0, count, reference_source.length)
    if not is_leader():
        chosen = chosen[:0]
    return reference_source, chosen


def write_classes(workdir: Path, source: Source) -> None:
    """Write the classes' labels, names and counts to `classes.json`, if there are labels."""
    path = workdir / "classes.json"
    counts = class_counts(source)
    if counts:
        write_json(path, [count._asdict() for count in counts])
    else:
        path.unlink(missing_ok=True)
