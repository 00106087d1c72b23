"""What `--from` asks for, and the experiment that it stands for; light, as the flags are."""

import argparse
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from l1jax.cli.experiment_options import StartingOptions
from l1jax.config import Config, InputError
from l1jax.training.origin_request import Request, is_of_source, is_repository
from l1jax.training.workdir import read_config

SELECTION = "selection.json"  # of a work directory of `l1jax.select`


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
        check_source_name(source)
        from l1jax.serialization.trained_source import read_source_experiment

        experiment = read_source_experiment(Request(source, revision=flags["from_revision"]))
    return dataclasses.replace(experiment, origin=None), name


def check_source_name(source: str) -> None:
    """Raise unless a source is a path that exists, or its name can be one on the Hub.

    Raises:
        InputError: if it is neither.
    """
    found = os.path.exists(os.path.expanduser(source))
    if source and not found and not is_repository(source):
        raise InputError(
            f"`--from` (={source}) must be a work directory, a model folder, or owner/name on "
            "the Hub, and there is none of that name."
        )


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
