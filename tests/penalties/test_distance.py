"""Distances and subgradients against the steepest descent of the value, found by search."""

import jax.numpy as jnp
import numpy as np
import pytest
from brute_force import steepest_descent
from catalogue import ALL, BALL, DISTANCE, EACH_KIND, PROX, SLOPE, SUBGRADIENT, VALUE, ids
from fast_cases import slow_except

import l1jax

pytestmark = pytest.mark.usefixtures("x64")

POINTS = np.array(
    [
        [0.0, 0.0, 0.0],
        [0.3, 0.2, 0.1],  # inside the ball
        [1.0, 0.0, 0.4],
        [1.1, 1.1, 0.3],  # tied
        [-2.5, 0.9, 1.5],
        [40.0, -7.0, 0.0],
        [4000.0, 700.0, 9.0],  # beyond γλ of the group MCP
    ]
)


def points(case):
    """Those at which the penalty is finite."""
    return POINTS[np.isfinite(case.value(POINTS))]


@pytest.mark.parametrize(
    "case",
    slow_except(
        [case for case in ALL if case is not BALL],
        *(case for case in EACH_KIND if case is not BALL),
    ),
    ids=ids,
)
def test_distance_is_the_steepest_rate_of_descent(case):
    rng = np.random.default_rng(0)
    penalty = case.penalty()
    for x in points(case):
        for grad in (
            rng.normal(size=3),
            0.3 * rng.normal(size=3),
            5 * rng.normal(size=3),
            np.zeros(3),
        ):
            actual = steepest_descent(case.value, x, grad, rng)
            np.testing.assert_allclose(DISTANCE(penalty, x, grad), actual, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize(
    "case", [case for case in ALL if "nonnegative" in case.name or case is BALL], ids=ids
)
def test_distance_is_infinite_outside_the_domain(case):
    x = np.array([-1.0, 2.0, 3.0])
    penalty = case.penalty()
    assert DISTANCE(penalty, x, np.zeros(3)) == np.inf
    assert VALUE(penalty, x) == np.inf


def test_distance_on_the_l1_ball_is_that_to_its_normal_cone():
    penalty = l1jax.l1_ball(2.0)
    thetas = np.linspace(0, 20, 200001)[:, None]
    rng = np.random.default_rng(0)
    for x in ([1.5, -0.5, 0.0], [0.0, 2.0, 0.0], [1.0, 0.5, -0.5]):
        x = np.array(x)
        for scale in (0.2, 3.0):
            grad = scale * rng.normal(size=3)
            away = np.where(
                x != 0, np.abs(grad + thetas * np.sign(x)), np.maximum(np.abs(grad) - thetas, 0)
            )
            expected = np.sqrt(np.square(away).sum(-1)).min()
            np.testing.assert_allclose(DISTANCE(penalty, x, grad), expected, atol=1e-6)
    inside = np.array([0.5, 0.0, 0.2])
    grad = np.array([3.0, 4.0, 0.0])
    assert DISTANCE(penalty, inside, grad) == 5
    # The ball is one point here: every gradient is normal to it.
    assert DISTANCE(l1jax.l1_ball(0.0), np.zeros(3), grad) == 0


@pytest.mark.parametrize("metric", ["scalar", "diagonal"])
@pytest.mark.parametrize("case", ALL, ids=ids)
def test_distance_is_zero_where_a_prox_step_ends(case, metric):
    # x = prox(z) is stationary for ½ Σ (x − z)²/step + R, whose first part has the gradient (x −
    # z)/step
    rng = np.random.default_rng(1)
    penalty = case.penalty()
    for scale in (0.3, 1.0, 10.0):
        z = scale * rng.normal(size=3)
        step = 10 ** rng.uniform(-3, 3, size=3) if metric == "diagonal" else np.full(3, 0.7)
        x = PROX(penalty, z, step)
        assert DISTANCE(penalty, x, (x - z) / step) <= 1e-10 * max(1, np.max(np.abs(z / step)))


def test_distance_is_exactly_zero_at_exact_solutions():
    # ½‖x − z‖² with z a lattice: no rounding, so no tolerance
    z = jnp.array([-3.0, 0.5, 1.0, 0.0, 2.25])
    for penalty in (
        l1jax.l1(0.5),
        l1jax.nonnegative_l1(0.5),
        l1jax.mcp(0.5, 2.0),
        l1jax.l0(0.125),
        l1jax.linf(1.0),
    ):
        x = penalty.prox(z, 1.0)
        assert penalty.distance(x, x - z) == 0
        assert penalty.distance(x, x - z + 1e-3) > 0


@pytest.mark.parametrize("case", ALL, ids=ids)
def test_value_is_the_formula_and_its_derivative_the_subgradient(case):
    penalty = case.penalty()
    x = points(case)
    for row in x:
        np.testing.assert_allclose(VALUE(penalty, row), case.value(row), rtol=1e-13)
        # There is no derivative from the left.
        one_sided = (row == 0) & ("nonnegative" in case.name)
        slope = np.where(one_sided, 0, SLOPE(penalty, row))
        np.testing.assert_allclose(slope, SUBGRADIENT(penalty, row), atol=1e-12)


@pytest.mark.parametrize("case", ALL, ids=ids)
def test_subgradient_is_the_least_of_the_subdifferential(case):
    penalty = case.penalty()
    for x in points(case):
        subgradient = np.asarray(SUBGRADIENT(penalty, x))
        assert DISTANCE(penalty, x, -subgradient) <= 1e-11  # it belongs to ∂R
        least = DISTANCE(penalty, x, np.zeros(3))
        np.testing.assert_allclose(
            np.sqrt(np.square(subgradient).sum()), least, rtol=1e-12, atol=1e-12
        )
