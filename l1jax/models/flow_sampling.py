"""Solve the ordinary differential equation of a flow, dx/dt = v(x, t), from noise to images."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64

LEAST_REST = 0.05
"""Least 1 − t by which a predicted image is divided, and t by which predicted noise is."""

Prediction = Literal["velocity", "image", "noise"]
Points = Float[Array, "batch *image"]
Time = float | Float[Array, ""]
Velocity = Callable[[Points, Time], Points]
"""(x, t) → the velocity there."""
AverageVelocity = Callable[[Points, Time, Time], Points]
"""(x, t, length) → the average velocity over an interval of that length, on the way from x at t."""
Method = Literal["euler", "midpoint", "heun"]
SamplingMethod = Literal["euler", "midpoint", "heun", "average"]

_unrolled: ContextVar[bool] = ContextVar("_unrolled", default=False)


@contextmanager
def unrolled_steps() -> Iterator[None]:
    """Trace the steps of `integrate` one after the other while the context lasts.

    What has no loops, such as an ONNX graph, needs them so.
    """
    token = _unrolled.set(True)
    try:
        yield
    finally:
        _unrolled.reset(token)


def to_velocity(
    output: Points, x: Points, time: Float[Array, " batch"], predicts: Prediction
) -> Points:
    """Turn what a network predicts at x_t into a velocity.

    From a predicted image x̂₁ it is (x̂₁ − x_t)/(1 − t), from predicted noise x̂₀ it is (x_t − x̂₀)/t.
    The divisors are at least 0.05, so that errors of the prediction stay bounded near the ends.

    Args:
        output: of the network.
        x: x_t.
        time: t of each.
        predicts: what the output stands for.
    """
    t = time.reshape(-1, *[1] * (x.ndim - 1))
    if predicts == "image":
        return (output - x) / jnp.maximum(1 - t, LEAST_REST)
    if predicts == "noise":
        return (x - output) / jnp.maximum(t, LEAST_REST)
    return output


def guided(velocity: Points, without_class: Points, guidance: float) -> Points:
    """Compute v + w·(v − v without the class), the velocity of classifier-free guidance.

    Args:
        velocity: v, of a class.
        without_class: that of none of the classes.
        guidance: w.

    Source: Ho and Salimans, "Classifier-free diffusion guidance", 2022.
    """
    return velocity + guidance * (velocity - without_class)


def time_grid(steps: int, shift: float = 1.0) -> Float64[np.ndarray, " times"]:
    """Divide the time from 0 (noise) to 1 (images) into steps.

    The share of noise 1 − t of an even grid becomes s(1 − t)/(1 + (s − 1)(1 − t)). With a shift s
    above 1 more steps are near the noise, which large images need.

    Args:
        steps: how many; the grid has one time more.
        shift: s; 1 for an even grid.

    Raises:
        ValueError: if `steps` is below 1 or `shift` is not positive.

    Source: Esser et al., ICML 2024, equation 23.
    """
    if steps < 1 or shift <= 0:
        raise ValueError(
            f"`steps` (={steps}) must be at least 1 and `shift` (={shift}) greater than 0."
        )
    noise = np.linspace(1, 0, steps + 1)
    return 1 - shift * noise / (1 + (shift - 1) * noise)


def integrate(
    velocity: Velocity,
    start: Points,
    times: Float64[np.ndarray, " times"],
    method: Method = "midpoint",
) -> Points:
    """Follow a velocity through a grid of times.

    Euler's error falls like the step, those of the others like its square; they call `velocity`
    twice for each step, but for Heun's last one, at whose end a predicted image leaves no velocity.
    The steps are a loop, `jax.lax.scan`, whose body is compiled once; see `unrolled_steps`.

    Args:
        velocity: the right-hand side.
        start: at the first time.
        times: the grid, which may also fall.
        method: "euler", "midpoint" or "heun".

    Returns:
        The points at the last time.

    Source: Hairer, Nørsett, Wanner, "Solving ordinary differential equations I", II.1; Karras et
    al., NeurIPS 2022, algorithm 1, on Heun's last step.
    """

    def step(x: Points, begin: Time, end: Time, method: Method) -> Points:
        length = end - begin
        first = velocity(x, begin)
        if method == "midpoint":
            moved = x + length * velocity(x + length / 2 * first, begin + length / 2)
        elif method == "heun":
            moved = x + length / 2 * (first + velocity(x + length * first, end))
        else:
            moved = x + length * first
        return moved.astype(x.dtype)

    intervals = list(itertools.pairwise(times.tolist()))
    if method != "heun":
        return _take_steps(partial(step, method=method), start, intervals)
    x = _take_steps(partial(step, method="heun"), start, intervals[:-1])
    return step(x, *intervals[-1], "euler")


def leap(
    average_velocity: AverageVelocity, start: Points, times: Float64[np.ndarray, " times"]
) -> Points:
    """Follow average velocities through a grid of times: x_s = x_t + (s − t)·u(x_t, t, s − t).

    Each interval takes one evaluation, and has no error of its own. The steps are a loop, as those
    of `integrate`.

    Args:
        average_velocity: u.
        start: at the first time.
        times: the grid.

    Returns:
        The points at the last time.

    Source: Geng et al., "Mean flows for one-step generative modeling", NeurIPS 2025.
    """

    def step(x: Points, begin: Time, end: Time) -> Points:
        length = end - begin
        return (x + length * average_velocity(x, begin, length)).astype(x.dtype)

    return _take_steps(step, start, list(itertools.pairwise(times.tolist())))


def _take_steps(
    step: Callable[[Points, Time, Time], Points],
    start: Points,
    intervals: Sequence[tuple[float, float]],
) -> Points:
    """Take one step (x, begin, end) → x after the other, in a loop unless `unrolled_steps`."""
    x = start
    if _unrolled.get():
        for ends in intervals:
            x = step(x, *ends)
    elif intervals:
        begins, ends = jnp.asarray(intervals, x.dtype).T
        x, _ = jax.lax.scan(lambda x, ends: (step(x, *ends), None), x, (begins, ends))
    return x
