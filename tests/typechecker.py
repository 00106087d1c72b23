"""beartype as jaxtyping's import hook calls it; an int may stand for a float, as in pyright.

What jaxtyping hands over are stubs, a function's signature without its content: one that checks the
arguments before the call, and one that is handed what was returned. A nested function comes anew at
each call of the one around it, and to prepare its checks anew each time would be half of the time
that tracing takes.
"""

import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype

_guard = beartype(conf=BeartypeConf(is_pep484_tower=True))
_guarded: dict[Any, Callable[..., Any]] = {}


def check(stub: Callable[..., Any]) -> Callable[..., Any]:
    """The stub with its check, one for all functions of the same name and signature."""
    key = stub.__module__, stub.__qualname__, inspect.signature(stub)
    try:
        known = key in _guarded
    except TypeError:  # a default that has no hash, such as an array
        return _prepared_later(stub)
    if not known:
        _guarded[key] = _prepared_later(stub)
    return _guarded[key]


def _prepared_later(stub: Callable[..., Any]) -> Callable[..., Any]:
    """The check, prepared at the first call: most functions that are imported have none."""
    returned = stub.__annotations__.get("return", Any)
    if returned is not Any:
        stub.__annotations__ = {"return": returned}  # the arguments were checked by the other stub
    guard = None

    def checked(*args: Any, **kwargs: Any) -> Any:
        nonlocal guard
        if guard is None:
            guard = _guard(stub)
        return guard(*args, **kwargs)

    return checked


class Checking:
    """Whether calls are checked now."""

    on: bool = True


checking = Checking()


def check_when_on() -> None:
    """Let functions that jaxtyping decorates from now on be checked only while `checking.on`."""
    jaxtyping.jaxtyped = functools.partial(_switched, jaxtyping.jaxtyped)


def _switched(jaxtyped: Callable[..., Any], fn: Any = None, **options: Any) -> Any:
    if fn is None:
        return functools.partial(_switched, jaxtyped, **options)
    if not isinstance(fn, FunctionType):  # a dataclass
        return jaxtyped(fn, **options)
    if not checking.on and "<locals>" in fn.__qualname__:  # it lives no longer than this test
        return fn
    checked = None  # made at the first call that is checked: most functions have none

    @functools.wraps(fn)
    def switched(*args: Any, **kwargs: Any) -> Any:
        nonlocal checked
        if not checking.on:
            return fn(*args, **kwargs)
        if checked is None:
            checked = jaxtyped(fn, **options)
        return checked(*args, **kwargs)

    return switched
