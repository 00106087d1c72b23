"""Whether trained networks can be the beginning of an experiment, beyond the shapes of arrays."""

from dataclasses import fields
from typing import NamedTuple

from l1jax.config import (
    AudioData,
    Config,
    InputError,
    Reconstruction,
    Sound,
    Text,
    TonesData,
)
from l1jax.models import Generator, LanguageModel

SPECTROGRAM = ("mels", "frames", "sample_rate", "n_fft", "hop", "lowest", "highest", "floor")
"""Fields of the data that say what a pixel of a spectrogram means."""


class Trained(NamedTuple):
    """A generator and the experiment that trains it."""

    experiment: Config
    generator: Generator | LanguageModel


def check_kind(source: Trained, wanted: Trained, name: str) -> list[str]:
    """Refuse trained networks of another kind.

    Args:
        source: what was trained.
        wanted: what is to be trained from it.
        name: of the source, for errors.

    Returns:
        Sentences about settings that differ without changing a shape, which may be intended.

    Raises:
        InputError: naming what differs.
    """
    is_text = isinstance(source.experiment.data, Text)
    if is_text != isinstance(wanted.experiment.data, Text):
        kinds = ("text", "images or points") if is_text else ("images or points", "text")
        raise InputError(
            f"`--from` (={name}) is a model of {kinds[0]}, and this experiment is one of "
            f"{kinds[1]}: give the --config, or --data and --model, of the source."
        )
    theirs = type(source.experiment.model).__name__
    ours = type(wanted.experiment.model).__name__
    if theirs != ours:
        raise InputError(
            f"`--from` (={name}) is a {theirs}, and `model` of this experiment is a {ours}: give "
            "--model of the same kind, or the --config of the source."
        )
    if isinstance(source.generator, Generator) and isinstance(wanted.generator, Generator):
        _check_generator(source.generator, wanted.generator, name)
    _check_spectrogram(source.experiment, wanted.experiment, name)
    _check_latents(source.experiment, wanted.experiment, name)
    return _differing_settings(source.experiment, wanted.experiment, name)


def _check_generator(source: Generator, wanted: Generator, name: str) -> None:
    compared = {
        "a latent size": (source.latent_size, wanted.latent_size, "--model.latent-size"),
        "a number of classes": (source.classes, wanted.classes, "--model.classes"),
        "an image shape": (
            " × ".join(map(str, source.image_shape)),
            " × ".join(map(str, wanted.image_shape)),
            "--data flags for images of that shape, or --data.image-size",
        ),
        "an image range": (source.image_range, wanted.image_range, "--model.output"),
    }
    for noun, (theirs, ours, flag) in compared.items():
        if theirs != ours:
            raise InputError(
                f"`--from` (={name}) has {noun} of {theirs}, and this experiment has {ours}: "
                f"make them the same ({flag}), or begin from another model."
            )


def _check_spectrogram(source: Config, wanted: Config, name: str) -> None:
    is_sound = isinstance(source.data, Sound)
    if is_sound != isinstance(wanted.data, Sound):
        nouns = ("spectrograms", "images") if is_sound else ("images", "spectrograms")
        raise InputError(
            f"`--from` (={name}) draws {nouns[0]}, and this experiment {nouns[1]}: give --data of "
            "the same kind."
        )
    if not isinstance(source.data, AudioData | TonesData):
        return
    for field in SPECTROGRAM:
        theirs = getattr(source.data, field)
        ours = getattr(wanted.data, field)
        if theirs != ours:
            flag = field.replace("_", "-")
            raise InputError(
                f"`data.{field}` (={ours}) must be {theirs}, that of the spectrograms of `--from` "
                f"(={name}): give --data.{flag} {theirs}."
            )


def _check_latents(source: Config, wanted: Config, name: str) -> None:
    both = isinstance(source.objective, Reconstruction) and isinstance(
        wanted.objective, Reconstruction
    )
    if both and source.seed != wanted.seed:
        raise InputError(
            f"`seed` (={wanted.seed}) must be {source.seed}, that of `--from` (={name}): with "
            "Reconstruction it decides which latent belongs to which image."
        )


def _differing_settings(source: Config, wanted: Config, name: str) -> list[str]:
    """Name the fields of the model that differ; those that change a shape are refused later."""
    changed = [
        f"{field.name} {getattr(source.model, field.name)} → {getattr(wanted.model, field.name)}"
        for field in fields(wanted.model)
        if getattr(source.model, field.name) != getattr(wanted.model, field.name)
    ]
    if not changed:
        return []
    return [f"the model is not quite that of {name}: {', '.join(changed)}"]
