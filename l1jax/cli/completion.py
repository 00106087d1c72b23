"""What a word of the command line can become: a command, a flag, or one of a flag's values."""

import dataclasses
import typing
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from l1jax.cli import experiment_options, options
from l1jax.cli.experiment import available_flags
from l1jax.cli.flag_names import flag_names
from l1jax.config import InputError


def candidates(commands: Sequence[str], words: Sequence[str]) -> list[str]:
    """Return what the last word can become; nothing where it is a path or a number.

    Args:
        commands: names of all commands.
        words: after `l1jax`, the unfinished last one included, which may be empty.
    """
    if len(words) < 2:
        return [*commands, "--help", "--version", "--completion"]
    command, *arguments = words
    flags = _flags(command, arguments[:-1])
    if flags is None:
        return []
    values = _values(flags, arguments[-2]) if len(arguments) > 1 else []
    if values:
        return values
    if not arguments[-1].startswith("-"):
        return []
    return ["--help", *flag_names(flags)]


def _flags(command: str, arguments: Sequence[str]) -> Any:
    """Return a command's dataclass of flags, or an instance of it; None if it has none."""
    kind: Any = getattr(options, f"{command.capitalize()}Options", None)
    if kind is not None:
        return kind
    kind = getattr(experiment_options, f"{command.capitalize()}Options", None)
    if kind is None:
        return None
    try:
        return available_flags(kind, arguments).default
    except InputError:  # of an unfinished line, say
        return None


def _values(flags: Any, flag: str) -> list[str]:
    """Return the values of a flag that has a list of them."""
    name = flag.removeprefix("--")
    kind = flags if isinstance(flags, type) else type(flags)
    found = _literals(kind).get(name)
    if found is not None:
        return found
    return _values_of_part(getattr(flags, "experiment", None), name.split("."))


def _values_of_part(part: Any, names: Sequence[str]) -> list[str]:
    """Return the values of a field within an experiment."""
    *parents, last = [name.replace("-", "_") for name in names]
    for parent in parents:
        part = getattr(part, parent, None)
    if part is None:
        return []
    return _literals(type(part)).get(last.replace("_", "-"), [])


def _literals(kind: type) -> dict[str, list[str]]:
    """Return the values of each field that has a list of them, by the name of its flag."""
    found = {}
    for field, hint in typing.get_type_hints(kind, include_extras=True).items():
        name = field.replace("_", "-")
        if typing.get_origin(hint) is Annotated:
            hint, *annotations = typing.get_args(hint)
            name = next((a.name for a in annotations if getattr(a, "name", None)), name)
        if typing.get_origin(hint) is Literal:
            found[name] = [str(value) for value in typing.get_args(hint)]
    if dataclasses.is_dataclass(kind):
        for part in dataclasses.fields(kind):
            if "values" in part.metadata:
                found[part.name.replace("_", "-")] = list(part.metadata["values"])
    return found
