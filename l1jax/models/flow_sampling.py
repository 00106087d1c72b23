"""Solve the ordinary differential equation of a flow, dx/dt = v(x, t), from noise to images."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
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
Method = Literal["euler", "midpoint", "heun"]

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

    def body(x: Points, ends: tuple[Time, Time]) -> tuple[Points, None]:
        return step(x, *ends, method), None

    x = start
    grid = times.tolist()
    intervals = list(itertools.pairwise(grid))
    last = intervals.pop() if method == "heun" else None
    if _unrolled.get():
        for ends in intervals:
            x, _ = body(x, ends)
    elif intervals:
        begins, ends = jnp.asarray(intervals, x.dtype).T
        x, _ = jax.lax.scan(body, x, (begins, ends))
    return x if last is None else step(x, *last, "euler")
