"""A generator to draw from, out of a work directory or an exported model."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from jaxtyping import PyTree

from l1jax.compaction.folder import Exported, is_model, read_model
from l1jax.config import Config, InputError
from l1jax.models import Generator
from l1jax.training.state import Average, VaeState
from l1jax.training.trained import open_trained


class Opened(NamedTuple):
    """A generator, its weights and where they come from."""

    experiment: Config
    generator: Generator
    average: Average  # its weights
    step: int
    layout: dict[str, Any]  # of the network, as `l1jax.compaction.layout` reads it
    encoder: PyTree = None  # parameters of a variational autoencoder's other half, which exported models do not have
    notes: dict[str, Any] | None = None  # of an exported model


def open_generator(
    workdir: Path | None, model: Path | None, step: int | None, say: Callable[[str], None], command: str
) -> Opened:
    """Open what one of two flags names; either takes a training run or an exported model.

    Args:
        workdir: `--workdir`.
        model: `--model`.
        step: which checkpoint of a run; None for the newest good one.
        say: told about checkpoints that are passed over.
        command: for messages.

    Raises:
        InputError: if none or both are given, or there is nothing good in it.
    """
    if workdir is None and model is None:
        raise InputError(f"Missing from {command}: --workdir of a training run, or --model of an exported model.")
    if workdir is not None and model is not None:
        raise InputError(f"`--workdir` (={workdir}) and `--model` (={model}) name two generators: give one of them.")
    path = next(path for path in (model, workdir) if path is not None)
    if os.path.isdir(path / "checkpoints") or (workdir is not None and not is_model(path)):
        trained = open_trained(path, step, say)
        encoder = trained.state.encoder.params if isinstance(trained.state, VaeState) else None
        return Opened(trained.experiment, trained.task.generator, trained.state.average, trained.step, {}, encoder)
    if step is not None:
        raise InputError(f"`--step` (={step}) must be left out for an exported model, which is of one step.")
    return opened(read_model(path))


def opened(exported: Exported) -> Opened:
    """An exported model, to draw from."""
    average = Average(exported.params, exported.statistics)
    return Opened(
        exported.experiment, exported.generator, average, exported.step, exported.layout, notes=exported.notes
    )
