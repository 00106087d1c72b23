"""Which strength to choose, from a table of scores: strengths from weak to strong × folds or seeds, lower is better."""

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float64
from numpy.typing import ArrayLike

from l1jax.config import InputError
from l1jax.selection.strengths import check_strengths

Scores: TypeAlias = ArrayLike  # (strengths,) or (strengths, folds)
BEYOND = "; it is the strongest of the path, and the least may lie beyond"
NOTHING_LEFT = "; it is the strongest of the path, and all that it penalises is 0 there"


class Choice(NamedTuple):
    """A strength of a path."""

    index: int
    strength: float
    rule: str
    reason: str  # a sentence for people


class Summary(NamedTuple):
    """A table of scores, over its folds or seeds."""

    mean: Float64[np.ndarray, " strengths"]  # NaN where one of them is not finite
    standard_error: Float64[np.ndarray, " strengths"]  # of the mean; NaN if there is but one


def summarise(scores: Scores) -> Summary:
    """Mean and standard error of each strength's scores; one that is not finite makes both NaN."""
    table = np.asarray(scores, np.float64)
    table = table[:, None] if table.ndim == 1 else table
    finite = np.all(np.isfinite(table), axis=1)
    table = np.where(finite[:, None], table, 0)
    error = (
        np.std(table, axis=1, ddof=1) / math.sqrt(table.shape[1]) if table.shape[1] > 1 else np.nan
    )
    return Summary(np.where(finite, table.mean(axis=1), np.nan), np.where(finite, error, np.nan))


def minimum(scores: Scores, strengths: ArrayLike) -> Choice:
    """Choose the least mean score; of equal ones the strongest. A NaN is never chosen.

    Raises:
        InputError: if no score is finite, or the strengths do not increase.
    """
    return _minimum(*_table(scores, strengths))


def one_standard_error(scores: Scores, strengths: ArrayLike) -> Choice:
    """Choose the strongest whose mean score is at most one standard error above the least.

    Raises:
        InputError: if there is but one score for each strength, none is finite, or the strengths do not increase.

    Source: Breiman, Friedman, Olshen, Stone, Classification and Regression Trees (1984), section 3.4.3.
    """
    grid, (mean, error) = _table(scores, strengths)
    best = _minimum(grid, Summary(mean, error))
    if np.isnan(error[best.index]):
        raise InputError(
            "`scores` must have at least two folds or seeds for each strength to have a standard error; take `minimum`."
        )
    if _constant(mean):
        return best._replace(rule="one standard error")
    bound = mean[best.index] + error[best.index]
    index = int(np.flatnonzero(mean <= bound)[-1])
    reason = f"the strongest with a score of at most {bound:.6g}, the least ({mean[best.index]:.6g}) + 1 standard error"
    return Choice(index, float(grid[index]), "one standard error", reason)


def enough_zeros(zeros: ArrayLike, strengths: ArrayLike, share: float) -> Choice:
    """Choose the weakest with at least this share of zeros.

    Args:
        zeros: the share of zeros at each strength, in [0, 1]; a NaN is never chosen.
        strengths: from weak to strong.
        share: wanted, in [0, 1].

    Raises:
        InputError: if no strength has as many, or the share is none.
    """
    grid, (mean, _) = _table(zeros, strengths)
    if not 0 <= share <= 1:
        raise InputError(
            f"`share` (={share}) must be in [0, 1]: of the entries, those that are to be zero."
        )
    found = np.flatnonzero(mean >= share)
    if not found.size:
        raise InputError(
            f"`strengths` (up to {grid[-1]:g}) must reach {share:.2%} zeros, but have at most {np.nanmax(mean):.2%}: "
            "take stronger ones."
        )
    index = int(found[0])
    reason = f"the weakest with at least {share:.2%} zeros; it has {mean[index]:.2%}"
    return Choice(index, float(grid[index]), "enough zeros", reason)


def little_worse(scores: Scores, strengths: ArrayLike, dense: float, share: float) -> Choice:
    """Choose the strongest whose mean score is at most a share of |dense| above the score of the dense model.

    Args:
        scores: lower is better.
        strengths: from weak to strong.
        dense: the score without a penalty.
        share: 0.05 is 5 % worse.

    Raises:
        InputError: if no strength is as good, `dense` is not finite or `share` negative.
    """
    grid, (mean, _) = _table(scores, strengths)
    if not (math.isfinite(dense) and share >= 0):
        raise InputError(f"`dense` (={dense}) must be finite and `share` (={share}) at least 0.")
    bound = dense + share * abs(dense)
    found = np.flatnonzero(mean <= bound)
    if not found.size:
        raise InputError(
            f"`strengths` (from {grid[0]:g}) must reach a score of {bound:.6g}, {share:.1%} worse than dense "
            f"(={dense:.6g}), but the least is {np.nanmin(mean):.6g}: take weaker ones."
        )
    index = int(found[-1])
    reason = (
        f"the strongest with a score of at most {bound:.6g}, {share:.1%} worse than dense; "
        f"it has {mean[index]:.6g}"
    )
    return Choice(index, float(grid[index]), "little worse than dense", reason)


