"""Checks, JSON form and comparison of configurations; nothing is executed on the way back."""

import dataclasses
import math
import re
import reprlib
import struct
import types
import typing
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal

from l1jax.config.custom import CUSTOM, explain_failure, load_factory, options_type
from l1jax.config.experiment import FREE_FIELDS, Config
from l1jax.config.fields import InputError


def _reachable(kind: type) -> dict[str, type]:
    """Collect a dataclass and those that its fields can hold, by name."""
    found = {kind.__name__: kind}
    for hint in typing.get_type_hints(kind).values():
        for part in (hint, *typing.get_args(hint)):
            if (
                isinstance(part, type)
                and dataclasses.is_dataclass(part)
                and part.__name__ not in found
            ):
                found |= _reachable(part)
    return found


_KINDS = _reachable(Config)  # all that JSON can name
_REPR = reprlib.Repr()  # of anything at all: lists in lists would be as long as they like
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 400
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = 40
_MAX_INT = 2**31 - 1  # of fields without a bound of their own: what JAX counts with
_MAX_ENTRIES = 1_000  # of a tuple, such as layers


def to_json(config: Any, within: tuple[object, ...] = ()) -> Any:
    """Turn a configuration into plain JSON values, each dataclass tagged with its `kind`.

    What is in a tuple, or holds itself, stays as it is: no configuration has dataclasses there.

    Args:
        config: the whole, or a part.
        within: dataclasses that it is a part of, from the outermost on.
    """
    if isinstance(config, tuple | list):
        return list(config)
    if (
        not dataclasses.is_dataclass(config)
        or isinstance(config, type)
        or any(config is own for own in within)
    ):
        return config
    inner = (*within, config)
    values = {
        f.name: to_json(getattr(config, f.name, None), inner) for f in dataclasses.fields(config)
    }
    if isinstance(config, CUSTOM) and isinstance(values["options"], dict):
        values["options"].pop("kind", None)  # the factory says which dataclass it is
    return {"kind": type(config).__name__, **values}


def from_json(values: object, *, aside: Collection[str] = ()) -> Config:
    """Rebuild and check a configuration from what `to_json` gave.

    Args:
        values: plain JSON values.
        aside: fields, "model" or "data", whose own options stay a dictionary. A user's own model
            or data that stands there is not imported, as its options need.

    Raises:
        InputError: naming the field, its value and what was required.
    """
    values = _set_options_aside(values, aside)
    return _decode(Config, values, "", {})


def check(config: Config) -> Config:
    """Check types and ranges of every field; whole numbers given for floats become floats.

    Raises:
        InputError: naming the field, its value and what was required.
    """
    return from_json(to_json(config))


def kinds(name: str, parent: type = Config) -> dict[str, Any]:
    """Map command-line names to the dataclasses that a field can hold; `none` stands for None.

    The kinds of a user's own, which `package.module:function` names, are not among them.

    Args:
        name: the field.
        parent: the dataclass that has it.
    """
    choices = typing.get_args(typing.get_type_hints(parent)[name])
    named = [kind for kind in choices if kind not in CUSTOM]
    return {"none" if kind is type(None) else _hyphenate(kind.__name__): kind for kind in named}


def switch_kind(current: Any, kind: type) -> Any:
    """Make a `kind` that takes over the fields which `current` has as well.

    All other fields, and those marked `OWN_DEFAULT`, have the defaults of `kind`.
    """
    if kind is type(None):
        return None
    known = set() if current is None else {(f.name, f.type) for f in dataclasses.fields(current)}
    wanted = {f for f in dataclasses.fields(kind) if "own_default" not in f.metadata}
    return kind(**{f.name: getattr(current, f.name) for f in wanted if (f.name, f.type) in known})


