"""Choose one strength from the scored points of a path."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from l1jax.config import InputError
from l1jax.models import Flow, Gan, Generator, LanguageModel, Vae
from l1jax.processes.agreement import lead
from l1jax.selection.fold_scores import SIGNS
from l1jax.selection.rules import (
    Choice,
    minimum,
    one_standard_error,
    summarize_scores,
    target_sparsity,
    with_end_of_path,
    within_tolerance,
)
from l1jax.selection.score_table import (
    INFORMATION_CRITERIA,
    LIKELIHOOD_CRITERIA,
    ModelSize,
    PathPoint,
    score_table,
)

RATIO_SCORES = ("frechet_distance", "recall", "coverage", "bits_per_byte")
"""A share of these scores has a meaning."""
RESULTS_ARE_KEPT = (
    "All that was trained is kept: the same command with another rule or target chooses from it "
    "without training again; other strengths need another --workdir."
)
CRITERIA = (*SIGNS, *INFORMATION_CRITERIA)


class ChoiceRule(NamedTuple):
    """How a strength is chosen."""

    criterion: str  # of `CRITERIA`
    name: Literal["one-standard-error", "minimum"]
    target_sparsity: float  # share of zeros to reach, instead of the rule; 0 for the rule
    allowed_loss: float  # share by which the score may be worse than dense; 0 for the rule


class Choices(NamedTuple):
    """The strengths that are chosen from a path."""

    chosen: Choice
    minimum: Choice
    one_standard_error: Choice | None  # None where there is only one fold


def check_criterion(criterion: str, model: Gan | Generator | Vae | Flow | LanguageModel) -> str:
    """Return the criterion, or the model's default for "default".

    Raises:
        InputError: if the criterion needs a likelihood and the model has none, or is one of images
            or text and the model is of the other.
    """
    if isinstance(model, LanguageModel):
        if criterion == "default":
            return "bits_per_byte"
        if criterion not in ("bits_per_byte", *INFORMATION_CRITERIA):
            raise InputError(
                f"`--criterion` (={criterion}) must be of text for a model of text: bits_per_byte, "
                f"{', '.join(INFORMATION_CRITERIA[:-1])} or {INFORMATION_CRITERIA[-1]}."
            )
        return criterion
    if criterion == "bits_per_byte":
        raise InputError(
            "`--criterion` (=bits_per_byte) must be of images for a model of images: leave it out "
            "for the model's default."
        )
    if criterion == "default":
        return "log_likelihood" if isinstance(model, Vae) else "kernel_distance"
    if isinstance(model, Vae | Flow) or criterion not in LIKELIHOOD_CRITERIA:
        return criterion
    kind = "a GAN" if isinstance(model, Gan) else "a generator without a likelihood"
    raise InputError(
        f"`--criterion` (={criterion}) must not need a likelihood, and {kind} has none: it only "
        "draws images. Take kernel_distance, an unbiased distance to images that were held out "
        "from training, or frechet_distance, recall or coverage on them; a variational "
        "autoencoder and a flow have a likelihood."
    )


def check_allowed_loss(
    rule: ChoiceRule, criterion: str, *, has_dense: bool, has_halvings: bool
) -> None:
    """Refuse an allowed loss where a share of the score means nothing, or without a dense model.

    Args:
        rule: whose allowed loss.
        criterion: the criterion in words that the user knows.
        has_dense: whether the path has a model without the penalty.
        has_halvings: whether the worse half of the path is stopped early.

    Raises:
        InputError: naming what to give instead.
    """
    if rule.criterion not in RATIO_SCORES:
        raise InputError(
            f"`--worse` (={rule.allowed_loss}) must be 0 where the criterion is {criterion}: such "
            "a score has no zero, so a share of it has no meaning. Add --criterion "
            f"{', '.join(RATIO_SCORES[:-1])} or, of text, {RATIO_SCORES[-1]}; or give --zeros."
        )
    if not has_dense:
        raise InputError(
            f"`--worse` (={rule.allowed_loss}) must be 0 with --no-dense, because it compares with "
            "the dense model, which is then not trained. Leave out --no-dense, or let --strengths "
            "begin with 0."
        )
    if has_halvings:
        raise InputError(
            f"`--worse` (={rule.allowed_loss}) must be 0 with --halvings, because the dense model "
            "that it compares with may be stopped early."
        )


def choose(points: Sequence[PathPoint], rule: ChoiceRule, size: ModelSize, steps: int) -> Choices:
    """Choose among the points that were trained to the end.

    Args:
        points: of the path, from weak to strong. Those that were stopped early are not chosen.
        rule: how to choose.
        size: for information criteria.
        steps: of a strength that was trained to the end.

    Raises:
        InputError: if no point has a score, or none reaches the target.
    """
    strengths = np.array([point.strength for point in points])
    scores = finished_scores(points, score_table(points, rule.criterion, size), steps)
    best = minimum(scores, strengths)
    sparser = None
    if scores.shape[1] > 1 and rule.criterion not in INFORMATION_CRITERIA:
        sparser = one_standard_error(scores, strengths)
    if rule.target_sparsity or rule.allowed_loss:
        chosen = _nearest_to_target(points, scores, strengths, rule)
    elif sparser is not None and rule.name == "one-standard-error":
        chosen = sparser
    else:
        chosen = best
    all_zero = points[-1].zeros == 1
    return Choices(with_end_of_path(chosen, all_zero), with_end_of_path(best, all_zero), sparser)


def agree_on_choices(choose_here: Callable[[], Choices]) -> Choices:
    """Let process 0 choose, and return its choices in all processes.

    Rounding may differ between machines, and then so could choices that each makes by itself.

    Args:
        choose_here: () → the choices of this process; called in process 0 alone.

    Raises:
        InputError: in all processes, if `choose_here` does.
    """

    fields_of_choices = lead(lambda: [_to_json(choice) for choice in choose_here()])
    chosen, best, sparser = (_from_json(fields) for fields in fields_of_choices)
    assert chosen is not None
    assert best is not None
    return Choices(chosen, best, sparser)


def _to_json(choice: Choice | None) -> list[object] | None:
    if choice is None:
        return None
    return [int(choice.index), float(choice.strength), choice.rule, choice.reason]


def _from_json(fields: list[Any] | None) -> Choice | None:
    if fields is None:
        return None
    return Choice(*fields)


def _nearest_to_target(
    points: Sequence[PathPoint],
    scores: Float[np.ndarray, "strengths folds"],
    strengths: Float[np.ndarray, " strengths"],
    rule: ChoiceRule,
) -> Choice:
    """Choose the strength that has the zeros, or the score, that the rule asks for."""
    mean = summarize_scores(scores).mean
    try:
        if rule.allowed_loss:
            return within_tolerance(scores, strengths, dense_score(points, mean), rule.allowed_loss)
        zeros = np.array([point.zeros for point in points])
        zeros[~np.isfinite(mean)] = np.nan
        return target_sparsity(zeros, strengths, rule.target_sparsity)
    except InputError as error:
        text = str(error)
        if RESULTS_ARE_KEPT not in text:
            text += f" {RESULTS_ARE_KEPT}"
        raise InputError(text) from None


def finished_scores(
    points: Sequence[PathPoint], scores: Float[np.ndarray, "strengths folds"], steps: int
) -> Float[np.ndarray, "strengths folds"]:
    """Return the scores, with NaN for points that were stopped before their last step.

    Args:
        points: of the path.
        scores: their scores.
        steps: of a strength that was trained to the end.
    """
    finished = np.array([point.trained >= steps for point in points])
    return np.where(finished[:, None], scores, np.nan)


def dense_score(points: Sequence[PathPoint], mean: Float[np.ndarray, " strengths"]) -> float:
    """Return the mean score without the penalty.

    Raises:
        InputError: if the path has no such point, or a share of its score has no meaning.
    """
    dense = [float(score) for point, score in zip(points, mean, strict=True) if point.strength == 0]
    if not dense:
        raise InputError(
            "`--worse` compares with the dense model: train it too, without --no-dense."
        )
    score = dense[0]
    if not math.isfinite(score):
        raise InputError(
            "`--worse` compares with the dense model, which has no finite score, because its "
            "training diverged: lower the learning rate, or give --zeros instead. "
            f"{RESULTS_ARE_KEPT}"
        )
    if score == 0:
        raise InputError(
            "`--worse` takes a share of the dense model's score, which is 0: train longer, or give "
            f"--zeros or another --criterion instead. {RESULTS_ARE_KEPT}"
        )
    return score
