"""What a run is trained on and how it is observed, for images and for text."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from rich.console import Console

from l1jax.build import build_image_model
from l1jax.config import Config, Sound, Text
from l1jax.data.batches import Feed, Host, shuffled_indices
from l1jax.data.class_labels import describe_classes
from l1jax.data.source import Source, take
from l1jax.data.text_batches import text_feed
from l1jax.data.text_source import open_text
from l1jax.evaluation.classifier import Classifier
from l1jax.evaluation.source_classifier import make_classifier
from l1jax.models import Generator, LanguageModel
from l1jax.processes.agreement import is_leader, require_same
from l1jax.terminal import Say
from l1jax.training.held_out_bound import make_likelihood
from l1jax.training.image_observer import make_image_observer
from l1jax.training.input_checks import check_labels
from l1jax.training.observer import Observer
from l1jax.training.run_data import (
    MAX_SKIPPED_REPORTED,
    open_feed,
    open_training_data,
    write_classes,
)
from l1jax.training.state import State, Task
from l1jax.training.text_observer import make_text_observer

MAX_BOUND_IMAGES = 512  # held-out ones, at each checkpoint
MAX_CLASSIFIER_BYTES = 2**30  # of training images that a classifier is trained on during a run


class RunInputs(NamedTuple):
    """The data of a run, opened and checked.

    Attributes:
        feed: where the steps get their batches.
        fingerprint: of the data to train on.
        description: of the data, such as "1,797 images of 8 × 8 × 1".
        classes: a sentence about the classes; empty if there are none.
        skipped: sentences about what was left out.
        make_observer: () → how the run is observed.
        write_notes: (work directory) → None. Writes what describes the data there.
    """

    feed: Feed
    fingerprint: str
    description: str
    classes: str
    skipped: tuple[str, ...]
    make_observer: Callable[[], Observer]
    write_notes: Callable[[Path], None]


def open_run_inputs(
    experiment: Config,
    task: Task,
    workdir: Path,
    console: Console,
    say: Callable[[str], None],
    *,
    overwrite: bool,
) -> RunInputs:
    """Open the data of an experiment.

    Args:
        experiment: what to train.
        task: that is trained on the data.
        workdir: of the run.
        console: for progress.
        say: called with a sentence about each of the first examples that are skipped.
        overwrite: whether an existing run is deleted.

    Raises:
        InputError: if the data cannot be used, or do not fit the task.
    """
    generator = task.generator
    if isinstance(experiment.data, Text):
        assert isinstance(generator, LanguageModel)
        return _open_text(experiment, experiment.data, generator, say)
    assert isinstance(generator, Generator)
    source, held_out = open_training_data(experiment, workdir, say, overwrite=overwrite)
    check_labels(generator.classes, source)
    _require_same_data(source.fingerprint)
    feed, reference = open_feed(experiment, task, source, held_out, console)
    sound = experiment.data if isinstance(experiment.data, Sound) else None
    size = " × ".join(map(str, source.image_shape))
    return RunInputs(
        feed=feed,
        fingerprint=source.fingerprint,
        description=f"{source.length:,} images of {size}",
        classes=describe_classes(source),
        skipped=source.skipped,
        make_observer=partial(
            make_image_observer,
            generator,
            reference,
            experiment.seed,
            evaluates=experiment.evaluate_every > 0,
            sound=sound,
            bound=_held_out_bound(experiment, held_out, source.image_shape),
            open_classifier=partial(_open_classifier, experiment, source, say),
        ),
        write_notes=partial(write_classes, source=source),
    )


def _open_classifier(experiment: Config, source: Source, say: Say) -> Classifier | None:
    """Return a classifier of the training images for evaluations, as `l1jax.evaluate` has it.

    Args:
        experiment: that names the images.
        source: the training images.
        say: prints a sentence if there are labels and yet no classifier.
    """
    num_bytes = source.length * math.prod(source.image_shape)
    if source.labels is not None and num_bytes > MAX_CLASSIFIER_BYTES:
        say(
            f"evaluations have no classifier: its {source.length:,} training images would take "
            f"{num_bytes / 2**30:.1f} GiB of memory, and {MAX_CLASSIFIER_BYTES // 2**30} is the "
            "most; python -m l1jax.evaluate has no such limit."
        )
        return None
    return make_classifier(experiment, source, say)


def _held_out_bound(
    experiment: Config, held_out: Source | None, shape: tuple[int, int, int]
) -> Callable[[State], float] | None:
    """Return what bounds the likelihood of held-out images; None if it chooses no checkpoint.

    Args:
        experiment: says whether it does.
        held_out: the data kept back, if any.
        shape: of an image.
    """
    if experiment.best_by != "bound" or held_out is None or not is_leader():
        return None
    count = min(MAX_BOUND_IMAGES, held_out.length)
    chosen = shuffled_indices(experiment.seed, 0, count, held_out.length)
    labels = np.zeros(count, np.int32) if held_out.labels is None else held_out.labels[chosen]
    model = build_image_model(experiment.model, shape)
    likelihood = make_likelihood(model, take(held_out, chosen), labels, experiment.seed)
    assert likelihood is not None  # `check_patience` has refused other models
    indices = np.arange(count)
    return lambda state: likelihood.compute(state, indices)


def _require_same_data(fingerprint: str) -> None:
    """Raise an InputError if the processes of this run have opened different data."""
    remedy = "give each the same files, with the same flags for them"
    require_same("`data`", fingerprint, remedy)


def _open_text(
    experiment: Config,
    data: Text,
    model: LanguageModel,
    say: Callable[[str], None],
) -> RunInputs:
    training, held_out = open_text(data, experiment.holdout)
    for sentence in training.skipped[:MAX_SKIPPED_REPORTED]:
        say(f"left out: {sentence}")
    _require_same_data(training.fingerprint)
    feed = text_feed(
        training,
        data.window,
        experiment.seed,
        experiment.batch_size,
        experiment.resident_mib * 2**20,
        Host(jax.process_index(), jax.process_count()),
    )
    documents = f"{training.num_documents:,} document{'s' * (training.num_documents > 1)}"
    description = f"{training.num_bytes:,} bytes of text in {documents}"
    if held_out is not None:
        description += f" ({held_out.num_bytes:,} more held out)"
    return RunInputs(
        feed=feed,
        fingerprint=training.fingerprint,
        description=description,
        classes="",
        skipped=training.skipped,
        make_observer=partial(
            make_text_observer,
            model,
            training,
            held_out,
            data.window,
            experiment.seed,
            evaluates=experiment.evaluate_every > 0,
        ),
        write_notes=lambda workdir: None,
    )
