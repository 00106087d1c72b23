"""Operations without parameters: what they compute, on NumPy's arrays and on JAX's.

They have JAX's names for its primitives and its meaning, of integers and booleans too: an integer
division truncates, `not` of an integer flips its bits.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

NOT_OF_INTEGERS = {"pow"}  # whose result depends on the sign of the exponent


def _division(xp: Any, x: Any, y: Any) -> Any:
    """Truncated for integers, as the primitive's; by zero −1."""
    if jnp.issubdtype(x.dtype, jnp.floating):
        return x / y
    if xp is not np:
        return _on_equal_shapes(jax.lax.div, x, y)
    x, y = np.broadcast_arrays(x, y)
    divisor = np.where(y == 0, y.dtype.type(1), y)
    floor = x // divisor
    inexact = floor * divisor != x
    truncated = floor + (inexact & ((x < 0) != (divisor < 0))).astype(x.dtype)
    return np.where(y == 0, np.invert(np.zeros((), x.dtype)), truncated)


def _remainder(xp: Any, x: Any, y: Any) -> Any:
    """With the sign of `x`; of an integer by zero `x`."""
    if xp is not np:
        return _on_equal_shapes(jax.lax.rem, x, y)
    if jnp.issubdtype(x.dtype, jnp.floating):
        return np.fmod(x, y)
    x, y = np.broadcast_arrays(x, y)
    return np.where(y == 0, x, np.fmod(x, np.where(y == 0, y.dtype.type(1), y)))


def _converted(xp: Any, x: Any, dtype: str) -> Any:
    """In another type; of what an integer type cannot hold its nearest one, and 0 of no number."""
    if xp is not np:
        return x.astype(dtype)
    wanted = jnp.dtype(dtype)
    if jnp.issubdtype(wanted, jnp.floating):
        return x.astype(np.float64)
    if wanted.kind == "b" or not jnp.issubdtype(x.dtype, jnp.floating):
        return x.astype(wanted)
    limits = jnp.iinfo(wanted)
    whole = np.trunc(np.nan_to_num(x, nan=0.0, posinf=np.inf, neginf=-np.inf))
    inside = np.clip(whole, float(limits.min), float(limits.max))
    above, below = whole >= float(limits.max), whole <= float(limits.min)
    found = np.where(above | below, 0, inside).astype(wanted)
    return np.where(above, wanted.type(limits.max), np.where(below, wanted.type(limits.min), found))


def _shift_left(xp: Any, x: Any, y: Any) -> Any:
    if xp is not np:
        return _on_equal_shapes(jax.lax.shift_left, x, y)
    bits = 8 * x.dtype.itemsize
    inside = (y >= 0) & (y < bits)
    return np.where(inside, x << np.where(inside, y, 0), 0).astype(x.dtype)


def _shift_right(xp: Any, x: Any, y: Any, logical: bool) -> Any:
    """With zeros, or with the first bit, which unsigned types have too."""
    if xp is not np:
        primitive = jax.lax.shift_right_logical if logical else jax.lax.shift_right_arithmetic
        return _on_equal_shapes(primitive, x, y)
    bits = 8 * x.dtype.itemsize
    inside = (y >= 0) & (y < bits)
    bits_of_x = x.view(f"{'u' if logical else 'i'}{x.dtype.itemsize}")
    shifted = bits_of_x >> np.where(inside, y, bits - 1).astype(bits_of_x.dtype)
    if logical:
        shifted = np.where(inside, shifted, 0).astype(bits_of_x.dtype)
    return shifted.view(x.dtype)


def _rounded(xp: Any, x: Any, rounding_method: int) -> Any:
    """Halves away from zero (0) or to even numbers (1)."""
    if rounding_method == 1:
        return xp.round(x)
    return xp.sign(x) * xp.floor(xp.abs(x) + 0.5) if xp is np else jax.lax.round(x)


def _on_equal_shapes(primitive: Callable[..., Any], *operands: Any) -> Any:
    return primitive(*jnp.broadcast_arrays(*operands))


