"""No point is better than the prox: grids, enumeration and optimality conditions, in float64."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brute_force import (
    best_of_supports,
    best_on_faces,
    best_on_grid,
    best_with_common_size,
    objective,
)
from catalogue import (
    BALL,
    CONVEX,
    EACH_KIND,
    ENTRYWISE,
    GROUPED,
    LINF,
    PROX,
    SUM_LINF,
    WEIGHTS,
    ids,
)
from fast_cases import slow_except
from jax.test_util import check_grads

import l1jax

pytestmark = pytest.mark.usefixtures("x64")
STEPS = np.logspace(-3, 3, 13)  # every ratio of a metric between 1e-3 and 1e3


def assert_no_better(value, y, z, step, best):
    cost = objective(value, np.asarray(y), z, step)
    assert np.all(cost <= best + 1e-8 * np.maximum(1, np.abs(best))), np.max(cost - best)


def metrics(rng, count, size):
    return 10 ** rng.uniform(-3, 3, size=(count, size))


@pytest.mark.parametrize("case", ENTRYWISE, ids=ids)
def test_entrywise_prox_beats_a_grid_in_a_diagonal_metric(case):
    starts = np.concatenate([np.linspace(-3, 3, 25), [-100.0, -0.01, 1e-3, 20.0]])
    z, step = (a.ravel() for a in np.meshgrid(starts, STEPS))
    y = np.asarray(PROX(case.penalty(), z, step))
    best = best_on_grid(case.value, z, step)
    assert_no_better(case.value, y[:, None], z[:, None], step[:, None], best)


@pytest.mark.parametrize("step", [1e-3, 0.3, 1.0, 5.0, 1e3])
@pytest.mark.parametrize("case", ENTRYWISE, ids=ids)
def test_entrywise_prox_beats_a_grid_with_one_step(case, step):
    z = np.linspace(-4, 4, 33)
    y = np.asarray(PROX(case.penalty(), z, step))
    assert_no_better(
        case.value, y[:, None], z[:, None], step, best_on_grid(case.value, z, np.full(33, step))
    )


def test_weighted_l1_beats_a_grid():
    z = np.linspace(-3, 3, 13)
    for step in STEPS[::3]:
        y = np.asarray(
            l1jax.weighted_l1(0.7, WEIGHTS).prox(jnp.stack([jnp.asarray(z)] * 3, axis=1), step)
        )
        for i, weight in enumerate(WEIGHTS):

            def value(x, weight=weight):
                return 0.7 * weight * np.abs(x).sum(-1)

            best = best_on_grid(value, z, np.full(13, step))
            assert_no_better(value, y[:, i : i + 1], z[:, None], step, best)


EACH_KIND_OF_GROUPS = [case for case in GROUPED if case in EACH_KIND]


@pytest.mark.parametrize("metric", [pytest.param("scalar", marks=pytest.mark.slow), "diagonal"])
@pytest.mark.parametrize("case", slow_except(GROUPED, *EACH_KIND_OF_GROUPS), ids=ids)
def test_group_prox_beats_an_optimiser_on_every_support(case, metric):
    rng = np.random.default_rng(0)
    zeros = 0
    for scale in (0.3, 1.0, 3.0, 30.0):
        z = scale * rng.normal(size=3)
        step = metrics(rng, 1, 3)[0] if metric == "diagonal" else np.full(3, 0.5)
        y = np.asarray(PROX(case.penalty(), z, step if metric == "diagonal" else 0.5))
        zeros += not y.any()
        assert_no_better(case.value, y, z, step, best_of_supports(case.value, z, step))
    assert zeros < 4


@pytest.mark.parametrize("case", [LINF, SUM_LINF, BALL], ids=ids)
def test_linf_and_l1_ball_beat_every_face(case):
    rng = np.random.default_rng(1)
    for scale in (0.1, 1.0, 3.0, 30.0):
        for steps in (np.full((3, 4), 0.5), metrics(rng, 8, 4)):
            for step in steps:
                z = scale * rng.normal(size=4)
                y = np.asarray(PROX(case.penalty(), z, step))
                if case is BALL:
                    best = best_on_faces(0.7, case.value, z, step)
                elif case is LINF:
                    best = best_with_common_size(0.7, case.value, z, step)
                else:  # the quadratic completed to a square
                    shrink = 1 + 0.4 * step
                    rest = 0.5 * (0.4 * z**2 / (1 + 0.4 * step)).sum()
                    best = best_with_common_size(0.7, LINF.value, z / shrink, step / shrink) + rest
                assert_no_better(case.value, y, z, step, best)


@pytest.mark.parametrize("spread", [1, 3])
@pytest.mark.parametrize("size", [2, 8, 300])
def test_group_prox_satisfies_the_optimality_condition(size, spread):
    # strong convexity: a residual r of the condition bounds the objective's excess by ½ Σ stepᵢ rᵢ²
    rng = np.random.default_rng(2)
    count = 12000 // size
    z = rng.normal(size=(size, count)) * 10 ** rng.uniform(-2, 2, size=(size, count))
    step = 10 ** rng.uniform(-spread, spread, size=(size, count))
    edge = np.sqrt(np.square(z / step).sum(0))  # of the strengths beyond which a group is zero
    prox = jax.jit(
        lambda strength, z, step: l1jax.group_l1(strength / np.sqrt(size), 0).prox(z, step)
    )
    for share in (1e-3, 1e-2, 0.1, 0.5, 1 - 1e-6):
        scaled_z = z / (edge / np.median(edge))
        strength = share * np.median(edge)
        y = np.asarray(prox(strength, scaled_z, step))
        assert y.any(0).all()
        residual = (y - scaled_z) / step + strength * y / np.sqrt(np.square(y).sum(0))
        excess = 0.5 * (step * np.square(residual)).sum(0)
        cost = strength * np.sqrt(np.square(y).sum(0)) + 0.5 * (np.square(y - scaled_z) / step).sum(
            0
        )
        assert np.max(excess / cost) < 1e-12
        single = prox(np.float32(strength), scaled_z.astype(np.float32), step.astype(np.float32))
        assert single.dtype == np.float32
        assert np.max(np.abs(single - y) / np.abs(scaled_z).max(0)) < 2e-6


def test_derivatives_of_the_group_prox_are_its_difference_quotients():
    rng = np.random.default_rng(6)
    z = rng.normal(size=(4, 3))
    step = 10 ** rng.uniform(-1, 1, size=(4, 3))
    z[:, 1] *= 1e-2  # a group that is zero
    prox = jax.jit(lambda strength, z, step: l1jax.group_l1(strength, 0).prox(z, step))
    zero = ~np.any(prox(0.1, z, step), axis=0)
    np.testing.assert_array_equal(zero, [False, True, False])
    check_grads(prox, (0.1, z, step), order=2, modes=("rev",), rtol=1e-5)


@pytest.mark.parametrize("share", [1 + 1e-9, 1.5, 1e6])
def test_group_is_zero_exactly_from_the_edge_on(share):
    rng = np.random.default_rng(3)
    z = rng.normal(size=(8, 100))
    step = 10 ** rng.uniform(-3, 3, size=(8, 100))
    strength = share * np.sqrt(np.square(z / step).sum(0))
    prox = jax.jit(lambda strength, z, step: l1jax.group_l1(strength / np.sqrt(8), 0).prox(z, step))
    for i in range(100):
        assert not np.any(prox(strength[i], z[:, i], step[:, i]))


@pytest.mark.slow
def test_one_step_per_group_is_the_same_as_the_metric_of_equal_entries():
    rng = np.random.default_rng(4)
    z = rng.normal(size=(5, 6))
    step = 10 ** rng.uniform(-2, 1, size=(1, 6))
    full = np.broadcast_to(step, z.shape)
    for penalty in (
        l1jax.group_l1(0.3, 0),
        l1jax.sparse_group_l1(0.1, 0.2, 0),
        l1jax.group_mcp(0.3, 3.0, 0),
        l1jax.group_l0(0.3, 0),
        l1jax.sum_of(l1jax.group_l1(0.3, 0), l1jax.l2(0.5)),
    ):
        prox = jax.jit(penalty.prox)
        one = prox(z, step)
        np.testing.assert_allclose(one, prox(z, full), rtol=1e-12, atol=1e-14)
        for i in range(6):  # and as each column alone with a scalar
            np.testing.assert_allclose(one[:, i], prox(z[:, i], step[0, i]), rtol=1e-12)


def test_group_mcp_with_long_steps_beats_a_grid_along_the_ray():
    # with one step per group the minimiser is a multiple of z: any other direction only costs more
    direction = np.array([0.6, -0.8])
    for gamma in (0.4, 3.0):
        prox = jax.jit(l1jax.group_mcp(0.7, gamma, 0).prox)
        sizes, step = (
            a.ravel() for a in np.meshgrid(np.linspace(0.05, 6, 40), np.logspace(-2, 2, 9))
        )

        def value(x, gamma=gamma):
            size = np.abs(x).sum(-1)
            strength = 0.7 * np.sqrt(2)
            return np.where(
                size < gamma * strength,
                strength * size - size**2 / (2 * gamma),
                gamma * strength**2 / 2,
            )

        z = direction[:, None] * sizes
        for one in (step[None], np.broadcast_to(step, z.shape)):
            y = np.asarray(prox(z, one))
            along = direction @ y
            np.testing.assert_allclose(y, direction[:, None] * along, atol=1e-12)
            best = best_on_grid(value, sizes, step)
            assert_no_better(value, along[:, None], sizes[:, None], step[:, None], best)


def test_group_mcp_in_a_metric_of_short_steps_has_the_right_branches():
    rng = np.random.default_rng(5)
    prox = jax.jit(l1jax.group_mcp(1.0, 3.0, 0).prox)
    strength = np.sqrt(4)
    gamma = 3.0
    seen = set()
    for _ in range(300):
        z = rng.normal(size=4) * 10 ** rng.uniform(-1, 1)
        step = rng.uniform(0.05, 2.9, size=4)
        y = np.asarray(prox(z, step))
        size = np.sqrt(np.square(y).sum())
        slope = max(strength - size / gamma, 0)
        seen.add(int(size > 0) + int(size > gamma * strength))
        if size:  # the objective is convex, so its stationary point is the minimiser
            np.testing.assert_allclose((z - y) / step, slope * y / size, atol=1e-9)
        else:
            assert np.sqrt(np.square(z / step).sum()) <= strength * (1 + 1e-9)
    assert seen == {0, 1, 2}


def test_group_mcp_refuses_a_mixed_metric_and_is_nan_there_under_jit():
    penalty = l1jax.group_mcp(0.5, 1.5, 0)
    x = jnp.array([[1.0, 0.0, 3.0], [1.0, 0.0, 2.0]])
    step = jnp.array([[2.0, 2.0, 0.2], [1.0, 1.0, 0.1]])
    with pytest.raises(
        ValueError, match=r"`gamma` \(=1.5\) must be greater than every step.*up to 2"
    ):
        penalty.prox(x, step)
    y = np.asarray(jax.jit(penalty.prox)(x, step))
    assert np.isnan(y[:, 0]).all()
    assert not y[:, 1].any()  # a zero group stays zero in any metric
    np.testing.assert_allclose(y[:, 2], jax.jit(penalty.prox)(x[:, 2], step[:, 2]), rtol=1e-12)


numbers = st.floats(-50, 50, allow_subnormal=False)


@pytest.mark.parametrize("case", CONVEX, ids=ids)
def test_convex_prox_is_non_expansive_in_its_metric(case):
    penalty = case.penalty()
    three = st.lists(numbers, min_size=3, max_size=3)

    @hypothesis.settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @hypothesis.given(three, three, st.lists(st.floats(-3, 3), min_size=3, max_size=3))
    def check(a, b, exponents):
        a = np.array(a)
        b = np.array(b)
        step = 10.0 ** np.array(exponents)
        moved = (
            np.square(np.asarray(PROX(penalty, a, step)) - np.asarray(PROX(penalty, b, step)))
            / step
        )
        apart = np.square(a - b) / step
        rounding = 1e-12 * np.sqrt((np.square(np.abs(a) + np.abs(b)) / step).sum()) + 1e-12
        assert np.sqrt(moved.sum()) <= np.sqrt(apart.sum()) + rounding

    check()
