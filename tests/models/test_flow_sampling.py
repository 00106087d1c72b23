"""The flow from a Gaussian to a Gaussian, whose velocity and map are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l1jax.models.flow_sampling import (
    FlowSampler,
    integrate,
    time_grid,
    to_velocity,
    unrolled_steps,
)

MEAN, DEVIATION = 1.5, 0.4
START = np.random.default_rng(0).normal(size=(50, 1))


def velocity(x, t):
    """E[x₁ − x₀ | x_t] for x₀ ~ N(0, 1) and x₁ ~ N(MEAN, DEVIATION²), by Gaussian conditioning."""
    variance = (1 - t) ** 2 + (t * DEVIATION) ** 2
    slope = (t * DEVIATION**2 - (1 - t)) / variance
    return MEAN + slope * (x - t * MEAN)


def growth(x, t):
    """Its solution from x₀ is x₀·exp(t²/2)."""
    return x * t


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2)])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_each_method_has_its_order(method, order, shift, x64):
    exact = START * np.exp(0.5)
    errors = [
        np.abs(integrate(growth, jnp.asarray(START), time_grid(n, shift), method) - exact).max()
        for n in (40, 80, 160)
    ]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(orders, order, atol=0.15)


@pytest.mark.parametrize("method", ["euler", "midpoint", "heun"])
def test_the_steps_are_a_loop_around_one_evaluation(method, x64):
    """Traced one after the other, they are as many as a sampler counts, and lead as far."""
    calls = []

    def counted(x, t):
        calls.append(t)
        return velocity(x, t)

    times = time_grid(5, 2.0)
    end = jax.jit(lambda x: integrate(counted, x, times, method))(START)
    assert len(calls) == 1
    calls.clear()
    with unrolled_steps():
        unrolled = integrate(counted, jnp.asarray(START), times, method)
    np.testing.assert_allclose(end, unrolled, rtol=1e-12)
    expected = {"euler": 5, "midpoint": 10, "heun": 9}[method]
    assert len(calls) == FlowSampler(method, tuple(times)).evaluations == expected
    assert FlowSampler(method, tuple(times), guidance=1.0).evaluations == 2 * expected
    assert FlowSampler("average", tuple(times)).evaluations == 5


@pytest.mark.parametrize(
    ("method", "tolerance"), [("euler", 0.06), ("midpoint", 1e-3), ("heun", 0.02)]
)
def test_the_velocity_of_a_gaussian_carries_it_to_another(method, tolerance, x64):
    end = integrate(velocity, jnp.asarray(START), time_grid(40), method)
    np.testing.assert_allclose(end, MEAN + DEVIATION * START, atol=tolerance)


def test_the_ordinary_differential_equation_can_be_followed_backwards(x64):
    there = integrate(velocity, jnp.asarray(START), time_grid(80), "midpoint")
    back = integrate(velocity, there, time_grid(80)[::-1], "midpoint")
    np.testing.assert_allclose(back, START, atol=1e-3)


def test_every_prediction_gives_the_same_velocity(x64):
    rng = np.random.default_rng(1)
    noise, image = rng.normal(size=(2, 6, 2, 2, 1))
    time = np.linspace(0.06, 0.94, 6)
    t = time[:, None, None, None]
    x = (1 - t) * noise + t * image
    for predicts, output in (("velocity", image - noise), ("image", image), ("noise", noise)):
        found = to_velocity(jnp.asarray(output), jnp.asarray(x), jnp.asarray(time), predicts)
        np.testing.assert_allclose(found, image - noise, rtol=1e-9)


def test_near_the_ends_a_prediction_is_divided_by_a_twentieth():
    ones = jnp.ones((2, 1))
    time = jnp.array([0.0, 1.0])
    np.testing.assert_allclose(to_velocity(2 * ones, ones, time, "image"), [[1], [20]], rtol=1e-6)
    np.testing.assert_allclose(to_velocity(0 * ones, ones, time, "noise"), [[20], [1]], rtol=1e-6)


def test_a_shift_moves_the_grid_to_the_noise():
    np.testing.assert_allclose(time_grid(4), [0, 0.25, 0.5, 0.75, 1])
    noise = 1 - time_grid(4, 3.0)
    np.testing.assert_allclose(noise, [1, 9 / 10, 3 / 4, 1 / 2, 0])  # 3n/(1 + 2n)


@pytest.mark.parametrize(("steps", "shift"), [(0, 1.0), (3, 0.0), (3, -1.0)])
def test_an_impossible_grid_is_refused(steps, shift):
    with pytest.raises(ValueError, match=r"`steps` .* `shift`"):
        time_grid(steps, shift)
