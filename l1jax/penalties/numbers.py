"""Strengths, radii, learning rates: which numbers a factory takes."""

import math
from typing import Any, TypeGuard

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array


def check_number(
    name: str,
    number: Any,
    above: float = 0.0,
    strict: bool = False,
    remedy: str = "",
    below: float = math.inf,
) -> None:
    """Refuse concrete numbers that are not finite and at least (`strict`: greater than) `above`; tracers pass.

    They are looked at in float32, in which they act: 1e39 is infinite there, 1e-50 is 0, and 0.999999999 is 1. Numbers
    that may be 0 may be as small as they like, which is the same to every digit of the result.
    """
    if isinstance(number, Tracer):
        return
    if not known(number):
        raise ValueError(f"`{name}` (={number!r}) must be a number or an array of numbers.")
    numbers = np.asarray(number)
    if numbers.dtype.kind not in "fiub" and not jnp.issubdtype(numbers.dtype, jnp.floating):
        raise ValueError(f"`{name}` (of dtype {numbers.dtype}) must be real numbers.")

    def fits(x: Any) -> Any:
        return (x > above if strict else x >= above) & (x < below)

    right = fits(_in_float32(numbers)) & fits(numbers)  # both: −1e-50 is 0 in float32, and negative
    if not np.all(right):
        wrong = numbers[~right].flat[0]
        bound = f"greater than {above:g}" if strict else f"at least {above:g}"
        required = f"finite and {bound}" if below == math.inf else f"{bound} and below {below:g}"
        where = " in float32" if fits(wrong) else ""
        shown = number if numbers.ndim == 0 else wrong
        raise ValueError(f"`{name}` (={shown}) must be {required}{where}{remedy and '; '}{remedy}.")


def _in_float32(numbers: np.ndarray) -> np.ndarray:
    """The numbers rounded to float32; what is below its smallest normal number is 0, as processors have it."""
    with np.errstate(over="ignore", under="ignore"):
        rounded = numbers.astype(np.float32)
    return np.where(np.abs(rounded) < np.finfo(np.float32).tiny, np.float32(0), rounded)


def known(number: Any) -> TypeGuard[float]:
    """Whether it is one concrete number, which can be checked: no schedule and no tracer."""
    return isinstance(number, int | float | np.generic | np.ndarray | Array) and not isinstance(
        number, Tracer
    )


def check_strength(name: str, strength: Any) -> None:
    """Refuse a concrete strength that is not finite and non-negative; tracers pass."""
    if callable(strength):
        raise ValueError(
            f"`{name}` (={strength!r}) must be a number; give a schedule to the transformation, as `scale=`, and the "
            "number that it multiplies here."
        )
    check_number(name, strength, remedy="0 switches the penalty off")
