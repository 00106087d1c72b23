"""Every bad argument gets one clear error: the name, the value, the requirement, the remedy."""

import inspect
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import l1jax

STRENGTHS = {
    "l1": l1jax.l1,
    "l2": l1jax.l2,
    "nonnegative_l1": l1jax.nonnegative_l1,
    "weighted_l1": lambda s: l1jax.weighted_l1(s, 1.0),
    "elastic_net": lambda s: l1jax.elastic_net(s, 1.0),
    "l0": l1jax.l0,
    "l_half": l1jax.l_half,
    "mcp": lambda s: l1jax.mcp(s, 3.0),
    "scad": l1jax.scad,
    "log_sum": lambda s: l1jax.log_sum(s, 0.1),
    "group_l1": lambda s: l1jax.group_l1(s, 0),
    "sparse_group_l1": lambda s: l1jax.sparse_group_l1(s, 1.0, 0),
    "group_l0": lambda s: l1jax.group_l0(s, 0),
    "group_mcp": lambda s: l1jax.group_mcp(s, 3.0, 0),
    "linf": l1jax.linf,
}


@pytest.mark.parametrize(
    "strength", [-1.0, math.nan, math.inf, -1, np.float32(-2), jnp.array([1.0, -3.0])]
)
@pytest.mark.parametrize("name", STRENGTHS)
def test_strength_must_be_finite_and_not_negative(name, strength):
    with pytest.raises(
        ValueError, match=r"^`strength` \(=(-[123](\.0)?|nan|inf)\) must be finite and at least 0"
    ):
        STRENGTHS[name](strength)


@pytest.mark.parametrize("name", STRENGTHS)
def test_strength_must_be_finite_in_float32(name):
    for strength in (1e39, np.float64(1e300), np.array([0.1, 3.5e38])):
        with pytest.raises(
            ValueError, match=r"^`strength` \(=.*e\+3.*\) must be finite and at least 0 in float32"
        ):
            STRENGTHS[name](strength)
    STRENGTHS[name](3.4e38)
    STRENGTHS[name](1e-50)  # 0 in float32, and no different from it


