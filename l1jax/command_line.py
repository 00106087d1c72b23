"""What the command lines share: experiment files, flags, and one clear sentence when something is wrong."""

import argparse
import contextlib
import dataclasses
import io
import logging
import os
import re
import shlex
import shutil
import sys
import threading
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

import jax
import tyro
from rich.console import Console

from l1jax.compilation import use_compilation_cache
from l1jax.config import Config, InputError, Optimizer, check, kinds, switch_kind
from l1jax.experiment_file import experiments_folder, load_experiment, nearest
from l1jax.streams import lasting_output

__all__ = [
    "ExperimentOptions",
    "command",
    "experiments_folder",
    "flags",
    "given_path",
    "load_experiment",
    "parse",
    "parse_experiment",
    "run",
    "typed_path",
]

Options = TypeVar("Options")
KIND_FIELDS = ("data", "model", "objective")
SECOND_NETWORK = {
    "discriminator": "adversarial",
    "encoder": "variational",
}  # optimiser → objective that has it


@dataclass(frozen=True)
class ExperimentOptions:
    """The flags of a command that takes an experiment; see `parse_experiment`."""

    experiment: Annotated[Config, tyro.conf.arg(name="")]
    config: str
    """Experiment: a Python file with get_config(), or the name of one that comes with l1jax."""
    workdir: str
    """Where all of it is kept; one that holds this experiment already is gone on with."""
    data: Literal[tuple(kinds("data"))]  # type: ignore[valid-type]
    """Kind of data; changes which --data.… flags there are."""
    model: Literal[tuple(kinds("model"))]  # type: ignore[valid-type]
    """Kind of model; changes which --model.… flags there are."""
    objective: Literal[tuple(kinds("objective"))]  # type: ignore[valid-type]
    """Kind of objective; changes which --objective.… flags there are."""


