"""Checkpoints that are complete, belong to the experiment, and hold the saved bits."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging as absl_logging
from jaxtyping import PyTree

from l1jax.config import Config, InputError, from_json, to_json
from l1jax.processes.agreement import fetch, gather, lead, num_processes
from l1jax.processes.loss import end_as_lost, is_communication_error
from l1jax.processes.storage import is_readable, wait_until
from l1jax.reading import read_json
from l1jax.terminal import Say
from l1jax.training.checkpoint_files import (
    META,
    METRICS,
    brief,
    describe_other_step,
    find_damage,
    is_step,
    looks_like_step,
    set_aside,
)
from l1jax.training.checkpoint_options import KeepBest, manager_options
from l1jax.training.patience import BestSoFar, parse_best
from l1jax.training.stored_state import from_stored, to_stored
from l1jax.training.workdir import refuse_other_experiment

# Orbax logs every save and every error through absl. What matters is reported by this module. The
# level is one for the process: whoever imports this module and logs through absl sets it again.
absl_logging.set_verbosity(absl_logging.FATAL)

SLICED_BYTES = 2**24  # arrays from here on are written in slices, by all devices that hold them
NO_SCORE = float(np.finfo("f4").max)  # stands for infinity, which JSON does not have


class Restored(NamedTuple):
    """A checkpoint that passed every check."""

    step: int
    state: Any


class DamagedError(InputError):
    """A checkpoint that passed the check of its files and still cannot be restored."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"checkpoint {path} is damaged ({reason}).")
        self.reason = f"is damaged ({reason})"


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of a work directory, by step; made by `open_checkpoints`."""

    workdir: Path
    experiment: Config
    fingerprint: str | None
    manager: ocp.CheckpointManager
    say: Say
    read_only: bool
    damaged_steps: frozenset[int]  # known to be damaged, but left where they are
    keep_best: KeepBest = field(default_factory=KeepBest)  # of the manager

    def save(self, step: int, state: PyTree, score: float, best: BestSoFar | None = None) -> None:
        """Start writing a checkpoint in the background; it gets its name only when complete.

        All processes of a run call this together.

        Args:
            step: the checkpoint's name.
            state: what it holds.
            score: of the state, lower being better; infinite or NaN if there is none.
            best: the best score so far, this one included, whose checkpoint is kept; by default
                that of the smallest stored score is.

        Raises:
            InputError: if an earlier save could not be written, or this one cannot.
        """
        stored = to_stored(state)
        meta = {
            "step": step,
            "config": to_json(self.experiment),
            "fingerprint": self.fingerprint,
            "layout": structure_hash(stored),
            "digest": digest(stored),
        }
        if best is not None:
            meta["best"] = list(best)
            self.keep_best.step = best.step
        written = jax.tree.map(_one_copy, stored)
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(written), meta=ocp.args.JsonSave(meta)
        )
        metrics = {"score": score if np.isfinite(score) else NO_SCORE}
        self._write(lambda: self.manager.save(step, args=items, metrics=metrics, force=True))

    def wait(self) -> None:
        """Wait for the save in the background.

        Raises:
            InputError: if it could not be written.
        """
        self._write(self.manager.wait_until_finished)

    def steps(self) -> list[int]:
        """Return the steps of all checkpoints, complete or not, in rising order."""
        # Process 0 looks: another one may see a shared folder as it was some seconds ago.
        return lead(lambda: sorted(self.manager.all_steps()))

    def read_best(self, step: int) -> BestSoFar | None:
        """Return the best score so far that the checkpoint of a step holds; process 0 calls it.

        Raises:
            InputError: if it holds one that no run has written.
        """
        path = self._path(step)
        if not path.exists():
            return None
        return parse_best(read_json(path / META).get("best"), f"checkpoint {path}")

    def smallest_score(self) -> tuple[int, float] | None:
        """Return the step with the smallest stored score, and the score; process 0 calls it."""
        scores = {}
        for step in self.manager.all_steps():
            score = read_json(self._path(step) / METRICS).get("score", NO_SCORE)
            if score < NO_SCORE:
                scores[step] = score
        if not scores:
            return None
        step = min(scores, key=lambda step: scores[step])
        return step, scores[step]

    def set_aside(self, step: int, reason: str) -> None:
        """Move a checkpoint that must not be restored to `damaged/` in the work directory."""
        lead(lambda: set_aside(self._path(step), reason, self.say))
        wait_until(lambda: not self._path(step).exists())
        self.manager.reload()

    def restore(self, template: PyTree, step: int | None = None) -> Restored | None:
        """Restore the newest good checkpoint, or that of `step`.

        A checkpoint is damaged if it is truncated, incomplete, has changed by a bit, or has the
        name of another step. A damaged one is moved to `damaged/`, so that a later save of its
        step takes effect, and the one before it is tried. When reading only, nothing is moved.

        Args:
            template: the state's tree of `ShapeDtypeStruct`s with shardings.
            step: which checkpoint; by default the newest.

        Returns:
            The checkpoint, or None if there is no good one.

        Raises:
            InputError: if a checkpoint belongs to another experiment, other images or another
                version of l1jax, or may not be read; or if `step` is missing or damaged.
        """
        if step in self.damaged_steps:
            raise InputError(f"`--step` (={step}) must be a good checkpoint; that one is damaged.")
        present = {number for number in self.steps() if is_step(str(number))}
        steps = sorted(present - self.damaged_steps, reverse=True)
        if step is not None:
            if step not in steps:
                raise InputError(
                    f"`--step` (={step}) must be one of the checkpoints: {sorted(steps)}."
                )
            return self._restore_one(step, template)
        for candidate in steps:
            try:
                return self._restore_one(candidate, template)
            except DamagedError as error:
                if self.read_only:
                    self.say(
                        f"checkpoint {self._path(candidate)} {error.reason}; trying an older one."
                    )
                else:
                    self.set_aside(candidate, error.reason)
        return None

    def close(self) -> None:
        """Finish the save under way, if there is one, and release the manager.

        Raises:
            InputError: if that save could not be written.
        """
        self._write(self.manager.close)

    def _path(self, step: int) -> Path:
        return self.workdir / "checkpoints" / str(step)

    def _restore_one(self, step: int, template: PyTree) -> Restored:
        """Restore a checkpoint in all processes, or in none.

        Raises:
            InputError: if it may not be used.
            DamagedError: if a process finds it damaged.
        """
        state = None
        reason = None
        self._check_that_all_see(step)
        try:
            state = self._read(step, template)
        except (InputError, MemoryError):
            raise
        except PermissionError as error:
            raise InputError(
                f"checkpoint {self._path(step)} must be readable: {error.strerror}."
            ) from error
        except Exception as error:  # damaged files raise anything, even a bare Exception
            if is_communication_error(error):
                end_as_lost(error)
            reason = brief(error)
        reasons = [each for each in gather(reason) if each is not None]
        if reasons:
            raise DamagedError(self._path(step), reasons[0])
        return Restored(step, state)

    def _check_that_all_see(self, step: int) -> None:
        """Refuse a checkpoint that some process cannot read, which then could not take part.

        Raises:
            InputError: naming the process.
        """
        if num_processes() == 1:
            return
        path = self._path(step) / META
        blind = [process for process, sees in enumerate(gather(is_readable(path))) if not sees]
        if blind and len(blind) < num_processes():
            raise InputError(
                f"checkpoint {self._path(step)} must be readable by all processes, and process "
                f"{blind[0]} of {num_processes()} cannot read it: give them one storage and one "
                "user."
            )

    def _read(self, step: int, template: PyTree) -> PyTree:
        path = self._path(step)
        stored_template = to_stored(template)
        meta_args = ocp.args.Composite(meta=ocp.args.JsonRestore())
        meta = self.manager.restore(step, args=meta_args)["meta"]
        refuse_other_experiment(from_json(meta["config"]), self.experiment, path)
        if self.fingerprint not in (None, meta["fingerprint"]):
            raise InputError(
                f"`data` has changed since {path} was written: give the same images or another "
                "--workdir."
            )
        if meta["layout"] != structure_hash(stored_template):
            raise InputError(
                f"{path} was written by another version of l1jax: use that version, or another "
                "--workdir."
            )
        state_args = ocp.args.Composite(state=ocp.args.StandardRestore(stored_template))
        stored = self.manager.restore(step, args=state_args)["state"]
        if digest(stored) != meta["digest"]:
            raise ValueError("its content differs from what was saved")
        # Checkpoints written before the metadata named the step name it in the state only.
        reason = describe_other_step(int(getattr(stored, "step", step)), step)
        if reason:
            raise ValueError(reason)
        return from_stored(stored)

    def _write(self, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:  # of the background thread: full disk, permission, lost mount
            if is_communication_error(error):
                end_as_lost(error)
            raise InputError(
                f"a checkpoint could not be written to {self.workdir / 'checkpoints'} "
                f"({brief(error)}): make room or permission there and run the same command again; "
                "earlier checkpoints are intact."
            ) from error


def open_checkpoints(
    workdir: Path,
    experiment: Config,
    fingerprint: str | None,
    say: Say,
    *,
    read_only: bool = False,
) -> Checkpoints:
    """Open the checkpoints of a work directory, and set damaged ones aside.

    The last `keep_checkpoints` and the one with the smallest score are kept.

    Args:
        workdir: the work directory.
        experiment: what is trained; checkpoints of another one are refused.
        fingerprint: of the images; checkpoints of others are refused. None if the images do not
            matter.
        say: called with a sentence when something is amiss.
        read_only: change nothing on disk.

    Raises:
        InputError: if the folder cannot be read, or damaged checkpoints may not be set aside.
    """
    folder = workdir / "checkpoints"
    damaged_steps = lead(lambda: sorted(_handle_damaged(folder, say, read_only)))
    keep_best = KeepBest()
    try:
        manager = ocp.CheckpointManager(
            folder.absolute(), options=manager_options(folder, experiment, keep_best, read_only)
        )
    except Exception as error:  # raised by Orbax for damaged files that may not be set aside
        names = ", ".join(map(str, damaged_steps)) or brief(error)
        raise InputError(
            f"{folder} cannot be read because of damaged checkpoints ({names}): the training "
            "command sets them aside, or move them away by hand."
        ) from error
    damaged = frozenset(damaged_steps)
    return Checkpoints(
        workdir, experiment, fingerprint, manager, say, read_only, damaged, keep_best
    )


def _handle_damaged(folder: Path, say: Say, read_only: bool) -> set[int]:
    """Report damaged checkpoints and set them aside, or leave them; return their steps."""
    damaged_steps = set[int]()
    try:
        candidates = sorted(path for path in folder.iterdir() if looks_like_step(path.name))
    except OSError as error:
        raise InputError(
            f"{folder} must be a folder that can be read: {error.strerror or error}."
        ) from error
    for path in candidates:
        reason = find_damage(path)
        if reason is None:
            continue
        if is_step(path.name):
            damaged_steps.add(int(path.name))
        if read_only:
            say(f"checkpoint {path} is damaged ({reason}).")
        else:
            set_aside(path, f"is damaged ({reason})", say)
    return damaged_steps


def _one_copy(leaf: Any) -> Any:
    """Return the first device's copy of a small array of which every device holds all.

    Orbax lets each device write a slice of such an array, which takes longer than the writing.
    Several processes save the array as it is: only they know together who writes.
    """
    if not isinstance(leaf, jax.Array) or num_processes() > 1:
        return leaf
    if leaf.is_fully_replicated and leaf.nbytes < SLICED_BYTES:
        return leaf.addressable_data(0)
    return leaf


def structure_hash(tree: PyTree) -> str:
    """Hash the paths, shapes and dtypes of a tree."""
    names = [
        f"{jax.tree_util.keystr(path)} {leaf.dtype}{list(leaf.shape)}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()


def digest(tree: PyTree) -> str:
    """Hash every bit of a tree's leaves, in flattening order."""
    sha = hashlib.sha256()
    for leaf in fetch(jax.tree.leaves(tree)):
        sha.update(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data)
    return sha.hexdigest()
