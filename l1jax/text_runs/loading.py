"""A language model of a training run or of an exported folder, loaded for a command."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from l1jax.cli.flag_errors import rename_flags
from l1jax.config import Config, InputError, Text
from l1jax.config.fields import JsonObject
from l1jax.models import LanguageModel
from l1jax.serialization.loaded_generator import check_finite
from l1jax.serialization.text_folder import is_text_folder, read_text_model
from l1jax.training.saved_run import load_run
from l1jax.training.state import Average
from l1jax.training.workdir import read_config


class LoadedText(NamedTuple):
    """A language model and where it comes from.

    Attributes:
        experiment: that it was trained by.
        model: the network.
        average: the averaged weights.
        step: of the training.
        notes: of an exported model; empty for a run.
    """

    experiment: Config
    model: LanguageModel
    average: Average
    step: int
    notes: JsonObject


def is_text_run(workdir: Path) -> bool:
    """Return whether a folder holds a training run of text.

    A folder whose experiment cannot be read is none: an exported model, or a damaged run, which is
    refused where it is opened.
    """
    if not os.path.isdir(workdir):
        return False
    try:
        experiment = read_config(workdir)
    except InputError:
        return False
    return experiment is not None and isinstance(experiment.data, Text)


def names_text(workdir: Path | None, model: Path | None) -> bool:
    """Return whether the one of two flags that is given names a run or a model of text.

    Args:
        workdir: `--workdir`.
        model: `--model`.
    """
    path = model or workdir
    if path is None or (workdir is not None and model is not None):
        return False  # which is refused where a generator is opened
    return is_text_run(path) or is_text_folder(path)


def open_text_model(
    workdir: Path | None, model: Path | None, step: int | None, say: Callable[[str], None]
) -> LoadedText:
    """Load the language model that one of two flags names; either takes a run or a folder.

    Args:
        workdir: `--workdir`.
        model: `--model`.
        step: which checkpoint of a run; None for the newest good one.
        say: reports checkpoints that are skipped.

    Raises:
        InputError: if there is nothing good in it.
    """
    path = model or workdir
    assert path is not None
    flag = "--workdir" if model is None else "--model"
    if is_text_run(path):
        trained = load_run(path, step, say)
        assert isinstance(trained.task.generator, LanguageModel)
        loaded = LoadedText(
            trained.experiment, trained.task.generator, trained.state.average, trained.step, {}
        )
    else:
        if step is not None:
            raise InputError(
                f"`--step` (={step}) must be left out for an exported model, which is of one step."
            )
        try:
            exported = read_text_model(path)
        except InputError as error:
            raise InputError(rename_flags(str(error), {"--model": flag})) from error
        average = Average(exported.params, exported.batch_stats)
        loaded = LoadedText(
            exported.experiment, exported.model, average, exported.step, exported.notes
        )
    check_finite(loaded.average, loaded.step)
    return loaded