def differences(old: Config, new: Config, ignore: frozenset[str] = FREE_FIELDS) -> list[str]:
    """Name the fields in which two experiments differ, as `field: old → new`.

    Where one holds another kind of model, say, the kind is named and not its fields.

    Args:
        old: the experiment before.
        new: the experiment now.
        ignore: paths of fields that may differ, such as `data.labels`.
    """

    def flatten(value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            return {path: value}
        return {
            k: v
            for name in value
            for k, v in flatten(value[name], f"{path}.{name}".lstrip(".")).items()
        }

    a = flatten(to_json(old), "")
    b = flatten(to_json(new), "")
    names = [name for name in (a | b) if name not in ignore and a.get(name) != b.get(name)]
    other = tuple(name.removesuffix("kind") for name in names if name.endswith(".kind"))
    names = [
        name for name in names if not any(name.startswith(o) and name != f"{o}kind" for o in other)
    ]
    return [
        f"{name}: {_short(str(a.get(name, 'absent')))} → {_short(str(b.get(name, 'absent')))}"
        for name in names
    ]


def _hyphenate(name: str) -> str:
    """`DigitsData` → digits, `MlpGan` → mlp-gan."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name.removesuffix("Data")).lower()


def _decode(hint: Any, value: Any, path: str, metadata: Mapping[str, Any]) -> Any:
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        kinds = tuple(a for a in arguments if a is not type(None))
        if dataclasses.is_dataclass(kinds[0]):
            return _decode_dataclass(kinds, value, path)
        return _decode(kinds[0], value, path, metadata)  # a number or None
    if dataclasses.is_dataclass(hint):
        return _decode_dataclass((hint,), value, path)
    if origin is Literal:
        allowed = any(type(value) is type(choice) and value == choice for choice in arguments)
        _require(allowed, path, value, f"one of {_join(arguments)}")
        return value
    if origin is tuple:
        _require(isinstance(value, list), path, value, f"a tuple of {arguments[0].__name__}")
        _require(
            len(value) <= _MAX_ENTRIES,
            path,
            value,
            f"a tuple of at most {_MAX_ENTRIES:,} entries",
        )
        return tuple(
            _decode(arguments[0], item, f"{path}[{i}]", metadata) for i, item in enumerate(value)
        )
    if hint is Any:
        return value
    if hint is float and type(value) is int:
        value = float(value) if abs(value) < 2**1023 else math.inf
    _require(type(value) is hint, path, value, f"of type {hint.__name__}")
    if "bounds" in metadata:
        _require_bounds(hint, value, path, *metadata["bounds"])
    if "values" in metadata:
        words = metadata["values"]
        allowed = value in words or ":" in value
        _require(allowed, path, value, f"one of {_join(words)}, or {metadata['form']}")
    if metadata.get("regex"):
        try:
            re.compile(str(value))
        except (re.error, RecursionError, OverflowError) as error:
            raise InputError(
                f"`{path}` (={_shown(value)}) must be a regular expression: {error}."
            ) from None
    return value


def _decode_dataclass(choices: tuple[Any, ...], value: Any, path: str) -> Any:
    names = [choice.__name__ for choice in choices]
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in names:
        shown = _short(kind) if isinstance(kind, str) else _shown(value)
        raise InputError(f"`{path or 'config'}` (={shown}) must be of type {' or '.join(names)}.")
    cls = _KINDS[kind]
    decoded = _decode_fields(cls, value, path)
    if cls in CUSTOM and not isinstance(decoded.options, _Aside):
        return decode_options(decoded, path)
    return decoded


def _decode_fields(cls: Any, value: dict[str, Any], path: str) -> Any:
    kind = cls.__name__
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    unknown = [name for name in value if name not in fields and name != "kind"]
    if unknown:
        raise InputError(
            f"`{_dot(path, _short(unknown[0]))}` is not a field of {kind}; it has {_join(fields)}."
        )
    return cls(
        **{
            name: _decode(hints[name], value[name], _dot(path, name), f.metadata)
            for name, f in fields.items()
            if name in value
        }
    )


class _Aside(dict[str, Any]):
    """Options of a user's own model that are not decoded."""


def _set_options_aside(values: object, aside: Collection[str]) -> object:
    """Mark the options of a user's own model or data, which only its package can decode."""
    if not isinstance(values, dict):
        return values
    names = [kind.__name__ for kind in CUSTOM]
    marked = dict(values)
    for name, part in values.items():
        if name in aside and isinstance(part, dict) and part.get("kind") in names:
            options = part.get("options")
            kept = _Aside(options if isinstance(options, dict) else {})
            marked[name] = {**part, "options": kept}
    return marked


def decode_options(custom: Any, path: str) -> Any:
    """Decode the options of a user's own model or data by the dataclass of its factory.

    Args:
        custom: the model or data, with a dictionary of options or None for the defaults.
        path: of its field, for messages.

    Raises:
        InputError: if the factory cannot be had, or an option is wrong.
    """
    field = f"{path}.factory"
    factory = load_factory(custom.factory, field)
    kind = options_type(factory, custom.factory, field)
    values = custom.options
    if values is None:
        values = {}
    _require(isinstance(values, dict), f"{path}.options", values, f"the fields of {kind.__name__}")
    # A user's own checks in `__post_init__` may raise anything.
    with explain_failure(custom.factory, field, "its options"):
        options = _decode_fields(kind, values, path)
    return dataclasses.replace(custom, options=options)


def _require(holds: bool, path: str, value: object, requirement: str) -> None:
    if not holds:
        raise InputError(f"`{path}` (={_shown(value)}) must be {requirement}.")


def _shown(value: object) -> str:
    """Represent any value within a sentence."""
    try:
        return _short(_REPR.repr(value))
    except Exception:  # a `__repr__` of someone else's, or more digits than Python prints
        return f"a value of type {type(value).__name__}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    if len(line) <= 100:
        return line
    return line[:99] + "…"


def _require_bounds(
    hint: Any, value: Any, path: str, low: float, high: float, strict: bool
) -> None:
    """Require low ≤ value ≤ high, or value < high if `strict`.

    Floats are used as float32, so the rounded number must be within the bounds, too.
    """
    if hint is int and high == math.inf:
        high = _MAX_INT

    def inside(number: Any) -> bool:
        below = number < high if strict else number <= high
        return low <= number and below and (hint is int or math.isfinite(number))

    requirement = f"at least {low}"
    if high < math.inf:
        relation = "at most"
        if strict:
            relation = "below"
        requirement += f" and {relation} {high}"
    if hint is float:
        requirement = f"finite, {requirement}"
    _require(inside(value), path, value, requirement)
    if hint is float:
        try:
            rounded = struct.unpack("f", struct.pack("f", value))[0]
        except OverflowError:
            rounded = math.inf
        too_large = not math.isfinite(rounded) or (strict and rounded >= high)
        _require(not too_large, path, value, f"{requirement} in float32")


def _dot(path: str, name: str) -> str:
    if not path:
        return name
    return f"{path}.{name}"


def _join(names: Iterable[object]) -> str:
    return ", ".join(str(name) for name in names)
