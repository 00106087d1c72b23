"""From the judged points of a path to one strength."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from l1jax.config import InputError
from l1jax.models import Gan, Generator, Vae
from l1jax.selection.judging import SIGNS
from l1jax.selection.rules import (
    Choice,
    Summary,
    enough_zeros,
    little_worse,
    minimum,
    one_standard_error,
    summarise,
    without_more_beyond,
)
from l1jax.selection.search import INFORMATION, Point, Sizes, scores

RATIOS = ("frechet_distance", "recall", "coverage")  # scores that are 0 where there is nothing
KEPT = (
    "All that was trained is kept: the same command with another rule or target chooses from it without training "
    "again; other strengths need another --workdir."
)
CRITERIA = (*SIGNS, *INFORMATION)


class Rule(NamedTuple):
    """How a strength is chosen."""

    criterion: str  # of `CRITERIA`
    name: Literal["one-standard-error", "minimum"]
    zeros: float  # share wanted, instead of the rule; 0 for the rule
    worse: (
        float  # share by which the score may be worse than that of the dense model; 0 for the rule
    )


class Choices(NamedTuple):
    """What the path's points amount to."""

    chosen: Choice
    minimum: Choice
    one_standard_error: Choice | None  # None where there is but one fold


def check_criterion(criterion: str, model: Gan | Generator | Vae) -> str:
    """The criterion, or the model's own where none is named.

    Raises:
        InputError: if the model lacks the likelihood that it needs.
    """
    if criterion == "default":
        return "log_likelihood" if isinstance(model, Vae) else "kernel_distance"
    if isinstance(model, Vae) or criterion not in (*INFORMATION, "log_likelihood"):
        return criterion
    kind = "a GAN" if isinstance(model, Gan) else "a generator without a likelihood"
    raise InputError(
        f"`--criterion` (={criterion}) must not need a likelihood, and {kind} has none: it only draws images. Take "
        "kernel_distance, an unbiased distance to images that were held out from training, or frechet_distance, "
        "recall or coverage on them; a variational autoencoder has a likelihood."
    )


def check_worse(worse: float, criterion: str, named: str, *, dense: bool, halvings: int) -> None:
    """Refuse --worse where there is no share to be taken, or nothing to take it of.

    Args:
        worse: the share.
        criterion: by which strengths are chosen.
        named: how the user knows it.
        dense: whether the path has a model without the penalty.
        halvings: how often the worse half of the path is left behind.

    Raises:
        InputError: naming what to give instead.
    """
    if criterion not in RATIOS:
        raise InputError(
            f"`--worse` (={worse}) must be 0 where the criterion is {named}: such a score has no zero that a share "
            f"could be taken from. Add --criterion {', '.join(RATIOS[:-1])} or {RATIOS[-1]}, or give --zeros instead."
        )
    if not dense:
        raise InputError(
            f"`--worse` (={worse}) must be 0 with --no-dense: it compares with the dense model, which is then not "
            "trained. Leave out --no-dense, or let --strengths begin with 0."
        )
    if halvings:
        raise InputError(
            f"`--worse` (={worse}) must be 0 with --halvings: the dense model that it compares with may be left behind."
        )


def choose(points: Sequence[Point], rule: Rule, sizes: Sizes, steps: int) -> Choices:
    """Choose among the points that were trained to the end, in order of their strengths.

    Args:
        points: of the path, from weak to strong; those left behind earlier stay unchosen.
        rule: how.
        sizes: for information criteria.
        steps: of a run that was trained to the end.

    Raises:
        InputError: if no point has a score, or none reaches the target.
    """
    strengths = np.array([point.strength for point in points])
    table = finished(points, scores(points, rule.criterion, sizes), steps)
    least = minimum(table, strengths)
    folds = table.shape[1] > 1
    sparser = (
        one_standard_error(table, strengths)
        if folds and rule.criterion not in INFORMATION
        else None
    )
    if rule.zeros or rule.worse:
        chosen = _nearest_to_target(points, table, strengths, rule)
    else:
        chosen = sparser if sparser is not None and rule.name == "one-standard-error" else least
    all_zero = points[-1].zeros == 1
    return Choices(
        without_more_beyond(chosen, all_zero), without_more_beyond(least, all_zero), sparser
    )


def _nearest_to_target(
    points: Sequence[Point],
    table: Float[np.ndarray, "strengths folds"],
    strengths: Float[np.ndarray, " strengths"],
    rule: Rule,
) -> Choice:
    """The strength that has the zeros, or the score, that was asked for."""
    summary = summarise(table)
    zeros = np.array([point.zeros for point in points])
    try:
        if rule.worse:
            return little_worse(table, strengths, dense_score(points, summary), rule.worse)
        return enough_zeros(
            np.where(np.isfinite(summary.mean), zeros, np.nan), strengths, rule.zeros
        )
    except InputError as error:
        text = str(error)
        raise InputError(text if KEPT in text else f"{text} {KEPT}") from None


def finished(
    points: Sequence[Point], table: Float[np.ndarray, "strengths folds"], steps: int
) -> Float[np.ndarray, "strengths folds"]:
    """The scores, with NaN for points that were left behind before their last step."""
    ended = np.array([point.trained >= steps for point in points])
    return np.where(ended[:, None], table, np.nan)


def dense_score(points: Sequence[Point], summary: Summary) -> float:
    """The mean score without the penalty.

    Raises:
        InputError: if the path has no such point, or its score is none to take a share of.
    """
    found = [
        float(mean) for point, mean in zip(points, summary.mean, strict=True) if point.strength == 0
    ]
    if not found:
        raise InputError(
            "`--worse` compares with the dense model: train it too, without --no-dense."
        )
    if not math.isfinite(found[0]):
        raise InputError(
            "`--worse` compares with the dense model, which has no finite score, for its training diverged: lower "
            f"the learning rate, or give --zeros instead. {KEPT}"
        )
    if found[0] == 0:
        raise InputError(
            "`--worse` takes a share of the dense model's score, which is 0: train longer, or give --zeros or another "
            f"--criterion instead. {KEPT}"
        )
    return found[0]
