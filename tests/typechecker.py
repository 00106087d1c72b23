"""beartype as jaxtyping's import hook calls it; an int may stand for a float, as in pyright.

What jaxtyping hands over are stubs, a function's signature without its content: one that checks the
arguments before the call, and one that is handed what was returned. A nested function comes anew at
each call of the one around it, and to prepare its checks anew each time would be half of the time
that tracing takes.
"""

import inspect
from collections.abc import Callable
from typing import Any

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
