"""The names of the flags that a dataclass makes."""

import dataclasses
import typing
from typing import Any, cast


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
        if positional_name(hint):
            continue
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


def positional_name(hint: object) -> str:
    """Return the name in messages of an argument that has no flag; empty if the hint is a flag's.

    Args:
        hint: of a field, with its annotations; those of arguments without a flag have a `metavar`.
    """
    for annotation in getattr(hint, "__metadata__", ()):
        name = getattr(annotation, "metavar", None)
        if name:
            return name
    return ""


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
