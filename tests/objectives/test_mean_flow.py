"""Average velocities of the flow from a Gaussian to a Gaussian, which are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l1jax.models.flow_sampling import leap, time_grid, unrolled_steps
from l1jax.objectives.mean_flow import Intervals, draw_intervals, split_target

MEAN, DEVIATION = 1.5, 0.4
START = np.random.default_rng(0).normal(size=(50, 1))


def deviation_at(t):
    """Of x_t, for x₀ ~ N(0, 1) and x₁ ~ N(MEAN, DEVIATION²)."""
    return np.sqrt((1 - t) ** 2 + (t * DEVIATION) ** 2)


def average_velocity(x, t, length):
    """Each point keeps its place in its Gaussian: x_s = s·MEAN + σ(s)/σ(t)·(x_t − t·MEAN)."""
    t, length = (np.reshape(a, (-1, 1)) for a in (t, length))
    end = t + length
    there = end * MEAN + deviation_at(end) / deviation_at(t) * (x - t * MEAN)
    return (there - x) / length


def test_the_average_over_an_interval_is_that_over_its_parts(x64):
    rng = np.random.default_rng(1)
    t, end = np.sort(rng.uniform(size=(2, 50)), axis=0)
    intervals = Intervals(*map(jnp.asarray, (t, end - t, rng.uniform(size=50))))
    found = split_target(average_velocity, jnp.asarray(START), intervals)
    np.testing.assert_allclose(found, average_velocity(START, t, end - t), rtol=1e-9)


@pytest.mark.parametrize("steps", [1, 2])
def test_leaps_have_no_error(steps, x64):
    with unrolled_steps():
        end = leap(average_velocity, jnp.asarray(START), time_grid(steps, 2.0))
    np.testing.assert_allclose(end, MEAN + DEVIATION * START, rtol=1e-9)


def test_intervals_are_instants_the_whole_way_or_between_two_times():
    time = jnp.asarray(np.random.default_rng(2).uniform(size=4_000), jnp.float32)
    drawn = draw_intervals(jax.random.key(0), time, 0.3, 0.2, "uniform")
    begin, length, share = map(np.asarray, drawn)
    is_instant, is_whole = length == 0, length == 1
    np.testing.assert_array_equal(begin[is_instant], time[is_instant])
    assert np.all(begin[is_whole] == 0)
    assert is_instant.mean() == pytest.approx(0.3, abs=0.03)
    assert is_whole.mean() == pytest.approx(0.2, abs=0.03)
    others = ~is_instant & ~is_whole
    is_first, is_last = begin == time, np.isclose(begin + length, time, atol=1e-6)
    assert np.all((is_first | is_last)[others])
    assert is_first[others].mean() == pytest.approx(0.5, abs=0.04)  # the other end is as likely
    assert length[others].mean() == pytest.approx(1 / 3, abs=0.02)  # of two uniform numbers
    assert share.mean() == pytest.approx(0.5, abs=0.03)
