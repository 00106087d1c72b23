"""What the command lines share: experiment files, flags, and one clear sentence when something is wrong."""

import argparse
import dataclasses
import importlib.util
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import tyro
from rich.console import Console

from l1jax.config import Config, InputError, check, kinds, switch_kind

Options = TypeVar("Options")
KIND_FIELDS = ("data", "model", "objective")


def experiments_folder() -> Path:
    """Where the experiments that come with l1jax are: beside the package in a checkout, in it once installed."""
    package = Path(__file__).parent
    installed = package / "experiments"
    return installed if installed.is_dir() else package.parent / "experiments"


def load_experiment(name: str) -> Config:
    """Run an experiment file's `get_config`.

    Args:
        name: path of a Python file, or the bare name of an experiment that comes with l1jax.

    Raises:
        InputError: if there is no such file, it does not run, or it gives no `Config`.
    """
    path = Path(name)
    shipped = experiments_folder() / f"{name}.py"
    if not path.suffix and not path.exists() and shipped.exists():
        path = shipped
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in experiments_folder().glob("*.py")))
        raise InputError(f"`--config` (={name}) must be a Python file with `get_config`, or one of: {known}.")
    spec = importlib.util.spec_from_file_location(f"l1jax_experiment_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"`--config` (={name}) must be a Python file, ending in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses defined in the file look themselves up there
    try:
        spec.loader.exec_module(module)
        if not callable(getattr(module, "get_config", None)):
            raise InputError(f"`--config` (={name}) must define `get_config() -> Config`.")
        config = module.get_config()
    except InputError:
        raise
    except Exception as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        at = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else (lines or [None])[-1]
        where = f" at line {at}" if at else ""
        raise InputError(f"`--config` (={name}) fails{where}: {type(error).__name__}: {error}") from error
    if not isinstance(config, Config):
        raise InputError(
            f"`get_config` of `--config` (={name}) must return an l1jax.config.Config, not {type(config).__name__}."
        )
    return check(config)


def parse_experiment(options: type[Options], arguments: Sequence[str], prog: str, description: str) -> Options:
    """Parse flags whose defaults are those of the experiment that `--config` names.

    `options` is a dataclass with the fields `config`, `workdir`, `experiment`, `data`, `model` and
    `objective`; the last three switch the kind of the experiment's field of that name.

    Raises:
        InputError: if the experiment file or a value is wrong.
        SystemExit: with 2 for an unknown flag or an unreadable value, with 0 for --help.
    """
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    early.add_argument("--config", default="digits")
    for name in KIND_FIELDS:
        early.add_argument(f"--{name}")
    try:
        chosen, _ = early.parse_known_args(list(arguments))
    except (argparse.ArgumentError, SystemExit):  # a flag without its value: let tyro say so
        chosen = argparse.Namespace(config="digits", **dict.fromkeys(KIND_FIELDS))
    experiment = load_experiment(chosen.config)
    shown = {}
    for name in KIND_FIELDS:
        current, wanted = getattr(experiment, name), getattr(chosen, name)
        if wanted in kinds(name) and kinds(name)[wanted] is not type(current):
            experiment = dataclasses.replace(experiment, **{name: switch_kind(current, kinds(name)[wanted])})
        shown[name] = next(n for n, kind in kinds(name).items() if kind is type(getattr(experiment, name)))
    default = cast(Any, options)(
        config=chosen.config, workdir=f"runs/{Path(chosen.config).stem}", experiment=experiment, **shown
    )
    parsed = tyro.cli(
        options,
        default=default,
        args=list(arguments),
        prog=prog,
        description=description,
        config=(tyro.conf.AvoidSubcommands,),
    )
    return dataclasses.replace(cast(Any, parsed), experiment=check(cast(Any, parsed).experiment))


def run(main: Callable[[Sequence[str]], int]) -> None:
    """Run a command: exit with its status, or with 2 and one sentence if the user's input is wrong."""
    console = Console(stderr=True)
    try:
        status = main(sys.argv[1:])
    except InputError as error:
        console.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        status = 2
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:  # the reader of our output went away
        status = 141
    sys.exit(status)