@pytest.mark.parametrize("name", STRENGTHS)
def test_good_and_traced_strengths_pass(name):
    for strength in (
        0,
        0.0,
        1,
        0.5,
        np.float32(1),
        np.float64(1),
        jnp.array(0.5),
        jnp.array([0.1, 0.2]),
    ):
        STRENGTHS[name](strength)
    x = jnp.ones(2)
    jax.jit(lambda s: STRENGTHS[name](s).prox(x, 1.0))(-1.0)  # cannot be looked at


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: l1jax.elastic_net(1.0, -1.0),
            "`l2_strength` (=-1.0) must be finite and at least 0",
        ),
        (
            lambda: l1jax.sparse_group_l1(1.0, math.nan, 0),
            "`group_strength` (=nan) must be finite and at least 0",
        ),
        (
            lambda: l1jax.mcp(1.0, 0.0),
            "`gamma` (=0.0) must be finite and greater than 0; 3 is usual",
        ),
        (lambda: l1jax.mcp(1.0, math.inf), "`gamma` (=inf) must be finite and greater than 0"),
        (
            lambda: l1jax.group_mcp(1.0, -1.0, 0),
            "`gamma` (=-1.0) must be finite and greater than 0",
        ),
        (
            lambda: l1jax.scad(1.0, 2.0),
            "`a` (=2.0) must be finite and greater than 2; 3.7 is usual",
        ),
        (lambda: l1jax.scad(1.0, math.nan), "`a` (=nan) must be finite and greater than 2"),
        (lambda: l1jax.log_sum(1.0, 0.0), "`eps` (=0.0) must be finite and greater than 0"),
        (
            lambda: l1jax.mcp(1.0, 1e-50),
            "`gamma` (=1e-50) must be finite and greater than 0 in float32; 3 is usual",
        ),
        (
            lambda: l1jax.group_mcp(1.0, 1e39, 0),
            "`gamma` (=1e+39) must be finite and greater than 0 in float32",
        ),
        (
            lambda: l1jax.scad(1.0, 2.00000001),
            "`a` (=2.00000001) must be finite and greater than 2 in float32",
        ),
        (
            lambda: l1jax.log_sum(1.0, 1e-40),
            "`eps` (=1e-40) must be finite and greater than 0 in float32",
        ),
        (lambda: l1jax.l1_ball(1e39), "`radius` (=1e+39) must be finite and at least 0 in float32"),
        (
            lambda: l1jax.elastic_net(1.0, 1e39),
            "`l2_strength` (=1e+39) must be finite and at least 0 in float32",
        ),
        (
            lambda: l1jax.weighted_l1(1.0, [1.0, 1e39]),
            "`weights` (=1e+39) must be finite and at least 0 in float32",
        ),
        (
            lambda: l1jax.l1(-1e-50),
            "`strength` (=-1e-50) must be finite and at least 0; 0 switches",
        ),
        (lambda: l1jax.l1_ball(-1.0), "`radius` (=-1.0) must be finite and at least 0"),
        (
            lambda: l1jax.weighted_l1(1.0, {"w": np.array([1.0, -2.0])}),
            "`weights` (=-2.0) must be finite",
        ),
        (
            lambda: l1jax.kernel_blocks(()),
            "`shape` (=()) must be a tuple of at least one length, each at least 1",
        ),
        (
            lambda: l1jax.kernel_blocks((4, 0)),
            "`shape` (=(4, 0)) must be a tuple of at least one length, each at",
        ),
        (
            lambda: l1jax.kernel_blocks((4, -2)),
            "`shape` (=(4, -2)) must be a tuple of at least one length, each at",
        ),
        (
            lambda: l1jax.by_path({}),
            "`penalties` (={}) must be a mapping with at least one pattern",
        ),
        (
            lambda: l1jax.by_path({"(": l1jax.l1(1.0)}),
            "`penalties` has '(', which must be a regular expression",
        ),
        (lambda: l1jax.l1(jnp.array(1j)), "`strength` (of dtype complex64) must be real numbers"),
    ],
)
def test_bad_constructions(build, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        build()


@pytest.mark.parametrize(
    ("build", "argument", "message"),
    [
        (l1jax.kernel_blocks, 16, "`shape` (=16) must be a tuple of at least one length"),
        (
            l1jax.kernel_blocks,
            (2, 1.5),
            "`shape` (=(2, 1.5)) must be a tuple of at least one length",
        ),
        (
            l1jax.by_path,
            [l1jax.l1(1.0)],
            "`penalties` (=[L1(strength=1.0)]) must be a mapping with at least one",
        ),
        (
            l1jax.by_path,
            {3: l1jax.l1(1.0)},
            "`penalties` has 3, which must be a regular expression",
        ),
        (
            l1jax.by_path,
            {"w": 0.1},
            "`penalties['w']` (=0.1) must be a penalty, such as `l1jax.l1(1e-4)`",
        ),
        (
            l1jax.l1,
            np.sqrt,
            "`strength` (=<ufunc 'sqrt'>) must be a number; give a schedule to the transformation",
        ),
        (l1jax.l1, "0.1", "`strength` (='0.1') must be a number or an array of numbers"),
        (l1jax.l2, 1j, "`strength` (=1j) must be a number or an array of numbers"),
    ],
)
def test_wrong_types_without_a_type_checker(build, argument, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        inspect.unwrap(build)(argument)  # as users have it


def test_numbers_and_axes_of_another_type_are_refused():
    with pytest.raises((ValueError, TypeError), match=r"strength"):
        l1jax.l1("0.1")  # pyright: ignore
    for axis in (None, "channels", (0, 1.5)):
        with pytest.raises((ValueError, TypeError), match=r"axis"):
            l1jax.group_l1(1.0, axis)  # pyright: ignore
