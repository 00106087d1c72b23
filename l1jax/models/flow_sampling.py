"""Solve the ordinary differential equation of a flow, dx/dt = v(x, t), from noise to images."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float64, PyTree

LEAST_REST = 0.05
"""Least 1 − t by which a predicted image is divided, and t by which predicted noise is."""

Prediction = Literal["velocity", "image", "noise"]
Points = Float[Array, "batch *image"]
Time = float | Float[Array, ""]
Choice = bool | Bool[Array, ""]
State = TypeVar("State", bound=PyTree)
Row = TypeVar("Row", bound=tuple)
Velocity = Callable[[Points, Time], Points]
"""(x, t) → the velocity there."""
AverageVelocity = Callable[[Points, Time, Time], Points]
"""(x, t, length) → the average velocity over an interval of that length, on the way from x at t."""
Method = Literal["euler", "midpoint", "heun"]
SamplingMethod = Literal["euler", "midpoint", "heun", "average"]


class FlowSampler(NamedTuple):
    """How the generator of a flow model goes from noise to images.

    method: "euler", "midpoint" or "heun" for `integrate`, or "average" for `leap`.
    times: the grid that is followed.
    guidance: of classifier-free guidance; 0 for none.
    """

    method: SamplingMethod
    times: tuple[float, ...]
    guidance: float = 0.0

    @property
    def evaluations(self) -> int:
        """How many times the network is evaluated for an image."""
        if self.method == "average":
            return len(self.times) - 1
        count = len(_evaluations(np.array(self.times), self.method))
        return 2 * count if self.guidance else count


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
    The evaluations are a loop, `jax.lax.scan`, so that `velocity` is compiled once; see
    `unrolled_steps`.

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

    def evaluate(state: Walk, evaluation: Evaluation) -> Walk:
        slope = velocity(state.at, evaluation.time)
        if method == "heun":
            slope = slope + state.earlier
        reached = (state.start + evaluation.reach * slope).astype(start.dtype)
        none = jnp.zeros_like(start)
        return Walk(
            start=_choose(evaluation.ends_step, reached, state.start),
            at=reached,
            earlier=_choose(evaluation.adds_to_next, slope, none).astype(start.dtype),
        )

    first = Walk(start, start, jnp.zeros_like(start))
    return _repeat(evaluate, first, _evaluations(times.astype(start.dtype), method)).start


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

    def step(x: Points, interval: Interval) -> Points:
        moved = interval.length * average_velocity(x, interval.begin, interval.length)
        return (x + moved).astype(x.dtype)

    times = times.astype(start.dtype)
    intervals = [Interval(begin, end - begin) for begin, end in itertools.pairwise(times)]
    return _repeat(step, start, intervals)


class Evaluation(NamedTuple):
    """What happens with the velocity v at a point: the next point is x + reach·(v + earlier)."""

    time: Time
    reach: Time
    ends_step: Choice  # whether the next point is the next step's x
    adds_to_next: Choice  # whether v is the next evaluation's `earlier`, which is 0 otherwise


class Walk(NamedTuple):
    """Where a step began, the point of the next evaluation, and what is added to its velocity."""

    start: Points
    at: Points
    earlier: Points


class Interval(NamedTuple):
    """An interval of time."""

    begin: Time
    length: Time


def _evaluations(times: Float[np.ndarray, " times"], method: Method) -> list[Evaluation]:
    """List the evaluations of a method along a grid of times."""
    found = []
    for begin, end in itertools.pairwise(times):
        length = end - begin
        if method == "midpoint":
            half = length / 2
            found.append(Evaluation(begin, half, ends_step=False, adds_to_next=False))
            found.append(Evaluation(begin + half, length, ends_step=True, adds_to_next=False))
        elif method == "heun" and end != times[-1]:
            found.append(Evaluation(begin, length, ends_step=False, adds_to_next=True))
            found.append(Evaluation(end, length / 2, ends_step=True, adds_to_next=False))
        else:
            found.append(Evaluation(begin, length, ends_step=True, adds_to_next=False))
    return found


def _choose(condition: Choice, yes: Points, no: Points) -> Points:
    """Choose while tracing, if the condition is known then."""
    if isinstance(condition, bool):
        return yes if condition else no
    return jnp.where(condition, yes, no)


def _repeat(step: Callable[[State, Row], State], state: State, rows: Sequence[Row]) -> State:
    """Take the step (state, row) → state with each row, in a loop unless `unrolled_steps`."""
    if _unrolled.get():
        for row in rows:
            state = step(state, row)
    elif rows:
        columns = jax.tree.map(lambda *column: jnp.asarray(column), *rows)
        state, _ = jax.lax.scan(lambda state, row: (step(state, row), None), state, columns)
    return state
