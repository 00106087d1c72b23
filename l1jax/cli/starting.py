"""The flags of commands that can begin from trained networks, `--from` and those beside it."""

import argparse
import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import tyro

from l1jax.build import build_model, example_shape
from l1jax.config import Config, InputError, Origin
from l1jax.evaluation.tensors import Tensors
from l1jax.models import Gan, Generator, LanguageModel, Vae
from l1jax.processes.agreement import lead
from l1jax.terminal import Say
from l1jax.training.origin import has_origin
from l1jax.training.origin_checks import Trained, check_kind
from l1jax.training.origin_request import Request, is_asked_for, is_of_source
from l1jax.training.workdir import read_config

SELECTION = "selection.json"  # of a work directory of `l1jax.select`


@dataclass(frozen=True)
class StartingOptions:
    """The flags of a command that can begin from trained networks."""

    from_source: Annotated[str | None, tyro.conf.arg(name="from")] = None
    """Begin from trained networks: a work directory, a model folder, or owner/name on the Hub."""
    from_step: int | None = None
    """Which checkpoint of a run to begin from; by default the newest good one."""
    from_revision: str | None = None
    """Branch, tag or commit of a model on the Hub; by default its main branch."""
    from_networks: Literal["all", "generator"] = "all"
    """All networks that the source has, or its generator alone beside a new discriminator."""


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
        stored = None
        if not overwrite:
            stored = stored_experiment(workdir)
        origin = None
        if stored is not None:
            origin = stored.origin
        if request is None:
            if origin is None and experiment.origin is not None:
                raise InputError(
                    f"`origin` (={experiment.origin.source}) of this experiment names networks "
                    "that it begins from: give --from with them."
                )
            return _as_json(origin)
        if origin is not None and is_asked_for(origin, request) and has_origin(workdir):
            return _as_json(origin)
        if os.path.realpath(workdir) == os.path.realpath(os.path.expanduser(request.source)):
            raise InputError(
                f"`--from` (={request.source}) must be another folder than --workdir, where the "
                "new run is kept."
            )
        from l1jax.serialization.trained_source import open_source  # takes long to import

        source = open_source(request, say)
        trained = Trained(source.experiment, source.generator)
        for sentence in check_source(trained, experiment, request.source):
            say(sentence)
        if (
            experiment.origin is not None
            and experiment.origin.fingerprint != source.origin.fingerprint
        ):
            say(f"{request.source} has other weights than those that the experiment began from")
        weights = source.tensors
        return _as_json(source.origin)

    found = lead(find)
    if found is None:
        return Start(dataclasses.replace(experiment, origin=None), None)
    origin = Origin(**{**found, "networks": tuple(found["networks"])})
    return Start(dataclasses.replace(experiment, origin=origin), weights)


def make_request(options: StartingOptions) -> Request | None:
    """Return what the flags ask for; None without `--from`.

    Raises:
        InputError: if a flag beside it is given without it.
    """
    if options.from_source is not None:
        return Request(
            options.from_source, options.from_step, options.from_revision, options.from_networks
        )
    given = {
        "--from-step": options.from_step,
        "--from-revision": options.from_revision,
        "--from-networks": None if options.from_networks == "all" else options.from_networks,
    }
    for flag, value in given.items():
        if value is not None:
            raise InputError(f"`{flag}` (={value}) needs --from, which names what it is about.")
    return None


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


def _generator_of(model: Gan | Vae | Generator | LanguageModel) -> Generator | LanguageModel:
    if isinstance(model, Gan | Vae):
        return model.generator
    return model


def experiment_of_source(arguments: Sequence[str], folder: str) -> tuple[Config, str] | None:
    """Return the experiment to change by flags where `--from` is given and `--config` is not.

    That is the experiment of the source. A run that is resumed has it in its own configuration,
    so that the source need not exist any more.

    Args:
        arguments: what the user typed after the command's name.
        folder: default of `--workdir`, where `{}` stands for the experiment's name.

    Returns:
        The experiment, and a name for its work directory; None without `--from`.

    Raises:
        InputError: if there is no experiment.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in ("from", "from-revision", "workdir"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--overwrite", action="store_true")
    try:
        flags = vars(parser.parse_known_args(list(arguments))[0])
    except argparse.ArgumentError:  # a flag has no value: tyro reports it later
        return None
    source = flags["from"]
    if source is None:
        return None
    name = f"{Path(source).name}-from"
    workdir = Path(os.path.expanduser(flags["workdir"] or folder.format(name)))
    experiment = None
    if not flags["overwrite"]:
        experiment = stored_experiment(workdir)
    origin = None
    if experiment is not None:
        origin = experiment.origin
    if experiment is None or origin is None or not is_of_source(origin, source):
        from l1jax.serialization.trained_source import read_source_experiment

        experiment = read_source_experiment(Request(source, revision=flags["from_revision"]))
    return dataclasses.replace(experiment, origin=None), name


def stored_experiment(workdir: Path) -> Config | None:
    """Return the experiment of a run or of a selection; None if there is neither.

    Raises:
        InputError: if it cannot be read.
    """
    if not os.path.isdir(workdir):
        return None
    if os.path.exists(workdir / SELECTION):
        from l1jax.selection.settings import read_selected_experiment

        return read_selected_experiment(workdir)
    return read_config(workdir)


def _as_json(origin: Origin | None) -> dict[str, object] | None:
    if origin is None:
        return None
    return dataclasses.asdict(origin)
