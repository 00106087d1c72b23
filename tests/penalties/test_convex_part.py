"""A penalty that levels off is an L1 or group L1 plus a smooth, concave function."""

import numpy as np
import pytest
from catalogue import ALL, CONVEX, SUBGRADIENT, VALUE, ids

import l1jax
from l1jax.penalties import L1, GroupL1, SumOf, convex_part, is_convex

LEVEL_OFF = [
    (l1jax.mcp(0.7, 3.0), L1),
    (l1jax.scad(0.7, 2.5), L1),
    (l1jax.log_sum(0.7, 0.3), L1),
    (l1jax.group_mcp(0.7, 3.0, 0), GroupL1),
    (l1jax.sum_of(l1jax.mcp(0.7, 3.0), l1jax.l2(0.4)), SumOf),
]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("penalty", "kind"), LEVEL_OFF, ids=lambda p: type(p).__name__)
def test_the_rest_is_smooth_and_concave(penalty, kind):
    part = convex_part(penalty)
    rng = np.random.default_rng(0)
    assert isinstance(part, kind)

    def rest(x):
        return VALUE(penalty, x) - VALUE(part, x)

    points = [
        np.zeros(3),
        np.array([0.0, 0.5, -4.0]),
        *(scale * rng.normal(size=3) for scale in (0.5, 1, 3, 9)),
    ]
    for x in points:
        gradient = SUBGRADIENT(penalty, x) - SUBGRADIENT(part, x)
        for h in (1e-7, -1e-7):
            slopes = [(rest(x + h * unit) - rest(x)) / h for unit in np.eye(3)]
            np.testing.assert_allclose(slopes, gradient, atol=2e-6)
    for x in points:
        assert all(rest((x + y) / 2) >= (rest(x) + rest(y)) / 2 - 1e-12 for y in points)


@pytest.mark.parametrize(
    "case", [*CONVEX, *(case for case in ALL if case.name in ("l0", "l_half"))], ids=ids
)
def test_others_are_returned_as_they_are(case):
    penalty = case.penalty()
    assert convex_part(penalty) is penalty


@pytest.mark.parametrize("case", ALL, ids=ids)
def test_a_penalty_says_whether_it_is_convex(case):
    assert is_convex(case.penalty()) == case.convex
    assert is_convex(l1jax.by_path({"kernel": case.penalty()})) == case.convex