# Entry by entry; the first argument is the module, numpy or jax.numpy.
ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "abs": lambda xp, x: xp.abs(x),
    "acos": lambda xp, x: xp.arccos(x),
    "acosh": lambda xp, x: xp.arccosh(x),
    "add": lambda xp, x, y: x + y,
    "and": lambda xp, x, y: x & y,
    "asin": lambda xp, x: xp.arcsin(x),
    "asinh": lambda xp, x: xp.arcsinh(x),
    "atan": lambda xp, x: xp.arctan(x),
    "atan2": lambda xp, x, y: xp.arctan2(x, y),
    "atanh": lambda xp, x: xp.arctanh(x),
    "cbrt": lambda xp, x: xp.cbrt(x),
    "ceil": lambda xp, x: xp.ceil(x),
    "clamp": lambda xp, low, x, high: xp.clip(x, low, high),
    "convert_element_type": _converted,
    "cos": lambda xp, x: xp.cos(x),
    "cosh": lambda xp, x: xp.cosh(x),
    "div": _division,
    "eq": lambda xp, x, y: x == y,
    "erf": lambda xp, x: scipy.special.erf(x) if xp is np else jax.lax.erf(x),
    "erf_inv": lambda xp, x: scipy.special.erfinv(x) if xp is np else jax.lax.erf_inv(x),
    "erfc": lambda xp, x: scipy.special.erfc(x) if xp is np else jax.lax.erfc(x),
    "exp": lambda xp, x: xp.exp(x),
    "exp2": lambda xp, x: xp.exp2(x),
    "expm1": lambda xp, x: xp.expm1(x),
    "floor": lambda xp, x: xp.floor(x),
    "ge": lambda xp, x, y: x >= y,
    "gt": lambda xp, x, y: x > y,
    "integer_pow": lambda xp, x, y: x**y,
    "is_finite": lambda xp, x: xp.isfinite(x),
    "le": lambda xp, x, y: x <= y,
    "log": lambda xp, x: xp.log(x),
    "log1p": lambda xp, x: xp.log1p(x),
    "logistic": lambda xp, x: scipy.special.expit(x) if xp is np else jax.nn.sigmoid(x),
    "lt": lambda xp, x, y: x < y,
    "max": lambda xp, x, y: xp.maximum(x, y),
    "min": lambda xp, x, y: xp.minimum(x, y),
    "mul": lambda xp, x, y: x * y,
    "ne": lambda xp, x, y: x != y,
    "neg": lambda xp, x: -x,
    "not": lambda xp, x: ~x,
    "or": lambda xp, x, y: x | y,
    "pow": lambda xp, x, y: x**y,
    "rem": _remainder,
    "round": _rounded,
    "rsqrt": lambda xp, x: 1 / np.sqrt(x) if xp is np else jax.lax.rsqrt(x),
    "select_n": lambda xp, which, no, yes: xp.where(which, yes, no),
    "shift_left": _shift_left,
    "shift_right_arithmetic": lambda xp, x, y: _shift_right(xp, x, y, logical=False),
    "shift_right_logical": lambda xp, x, y: _shift_right(xp, x, y, logical=True),
    "sign": lambda xp, x: xp.sign(x),
    "sin": lambda xp, x: xp.sin(x),
    "sinh": lambda xp, x: xp.sinh(x),
    "sqrt": lambda xp, x: xp.sqrt(x),
    "square": lambda xp, x: x * x,
    "sub": lambda xp, x, y: x - y,
    "tan": lambda xp, x: xp.tan(x),
    "tanh": lambda xp, x: xp.tanh(x),
    "xor": lambda xp, x, y: x ^ y,
}

# Over some axes.
REDUCTIONS: dict[str, Callable[..., Any]] = {
    "reduce_and": lambda xp, x, axes: xp.all(x, axes),
    "reduce_max": lambda xp, x, axes: xp.max(x, axes),
    "reduce_min": lambda xp, x, axes: xp.min(x, axes),
    "reduce_or": lambda xp, x, axes: xp.any(x, axes),
    "reduce_prod": lambda xp, x, axes: xp.prod(x, axes),
    "reduce_sum": lambda xp, x, axes: xp.sum(x, axes),
}


def wide(dtype: str) -> Any:
    """The NumPy type of known values: float64 for floats, their own for integers and booleans."""
    own = jnp.dtype(dtype)
    return np.dtype(np.float64) if jnp.issubdtype(own, jnp.floating) else own