def bisect_strength(
    beyond: Callable[[float], bool], low: float, high: float, ratio: float = 1.05
) -> tuple[float, float]:
    """Narrow a target between two strengths of a path down to a ratio, by bisection of the logarithm.

    Args:
        beyond: whether a strength is beyond the target, `lambda s: zeros_at(s) >= 0.9` or
            `lambda s: not score_at(s) <= bound`; each call trains. Taken to be false at `low` and true at `high`.
        low: a strength in front of the target, greater than 0.
        high: one beyond it.
        ratio: how near the two that are returned are, greater than 1.

    Returns:
        The last in front of the target and the first beyond it: for enough zeros take the second, for a
        score that is still good enough the first.

    Raises:
        InputError: if not 0 < low < high, or the ratio is not greater than 1.

    >>> low, high = bisect_strength(lambda strength: strength >= 0.02, 1e-4, 1.0)
    >>> low < 0.02 <= high, high / low < 1.05
    (True, True)
    """
    if not 0 < low < high < math.inf or not ratio > 1:
        raise InputError(
            f"`low` (={low}), `high` (={high}) and `ratio` (={ratio}) must be 0 < low < high and ratio > 1."
        )
    while high / low > ratio:
        middle = math.sqrt(low) * math.sqrt(high)
        low, high = (low, middle) if beyond(middle) else (middle, high)
    return low, high


def survivors(scores: Scores, keep: int) -> Bool[np.ndarray, " strengths"]:
    """Which strengths go on when the hopeless ones stop: the `keep` of least mean score, never a NaN.

    Fewer if fewer scores are finite; of equal ones the strongest.

    Raises:
        InputError: if `keep` is not at least 1, or no score is finite.

    Source: Jamieson and Talwalkar, AISTATS 2016, successive halving.
    """
    mean, _ = _finite(scores)
    if keep < 1:
        raise InputError(f"`keep` (={keep}) must be at least 1.")
    order = np.argsort(mean[::-1], kind="stable")[: min(keep, int(np.isfinite(mean).sum()))]
    kept = np.zeros(len(mean), bool)
    kept[len(mean) - 1 - order] = True
    return kept


def _table(
    scores: Scores, strengths: ArrayLike
) -> tuple[Float64[np.ndarray, " strengths"], Summary]:
    grid, summary = check_strengths(strengths), _finite(scores)
    if len(grid) != len(summary.mean):
        raise InputError(
            f"`scores` (of {len(summary.mean)} strengths) must have a row for each of the {len(grid)}."
        )
    return grid, summary


def _finite(scores: Scores) -> Summary:
    summary = summarise(scores)
    if not np.any(np.isfinite(summary.mean)):
        raise InputError(
            "`scores` must be finite for at least one strength, and none is: where training diverged, lower the "
            "learning rate; where AICc is infinite, for models have as many parameters as there are examples, take BIC."
        )
    return summary


def _minimum(grid: Float64[np.ndarray, " strengths"], summary: Summary) -> Choice:
    mean = summary.mean
    index = int(np.flatnonzero(mean == np.nanmin(mean))[-1])
    if _constant(mean):
        index = int(np.flatnonzero(np.isfinite(mean))[-1])
        reason = f"all scores are {mean[index]:.6g}: they do not tell the strengths apart, so the strongest is taken"
    elif np.isfinite(mean).sum() == 1:
        reason = f"the only score that is finite, {mean[index]:.6g}"
    else:
        reason = f"the least score, {mean[index]:.6g}"
        if index == 0 and grid[0] > 0:  # nothing is weaker than 0
            reason += "; it is the weakest of the path, and the least may lie beyond"
        if index == len(mean) - 1:
            reason += BEYOND
    return Choice(index, float(grid[index]), "minimum", reason)


def without_more_beyond(choice: Choice, all_zero: bool) -> Choice:
    """The choice, which says so where the strongest has no coefficient left, so that nothing lies beyond it."""
    if not all_zero or not choice.reason.endswith(BEYOND):
        return choice
    return choice._replace(reason=choice.reason.removesuffix(BEYOND) + NOTHING_LEFT)


def _constant(mean: Float64[np.ndarray, " strengths"]) -> bool:
    """Whether rounding is all that they differ by."""
    finite = mean[np.isfinite(mean)]
    return bool(finite.size > 1 and np.ptp(finite) <= 1e-12 * np.max(np.abs(finite)))
