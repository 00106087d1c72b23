"""Solve the ordinary differential equation of a flow, dx/dt = v(x, t), from noise to images."""

import itertools
from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64

LEAST_REST = 0.05
"""Least 1 − t by which a predicted image is divided, and t by which predicted noise is."""

Prediction = Literal["velocity", "image", "noise"]
Points = Float[Array, "batch *image"]
Velocity = Callable[[Points, float], Points]
"""(x, t) → the velocity there."""
Method = Literal["euler", "midpoint", "heun"]


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

    The steps are unrolled, so that a graph of them can be compacted and exported like any network.
    Euler's error falls like the step, those of the others like its square; they call `velocity`
    twice for each step, but for Heun's last one, at whose end a predicted image leaves no velocity.

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
    x = start
    grid = [float(time) for time in times]
    for begin, end in itertools.pairwise(grid):
        step = end - begin
        first = velocity(x, begin)
        is_last = end == grid[-1]
        if method == "midpoint":
            x = x + step * velocity(x + step / 2 * first, begin + step / 2)
        elif method == "heun" and not is_last:
            x = x + step / 2 * (first + velocity(x + step * first, end))
        else:
            x = x + step * first
    return x
