"""Command-line flags as dataclasses, and one clear sentence when a flag is wrong."""

import contextlib
import dataclasses
import io
import os
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import tyro

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
    """Parse flags into a dataclass.

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
    check_known(options if default is None else default, arguments, prog, remedies)
    keywords = {} if default is None else {"default": default}
    message = io.StringIO()
    try:
        with contextlib.redirect_stderr(message):
            return cast(Any, tyro.cli)(
                options,
                args=list(arguments),
                prog=prog,
                config=(tyro.conf.AvoidSubcommands,),
                **keywords,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        sentence = _first_message(message.getvalue())
        raise InputError(f"{sentence} (see {prog} --help).") from None


def check_known(
    options: object,
    arguments: Sequence[str],
    prog: str,
    remedies: Mapping[str, str] = NO_REMEDIES,
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
    known = ["--help", *flag_names(options)]
    for argument in arguments:
        flag = argument.split("=")[0].replace("_", "-")
        if flag.startswith("--") and flag not in known and not flag.startswith("--tyro-"):
            remedy = suggest(flag, known)
            if flag in remedies:
                remedy = f"; give {remedies[flag]} to have it"
            raise InputError(f"`{flag}` is not a flag here{remedy} (see {prog} --help).")


def flag_names(options: object, prefix: str = "--") -> list[str]:
    """List the flags of a dataclass.

    Args:
        options: the dataclass, or an instance of it. Only an instance tells which dataclasses its
            fields hold, and so has the flags of these.
        prefix: what every flag starts with.
    """
    if options is type(None):
        return []
    kind = options if isinstance(options, type) else type(options)
    hints = typing.get_type_hints(kind, include_extras=True)
    names: list[str] = []
    for field in dataclasses.fields(cast(Any, options)):
        value = getattr(options, field.name, None)
        hint = hints[field.name]
        if value is None and _may_hold_dataclass(hint):
            continue  # an experiment without a discriminator has no flags for it
        name = _flag_name(field.name, hint)
        if dataclasses.is_dataclass(value):
            names += flag_names(value, f"{prefix}{name}." if name else prefix)
            continue
        names.append(f"{prefix}{name}")
        if isinstance(value, bool):
            names.append(f"{prefix}no-{name}")
    return names


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


def _may_hold_dataclass(hint: object) -> bool:
    arguments = [part for part in typing.get_args(hint) if isinstance(part, type)]
    return any(map(dataclasses.is_dataclass, arguments))


def _flag_name(field_name: str, hint: object) -> str:
    """Return the name that `tyro.conf.arg` gives a field, or the field's own with hyphens."""
    for annotation in getattr(hint, "__metadata__", ()):
        name = getattr(annotation, "name", None)
        if name is not None:
            return name
    return field_name.replace("_", "-")


def _first_message(box: str) -> str:
    """Return as one sentence what tyro prints in a box, up to the first rule across it."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box)  # without colours
    lines = [line.strip("│| ") for line in plain.splitlines()[1:-1]]
    parts = [part for part in re.split(r"(?m)^[─-]+$", "\n".join(lines)) if part.strip()]
    first = parts[0] if parts else box
    text = " ".join(first.split()).replace(" (required)", "")
    return re.sub(r"\. (\w)", lambda match: f"; {match[1].lower()}", text.rstrip("."))
