"""The real images that generated ones are compared with, as a command with `--path` and `--samples` asks for them."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Shaped

from l1jax import config
from l1jax.command_line import flags
from l1jax.compaction.opened import Opened
from l1jax.config import InputError
from l1jax.data.batches import shuffled_indices
from l1jax.data.opening import open_examples
from l1jax.data.source import Source, take
from l1jax.own_flags import in_flags, rename

Images = Shaped[np.ndarray, "count height width channels"]
MAX_IMAGES = 5_000  # images that are compared unless another number is asked for
MIN_IMAGES = 16  # images that precision and recall need


@runtime_checkable
class RealImagesOptions(Protocol):
    """The flags that say which real images are taken; an instance of a command's dataclass of flags."""

    @property
    def path(self) -> str:
        """Where they lie now; empty for where they were trained on."""
        ...

    @property
    def samples(self) -> int:
        """How many; 0 for all, at most `MOST`."""
        ...


def with_data_path(experiment: config.Config, path: str) -> config.Config:
    """The experiment with its images at another path, if one is given.

    Raises:
        InputError: if its data have no path.
    """
    data = experiment.data
    if not path:
        return experiment
    if not hasattr(data, "path"):
        raise InputError(
            f"`--path` (={path!r}) must be empty for `data` (={type(data).__name__}), which has none."
        )
    return dataclasses.replace(experiment, data=dataclasses.replace(data, path=path))  # type: ignore[call-arg]


class RealImages(NamedTuple):
    """What the generated images are compared with."""

    training: Source  # what the generator was trained on
    source: Source  # where the real images are from: held-out ones, or the training ones
    origin: str  # of them, in words
    real: Images  # in a random order
    labels: np.ndarray | None  # theirs
    remarks: list[str]  # what is to be said of them


def read_real_images(opened: Opened, options: RealImagesOptions, place: Path) -> RealImages:
    """Read the real images.

    Args:
        opened: the generator, with the experiment that names them.
        options: the command's flags.
        place: that the generator is from, for messages.

    Raises:
        InputError: if they cannot be read or are too few; it names this command's flags.
    """
    experiment = opened.experiment
    remarks = []
    what = "points" if opened.generator.image_range is None else "images"
    with data_errors_in_flags(options):
        training, held_out = open_examples(experiment.data, experiment.holdout, experiment.cache)
        if training.label_ambiguity and not opened.generator.classes:
            doubt = f"the images are compared without their classes, which are in doubt: {training.label_ambiguity}"
            remarks.append(data_sentence_in_flags(doubt, options))
            training = training._replace(labels=None, classes=())
            held_out = held_out and held_out._replace(labels=None, classes=())
        source = training if held_out is None else held_out
        origin = f"training {what}" if held_out is None else f"held-out {what}"
        count = min(options.samples or MAX_IMAGES, source.length)
        if count < MIN_IMAGES:
            raise InputError(
                f"`{place}` has {count} real images, and {MIN_IMAGES} are needed to compare with."
            )
        chosen = shuffled_indices(0, 0, count, source.length)
        real = take(source, np.sort(chosen))[
            np.argsort(np.argsort(chosen))
        ]  # at random, but read in order
    if options.samples > source.length:
        remarks.append(
            f"{options.samples:,} generated {what} of each seed are compared with all {source.length:,} {origin}: "
            "there are no more."
        )
    labels = None if source.labels is None else source.labels[chosen]
    return RealImages(training, source, origin, real, labels, remarks)


@contextmanager
def data_errors_in_flags(options: RealImagesOptions) -> Iterator[None]:
    """Let errors about data within the block name the flags of a command with `--path`.

    Raises:
        InputError: the block's, in other words.
    """
    try:
        yield
    except InputError as error:
        said = data_sentence_in_flags(str(error), options)
        if "`data.path`" in said and "--path" not in said:
            said = f"{said.rstrip('.')}; give --path if the images lie elsewhere now."
        raise InputError(said) from error


def data_sentence_in_flags(sentence: str, options: RealImagesOptions) -> str:
    """A sentence about data, in the words of training, in those of a command with `--path`.

    Args:
        sentence: the sentence.
        options: the command's flags.
    """
    if options.path:
        sentence = rename(sentence, {"data.path": "--path"})
    return in_flags(flags(options), sentence, {"--data.path": "--path"})
