"""Command-line flags as dataclasses, and one clear sentence when a flag is wrong."""

import contextlib
import io
import os
import re
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import tyro

from l1jax.cli.flag_names import flag_names
from l1jax.cli.short_help import ALL, required, short_help, wants_short_help
from l1jax.cli.suggestions import suggest
from l1jax.config import InputError

Options = TypeVar("Options")
NO_REMEDIES: Mapping[str, str] = types.MappingProxyType({})


def parse(
    options: type[Options],
    arguments: Sequence[str],
    prog: str,
    default: Options | None = None,
    remedies: Mapping[str, str] = NO_REMEDIES,
) -> Options:
    """Parse flags into a dataclass, or print their help.

    Args:
        options: the dataclass; its docstring describes the command.
        arguments: what the user typed after the command's name.
        prog: name of the command, for its messages.
        default: an instance that holds the defaults; None for those of the dataclass.
        remedies: flags that exist under other settings → the flag that selects these settings.

    Raises:
        InputError: if a flag is unknown, with the nearest ones, or if a value is missing or cannot
            be read.
        SystemExit: with status 0 after --help.
    """
    shown = options if default is None else default
    _check_known(shown, arguments, prog, remedies)
    if wants_short_help(arguments):
        print(short_help(shown, prog))
        raise SystemExit(0)
    arguments = ["--help" if argument == ALL else argument for argument in arguments]
    keywords = {} if default is None else {"default": default}
    message = io.StringIO()
    try:
        with contextlib.redirect_stderr(message):
            return cast(Any, tyro.cli)(
                options,
                args=arguments,
                prog=prog,
                config=(tyro.conf.AvoidSubcommands,),
                **keywords,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        sentence = _first_message(message.getvalue())
        if sentence.startswith("Missing from"):
            missing = [name for name in required(options) if f" {name} " in f"{sentence} "]
            sentence = f"Missing from {prog}: {' and '.join(missing)}"
        raise InputError(f"{sentence} (see {prog} --help).") from None


def _check_known(
    options: object, arguments: Sequence[str], prog: str, remedies: Mapping[str, str]
) -> None:
    """Refuse flags that there are not.

    Args:
        options: the dataclass of the flags, or an instance that holds their defaults.
        arguments: what the user typed after the command's name.
        prog: name of the command, for its messages.
        remedies: flags that exist under other settings → the flag that selects these settings.

    Raises:
        InputError: naming the first such flag and the nearest ones.
    """
    known = ["--help", ALL, *flag_names(options)]
    for argument in arguments:
        flag = argument.split("=")[0].replace("_", "-")
        if flag.startswith("--") and flag not in known and not flag.startswith("--tyro-"):
            remedy = suggest(flag, known)
            if flag in remedies:
                remedy = f"; give {remedies[flag]} to have it"
            raise InputError(f"`{flag}` is not a flag here{remedy} (see {prog} --help).")


def parse_path(flag: str, value: str) -> Path:
    """Return the path that a user typed, with `~` expanded.

    Raises:
        InputError: if it is empty, which happens with an unset shell variable.
    """
    if not value:
        raise InputError(f"`{flag}` is empty: give it a path.")
    return Path(os.path.expanduser(value))


def parse_optional_path(flag: str, value: str | None) -> Path | None:
    """Return the path that a user typed, with `~` expanded; None if the flag was not given.

    Raises:
        InputError: if it is empty, which happens with an unset shell variable.
    """
    if value is None:
        return None
    return parse_path(flag, value)


def _first_message(box: str) -> str:
    """Return as one sentence what tyro prints in a box, up to the first rule across it."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box)  # without colours
    lines = [line.strip("│| ") for line in plain.splitlines()[1:-1]]
    parts = [part for part in re.split(r"(?m)^[─-]+$", "\n".join(lines)) if part.strip()]
    first = parts[0] if parts else box
    text = " ".join(first.split()).replace(" (required)", "")
    return re.sub(r"\. (\w)", lambda match: f"; {match[1].lower()}", text.rstrip("."))
