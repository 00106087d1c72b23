"""beartype as jaxtyping's import hook calls it; an int may stand for a float, as in pyright.

What jaxtyping hands over is a stub: a function's signature without its content. A nested function
comes anew at each call of the one around it, and to prepare its check anew each time would be half
of the time that tracing takes.
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
        return _guard(stub)
    if not known:
        _guarded[key] = _guard(stub)
    return _guarded[key]
