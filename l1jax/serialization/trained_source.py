"""Trained networks to begin another training from: a run, a model folder, a model on the Hub."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from l1jax.cli.flag_errors import rename_flags
from l1jax.config import Config, InputError, Origin
from l1jax.evaluation.tensors import Tensors, hash_tensors
from l1jax.models import Generator, LanguageModel
from l1jax.reading import read_json
from l1jax.serialization.folder_files import CONFIG, PROGRAMS, WEIGHTS, read_experiment
from l1jax.serialization.hub import download
from l1jax.serialization.model_folder import read_model
from l1jax.serialization.text_folder import is_text_folder, read_text_model
from l1jax.training.origin import named_weights
from l1jax.training.origin_request import Request, absolute, is_repository
from l1jax.training.saved_run import load_run
from l1jax.training.state import NetworkWeights, Weights
from l1jax.training.workdir import read_config

SECOND_NETWORKS = ("discriminator", "encoder")
RENAMES = {"--workdir": "--from", "--model": "--from", "--step": "--from-step"}


class Place(NamedTuple):
    """Where a source lies on this machine."""

    path: Path
    name: str  # that `Origin.source` holds
    revision: str  # commit on the Hub; empty for a path


class TrainedSource(NamedTuple):
    """Trained networks, what trained them, and where they come from."""

    experiment: Config
    generator: Generator | LanguageModel
    tensors: Tensors  # as `named_weights` returns them
    origin: Origin


def find_source(request: Request) -> Place:
    """Find a source, and download it if it is on the Hub.

    An existing path comes first. A name of two parts is one on the Hub unless a folder of its
    first part is here, which tells a mistyped path from the name of a repository.

    Raises:
        InputError: if there is none.
        MissingExtraError: if it is on the Hub and the client is not installed.
    """
    source = request.source
    path = Path(absolute(source))
    if not source or os.path.exists(path):
        if not source:
            raise InputError("`--from` is empty: give it a path, or owner/name on the Hub.")
        if request.revision is not None:
            raise InputError(
                f"`--from-revision` (={request.revision}) must be left out for a path, such as "
                f"--from {source}: revisions are those of the Hub."
            )
        return Place(path, str(path), "")
    if not is_repository(source) or os.path.isdir(path.parent):
        raise InputError(
            f"`--from` (={source}) must be a work directory, a model folder, or owner/name of a "
            "model on the Hub, and there is nothing of this name here."
        )
    folder, commit = download(source, request.revision, (CONFIG, WEIGHTS))
    return Place(folder, source, commit)


def read_source_experiment(request: Request) -> Config:
    """Return the experiment that trained a source, without reading its weights.

    Raises:
        InputError: if there is none.
    """
    place = find_source(request)
    with_errors = _renamed(request)
    return with_errors(lambda: _experiment_at(place.path, request.source))


def open_source(request: Request, say: Callable[[str], None]) -> TrainedSource:
    """Read trained networks.

    From a run come the generator's averaged weights, which its samples are drawn from, and the
    weights of its discriminator or encoder as they were trained last. A model folder has the
    generator alone.

    Args:
        request: what the user asked for.
        say: called with a sentence about each checkpoint that is passed over.

    Raises:
        InputError: if there is nothing good to begin from, or it is a compact model.
    """
    place = find_source(request)
    return _renamed(request)(lambda: _open(place, request, say))


def _open(place: Place, request: Request, say: Callable[[str], None]) -> TrainedSource:
    if _is_run(place.path):
        trained = load_run(place.path, request.step, say)
        experiment = trained.experiment
        generator = trained.task.generator
        step = trained.step
        weights = _weights_of_run(trained.state)
    else:
        if request.step is not None:
            raise InputError(
                f"`--from-step` (={request.step}) must be left out for an exported model, which "
                "is of one step."
            )
        experiment, generator, step, weights = _read_folder(place.path, request.source)
    if request.networks == "generator":
        weights = {"generator": weights["generator"]}
    tensors = named_weights(weights)
    bad = sum(int(np.count_nonzero(~np.isfinite(_floats(value)))) for value in tensors.values())
    if bad:
        raise InputError(
            f"`--from` (={request.source}) has {bad:,} weights that are NaN or infinite at step "
            f"{step:,}: take an earlier checkpoint with --from-step."
        )
    origin = Origin(place.name, place.revision, step, tuple(weights), hash_tensors(tensors))
    return TrainedSource(experiment, generator, tensors, origin)


def _floats(value: np.ndarray) -> np.ndarray:
    return np.asarray(value, np.float32)


def _weights_of_run(state: Any) -> Weights:
    weights = {"generator": NetworkWeights(*state.average)}
    for name in SECOND_NETWORKS:
        network = getattr(state, name, None)
        if network is not None:
            weights[name] = NetworkWeights(network.params, network.batch_stats)
    return weights


def _read_folder(path: Path, source: str) -> tuple[Config, Generator | LanguageModel, int, Weights]:
    """Read the generator of a model folder."""
    folder = path if os.path.isdir(path) else path.parent
    if path.name in PROGRAMS or not os.path.isfile(folder / WEIGHTS):
        raise InputError(
            f"`--from` (={source}) must be a work directory, or a model folder with {WEIGHTS}: a "
            "program alone cannot be trained."
        )
    if is_text_folder(path):
        text = read_text_model(path)
        weights = {"generator": NetworkWeights(text.params, text.batch_stats)}
        return text.experiment, text.model, text.step, weights
    exported = read_model(path)
    if exported.layout:
        raise InputError(
            f"`--from` (={source}) is a compact model, whose network has lost the layers that "
            "training needs: begin from the run that it was made of, or from that run's export, "
            "and compact it again afterwards."
        )
    weights = {"generator": NetworkWeights(exported.params, exported.batch_stats)}
    return exported.experiment, exported.generator, exported.step, weights


def _is_run(path: Path) -> bool:
    return os.path.isdir(path / "checkpoints")


def _experiment_at(path: Path, source: str) -> Config:
    if _is_run(path):
        experiment = read_config(path)
        if experiment is not None:
            return experiment
    folder = path if os.path.isdir(path) else path.parent
    if not os.path.isfile(folder / CONFIG):
        raise InputError(
            f"`--from` (={source}) must be a work directory or a model folder, and has no {CONFIG}."
        )
    described = read_json(folder / CONFIG)
    experiment = described.get("experiment") if isinstance(described, dict) else None
    return read_experiment(experiment, folder / CONFIG)


def _renamed(request: Request) -> Callable[[Callable[[], Any]], Any]:
    """Return what calls a function and makes its errors name the flags of this request."""

    def call(function: Callable[[], Any]) -> Any:
        try:
            return function()
        except InputError as error:
            said = rename_flags(str(error), RENAMES)
            if said == str(error):
                raise
            raise InputError(said) from error

    return call
