"""A configuration as rows: every field's value, and the default that it differs from."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import NamedTuple

from l1jax.config import Config, Origin, to_json


class ConfigurationRow(NamedTuple):
    """One field of a configuration."""

    name: str  # dotted, as in `generator.learning_rate`
    value: object
    default: object  # None where the field must be given

    @property
    def is_default(self) -> bool:
        """Whether the field has its default."""
        return self.value == self.default


def public_name(origin: Origin) -> str:
    """Return a name of a source that may be published: of a path only the last part."""
    if origin.revision:
        return origin.source
    return PurePath(origin.source).name


def describe_origin(origin: Origin) -> str:
    """Say in a few words which trained networks a run began from."""
    networks = " and ".join(origin.networks)
    revision = origin.revision and f", commit {origin.revision[:12]}"
    return (
        f"the {networks} of {' '.join(public_name(origin).split())}{revision}, step "
        f"{origin.step:,}, sha256 of the weights {origin.fingerprint[:12]}"
    )


def configuration_rows(experiment: Config) -> list[ConfigurationRow]:
    """List all fields of a configuration with their defaults.

    The default of a part, such as the model, is that of the kind which was chosen.
    """
    return list(_rows(experiment, type(experiment)(), ""))


def _rows(part: object, default: object, prefix: str) -> Iterator[ConfigurationRow]:
    if type(part) is not type(default):
        yield ConfigurationRow(f"{prefix}kind", _kind(part), _kind(default))
        default = _defaults(part)
    assert dataclasses.is_dataclass(part)
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        default_value = getattr(default, field.name, None)
        if isinstance(default, Mapping):
            default_value = default.get(field.name)
        if dataclasses.is_dataclass(value):
            yield from _rows(value, default_value, f"{prefix}{field.name}.")
        else:
            plain_default = default_value
            if dataclasses.is_dataclass(default_value):
                plain_default = _kind(default_value)
            yield ConfigurationRow(f"{prefix}{field.name}", to_json(value), to_json(plain_default))


def _kind(part: object) -> str | None:
    if part is None:
        return None
    return type(part).__name__


def _defaults(part: object) -> Mapping[str, object]:
    """Return the defaults of a dataclass's fields by name."""
    assert dataclasses.is_dataclass(part)
    defaults = {}
    for field in dataclasses.fields(part):
        if field.default is not dataclasses.MISSING:
            defaults[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            defaults[field.name] = field.default_factory()
    return defaults
