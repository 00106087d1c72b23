"""The best score of a run so far, and when a run has waited long enough for a better one."""

import math
from typing import Any, NamedTuple

from l1jax.build_optimizer import prunes
from l1jax.config import Config, FlowModel, InputError, Optimizer, Text, Vae
from l1jax.training.observer import Observer

EVALUATED = ("frechet_distance", "precision", "recall", "coverage")  # by evaluations only
HIGHER_IS_BETTER = ("precision", "recall", "coverage", "bound")
BOUND_NAME = "held_out/bound"
GO_ON = "--patience 0, or a larger one, goes on"


class Watched(NamedTuple):
    """The score that chooses the best checkpoint.

    Attributes:
        name: of the metric, as `metrics.jsonl` has it.
        sign: 1 where lower is better, −1 where higher is.
        is_evaluated: whether evaluations compute it, and not every checkpoint.
        begin: step from which scores count; see `first_counted_step`.
    """

    name: str
    sign: int
    is_evaluated: bool
    begin: int


class BestSoFar(NamedTuple):
    """The best score of a run so far; every checkpoint holds it.

    Attributes:
        name: of the metric.
        score: the best one; None if none was finite.
        step: of the best one.
        num_worse: scores since then, none of them better.
    """

    name: str
    score: float | None = None
    step: int | None = None
    num_worse: int = 0


def find_watched(experiment: Config, observer: Observer) -> Watched:
    """Return which score chooses the best checkpoint of a run.

    Args:
        experiment: its `best_by`, its intervals, and what delays the scores that count.
        observer: names the scores.
    """
    evaluates = experiment.evaluate_every > 0
    best_by = experiment.best_by
    if best_by == "bound":
        name = BOUND_NAME
    elif best_by in EVALUATED or (best_by == "kernel_distance" and evaluates):
        name = f"evaluation/{best_by}"
    elif evaluates:
        name = observer.evaluation_name
    else:
        name = observer.score_name
    begin = 0
    if experiment.patience:
        begin = first_counted_step(experiment)
    sign = -1 if best_by in HIGHER_IS_BETTER else 1
    return Watched(name, sign, name.startswith("evaluation/"), begin)


def first_counted_step(experiment: Config) -> int:
    """Return the step from which scores count for patience.

    Before it the networks become sparser by a plan: a strength or a target of zeros rises, a target
    is being reached, pruning goes on, or zeros are not frozen yet. A score of that time may be
    better only because there are fewer zeros. A generator that waits for its discriminator has no
    new scores either.
    """
    optimizers = (experiment.generator, experiment.discriminator, experiment.encoder)
    ends = [_end_of_plan(optimizer) for optimizer in optimizers if optimizer is not None]
    return max(experiment.discriminator_steps_first, *ends)


def _end_of_plan(optimizer: Optimizer) -> int:
    pruning = optimizer.pruning
    if prunes(optimizer):
        end_of_method = {"magnitude": pruning.begin + pruning.steps, "n_of_m": pruning.begin}
        return end_of_method.get(optimizer.method, 0)
    schedule = optimizer.strength_schedule
    end = schedule.warmup
    if schedule.shape != "constant":
        end = max(end, schedule.steps)
    if optimizer.sparsity_target and not optimizer.debias_after:
        end = max(end, optimizer.sparsity_horizon)
    return max(end, optimizer.debias_after)


def check_patience(experiment: Config) -> None:
    """Refuse a score that the run does not have, and patience with nothing to wait for.

    Raises:
        InputError: naming the field.
    """
    best_by = experiment.best_by
    is_text = isinstance(experiment.data, Text)
    if best_by == "bits_per_byte" and not is_text:
        _refuse(best_by, "a score of images, because only text has bits per byte: kernel_distance")
    if is_text and best_by not in ("default", "bits_per_byte"):
        _refuse(best_by, "bits_per_byte, the score of text")
    if best_by == "bound":
        if not isinstance(experiment.model, Vae | FlowModel):
            remedy = "because only a VAE and a flow have a likelihood: kernel_distance"
            _refuse(best_by, f"another score, {remedy}")
        if not experiment.holdout:
            _refuse(best_by, "computed on images that are not trained on: --holdout 0.1 keeps some")
    if best_by in EVALUATED and not experiment.evaluate_every:
        _refuse(best_by, "computed by evaluations: --evaluate-every says how often they are made")
    begin = first_counted_step(experiment)
    if experiment.patience and begin >= experiment.steps:
        raise InputError(
            f"`patience` (={experiment.patience}) has no score to wait for: scores count from step "
            f"{begin:,} on, when schedules of the strength, targets of zeros, pruning and "
            f"debiasing are through, and `steps` (={experiment.steps}) ends before: train for "
            "longer, or let them end earlier."
        )


def _refuse(best_by: str, requirement: str) -> None:
    raise InputError(f"`best_by` (={best_by}) must be {requirement}.")


def with_score(best: BestSoFar, watched: Watched, step: int, score: float) -> BestSoFar:
    """Return the best so far with one more score.

    Args:
        best: before it.
        watched: which score it is.
        step: of the score.
        score: in the units of the metric; a score that is not finite is not better.
    """
    if step < watched.begin:
        return BestSoFar(watched.name)
    if best.step is not None and best.step < watched.begin:
        best = BestSoFar(watched.name)
    is_better = math.isfinite(score) and (
        best.score is None or watched.sign * score < watched.sign * best.score
    )
    if is_better:
        return BestSoFar(watched.name, score, step)
    return best._replace(num_worse=best.num_worse + 1)


def has_run_out(patience: int, best: BestSoFar | None) -> bool:
    """Return whether as many scores as `patience` says came without a better one."""
    return best is not None and 0 < patience <= best.num_worse


def describe_stop(best: BestSoFar, step: int) -> str:
    """Say why a run has stopped before its last step.

    Args:
        best: its best score.
        step: at which it stopped.
    """
    if best.score is None:
        return (
            f"stopped at step {step:,}: {best.name} was not finite {best.num_worse} times in a row"
        )
    return (
        f"stopped at step {step:,}: {best.name} was {best.score:.4g} at step {best.step:,}, and "
        f"none of the {best.num_worse} scores since then was better"
    )


def describe_end(best: BestSoFar, step: int) -> str:
    """Say which checkpoint is the best of a run that came to its last step.

    Args:
        best: its best score.
        step: the last.
    """
    if best.score is None:
        return f"trained to step {step:,}; {best.name} was never finite"
    return (
        f"trained to step {step:,}; the best {best.name} was {best.score:.4g} at step {best.step:,}"
    )


def parse_best(values: Any, place: str) -> BestSoFar | None:
    """Return the best so far that a checkpoint holds; None if it holds none.

    Args:
        values: from its metadata.
        place: the checkpoint, for the error.

    Raises:
        InputError: if no run could have written them.
    """
    if values is None:
        return None
    if isinstance(values, list) and len(values) == len(BestSoFar._fields):
        best = BestSoFar(*values)
        has_score = type(best.score) in (int, float) and type(best.step) is int
        fits = has_score or (best.score is None and best.step is None)
        if fits and isinstance(best.name, str) and type(best.num_worse) is int:
            return best
    raise InputError(
        f"{place} holds `best` (={repr(values)[:80]}), which no run has written: restore the "
        "checkpoint, or move it away to go on from the one before it."
    )
