"""The networks that a command begins from: opened, compared, and named in its experiment."""

import dataclasses
import os
from pathlib import Path
from typing import NamedTuple

from l1jax.build import build_model, example_shape
from l1jax.cli.experiment_options import StartingOptions
from l1jax.cli.starting import make_request, stored_experiment
from l1jax.config import Config, InputError, Origin
from l1jax.evaluation.tensors import Tensors
from l1jax.models import Flow, Gan, Generator, LanguageModel, Vae
from l1jax.processes.agreement import lead
from l1jax.terminal import Say
from l1jax.training.origin import has_origin
from l1jax.training.origin_checks import Trained, check_kind
from l1jax.training.origin_request import Request, is_asked_for


class Start(NamedTuple):
    """What a command trains, and the weights that it begins from.

    Attributes:
        experiment: with its origin.
        weights: in process 0, if they were read now; None if the networks are drawn, or the work
            directory has the weights.
    """

    experiment: Config
    weights: Tensors | None


def find_start(
    options: StartingOptions, experiment: Config, workdir: Path, say: Say, *, overwrite: bool
) -> Start:
    """Open what `--from` names, unless the work directory has it from an earlier start.

    An origin in the experiment itself, which is that of an earlier run, only says that there must
    be one. A run that is resumed goes on from the origin in its configuration. The source need not
    exist any more, nor be the same.

    Args:
        options: the flags.
        experiment: that is to be trained.
        workdir: of the command.
        say: called with one sentence at a time.
        overwrite: whether what is in the work directory is deleted.

    Raises:
        InputError: if the source cannot be read, or is of another kind than the experiment.
    """
    request = make_request(options)
    weights = None

    def find() -> dict[str, object] | None:
        nonlocal weights
        kept = None
        if not overwrite:
            kept = _kept_origin(workdir)
        if request is None:
            _check_needs_no_source(experiment, kept)
            return _as_json(kept)
        if kept is not None and is_asked_for(kept, request) and has_origin(workdir):
            return _as_json(kept)
        origin, weights = _read_source(request, experiment, workdir, say)
        return _as_json(origin)

    found = lead(find)
    if found is None:
        return Start(dataclasses.replace(experiment, origin=None), None)
    origin = Origin(**{**found, "networks": tuple(found["networks"])})
    return Start(dataclasses.replace(experiment, origin=origin), weights)


def _kept_origin(workdir: Path) -> Origin | None:
    """Return what the run in a work directory began from; None if there is none, or it drew."""
    stored = stored_experiment(workdir)
    if stored is None:
        return None
    return stored.origin


def _check_needs_no_source(experiment: Config, kept: Origin | None) -> None:
    """Refuse an experiment that was begun from a source, where there is neither source nor run."""
    if kept is None and experiment.origin is not None:
        raise InputError(
            f"`origin` (={experiment.origin.source}) of this experiment names networks that it "
            "begins from: give --from with them."
        )


def _read_source(
    request: Request, experiment: Config, workdir: Path, say: Say
) -> tuple[Origin, Tensors]:
    """Read the weights that a run is to begin from, and say what the user should know.

    Args:
        request: what the user asked for.
        experiment: that is to begin from it.
        workdir: of the new run.
        say: called with one sentence at a time.

    Raises:
        InputError: if it cannot be read, or is of another kind than the experiment.
    """
    from l1jax.serialization.trained_source import open_source  # takes long to import

    if os.path.realpath(workdir) == os.path.realpath(os.path.expanduser(request.source)):
        raise InputError(
            f"`--from` (={request.source}) must be another folder than --workdir, where the new "
            "run is kept."
        )
    source = open_source(request, say)
    trained = Trained(source.experiment, source.generator)
    for sentence in check_source(trained, experiment, request.source):
        say(sentence)
    began = experiment.origin
    if began is not None and began.fingerprint != source.origin.fingerprint:
        say(f"{request.source} has other weights than those that the experiment began from")
    return source.origin, source.tensors


def check_source(source: Trained, experiment: Config, name: str) -> list[str]:
    """Refuse a source of another kind; return sentences about what differs otherwise.

    Args:
        source: what was trained.
        experiment: that is to begin from them.
        name: of the source, as the user typed it.

    Raises:
        InputError: naming what differs.
    """
    is_text = isinstance(source.generator, LanguageModel)
    wanted = Trained(experiment, source.generator)
    if is_text == (len(example_shape(experiment.data)) == 1):
        model = build_model(experiment.model, example_shape(experiment.data))
        wanted = Trained(experiment, _generator_of(model))
    return check_kind(source, wanted, name)


def _generator_of(model: Gan | Vae | Flow | Generator | LanguageModel) -> Generator | LanguageModel:
    if isinstance(model, Gan | Vae | Flow):
        return model.generator
    return model


def _as_json(origin: Origin | None) -> dict[str, object] | None:
    if origin is None:
        return None
    return dataclasses.asdict(origin)
