"""Rules that choose a strength from a table of scores.

The rows of a table are the strengths, from weak to strong, and its columns the folds or seeds.
Lower scores are better.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float64
from numpy.typing import ArrayLike

from l1jax.config import InputError
from l1jax.selection.strengths import check_strengths

Scores: TypeAlias = ArrayLike  # (strengths,) or (strengths, folds)
WEAKEST = "; it is the weakest of the path, and the least may lie beyond"
STRONGEST = "; it is the strongest of the path, and the least may lie beyond"
NOTHING_LEFT = "; it is the strongest of the path, and all that it penalises is 0 there"


class Choice(NamedTuple):
    """A strength of a path."""

    index: int
    strength: float
    rule: str
    reason: str  # a sentence for people


class ScoreSummary(NamedTuple):
    """The scores of each strength, summarized over its folds or seeds."""

    mean: Float64[np.ndarray, " strengths"]  # NaN where a score is not finite
    standard_error: Float64[np.ndarray, " strengths"]  # of the mean; NaN if there is one score


class _Table(NamedTuple):
    strengths: Float64[np.ndarray, " strengths"]
    mean: Float64[np.ndarray, " strengths"]
    standard_error: Float64[np.ndarray, " strengths"]


def summarize_scores(scores: Scores) -> ScoreSummary:
    """Return the mean and standard error of each strength's scores.

    A score that is not finite makes both NaN.
    """
    table = np.asarray(scores, np.float64)
    if table.ndim == 1:
        table = table[:, None]
    num_scores = table.shape[1]
    finite = np.all(np.isfinite(table), axis=1)
    table = np.where(finite[:, None], table, 0)
    mean = np.where(finite, table.mean(axis=1), np.nan)
    if num_scores < 2:
        return ScoreSummary(mean, np.full_like(mean, np.nan))
    error = np.std(table, axis=1, ddof=1) / math.sqrt(num_scores)
    return ScoreSummary(mean, np.where(finite, error, np.nan))


def minimum(scores: Scores, strengths: ArrayLike) -> Choice:
    """Choose the least mean score, and of equal ones the strongest; a NaN is never chosen.

    Raises:
        InputError: if no score is finite, or the strengths do not increase.
    """
    return _minimum(_read_table(scores, strengths))


def one_standard_error(scores: Scores, strengths: ArrayLike) -> Choice:
    """Choose the strongest whose mean score is at most one standard error above the least.

    Raises:
        InputError: if each strength has only one score, no score is finite, or the strengths do
            not increase.

    Source: Breiman, Friedman, Olshen, Stone, Classification and Regression Trees (1984),
    section 3.4.3.
    """
    table = _read_table(scores, strengths)
    best = _minimum(table)
    least = table.mean[best.index]
    error = table.standard_error[best.index]
    if np.isnan(error):
        raise InputError(
            "`scores` must have at least two folds or seeds for each strength to have a standard "
            "error; take `minimum`."
        )
    if _all_equal(table.mean):
        return best._replace(rule="one standard error")
    bound = least + error
    index = int(np.flatnonzero(table.mean <= bound)[-1])
    reason = (
        f"the strongest with a score of at most {bound:.6g}, the least ({least:.6g}) + 1 standard "
        "error"
    )
    return Choice(index, float(table.strengths[index]), "one standard error", reason)


def target_sparsity(zeros: ArrayLike, strengths: ArrayLike, sparsity: float) -> Choice:
    """Choose the weakest strength that reaches a target sparsity.

    Args:
        zeros: the share of zeros at each strength, in [0, 1]; a NaN is never chosen.
        strengths: from weak to strong.
        sparsity: the share of zeros that is wanted, in [0, 1].

    Raises:
        InputError: if no strength has as many zeros, or `sparsity` is not in [0, 1].
    """
    table = _read_table(zeros, strengths)
    if not 0 <= sparsity <= 1:
        raise InputError(
            f"`sparsity` (={sparsity}) must be in [0, 1]: the share of the entries that are zero."
        )
    reached = np.flatnonzero(table.mean >= sparsity)
    if not reached.size:
        raise InputError(
            f"`strengths` (up to {table.strengths[-1]:g}) must reach {sparsity:.2%} zeros, but "
            f"have at most {np.nanmax(table.mean):.2%}: take stronger ones."
        )
    index = int(reached[0])
    reason = f"the weakest with at least {sparsity:.2%} zeros; it has {table.mean[index]:.2%}"
    return Choice(index, float(table.strengths[index]), "enough zeros", reason)


def within_tolerance(
    scores: Scores, strengths: ArrayLike, dense: float, allowed_loss: float
) -> Choice:
    """Choose the strongest strength that is not much worse than the dense model.

    Its mean score is at most allowed_loss·|dense| above the score of the dense model.

    Args:
        scores: lower is better.
        strengths: from weak to strong.
        dense: the score without a penalty.
        allowed_loss: 0.05 allows 5 % worse.

    Raises:
        InputError: if no strength is as good, `dense` is not finite or `allowed_loss` negative.
    """
    table = _read_table(scores, strengths)
    if not (math.isfinite(dense) and allowed_loss >= 0):
        raise InputError(
            f"`dense` (={dense}) must be finite and `allowed_loss` (={allowed_loss}) at least 0."
        )
    bound = dense + allowed_loss * abs(dense)
    good_enough = np.flatnonzero(table.mean <= bound)
    if not good_enough.size:
        raise InputError(
            f"`strengths` (from {table.strengths[0]:g}) must reach a score of {bound:.6g}, "
            f"{allowed_loss:.1%} worse than dense (={dense:.6g}), but the least is "
            f"{np.nanmin(table.mean):.6g}: take weaker ones."
        )
    index = int(good_enough[-1])
    reason = (
        f"the strongest with a score of at most {bound:.6g}, {allowed_loss:.1%} worse than dense; "
        f"it has {table.mean[index]:.6g}"
    )
    return Choice(index, float(table.strengths[index]), "little worse than dense", reason)


def bisect_strength(
    beyond: Callable[[float], bool], low: float, high: float, ratio: float = 1.05
) -> tuple[float, float]:
    """Narrow down, by bisection of the logarithm, where between two strengths a target lies.

    Args:
        beyond: whether a strength is beyond the target, `lambda s: zeros_at(s) >= 0.9` or
            `lambda s: not score_at(s) <= bound`; each call trains. It is taken to be false at
            `low` and true at `high`.
        low: a strength in front of the target, greater than 0.
        high: a strength beyond it.
        ratio: how near the two strengths that are returned are, greater than 1.

    Returns:
        The last strength in front of the target and the first beyond it. For enough zeros take
        the second; for a score that is still good enough take the first.

    Raises:
        InputError: if not 0 < low < high, or the ratio is not greater than 1.

    >>> low, high = bisect_strength(lambda strength: strength >= 0.02, 1e-4, 1.0)
    >>> low < 0.02 <= high, high / low < 1.05
    (True, True)
    """
    if not 0 < low < high < math.inf or not ratio > 1:
        raise InputError(
            f"`low` (={low}), `high` (={high}) and `ratio` (={ratio}) must be 0 < low < high and "
            "ratio > 1."
        )
    while high / low > ratio:
        middle = math.sqrt(low) * math.sqrt(high)
        if beyond(middle):
            high = middle
        else:
            low = middle
    return low, high


def halving_survivors(scores: Scores, keep: int) -> Bool[np.ndarray, " strengths"]:
    """Return which strengths continue after a halving: the `keep` of least mean score, never a NaN.

    They are fewer if fewer scores are finite; of equal ones the strongest continue.

    Raises:
        InputError: if `keep` is not at least 1, or no score is finite.

    Source: Jamieson and Talwalkar, AISTATS 2016, successive halving.
    """
    mean = _finite_summary(scores).mean
    if keep < 1:
        raise InputError(f"`keep` (={keep}) must be at least 1.")
    num_kept = min(keep, int(np.isfinite(mean).sum()))
    strongest_first = np.argsort(mean[::-1], kind="stable")
    survives = np.zeros(len(mean), bool)
    survives[len(mean) - 1 - strongest_first[:num_kept]] = True
    return survives


def with_end_of_path(choice: Choice, all_zero: bool) -> Choice:
    """Say in the choice's reason that nothing lies beyond a strength that leaves no coefficient.

    Args:
        choice: of any rule.
        all_zero: whether the strongest model of the path has no coefficient left.
    """
    if not all_zero or not choice.reason.endswith(STRONGEST):
        return choice
    return choice._replace(reason=choice.reason.removesuffix(STRONGEST) + NOTHING_LEFT)


def _read_table(scores: Scores, strengths: ArrayLike) -> _Table:
    grid = check_strengths(strengths)
    summary = _finite_summary(scores)
    if len(grid) != len(summary.mean):
        raise InputError(
            f"`scores` (of {len(summary.mean)} strengths) must have a row for each of the "
            f"{len(grid)}."
        )
    return _Table(grid, summary.mean, summary.standard_error)


def _finite_summary(scores: Scores) -> ScoreSummary:
    summary = summarize_scores(scores)
    if not np.any(np.isfinite(summary.mean)):
        raise InputError(
            "`scores` must be finite for at least one strength, and none is. If training diverged, "
            "lower the learning rate; if AICc is infinite, because models have as many parameters "
            "as there are examples, take BIC."
        )
    return summary


def _minimum(table: _Table) -> Choice:
    mean = table.mean
    index = int(np.flatnonzero(mean == np.nanmin(mean))[-1])
    if _all_equal(mean):
        index = int(np.flatnonzero(np.isfinite(mean))[-1])
        reason = (
            f"all scores are {mean[index]:.6g}: they do not tell the strengths apart, so the "
            "strongest is taken"
        )
    elif np.isfinite(mean).sum() == 1:
        reason = f"the only score that is finite, {mean[index]:.6g}"
    else:
        reason = f"the least score, {mean[index]:.6g}"
        if index == 0 and table.strengths[0] > 0:  # nothing is weaker than 0
            reason += WEAKEST
        if index == len(mean) - 1:
            reason += STRONGEST
    return Choice(index, float(table.strengths[index]), "minimum", reason)


def _all_equal(mean: Float64[np.ndarray, " strengths"]) -> bool:
    """Whether the scores differ by no more than rounding."""
    finite = mean[np.isfinite(mean)]
    return bool(finite.size > 1 and np.ptp(finite) <= 1e-12 * np.max(np.abs(finite)))
