"""Go back to a good checkpoint with a smaller learning rate.

A run that is killed in between ends the same.

A rollback is a note in the work directory. Whatever process starts there next finds the note,
restores the checkpoint that it names and sets the learning rate that it names. From the first
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

ROLLBACK_FILE = "rollback.json"
ABANDONED_KEY = "useless"  # name of `abandoned_step` in that file
LEARNING_RATE_FACTOR = 0.5  # on the learning rate, each time
BOUNDS: dict[str, Any] = {
    field.name: field.metadata.get("bounds") for field in dataclasses.fields(Config)
}
MAX_STEPS: int = BOUNDS["steps"][1]
MAX_ROLLBACKS: int = BOUNDS["rollbacks"][1]


class Rollback(NamedTuple):
    """Where a run went back to."""

    step: int
    """Step of the checkpoint that training was resumed from; 0 for the start."""
    count: int
    """Number of rollbacks so far. The learning rates are the configured ones times
    LEARNING_RATE_FACTOR^count."""
    abandoned_step: int | None
    """Step of the checkpoint from which no finite step led on, to be set aside."""

    @property
    def learning_rate_scale(self) -> float:
        """Factor on the configured learning rates."""
        return LEARNING_RATE_FACTOR**self.count


def read_rollback(workdir: Path) -> Rollback | None:
    """Read the last rollback of a run; None if there was none.

    Raises:
        InputError: if the note cannot be read, or no run could have written it.
    """
    path = workdir / ROLLBACK_FILE
    if not os.path.lexists(path):
        return None
    try:
        values: object = read_json(path)
    except UnreadableFileError as error:
        raise _unusable(path, f"cannot be read (it {error.reason})") from error
    if not isinstance(values, dict):
        raise _unusable(path, "holds no rollback")
    step: Any = values.get("step")
    count: Any = values.get("count")
    abandoned_step: Any = values.get(ABANDONED_KEY)
    if not (type(step) is int and 0 <= step < MAX_STEPS):
        raise _impossible(path, "step", step)
    if not (type(count) is int and 1 <= count <= MAX_ROLLBACKS):
        raise _impossible(path, "count", count)
    if abandoned_step is not None and not (
        type(abandoned_step) is int and step < abandoned_step < MAX_STEPS
    ):
        raise _impossible(path, ABANDONED_KEY, abandoned_step)
    return Rollback(step, count, abandoned_step)


def write_rollback(workdir: Path, rollback: Rollback) -> None:
    """Write the note."""
    values = {
        "step": rollback.step,
        "count": rollback.count,
        ABANDONED_KEY: rollback.abandoned_step,
    }
    write_json(workdir / ROLLBACK_FILE, values)


def plan_rollback(
    last: Rollback | None, first_step: int, checkpoint_steps: list[int], max_rollbacks: int
) -> Rollback | None:
    """Decide where to go back to after a chunk without a finite step; None if that cannot help.

    The newest checkpoint is good if a finite step led on from it, otherwise the one before it is.
    Going back cannot help if the very first steps were not finite, before any update, or if it
    was tried `max_rollbacks` times.

    Args:
        last: the rollback before this one.
        first_step: number of steps before the chunk.
        checkpoint_steps: of all checkpoints.
        max_rollbacks: that a run may have.
    """
    count = 1
    if last is not None:
        count = last.count + 1
    if first_step == 0 or count > max_rollbacks:
        return None
    *older, newest = [0, *sorted(checkpoint_steps)]
    if newest == first_step:
        return Rollback(older[-1], count, abandoned_step=newest)
    return Rollback(newest, count, abandoned_step=None)


def count_rollbacks(state: PyTree) -> int:
    """Return how often the learning rates of a state have been lowered."""
    scales = [float(scale) for scale in learning_rate_scales(state)]
    if not scales or min(scales) <= 0:
        return 0
    return round(math.log(min(scales), LEARNING_RATE_FACTOR))


def refuse_other_run(workdir: Path, rollback: Rollback, step: int, state: PyTree) -> None:
    """Refuse a note that does not go with the state that training starts from.

    A state saved after the rollback has its learning rate. An earlier state has that of this
    rollback or of one before it.

    Args:
        workdir: of the run.
        rollback: the note.
        step: number of steps of the state.
        state: with its learning rates.

    Raises:
        InputError: if the learning rate is another one.
    """
    lowest = np.float32(rollback.learning_rate_scale)
    scales = [float(scale) for scale in learning_rate_scales(state)]
    if step > rollback.step:
        fits = all(scale == lowest for scale in scales)
    else:
        fits = all(scale >= lowest for scale in scales)
    if not fits:
        raise _unusable(
            workdir / ROLLBACK_FILE,
            f"does not go with the checkpoint of step {step:,}, whose learning rate is "
            f"{min(scales):g} of the given",
        )


def _impossible(path: Path, name: str, value: object) -> InputError:
    return _unusable(path, f"holds `{name}` (={repr(value)[:40]}), which no run has written")


def _unusable(path: Path, reason: str) -> InputError:
    return InputError(
        f"{path} {reason}: it tells which learning rate the run had come down to; restore it, or "
        "delete it to go on with the learning rate of the newest checkpoint."
    )
