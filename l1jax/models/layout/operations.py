"""Operations without parameters: what they compute on NumPy arrays and on JAX arrays.

They have the names and the meaning of JAX's primitives, for integers and booleans, too: an integer
division truncates, and `not` of an integer flips its bits. Their first argument, `xp`, is the
module `numpy` or `jax.numpy`.
"""

from collections.abc import Callable
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array

AnyArray = np.ndarray | np.generic | Array
Operation = Callable[..., AnyArray]

# Operations that are not supported on integers: the result depends on the exponent's sign.
NOT_FOR_INTEGERS = {"pow"}


def _divide(xp: ModuleType, x: AnyArray, y: AnyArray) -> AnyArray:
    """Divide as `lax.div` does: integers are truncated, and x / 0 is −1 for them."""
    if jnp.issubdtype(x.dtype, jnp.floating):
        return xp.true_divide(x, y)
    if xp is not np:
        return _on_equal_shapes(jax.lax.div, x, y)
    x, y = np.broadcast_arrays(x, y)
    divisor = np.where(y == 0, y.dtype.type(1), y)
    floor = x // divisor
    inexact = floor * divisor != x
    truncated = floor + (inexact & ((x < 0) != (divisor < 0))).astype(x.dtype)
    return np.where(y == 0, np.invert(np.zeros((), x.dtype)), truncated)


def _remainder(xp: ModuleType, x: AnyArray, y: AnyArray) -> AnyArray:
    """Compute the remainder with the sign of `x`; for integers the remainder of x / 0 is x."""
    if xp is not np:
        return _on_equal_shapes(jax.lax.rem, x, y)
    if jnp.issubdtype(x.dtype, jnp.floating):
        return np.fmod(x, y)
    x, y = np.broadcast_arrays(x, y)
    return np.where(y == 0, x, np.fmod(x, np.where(y == 0, y.dtype.type(1), y)))


def _convert(xp: ModuleType, x: AnyArray, dtype: str) -> AnyArray:
    """Convert to another type; floats are clipped to an integer type's range, and NaN becomes 0."""
    if xp is not np:
        return x.astype(dtype)
    target = jnp.dtype(dtype)
    if jnp.issubdtype(target, jnp.floating):
        return x.astype(np.float64)
    if target.kind == "b" or not jnp.issubdtype(x.dtype, jnp.floating):
        return x.astype(target)
    limits = jnp.iinfo(target)
    whole = np.trunc(np.nan_to_num(x, nan=0.0, posinf=np.inf, neginf=-np.inf))
    above = whole >= float(limits.max)
    below = whole <= float(limits.min)
    # The limits of 64 bits are no floats, so values beyond them are set apart.
    inside = np.clip(whole, float(limits.min), float(limits.max))
    converted = np.where(above | below, 0, inside).astype(target)
    converted = np.where(below, target.type(limits.min), converted)
    return np.where(above, target.type(limits.max), converted)


def _shift_left(xp: ModuleType, x: AnyArray, y: AnyArray) -> AnyArray:
    if xp is not np:
        return _on_equal_shapes(jax.lax.shift_left, x, y)
    y = np.asarray(y)
    inside = (y >= 0) & (y < 8 * x.dtype.itemsize)
    return np.where(inside, x << np.where(inside, y, 0), 0).astype(x.dtype)


def _shift_right_logical(xp: ModuleType, x: AnyArray, y: AnyArray) -> AnyArray:
    """Fill in zeros."""
    if xp is not np:
        return _on_equal_shapes(jax.lax.shift_right_logical, x, y)
    y = np.asarray(y)
    inside = (y >= 0) & (y < 8 * x.dtype.itemsize)
    unsigned = x.view(f"u{x.dtype.itemsize}")
    shifted = unsigned >> np.where(inside, y, 0).astype(unsigned.dtype)
    return np.where(inside, shifted, 0).astype(unsigned.dtype).view(x.dtype)


def _shift_right_arithmetic(xp: ModuleType, x: AnyArray, y: AnyArray) -> AnyArray:
    """Fill in copies of the first bit, for unsigned types, too."""
    if xp is not np:
        return _on_equal_shapes(jax.lax.shift_right_arithmetic, x, y)
    bits = 8 * x.dtype.itemsize
    y = np.asarray(y)
    inside = (y >= 0) & (y < bits)
    signed = x.view(f"i{x.dtype.itemsize}")
    return (signed >> np.where(inside, y, bits - 1).astype(signed.dtype)).view(x.dtype)


def _round(xp: ModuleType, x: AnyArray, rounding_method: int) -> AnyArray:
    """Round halves away from zero (method 0) or to even numbers (method 1)."""
    if rounding_method == 1:
        return xp.round(x)
    if xp is not np:
        return jax.lax.round(jnp.asarray(x))
    return np.sign(x) * np.floor(np.abs(x) + 0.5)


def _numpy_or_jax(
    numpy_function: Callable[..., np.ndarray], jax_function: Callable[..., Array]
) -> Operation:
    """Make one operation of the NumPy function and the JAX function that compute it."""

    def operation(xp: ModuleType, x: AnyArray) -> AnyArray:
        return numpy_function(x) if xp is np else jax_function(x)

    return operation


def _on_equal_shapes(primitive: Callable[..., Array], *operands: AnyArray) -> Array:
    """Broadcast the operands, which primitives do not do themselves."""
    return primitive(*jnp.broadcast_arrays(*map(jnp.asarray, operands)))


# Operations that work entry by entry.
ELEMENTWISE: dict[str, Operation] = {
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
    "convert_element_type": _convert,
    "cos": lambda xp, x: xp.cos(x),
    "cosh": lambda xp, x: xp.cosh(x),
    "div": _divide,
    "eq": lambda xp, x, y: x == y,
    "erf": _numpy_or_jax(scipy.special.erf, jax.lax.erf),
    "erf_inv": _numpy_or_jax(scipy.special.erfinv, jax.lax.erf_inv),
    "erfc": _numpy_or_jax(scipy.special.erfc, jax.lax.erfc),
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
    "logistic": _numpy_or_jax(scipy.special.expit, jax.nn.sigmoid),
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
    "round": _round,
    "rsqrt": _numpy_or_jax(lambda x: 1 / np.sqrt(x), jax.lax.rsqrt),
    "select_n": lambda xp, which, no, yes: xp.where(which, yes, no),
    "shift_left": _shift_left,
    "shift_right_arithmetic": _shift_right_arithmetic,
    "shift_right_logical": _shift_right_logical,
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

# Operations that reduce over some axes.
REDUCTIONS: dict[str, Operation] = {
    "reduce_and": lambda xp, x, axes: xp.all(x, axes),
    "reduce_max": lambda xp, x, axes: xp.max(x, axes),
    "reduce_min": lambda xp, x, axes: xp.min(x, axes),
    "reduce_or": lambda xp, x, axes: xp.any(x, axes),
    "reduce_prod": lambda xp, x, axes: xp.prod(x, axes),
    "reduce_sum": lambda xp, x, axes: xp.sum(x, axes),
}


def numpy_dtype(dtype: str) -> np.dtype:
    """Return the type in which constants are computed.

    It is float64 for floats, and their own type for integers and booleans.
    """
    own = jnp.dtype(dtype)
    return np.dtype(np.float64) if jnp.issubdtype(own, jnp.floating) else own
