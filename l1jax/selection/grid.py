"""A grid of values of one number of an experiment, such as γ of its gradient penalties."""

import dataclasses
import itertools
import math
import types
import typing
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from l1jax.config import Adversarial, Config, InputError, check
from l1jax.selection.rules import Choice, summarize_scores

GAMMA = "objective.gamma"  # r1, and r2 and the end of their ramp in proportion
PARTS = ("objective", "generator", "discriminator", "encoder", "model")
EXAMPLE = f"--grid {GAMMA} 0.01 0.05 0.2"


class Grid(NamedTuple):
    """The values that one number of an experiment takes."""

    field: str  # its path, such as "generator.learning_rate", or `GAMMA`
    values: tuple[float, ...]  # they increase


def parse_grid(words: Sequence[str]) -> Grid | None:
    """Read a field and its values; None if there are no words.

    Raises:
        InputError: if there are fewer than two values, or they are no numbers or do not increase.

    >>> parse_grid(["generator.learning-rate", "1e-4", "2e-4"])
    Grid(field='generator.learning_rate', values=(0.0001, 0.0002))
    """
    if not words:
        return None
    field = words[0].replace("-", "_")
    shown = " ".join(words)
    try:
        values = tuple(float(word) for word in words[1:])
    except ValueError:
        raise InputError(
            f"`--grid` (={shown}) must be a field and numbers, such as {EXAMPLE}."
        ) from None
    if len(values) < 2 or not all(map(math.isfinite, values)):
        raise InputError(
            f"`--grid` (={shown}) must have at least two finite values to choose from: {EXAMPLE}."
        )
    if any(after <= before for before, after in itertools.pairwise(values)):
        remedy = " ".join(f"{value:g}" for value in sorted(set(values)))
        raise InputError(f"`--grid` (={shown}) must have values that increase: {remedy}.")
    return Grid(field, values)


def with_value(experiment: Config, field: str, value: float) -> Config:
    """Return the experiment with this value of a number.

    `GAMMA` sets `objective.r1`, and changes `objective.r2` and the end of their ramp in proportion;
    without R1 it sets `objective.r2`.

    Args:
        experiment: what to change.
        field: path of the number, of a network's optimiser, the objective, or what a model drops
            in training.
        value: the new value.

    Raises:
        InputError: if the experiment has no such number, or the value is out of its bounds.
    """
    if field == GAMMA:
        return check(_with_gamma(experiment, value))
    known = dict(_numbers(experiment))
    if field not in known:
        part = field.partition(".")[0]
        near = [name for name in known if name.startswith(f"{part}.")] or list(known)
        if isinstance(experiment.objective, Adversarial):
            near.insert(0, GAMMA)
        raise InputError(
            f"`--grid` (={field}) must name a number that the experiment has: {', '.join(near)}."
        )
    if known[field] is int:
        if value != int(value):
            raise InputError(f"`{field}` (={value:g}) must be whole numbers in --grid.")
        value = int(value)
    return check(_replaced(experiment, field.split("."), value))


def _with_gamma(experiment: Config, value: float) -> Config:
    objective = experiment.objective
    gamma = getattr(objective, "r1", 0) or getattr(objective, "r2", 0)
    if not isinstance(objective, Adversarial) or not gamma:
        raise InputError(
            f"`--grid` (={GAMMA}) needs a GAN with a gradient penalty, whose γ it changes: give a "
            "positive --objective.r1, --objective.r2 or both, which tell their ratio."
        )
    ratio = value / gamma
    ramp = dataclasses.replace(objective.gamma_ramp, end=objective.gamma_ramp.end * ratio)
    changed = dataclasses.replace(
        objective,
        r1=value if objective.r1 else 0.0,
        r2=value if objective.r2 == gamma else objective.r2 * ratio,
        gamma_ramp=ramp,
    )
    return dataclasses.replace(experiment, objective=changed)


def _numbers(experiment: Config) -> list[tuple[str, type]]:
    """List the paths and types of the numbers that a grid can change."""
    found = []
    for part in PARTS:
        found += _numbers_within(getattr(experiment, part), part, only_dropped=part == "model")
    return found


def _numbers_within(value: Any, path: str, *, only_dropped: bool) -> list[tuple[str, type]]:
    if not dataclasses.is_dataclass(value):
        return []
    hints = typing.get_type_hints(type(value))
    found = []
    for field in dataclasses.fields(value):
        name = f"{path}.{field.name}"
        hint = hints[field.name]
        kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        number = next((kind for kind in (float, int) if kind in kinds), None)
        if number is not None and (not only_dropped or field.metadata.get("only_training")):
            found.append((name, number))
        if not only_dropped:
            found += _numbers_within(getattr(value, field.name), name, only_dropped=False)
    return found


def _replaced(part: Any, names: Sequence[str], value: float) -> Any:
    first, *rest = names
    if rest:
        value = _replaced(getattr(part, first), rest, value)
    return dataclasses.replace(part, **{first: value})


def choose_value(scores: Float[np.ndarray, "values folds"], grid: Grid) -> Choice:
    """Choose the value of the least mean score; of equal ones the smallest.

    The reason says if that value is at an end of the grid, and which others are within one standard
    error.

    Args:
        scores: of each value on each fold; lower is better. A NaN is never chosen.
        grid: the values.

    Raises:
        InputError: if no value has a finite score.
    """
    mean, error = summarize_scores(scores)
    if not np.any(np.isfinite(mean)):
        raise InputError(
            f"`--grid` (={grid.field}) has no value whose score is finite: training diverged with "
            "each. Lower the learning rate, or take other values."
        )
    index = int(np.nanargmin(mean))
    reason = f"the least mean score, {mean[index]:.6g}"
    if np.isfinite(mean).sum() == 1:
        reason = f"the only score that is finite, {mean[index]:.6g}"
    near = [
        f"{value:g}"
        for i, value in enumerate(grid.values)
        if i != index and mean[i] <= mean[index] + error[index]
    ]
    if near:
        reason += f"; within one standard error of it: {', '.join(near)}"
    if index == len(mean) - 1:
        reason += "; it is the largest value of the grid, and a larger one may be better"
    elif index == 0 and grid.values[0] > 0:  # most numbers cannot be below 0
        reason += "; it is the smallest value of the grid, and a smaller one may be better"
    return Choice(index, grid.values[index], "minimum", reason)
