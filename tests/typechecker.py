"""beartype as jaxtyping's import hook calls it; an int may stand for a float, as in pyright.

What jaxtyping hands over are stubs, a function's signature without its content: one that checks the
arguments before the call, and one that is handed what was returned. A nested function comes anew at
each call of the one around it, and to prepare its checks anew each time would be half of the time
that tracing takes.
"""

import functools
import inspect
import weakref
from collections.abc import Callable
from types import CellType, FunctionType
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


def prepare_nested_functions_once() -> None:
    """Let `jaxtyping.jaxtyped` prepare a nested function's stubs at its first definition only."""
    jaxtyping.jaxtyped = functools.partial(_jaxtyped_once, jaxtyping.jaxtyped, {})


def _jaxtyped_once(
    jaxtyped: Callable[..., Any], prepared: dict[Any, Any], fn: Any = None, **options: Any
) -> Any:
    if fn is None:
        return functools.partial(_jaxtyped_once, jaxtyped, prepared, **options)
    if not isinstance(fn, FunctionType) or "<locals>" not in fn.__qualname__:
        return jaxtyped(fn, **options)
    defaults = fn.__defaults__, *(fn.__kwdefaults__ or {}).items()
    key = fn.__code__, *fn.__annotations__.items(), defaults, *options.values()
    try:
        known = key in prepared
    except TypeError:  # a default that has no hash, such as an array
        return jaxtyped(fn, **options)
    if not known:
        cells = {name: CellType() for name in fn.__code__.co_freevars}  # to keep nothing alive
        prepared[key] = jaxtyped(_with_cells(fn, **cells), **options)
    return _bound(prepared[key], fn) or jaxtyped(fn, **options)


def _bound(wrapper: FunctionType, fn: FunctionType) -> Callable[..., Any] | None:
    """The wrapper around another function of the same code, if it is built as it was."""
    cells = dict(zip(wrapper.__code__.co_freevars, wrapper.__closure__ or (), strict=True))
    if set(cells) != {"fn", "param_signature", "wrapped_fn_holder", "wrapped_fn_impl"}:
        return None
    inner = CellType(fn)
    holder: list[Any] = []
    checked = _with_cells(cells["wrapped_fn_impl"].cell_contents, fn=inner)
    bound = _with_cells(
        wrapper,
        fn=inner,
        wrapped_fn_holder=CellType(holder),
        wrapped_fn_impl=CellType(checked),
    )
    holder.append(weakref.ref(bound))
    return functools.update_wrapper(bound, fn)


def _with_cells(fn: FunctionType, /, **cells: CellType) -> FunctionType:
    """The function with other cells of this name in its closure."""
    names = zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True)
    closure = tuple(cells.get(name, cell) for name, cell in names)
    copy = FunctionType(fn.__code__, fn.__globals__, fn.__name__, fn.__defaults__, closure)
    for name in ("__annotations__", "__kwdefaults__", "__module__", "__qualname__"):
        setattr(copy, name, getattr(fn, name))
    return copy
