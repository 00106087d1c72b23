"""Checks of what is given to a factory: numbers, strengths and the shapes of arrays."""

import math
from typing import TypeGuard

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from l1jax.annotations import Array, ArrayLike, PyTree

ONE_STRENGTH = (
    "give one number; what entries weigh beside it goes to `weighted_l1`, and several strengths "
    "to `vmap`"
)


def check_number(
    name: str,
    number: PyTree,
    minimum: float = 0.0,
    exclusive: bool = False,
    remedy: str = "",
    below: float = math.inf,
) -> None:
    """Raise unless concrete numbers are finite and in range; tracers pass.

    The numbers are compared in float32, too, because that is where they act: 1e39 is infinite
    there, 1e-50 is 0, and 0.999999999 is 1. A number that may be 0 may be as small as it likes,
    since the result does not change in any digit.

    Args:
        name: the parameter's name, for the error.
        number: one number or an array of numbers.
        minimum: the smallest number that is accepted.
        exclusive: whether `minimum` itself is refused.
        remedy: how the error's sentence goes on after a semicolon.
        below: the number that must not be reached.

    Raises:
        ValueError: if a number is out of range or not finite, or `number` is something else.
    """
    if isinstance(number, Tracer):
        return
    if not is_concrete_number(number):
        raise ValueError(f"`{name}` (={number!r}) must be a number or an array of numbers.")
    numbers = np.asarray(number)
    if numbers.dtype.kind not in "fiub" and not jnp.issubdtype(numbers.dtype, jnp.floating):
        raise ValueError(f"`{name}` (of dtype {numbers.dtype}) must be real numbers.")

    def in_range(x: np.ndarray) -> np.ndarray:
        enough = x > minimum if exclusive else x >= minimum
        return np.asarray(enough & (x < below))

    # Both are needed: −1e-50 is 0 in float32, and it is negative.
    accepted = in_range(_in_float32(numbers)) & in_range(numbers)
    if np.all(accepted):
        return
    wrong = numbers[~accepted].flat[0]
    required = _describe_range(minimum, exclusive, below)
    if in_range(np.asarray(wrong)):
        required += " in float32"
    if remedy:
        required += f"; {remedy}"
    shown = number if numbers.ndim == 0 else wrong
    raise ValueError(f"`{name}` (={shown}) must be {required}.")


def is_concrete_number(number: object) -> TypeGuard[float]:
    """Tell whether this is a number that can be checked now: no schedule and no tracer."""
    concrete = isinstance(number, int | float | np.generic | np.ndarray | Array)
    return concrete and not isinstance(number, Tracer)


def check_strength(name: str, strength: PyTree) -> None:
    """Raise unless a concrete strength is finite and at least 0; tracers pass."""
    if callable(strength):
        raise ValueError(
            f"`{name}` (={strength!r}) must be a number; give a schedule to the transformation, as "
            "`scale=`, and the number that it multiplies here."
        )
    check_number(name, strength, remedy="0 switches the penalty off")


def check_broadcasts(
    name: str, array: ArrayLike, shape: tuple[int, ...], path: str, remedy: str
) -> None:
    """Raise unless an array broadcasts to the shape of a leaf.

    Args:
        name: the array's name, for the error.
        array: the array that is checked.
        shape: the shape of the leaf.
        path: the name of the leaf, for the error.
        remedy: how the error's sentence goes on after a semicolon.

    Raises:
        ValueError: if the array does not broadcast to that shape without making it larger.
    """
    given = jnp.shape(array)
    pairs = zip(reversed(given), reversed(shape), strict=False)
    fits = len(given) <= len(shape) and all(length in (1, wanted) for length, wanted in pairs)
    if not fits:
        raise ValueError(
            f"`{name}` of shape {given} must broadcast to {path} of shape {shape}; {remedy}."
        )


def _describe_range(minimum: float, exclusive: bool, below: float) -> str:
    lower_end = f"at least {minimum:g}"
    if exclusive:
        lower_end = f"greater than {minimum:g}"
    if below == math.inf:
        return f"finite and {lower_end}"
    return f"{lower_end} and below {below:g}"


def _in_float32(numbers: np.ndarray) -> np.ndarray:
    """Round to float32, and to 0 what is below its smallest normal number, as processors do."""
    with np.errstate(over="ignore", under="ignore"):
        rounded = numbers.astype(np.float32)
    return np.where(np.abs(rounded) < np.finfo(np.float32).tiny, np.float32(0), rounded)
