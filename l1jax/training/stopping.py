"""Which checkpoint of a run that has ended is used, and why the run ended: `best.json`."""

import os
from pathlib import Path
from typing import Any, NamedTuple

from l1jax.config import InputError
from l1jax.files import write_json
from l1jax.reading import UnreadableFileError, read_json
from l1jax.terminal import Say
from l1jax.training.checkpoint import Checkpoints
from l1jax.training.patience import BestSoFar, Watched, describe_end, describe_stop

BEST_FILE = "best.json"
REMEDY = "restore it, or delete it to use the newest checkpoint"


class RunEnd(NamedTuple):
    """How a run with patience ended.

    Attributes:
        step: of the checkpoint that the commands use: the best.
        ended_at: step at which training ended.
        reason: one sentence, without a full stop.
    """

    step: int
    ended_at: int
    reason: str


def resume_best(
    checkpoints: Checkpoints, first_step: int, watched: Watched, say: Say
) -> BestSoFar | None:
    """Return the best score so far of a run that begins or is resumed; process 0 calls it.

    Args:
        checkpoints: of the run.
        first_step: number of steps so far.
        watched: which score chooses.
        say: called with a sentence if scores so far do not count, being others.

    Raises:
        InputError: if the checkpoint holds one that no run has written.
    """
    if first_step == 0:
        return None
    best = checkpoints.read_best(first_step)
    if best is None:  # written by an earlier version
        smallest = checkpoints.smallest_score()
        if smallest is None:
            return None
        step, score = smallest
        return BestSoFar(watched.name, watched.sign * score, step)
    if best.name != watched.name:
        say(
            f"the best checkpoint was chosen by {best.name} so far, and is chosen by "
            f"{watched.name} from step {first_step:,} on; scores before it do not count."
        )
        return None
    return best


def write_end(
    workdir: Path, checkpoints: Checkpoints, best: BestSoFar, step: int, last: int
) -> str:
    """Write which checkpoint is used, and say it in one sentence; process 0 calls it.

    Args:
        workdir: of the run.
        checkpoints: of the run.
        best: its best score.
        step: at which training ended.
        last: the last step that the run was to have.

    Returns:
        The sentence.
    """
    reason = describe_end(best, step) if step == last else describe_stop(best, step)
    used = step
    if best.step is not None and best.step in checkpoints.manager.all_steps():
        used = best.step
        reason += f"; sample, evaluate and export use step {used:,}"
    elif best.step is not None:
        reason += f"; its checkpoint is gone, and sample, evaluate and export use step {used:,}"
    values = {"score": best.name, "best": best.score, **RunEnd(used, step, reason)._asdict()}
    write_json(workdir / BEST_FILE, values)
    return reason


def forget_end(workdir: Path) -> None:
    """Delete the note of a run that goes on, so that the commands use its newest checkpoint."""
    (workdir / BEST_FILE).unlink(missing_ok=True)


def read_end(workdir: Path) -> RunEnd | None:
    """Read how a run with patience ended; None if it has not, or has no patience.

    Raises:
        InputError: if the note cannot be read, or no run could have written it.
    """
    path = workdir / BEST_FILE
    if not os.path.lexists(path):
        return None
    try:
        values: Any = read_json(path)
    except UnreadableFileError as error:
        raise InputError(f"{path} cannot be read (it {error.reason}): {REMEDY}.") from error
    if not isinstance(values, dict):
        raise InputError(
            f"{path} must hold an object that says which checkpoint is best: {REMEDY}."
        )
    kinds = {"step": int, "ended_at": int, "reason": str}
    for name, kind in kinds.items():
        if type(values.get(name)) is not kind:
            shown = repr(values.get(name))[:40]
            raise InputError(
                f"{path} holds `{name}` (={shown}), which no run has written: {REMEDY}."
            )
    return RunEnd(*(values[name] for name in RunEnd._fields))