def parse(
    options: type[Options],
    arguments: Sequence[str],
    prog: str,
    default: Options | None = None,
    elsewhere: Mapping[str, str] = types.MappingProxyType({}),
) -> Options:
    """Parse flags into a dataclass.

    Args:
        options: the dataclass; its docstring describes the command.
        arguments: what the user typed.
        prog: the command, for its messages.
        default: an instance that holds the defaults; without it those of the dataclass.
        elsewhere: flags that would be there under other circumstances → what to give for that.

    Raises:
        InputError: if a flag is unknown, naming the nearest, or a value is missing or unreadable.
        SystemExit: with 0 after --help.
    """
    known = ["--help", *flags(options if default is None else default)]
    for argument in arguments:
        flag = argument.split("=")[0].replace("_", "-")
        if flag.startswith("--") and flag not in known and not flag.startswith("--tyro-"):
            remedy = (
                f"; give {elsewhere[flag]} to have it"
                if flag in elsewhere
                else nearest(flag, known)
            )
            raise InputError(f"`{flag}` is not a flag here{remedy} (see {prog} --help).")
    given = {} if default is None else {"default": default}
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return cast(Any, tyro.cli)(
                options,
                args=list(arguments),
                prog=prog,
                config=(tyro.conf.AvoidSubcommands,),
                **given,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise InputError(f"{_first_words(said.getvalue())} (see {prog} --help).") from None


def parse_experiment(
    options: type[Options], arguments: Sequence[str], prog: str, workdir: str = "runs/{}"
) -> Options:
    """Parse flags whose defaults are those of the experiment that `--config` names.

    `options` is an `ExperimentOptions`; its `data`, `model` and `objective` switch the kind of the experiment's
    field of that name, and flags such as `--generator.penalty` those of fields within. `workdir` is its default,
    by the experiment's name.

    Raises:
        InputError: if the experiment file, a flag or a value is wrong.
        SystemExit: with 0 after --help.
    """
    chosen = _first_look(arguments, ["config", *KIND_FIELDS])
    config = "digits" if chosen["config"] is None else chosen["config"]
    experiment, shown = load_experiment(config), {}
    for name in KIND_FIELDS:
        choices = kinds(name)
        experiment = dataclasses.replace(
            experiment, **{name: _switched(getattr(experiment, name), chosen[name], choices)}
        )
        shown[name] = _kind_name(getattr(experiment, name), choices)
    for name, objective in SECOND_NETWORK.items():
        if chosen["objective"] == objective and getattr(experiment, name) is None:
            experiment = dataclasses.replace(experiment, **{name: Optimizer()})

    extra, nested = [], _nested_kinds(experiment)
    chosen = _first_look(arguments, nested)
    for path, choices in nested.items():
        parent, name = path.split(".")
        holder = getattr(experiment, parent)
        value = _switched(getattr(holder, name), chosen[path], choices)
        experiment = dataclasses.replace(
            experiment, **{parent: dataclasses.replace(holder, **{name: value})}
        )
        explain = tyro.conf.arg(
            name=path, help=f"Kind of {name}; changes which --{path}.… flags there are."
        )
        hint = Annotated[Literal[tuple(choices)], explain]  # type: ignore[valid-type]
        extra.append(
            (path.replace(".", "__"), hint, dataclasses.field(default=_kind_name(value, choices)))
        )

    extended: Any = dataclasses.make_dataclass(
        options.__name__, extra, bases=(options,), frozen=True
    )
    extended.__doc__ = options.__doc__
    default = extended(
        config=config, workdir=workdir.format(Path(config).stem), experiment=experiment, **shown
    )
    parsed = parse(extended, arguments, prog, default, _flags_elsewhere(nested))
    return dataclasses.replace(parsed, experiment=check(parsed.experiment))


def _first_look(arguments: Sequence[str], names: Iterable[str]) -> dict[str, str | None]:
    """What the flags of these names are set to, before it is known which other flags there are."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in names:
        parser.add_argument(f"--{name}", dest=name)
    try:
        return vars(parser.parse_known_args(list(arguments))[0])
    except argparse.ArgumentError:  # a flag without its value: let tyro say so
        return dict.fromkeys(names)


def _nested_kinds(experiment: Config) -> dict[str, dict[str, Any]]:
    """Which fields within the experiment's parts can hold several kinds, such as `generator.penalty`."""
    found = {}
    for f in fields(experiment):
        part = getattr(experiment, f.name)
        hints = typing.get_type_hints(type(part)) if dataclasses.is_dataclass(part) else {}
        for name, hint in hints.items():
            if any(map(dataclasses.is_dataclass, typing.get_args(hint))):
                found[f"{f.name}.{name}"] = kinds(name, type(part))
    return found


def _switched(current: Any, wanted: str | None, choices: Mapping[str, Any]) -> Any:
    """The current value, or one of the kind that is wanted; what is no kind is left for tyro to refuse."""
    kind = choices.get(wanted or "", type(current))
    return current if kind is type(current) else switch_kind(current, kind)


def _kind_name(value: Any, choices: Mapping[str, Any]) -> str:
    return next(name for name, kind in choices.items() if kind is type(value))


def _flags_elsewhere(nested: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Flags of every kind and every optimiser, and what to give to have them."""
    found: dict[str, list[str]] = {}
    for name, choices in {**{name: kinds(name) for name in KIND_FIELDS}, **nested}.items():
        for wanted, kind in choices.items():
            for flag in flags(kind, f"--{name}."):
                found.setdefault(flag, []).append(f"--{name} {wanted}")
    for name, objective in SECOND_NETWORK.items():
        for flag in flags(Optimizer, f"--{name}."):
            found[flag] = [f"--objective {objective}"]
    return {flag: " or ".join(remedies) for flag, remedies in found.items()}


def flags(options: Any, prefix: str = "--") -> list[str]:
    """The flags of a dataclass, or of an instance that tells which dataclasses its fields hold."""
    if options is type(None):
        return []
    kind = options if isinstance(options, type) else type(options)
    found, hints = [], typing.get_type_hints(kind, include_extras=True)
    for f in fields(options):
        value, hint = getattr(options, f.name, None), hints[f.name]
        named = [getattr(extra, "name", None) for extra in getattr(hint, "__metadata__", ())]
        renamed = [name for name in named if name is not None]
        name = renamed[0] if renamed else f.name.replace("_", "-")
        kinds_of = [kind for kind in typing.get_args(hint) if isinstance(kind, type)]
        if value is None and any(map(dataclasses.is_dataclass, kinds_of)):
            continue  # no discriminator: it has no flags
        if dataclasses.is_dataclass(value):
            found += flags(value, f"{prefix}{name}." if name else prefix)
        else:
            found += [
                f"{prefix}{name}",
                *([f"{prefix}no-{name}"] if isinstance(value, bool) else []),
            ]
    return found


def typed_path(flag: str, value: str) -> Path:
    """A path as the user typed it, `~` expanded.

    Raises:
        InputError: if it is empty, as an unset shell variable makes it.
    """
    if not value:
        raise InputError(f"`{flag}` is empty: give it a path.")
    return Path(os.path.expanduser(value))


def command(module: str, *arguments: str) -> str:
    """A command line to copy, with the Python that runs this."""
    python = sys.executable
    if shutil.which("python") == python:
        python = "python"
    elif Path(python).is_relative_to(Path.cwd()):
        python = str(Path(python).relative_to(Path.cwd()))
    return shlex.join([python, "-m", module, *arguments])


def given_path(flag: str, value: str | None) -> Path | None:
    """A path as the user typed it; None if it was not given.

    Raises:
        InputError: if it is empty, as an unset shell variable makes it.
    """
    return None if value is None else typed_path(flag, value)


def run(main: Callable[[Sequence[str]], int], goes_on: str = "") -> None:
    """Run a command: exit with its status, or with 2 and one sentence if the user's input is wrong.

    Standard output may be a pipe, a terminal or a file that goes away: the command goes on and finishes its files.

    Args:
        main: flags → exit status.
        goes_on: said on standard error when that happens, of a command that then works for long.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without × shows a question mark
    with lasting_output(goes_on) as output:
        status = _status(main)
        output.flush()
    unwritten = output.lost is not None and not isinstance(output.lost, BrokenPipeError)
    sys.exit(1 if unwritten and not goes_on and status == 0 else status)


def _status(main: Callable[[Sequence[str]], int]) -> int:
    """Run a command; its exit status, after one sentence if it cannot do what was asked."""
    console = Console(stderr=True, emoji=False)
    logging.getLogger(
        "asyncio"
    ).disabled = True  # Orbax's reader and writer: a fault there is raised, and told, anyway
    use_compilation_cache()
    try:
        return main(sys.argv[1:])
    except InputError as error:
        console.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        hush()
        return 2
    except KeyboardInterrupt:
        console.print("stopped at once; the last checkpoint is as it was.")
        return 130
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        console.print(
            "error: there is not enough memory: give a smaller batch size, network or image size.",
            highlight=False,
            soft_wrap=True,
        )
        hush()
        return 1
    except BrokenPipeError:  # the reader of something else that we write went away
        return 141


def hush() -> None:
    """Keep other libraries' threads from adding, as the process ends, tracebacks of what was just said."""
    threading.excepthook = sys.unraisablehook = lambda _: None


def _first_words(box: str) -> str:
    """What tyro says in a box, up to the first rule across it."""
    lines = [line.strip("│| ") for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()[1:-1]]
    parts = [part for part in re.split(r"(?m)^[─-]+$", "\n".join(lines)) if part.strip()]
    text = " ".join((parts or [box])[0].split()).replace(" (required)", "")
    return re.sub(r"\. (\w)", lambda following: f"; {following[1].lower()}", text.rstrip("."))
