"""Which strengths are trained, for how long and from where: together, one after another, fewer and fewer, refined."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from l1jax.selection.criteria import aic, aicc, bic, ebic
from l1jax.selection.judging import SIGNS, Judged
from l1jax.selection.legs import Course, Leg, run_leg
from l1jax.selection.rules import bisect_strength, survivors


class Point(NamedTuple):
    """One strength of the path."""

    strength: float
    trained: int  # steps that it had
    judged: list[Judged]  # of each fold

    @property
    def zeros(self) -> float:
        """Share of the penalised entries that are zero, mean over the folds."""
        return float(np.mean([own.zeros for own in self.judged]))


class Sizes(NamedTuple):
    """What information criteria count."""

    examples: int
    parameters: int


INFORMATION: dict[str, Callable[[np.ndarray, np.ndarray, Sizes], Any]] = {
    "aic": lambda nats, nonzeros, sizes: aic(nats, nonzeros),
    "aicc": lambda nats, nonzeros, sizes: aicc(nats, nonzeros, sizes.examples),
    "bic": lambda nats, nonzeros, sizes: bic(nats, nonzeros, sizes.examples),
    "ebic": lambda nats, nonzeros, sizes: ebic(nats, nonzeros, sizes.examples, sizes.parameters),
}
"""(log-likelihood of all examples, parameters that are not zero, sizes) → the criterion, by its name."""


def scores(
    points: Sequence[Point], criterion: str, sizes: Sizes
) -> Float[np.ndarray, "strengths folds"]:
    """How the strengths do, lower being better; NaN where one has no score.

    Args:
        points: of the path.
        criterion: a score of `SIGNS`, of which those that are better higher change their sign, or one of aic, aicc,
            bic and ebic: from the bound on the likelihood and the number of parameters that are not zero.
        sizes: how many examples and parameters there are.
    """
    if criterion not in INFORMATION:
        sign = SIGNS[criterion]
        return np.array(
            [[sign * own.scores[criterion] for own in point.judged] for point in points]
        )
    nats = np.array([[own.scores["log_likelihood"] for own in point.judged] for point in points])
    nonzeros = np.array([[own.nonzeros for own in point.judged] for point in points])
    return INFORMATION[criterion](sizes.examples * nats, nonzeros, sizes)


def together(
    course: Course,
    strengths: Sequence[float],
    steps: int,
    halvings: int = 0,
    score: Callable[[Sequence[Point]], Float[np.ndarray, " strengths"]] | None = None,
    name: str = "together",
) -> list[Point]:
    """Train all strengths side by side; with halvings, the worse half is left behind at steps/2ʰ, …, steps/2.

    Args:
        course: what the legs share.
        strengths: in any order.
        steps: of each run.
        halvings: how often half of them is left behind.
        score: (points) → a number for each, lower being better; needed for halvings.
        name: of the legs.

    Returns:
        A point for each strength, in the given order, those left behind at the step they came to.

    Source: Jamieson, Talwalkar, AISTATS 2016, algorithm 1.
    """
    every = course.experiment.log_every
    ends = [max(every, round(steps / 2**h / every) * every) for h in range(halvings, 0, -1)] + [
        steps
    ]
    ends = sorted({end for end in ends if end <= steps})
    found: dict[float, Point] = {}
    leg, first = None, 0
    running, kept = tuple(strengths), ()
    for i, end in enumerate(ends):
        leg = Leg(f"{name}-{i}", running, first, end, leg, kept)
        points = points_of(course, leg, end)
        found |= {point.strength: point for point in points}
        if end < steps and score is not None:
            kept = tuple(
                np.flatnonzero(survivors(score(points), math.ceil(len(points) / 2))).tolist()
            )
            running, first = tuple(running[index] for index in kept), end
    return [found[strength] for strength in strengths]


def one_by_one(
    course: Course, strengths: Sequence[float], steps: int, *, warm: bool, name: str
) -> list[Point]:
    """Train the strengths in turn, each afresh, or warm: each going on from where the last one ended.

    Returns:
        A point for each strength, in the given order.
    """
    found, leg = [], None
    for i, strength in enumerate(strengths):
        first = i * steps if warm else 0
        leg = Leg(f"{name}-{i}", (float(strength),), first, first + steps, leg if warm else None)
        found += points_of(course, leg, steps)
    return found


def points_of(course: Course, leg: Leg, trained: int) -> list[Point]:
    """Train a leg, to so many steps in all, and judge it."""
    return [
        Point(s, trained, own) for s, own in zip(leg.strengths, run_leg(course, leg), strict=True)
    ]


def bisected(
    course: Course,
    points: Sequence[Point],
    beyond: Callable[[Point], bool],
    steps: int,
    ratio: float,
) -> list[Point]:
    """Train more strengths around a target, by bisection, until two neighbours on its two sides are near.

    Args:
        course: what the legs share.
        points: of the path so far.
        beyond: whether a point is beyond the target.
        steps: of each run.
        ratio: of the two neighbours, greater than 1.

    Returns:
        All points in order of their strengths; the same ones where the target is not between two of them.
    """
    found = {point.strength: point for point in points}
    grid = [found[strength] for strength in sorted(found) if strength > 0]
    sides = next(((a, b) for a, b in pairwise(grid) if beyond(b) and not beyond(a)), None)

    def train_and_look(strength: float) -> bool:
        point = together(course, [strength], steps, name=f"bisection-{strength:.6g}")[0]
        found[strength] = point
        return beyond(point)

    if sides is not None:
        bisect_strength(train_and_look, sides[0].strength, sides[1].strength, ratio)
    return [found[strength] for strength in sorted(found)]
