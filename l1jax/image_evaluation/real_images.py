"""The real images that generated ones are compared with, chosen by `--path` and `--samples`."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, Shaped

from l1jax import config
from l1jax.cli.evaluation_flags import MIN_IMAGES
from l1jax.cli.flag_errors import rename_flags, translate_flags
from l1jax.cli.flag_names import flag_names
from l1jax.config import InputError
from l1jax.data.batches import shuffled_indices
from l1jax.data.opening import open_examples
from l1jax.data.source import Source, take
from l1jax.serialization.loaded_generator import LoadedGenerator

Images = Shaped[np.ndarray, "count height width channels"]
MAX_IMAGES = 5_000  # that are compared unless another number is asked for


@runtime_checkable
class RealImagesOptions(Protocol):
    """The flags that choose the real images; a command's dataclass of flags implements it."""

    @property
    def path(self) -> str:
        """Where the images lie now; empty if they lie where they were trained on."""
        ...

    @property
    def samples(self) -> int:
        """Number of generated images; 0 for as many as real ones."""
        ...

    @property
    def real_samples(self) -> int:
        """Number of real images; 0 for as many as generated ones, or `MAX_IMAGES`."""
        ...


def with_data_path(experiment: config.Config, path: str) -> config.Config:
    """Return the experiment with its images at another path, if one is given.

    Raises:
        InputError: if its data have no path.
    """
    data = experiment.data
    if not path:
        return experiment
    if not hasattr(data, "path"):
        raise InputError(
            f"`--path` (={path!r}) must be empty for `data` (={type(data).__name__}), which has "
            "no path."
        )
    return dataclasses.replace(experiment, data=dataclasses.replace(data, path=path))  # type: ignore[call-arg]


class RealImages(NamedTuple):
    """The real images that generated ones are compared with."""

    training: Source
    """What the generator was trained on."""
    source: Source
    """Where the real images are from: the held-out ones if there are any, or the training ones."""
    origin: str
    """The same in words, such as "held-out images"."""
    index: Int[np.ndarray, " count"]
    """Which of the source's they are."""
    real: Images
    """The real images, in a random order."""
    labels: Int[np.ndarray, " count"] | None
    """Class of each; None if they have none."""
    remarks: list[str]
    """Sentences that the command must tell the user about them."""


def read_real_images(
    opened: LoadedGenerator, options: RealImagesOptions, location: Path
) -> RealImages:
    """Read the real images that a generator's experiment names.

    Args:
        opened: the generator, with its experiment.
        options: the command's flags.
        location: where the generator is from, for messages.

    Raises:
        InputError: if the images cannot be read or are too few; it names this command's flags.
    """
    experiment = opened.experiment
    remarks = []
    noun = "images"
    if opened.generator.image_range is None:
        noun = "points"
    with data_errors_in_flags(options):
        training, held_out = open_examples(experiment.data, experiment.holdout, experiment.cache)
        if training.label_ambiguity and not opened.generator.classes:
            remark = (
                "the images are compared without their classes, which are in doubt: "
                f"{training.label_ambiguity}"
            )
            remarks.append(data_sentence_in_flags(remark, options))
            training = _without_labels(training)
            held_out = held_out and _without_labels(held_out)
        if held_out is None:
            source = training
            origin = f"training {noun}"
        else:
            source = held_out
            origin = f"held-out {noun}"
        wanted = options.real_samples or options.samples or MAX_IMAGES
        count = min(wanted, source.length)
        if count < MIN_IMAGES:
            raise InputError(
                f"`{location}` has {count} real images, and {MIN_IMAGES} are needed to compare "
                "with."
            )
        chosen = shuffled_indices(0, 0, count, source.length)
        real = _take_in_file_order(source, chosen)
    if options.samples > source.length and not options.real_samples:
        remarks.append(
            f"{options.samples:,} generated {noun} of each seed are compared with all "
            f"{source.length:,} {origin}: there are no more."
        )
    labels = None
    if source.labels is not None:
        labels = source.labels[chosen]
    return RealImages(training, source, origin, chosen, real, labels, remarks)


def _without_labels(source: Source) -> Source:
    return source._replace(labels=None, classes=())


def _take_in_file_order(source: Source, index: Int[np.ndarray, " count"]) -> Images:
    """Return the examples at these indices, reading them in the order of the source."""
    order = np.argsort(index)
    images = take(source, index[order])
    return images[np.argsort(order)]


@contextmanager
def data_errors_in_flags(options: RealImagesOptions) -> Iterator[None]:
    """Make errors about data within the block name the flags of a command with `--path`.

    Raises:
        InputError: the block's, in other words.
    """
    try:
        yield
    except InputError as error:
        message = data_sentence_in_flags(str(error), options)
        if "`data.path`" in message and "--path" not in message:
            message = f"{message.rstrip('.')}; give --path if the images lie elsewhere now."
        raise InputError(message) from error


def data_sentence_in_flags(sentence: str, options: RealImagesOptions) -> str:
    """Translate a sentence about data from training's flags to those of a command with `--path`."""
    if options.path:
        sentence = rename_flags(sentence, {"data.path": "--path"})
    return translate_flags(flag_names(options), sentence, {"--data.path": "--path"})
