"""A user's own model or data: a function of an installed module, and its dataclass of options."""

import dataclasses
import importlib
import inspect
import re
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from l1jax.config.fields import InputError

MAX_REASON = 200  # characters of an error's text


@dataclass(frozen=True)
class CustomModel:
    """Your own model: networks that a function of an installed module makes."""

    factory: str = ""
    """`package.module:function`: options and image shape → a Gan, Vae or Generator."""
    options: Any = None
    """The function's own frozen dataclass; None for its defaults."""


@dataclass(frozen=True)
class CustomData:
    """Your own images or points: an object that a function of an installed module makes."""

    factory: str = ""
    """`package.module:function`: options → an object with length, example and fingerprint."""
    options: Any = None
    """The function's own frozen dataclass; None for its defaults."""


@dataclass(frozen=True)
class NoOptions:
    """The options of a function that takes none."""


CUSTOM = (CustomModel, CustomData)
"""Kinds that the command line names by `package.module:function`."""


def is_custom(name: str | None) -> bool:
    """Return whether a kind's name is `package.module:function` rather than one of l1jax's own."""
    return name is not None and ":" in name


def load_factory(name: str, field: str) -> Callable[..., Any]:
    """Import the function that `package.module:function` names.

    Args:
        name: of the function.
        field: that holds the name, for messages.

    Raises:
        InputError: if it is no such name, or the module or the function cannot be had.
    """
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", name):
        raise InputError(
            f"`{field}` (={name[:MAX_REASON]!r}) must be package.module:function, such as "
            "my_package.networks:build."
        )
    module_name, function_name = name.split(":")
    try:
        module = importlib.import_module(module_name)
    except BaseException as error:  # whatever the module does when it is imported
        raise _import_error(name, module_name, field, error) from error
    factory = getattr(module, function_name, None)
    if not inspect.isfunction(factory):
        functions = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        known = ", ".join(sorted(functions)) or "none"
        raise InputError(
            f"`{field}` (={name}) must name a function of {module_name}, which has {known}."
        )
    return factory


def options_type(factory: Callable[..., Any], name: str, field: str) -> type:
    """Return the dataclass of options that a function's first parameter is annotated with.

    Args:
        factory: the function.
        name: its `package.module:function`.
        field: that holds the name, for messages.

    Raises:
        InputError: if that is no frozen dataclass, or one of its fields has no default or a type
            that flags and config.json do not have.
    """
    with explain_failure(name, field, "its annotations"):
        first = next(iter(inspect.signature(factory).parameters), None)
        if first is None:
            return NoOptions
        kind = typing.get_type_hints(factory).get(first or "")
    if not isinstance(kind, type) or not dataclasses.is_dataclass(kind):
        raise InputError(
            f"`{field}` (={name}) must annotate its first parameter with its own frozen dataclass "
            "of options."
        )
    if not getattr(kind, "__dataclass_params__").frozen:  # noqa: B009, which type checkers need
        raise InputError(
            f"`{field}` (={name}) has options (={kind.__name__}) that can change: make them "
            "@dataclass(frozen=True)."
        )
    with explain_failure(name, field, f"the types of {kind.__name__}"):
        hints = typing.get_type_hints(kind)
    for option in dataclasses.fields(kind):
        _check_option(option, hints[option.name], name, field)
    return kind


@contextmanager
def explain_failure(name: str, field: str, what: str) -> Iterator[None]:
    """Turn whatever a user's own code raises into one sentence that names it.

    Args:
        name: `package.module:function`.
        field: that holds the name.
        what: failed.

    Raises:
        InputError: for any other error of the block.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"`{field}` (={name}): {what} failed with {describe(error)}.") from error


def describe(error: BaseException) -> str:
    """Return an error's type and the first line of its text."""
    try:
        text = str(error)
    except Exception:  # a `__str__` of someone else's
        text = ""
    lines = text.strip().splitlines() or [""]
    reason = lines[0][:MAX_REASON].rstrip(".:; ")
    if not reason:
        return type(error).__name__
    return f"{type(error).__name__}: {reason}"


def _check_option(option: dataclasses.Field[Any], hint: object, name: str, field: str) -> None:
    """Raise unless an option can be a flag and a value of config.json."""
    plain = (int, float, bool, str)
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    known = hint in plain
    if origin is Literal:
        known = all(type(choice) in plain for choice in arguments)
    if origin is tuple:
        known = len(arguments) == 2 and arguments[0] in plain and arguments[1] is Ellipsis
    if not known:
        raise InputError(
            f"`{option.name}` of the options of `{field}` (={name}) must be an int, float, bool, "
            "str, Literal of these or tuple[int, ...] of one of these."
        )
    has_default = option.default is not dataclasses.MISSING
    if not has_default and option.default_factory is dataclasses.MISSING:
        raise InputError(
            f"`{option.name}` of the options of `{field}` (={name}) must have a default."
        )
    if option.name in ("kind", "options") or not option.init:
        raise InputError(
            f"`{option.name}` of the options of `{field}` (={name}) must be a parameter of the "
            "dataclass with another name than kind and options."
        )


def _import_error(name: str, module: str, field: str, error: BaseException) -> InputError:
    missing = getattr(error, "name", None) or ""
    if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{missing}."):
        return InputError(
            f"`{field}` (={name}) is in the package {missing}, which is not installed here: "
            "install it, or put its folder on PYTHONPATH."
        )
    return InputError(f"`{field}` (={name}) cannot be imported: {describe(error)}.")
