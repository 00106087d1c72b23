"""Back to a good checkpoint with a smaller learning rate, in such a way that a kill changes nothing.

A rollback is a note in the work directory. Whoever starts there next, the same process or another,
finds the note, restores the checkpoint it names and sets the learning rate it names; from the first
checkpoint after that on, the learning rate is in the checkpoint itself.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from l1jax.config import InputError
from l1jax.files import write_json

FILE = "rollback.json"
FACTOR = 0.5  # on the learning rate, each time


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
        InputError: if the note cannot be read.
    """
    path = workdir / FILE
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
        return Rollback(int(values["step"]), int(values["count"]), values["useless"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} cannot be read ({error}): it tells which learning rate the run had come down to; restore it, or "
            "delete it to go on with the learning rate of the newest checkpoint."
        ) from error


def plan_rollback(last: Rollback | None, began: int, checkpoints: list[int], most: int) -> Rollback | None:
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
