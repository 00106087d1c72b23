"""Operations without parameters: what they compute, on NumPy's arrays and on JAX's.

They have JAX's names for its primitives.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

# Entry by entry; the first argument is the module, numpy or jax.numpy.
ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "abs": lambda xp, x: xp.abs(x),
    "add": lambda xp, x, y: x + y,
    "and": lambda xp, x, y: x & y,
    "cbrt": lambda xp, x: xp.cbrt(x),
    "ceil": lambda xp, x: xp.ceil(x),
    "clamp": lambda xp, low, x, high: xp.clip(x, low, high),
    "convert_element_type": lambda xp, x, dtype: x.astype(dtype),
    "cos": lambda xp, x: xp.cos(x),
    "div": lambda xp, x, y: x / y,
    "eq": lambda xp, x, y: x == y,
    "erf": lambda xp, x: np.vectorize(math.erf)(x) if xp is np else _erf(x),
    "exp": lambda xp, x: xp.exp(x),
    "expm1": lambda xp, x: xp.expm1(x),
    "floor": lambda xp, x: xp.floor(x),
    "ge": lambda xp, x, y: x >= y,
    "gt": lambda xp, x, y: x > y,
    "integer_pow": lambda xp, x, y: x**y,
    "is_finite": lambda xp, x: xp.isfinite(x),
    "le": lambda xp, x, y: x <= y,
    "log": lambda xp, x: xp.log(x),
    "log1p": lambda xp, x: xp.log1p(x),
    "logistic": lambda xp, x: 1 / (1 + np.exp(-x)) if xp is np else _logistic(x),
    "lt": lambda xp, x, y: x < y,
    "max": lambda xp, x, y: xp.maximum(x, y),
    "min": lambda xp, x, y: xp.minimum(x, y),
    "mul": lambda xp, x, y: x * y,
    "ne": lambda xp, x, y: x != y,
    "neg": lambda xp, x: -x,
    "not": lambda xp, x: ~x,
    "or": lambda xp, x, y: x | y,
    "pow": lambda xp, x, y: x**y,
    "rsqrt": lambda xp, x: 1 / xp.sqrt(x),
    "select_n": lambda xp, which, no, yes: xp.where(which, yes, no),
    "sign": lambda xp, x: xp.sign(x),
    "sin": lambda xp, x: xp.sin(x),
    "sqrt": lambda xp, x: xp.sqrt(x),
    "square": lambda xp, x: x * x,
    "sub": lambda xp, x, y: x - y,
    "tan": lambda xp, x: xp.tan(x),
    "tanh": lambda xp, x: xp.tanh(x),
}

# Over some axes.
REDUCTIONS: dict[str, Callable[..., Any]] = {
    "reduce_max": lambda xp, x, axes: xp.max(x, axes),
    "reduce_min": lambda xp, x, axes: xp.min(x, axes),
    "reduce_prod": lambda xp, x, axes: xp.prod(x, axes),
    "reduce_sum": lambda xp, x, axes: xp.sum(x, axes),
}


def elementwise(op: str, xp: Any, inputs: list[Any], options: Mapping[str, Any]) -> Any:
    """Apply an operation of `ELEMENTWISE`."""
    return ELEMENTWISE[op](xp, *inputs, **options)


def _logistic(x: Any) -> Any:
    import jax

    return jax.nn.sigmoid(x)


def _erf(x: Any) -> Any:
    import jax

    return jax.lax.erf(x)
