"""Back to a good checkpoint with a smaller learning rate, in such a way that a kill changes nothing.

A rollback is a note in the work directory. Whoever starts there next, the same process or another,
finds the note, restores the checkpoint it names and sets the learning rate it names; from the first
checkpoint after that on, the learning rate is in the checkpoint itself.
"""

import dataclasses
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import PyTree

from l1jax.config import Config, InputError
from l1jax.files import write_json
from l1jax.reading import UnreadableFileError, read_json
from l1jax.transforms.learning_rate import learning_rate_scales

FILE = "rollback.json"
FACTOR = 0.5  # on the learning rate, each time
BOUNDS: dict[str, Any] = {f.name: f.metadata.get("bounds") for f in dataclasses.fields(Config)}
MOST_STEPS, MOST_ROLLBACKS = BOUNDS["steps"][1], BOUNDS["rollbacks"][1]


class Rollback(NamedTuple):
    """Where a run went back to."""

    step: int
    """Of the checkpoint that it went on from; 0 for the start."""
    count: int
    """How often it has gone back so far: the learning rates are FACTOR^count of the configured ones."""
    useless: int | None
    """Checkpoint that no finite step led on from, to be set aside."""

    @property
    def learning_rate_scale(self) -> float:
        """What the learning rates are multiplied by."""
        return FACTOR**self.count


def read_rollback(workdir: Path) -> Rollback | None:
    """The last rollback of a run, None if there was none.

    Raises:
        InputError: if the note cannot be read, or is none that a run writes.
    """
    path = workdir / FILE
    if not os.path.lexists(path):
        return None
    try:
        values: Any = read_json(path)
    except UnreadableFileError as error:
        raise _unusable(path, f"cannot be read (it {error.reason})") from error
    if not isinstance(values, dict):
        raise _unusable(path, "holds no rollback")
    found: list[Any] = [values.get(name) for name in Rollback._fields]
    step, count, useless = found
    _check(path, "step", step, type(step) is int and 0 <= step < MOST_STEPS)
    _check(path, "count", count, type(count) is int and 1 <= count <= MOST_ROLLBACKS)
    _check(
        path,
        "useless",
        useless,
        useless is None or (type(useless) is int and step < useless < MOST_STEPS),
    )
    return Rollback(step, count, useless)


def count_rollbacks(state: PyTree) -> int:
    """How often the learning rates of a state have been lowered."""
    scales = [float(scale) for scale in learning_rate_scales(state)]
    return round(math.log(min(scales), FACTOR)) if scales and min(scales) > 0 else 0


def refuse_other_run(workdir: Path, rollback: Rollback, step: int, state: PyTree) -> None:
    """Refuse a note that does not go with the state that training is to go on from.

    A state saved after the rollback has its learning rate; an earlier one has that of the same or of an earlier one.

    Raises:
        InputError: if the learning rate is another.
    """
    lowest = np.float32(rollback.learning_rate_scale)
    scales = [float(scale) for scale in learning_rate_scales(state)]
    fits = all(scale == lowest if step > rollback.step else scale >= lowest for scale in scales)
    if not fits:
        why = f"does not go with the checkpoint of step {step:,}, whose learning rate is {min(scales):g} of the given"
        raise _unusable(workdir / FILE, why)


def _check(path: Path, name: str, value: Any, holds: bool) -> None:
    if not holds:
        raise _unusable(path, f"holds `{name}` (={repr(value)[:40]}), which no run has written")


def _unusable(path: Path, why: str) -> InputError:
    return InputError(
        f"{path} {why}: it tells which learning rate the run had come down to; restore it, or delete it to go on with "
        "the learning rate of the newest checkpoint."
    )


def plan_rollback(
    last: Rollback | None, began: int, checkpoints: list[int], most: int
) -> Rollback | None:
    """Where to go back to after a call without a finite step; None if that cannot help.

    The newest checkpoint is good if a finite step led on from it, else the one before it. It cannot
    help where the very first steps were not finite, before any update, or if it was tried `most` times.

    Args:
        last: the rollback before this one.
        began: the step at which the call began.
        checkpoints: steps of all checkpoints.
        most: how many rollbacks a run may have.
    """
    count = (last.count if last else 0) + 1
    if began == 0 or count > most:
        return None
    *older, newest = [0, *sorted(checkpoints)]
    if newest == began:
        return Rollback(older[-1], count, useless=newest)
    return Rollback(newest, count, useless=None)


def write_rollback(workdir: Path, rollback: Rollback) -> None:
    """Leave the note."""
    write_json(workdir / FILE, rollback._asdict())
