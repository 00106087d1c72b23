"""Mean flow: learn the average velocity over intervals of time, so that one evaluation draws.

On the way x_t of a flow, whose velocity is v, the average velocity from t to t + h is
u(x_t, t, h) = 1/h ∫ v(x_τ, τ) dτ over the interval, and u(x_t, t, 0) = v(x_t, t). Integrals add up:
with m = t + λh and x_m = x_t + λh·u(x_t, t, λh),

    u(x_t, t, h) = λ·u(x_t, t, λh) + (1 − λ)·u(x_m, m, (1 − λ)h).

A network learns u(x_t, t, 0) from data, as flow matching does, and the rest by regression on the
right side, which it computes itself. In the limit of small λ that is Geng's equation with a
derivative by the time, which the network's fast waves of the time make large.

Source: Geng et al., "Mean flows for one-step generative modeling", NeurIPS 2025; Guo et al.,
"SplitMeanFlow: interval splitting consistency in few-step generative modeling", 2025.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from l1jax.objectives.flow_matching import Images, TimeLaw, Times, draw_times

AverageVelocity = Callable[[Images, Times, Times], Images]
"""(x, t, h) → the average velocity from t to t + h on the way through x at t."""


class Intervals(NamedTuple):
    """Intervals of time, and where each is split.

    time: at which each begins, t.
    length: h; 0 for an instant.
    share: λ, the first part's share of the length, between 0 and 1.
    """

    time: Times
    length: Times
    share: Times


def draw_intervals(
    key: Key[Array, ""],
    time: Times,
    instants: float,
    whole: float = 0.0,
    law: TimeLaw = "logit_normal",
    mean: float = 0.0,
    deviation: float = 1.0,
) -> Intervals:
    """Draw intervals that have the times given at one end, and where they are split.

    Args:
        key: of the draw.
        time: one end of each interval, as `draw_times` draws it.
        instants: share of the intervals that have no length.
        whole: share of them that go from 0 to 1.
        law: of the other end, as in `draw_times`.
        mean: as in `draw_times`.
        deviation: as in `draw_times`.
    """
    end_key, kind_key, share_key = jax.random.split(key, 3)
    kind = jax.random.uniform(kind_key, time.shape)
    other = draw_times(end_key, len(time), law, mean, deviation)
    end = jnp.where(kind < instants, time, other)
    is_whole = kind >= 1 - whole
    begin = jnp.where(is_whole, 0, jnp.minimum(time, end))
    length = jnp.where(is_whole, 1, jnp.abs(time - end))
    return Intervals(begin, length, jax.random.uniform(share_key, time.shape))


def split_target(average_velocity: AverageVelocity, x: Images, intervals: Intervals) -> Images:
    """Compute the average velocity over intervals from those over their two parts.

    Args:
        average_velocity: u.
        x: the points at the begins.
        intervals: of each point.
    """
    time, length, share = intervals
    rest = 1 - share
    first_length = share * length
    first = average_velocity(x, time, first_length)
    middle = x + _each(first_length, x) * first
    second = average_velocity(middle, time + first_length, rest * length)
    return _each(share, x) * first + _each(rest, x) * second


def _each(numbers: Float[Array, " batch"], x: Images) -> Float[Array, "batch *ones"]:
    """Let each example's number multiply all of its entries."""
    return numbers.reshape(-1, *[1] * (x.ndim - 1))
