"""The table's operations compute what JAX's primitives do.

That holds for integers and booleans at the ends of their ranges too.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from l1jax.models.layout.operations import ELEMENTWISE

FLOATS = np.array([-1e4, -3.5, -2.5, -1.5, -0.7, -0.5, 0, 0.3, 0.5, 1.5, 2.5, 7, 1e4])
INTEGERS = {
    dtype: np.array([np.iinfo(dtype).min, 0, 1, 2, 3, 7, 31, np.iinfo(dtype).max], dtype)
    for dtype in (np.int32, np.uint8, np.int64, np.uint32)
}
for _signed in (np.int32, np.int64):
    INTEGERS[_signed] = np.concatenate([INTEGERS[_signed], np.array([-7, -3, -2, -1], _signed)])
BINARY = {
    "add": lax.add, "and": lax.bitwise_and, "div": lax.div, "eq": lax.eq, "ge": lax.ge,
    "gt": lax.gt, "le": lax.le, "lt": lax.lt, "max": lax.max, "min": lax.min, "mul": lax.mul,
    "ne": lax.ne, "or": lax.bitwise_or, "rem": lax.rem, "shift_left": lax.shift_left,
    "shift_right_arithmetic": lax.shift_right_arithmetic,
    "shift_right_logical": lax.shift_right_logical, "sub": lax.sub, "xor": lax.bitwise_xor,
}  # fmt: skip
UNARY = {
    "abs": lax.abs,
    "neg": lax.neg,
    "not": lax.bitwise_not,
    "sign": lax.sign,
    "square": lax.square,
}
OF_FLOATS = {
    **{
        name: getattr(lax, name)
        for name in ("abs", "ceil", "cos", "erf", "erfc", "exp2", "floor", "neg", "sign")
    },
    **{
        name: getattr(lax, name)
        for name in ("acos", "acosh", "asin", "asinh", "atan", "atanh", "cbrt", "cosh")
    },
    **{
        name: getattr(lax, name)
        for name in ("erf_inv", "exp", "expm1", "is_finite", "log", "log1p", "logistic")
    },
    **{
        name: getattr(lax, name)
        for name in ("rsqrt", "sin", "sinh", "sqrt", "square", "tan", "tanh")
    },
}
MOVED = {
    "add": lax.add,
    "atan2": lax.atan2,
    "div": lax.div,
    "max": lax.max,
    "pow": lax.pow,
    "rem": lax.rem,
}


def both(name, *operands, **options):
    """On NumPy's arrays and on JAX's."""
    with np.errstate(all="ignore"):
        plain = ELEMENTWISE[name](np, *operands, **options)
    return np.asarray(plain), np.asarray(
        ELEMENTWISE[name](jnp, *map(jnp.asarray, operands), **options)
    )


def check(name, primitive, *operands):
    wanted = np.asarray(primitive(*map(jnp.asarray, operands)))
    for found in both(name, *operands):
        np.testing.assert_array_equal(found, wanted, err_msg=name)
        assert found.dtype == wanted.dtype


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "dtype",
    [
        pytest.param(dtype, marks=pytest.mark.slow if position > 0 else ())
        for position, dtype in enumerate(INTEGERS)
    ],
)
def test_integers_are_computed_with_as_jax_does(dtype):
    x, y = (part.reshape(-1) for part in np.meshgrid(INTEGERS[dtype], INTEGERS[dtype]))
    for name, primitive in BINARY.items():
        if name in ("div", "rem"):  # of the least integer by −1 no one says what it is
            chosen = ~((x == np.iinfo(dtype).min) & (y == np.array(-1).astype(dtype))) | (
                np.iinfo(dtype).min == 0
            )
            check(name, primitive, x[chosen], y[chosen])
        else:
            check(name, primitive, x, y)
    for name, primitive in UNARY.items():
        if name not in ("abs", "sign") or np.iinfo(dtype).min:  # JAX has these of signed ones alone
            check(name, primitive, INTEGERS[dtype])


@pytest.mark.usefixtures("x64")
def test_booleans_are_computed_with_as_jax_does():
    x, y = np.array([0, 0, 1, 1], bool), np.array([0, 1, 0, 1], bool)
    for name in ("and", "or", "xor", "eq", "ne", "max", "min"):
        check(name, BINARY[name], x, y)
    check("not", lax.bitwise_not, x)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_floats_are_computed_with_as_jax_does():
    for name, primitive in OF_FLOATS.items():
        wanted = np.asarray(primitive(jnp.asarray(FLOATS)))
        for found in both(name, FLOATS):
            np.testing.assert_allclose(found, wanted, rtol=1e-12, err_msg=name)
    x, y = (part.reshape(-1) for part in np.meshgrid(FLOATS, FLOATS))
    for name, primitive in MOVED.items():
        for found in both(name, x, y):
            np.testing.assert_allclose(
                found, primitive(jnp.asarray(x), jnp.asarray(y)), rtol=1e-12, err_msg=name
            )


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "method", [lax.RoundingMethod.AWAY_FROM_ZERO, lax.RoundingMethod.TO_NEAREST_EVEN]
)
def test_halves_are_rounded_as_jax_does(method):
    wanted = lax.round(jnp.asarray(FLOATS), method)
    for found in both("round", FLOATS, rounding_method=int(method)):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("wanted", ["bool", "int32", "uint8", "int64", "float64"])
def test_types_are_changed_as_jax_does(wanted):
    odd = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 300.7, -0.9, -1.5, 0.5, 2**31 - 0.5])
    for given in (odd, *INTEGERS.values(), np.array([True, False])):
        expected = np.asarray(lax.convert_element_type(jnp.asarray(given), wanted))
        for found in both("convert_element_type", given, dtype=wanted):
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == expected.dtype
