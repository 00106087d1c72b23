"""Checkpoints that are whole, belong to the experiment, and hold the very bits that were saved."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging as absl_logging
from jaxtyping import PyTree
from orbax.checkpoint import checkpoint_managers as policies

from l1jax.config import Config, InputError, from_json, to_json
from l1jax.training.damage import (
    brief,
    damage,
    is_step,
    looks_like_step,
    other_step,
    set_aside,
    write_manifest,
)
from l1jax.training.workdir import refuse_other_experiment

absl_logging.set_verbosity(
    absl_logging.FATAL
)  # Orbax reports every save and every error; we say what matters


class Restored(NamedTuple):
    """A checkpoint that passed every check."""

    step: int
    state: Any


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of a work directory, by step; made by `open_checkpoints`."""

    workdir: Path
    experiment: Config
    fingerprint: str | None
    manager: ocp.CheckpointManager
    say: Callable[[str], None]
    read_only: bool
    damaged: frozenset[int]  # seen to be so, but left where they are

    def save(self, step: int, state: PyTree, score: float) -> None:
        """Start writing a checkpoint in the background; it appears under its name only when whole.

        Args:
            step: its name.
            state: what it holds.
            score: by which the best is kept, lower being better; infinite or NaN where there is none.

        Raises:
            InputError: if an earlier save could not be written, or this one cannot.
        """
        meta = {
            "step": step,
            "config": to_json(self.experiment),
            "fingerprint": self.fingerprint,
            "layout": layout(state),
            "digest": digest(state),
        }
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta))
        metrics = {"score": score if np.isfinite(score) else float(np.finfo("f4").max)}
        self._write(lambda: self.manager.save(step, args=items, metrics=metrics, force=True))

    def wait(self) -> None:
        """Wait for the save in the background.

        Raises:
            InputError: if it could not be written.
        """
        self._write(self.manager.wait_until_finished)

    def steps(self) -> list[int]:
        """Steps of all checkpoints, whole or not, in rising order."""
        return sorted(self.manager.all_steps())

    def set_aside(self, step: int, reason: str) -> None:
        """Move a checkpoint that must not be restored to the work directory's `damaged/`, and say so."""
        set_aside(self._path(step), reason, self.say)
        self.manager.reload()

    def restore(self, template: PyTree, step: int | None = None) -> Restored | None:
        """Restore the newest good checkpoint, or that of `step`; None if there is none.

        A damaged one (truncated, incomplete, bits flipped), or one under another step's name, is set aside under
        `damaged/` and the one before it is tried, so that later saves take effect; nothing is moved when reading only.

        Args:
            template: the state's tree of `ShapeDtypeStruct`s with shardings.
            step: which one; by default the newest.

        Raises:
            InputError: if a checkpoint belongs to another experiment, other images or another
                version of l1jax, or may not be read; or if `step` is not there or damaged.
        """
        if step in self.damaged:
            raise InputError(f"`--step` (={step}) must be a good checkpoint; that one is damaged.")
        found = {own for own in self.manager.all_steps() if is_step(str(own))}
        steps = sorted(found - self.damaged, reverse=True)
        if step is not None and step not in steps:
            raise InputError(f"`--step` (={step}) must be one of the checkpoints: {sorted(steps)}.")
        for candidate in steps if step is None else [step]:
            try:
                return Restored(candidate, self._read(candidate, template))
            except (InputError, MemoryError):
                raise
            except PermissionError as error:
                raise InputError(
                    f"checkpoint {self._path(candidate)} must be readable: {error.strerror}."
                ) from error
            except Exception as error:  # damaged files raise anything, a bare Exception too
                if step is not None:
                    raise InputError(
                        f"checkpoint {self._path(candidate)} is damaged ({brief(error)})."
                    ) from error
                if self.read_only:
                    self.say(
                        f"checkpoint {self._path(candidate)} is damaged ({brief(error)}); trying an older one."
                    )
                else:
                    self.set_aside(candidate, f"is damaged ({brief(error)})")
        return None

    def close(self) -> None:
        """Finish the save under way, if there is one, and release the manager.

        Raises:
            InputError: if that save could not be written.
        """
        self._write(self.manager.close)

    def _path(self, step: int) -> Path:
        return self.workdir / "checkpoints" / str(step)

    def _read(self, step: int, template: PyTree) -> PyTree:
        path = self._path(step)
        meta = self.manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))[
            "meta"
        ]
        refuse_other_experiment(from_json(meta["config"]), self.experiment, path)
        if self.fingerprint not in (None, meta["fingerprint"]):
            raise InputError(
                f"`data` has changed since {path} was written: give the same images or another --workdir."
            )
        if meta["layout"] != layout(template):
            raise InputError(
                f"{path} was written by another version of l1jax: use that version, or another --workdir."
            )
        state = self.manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore(template))
        )["state"]
        if digest(state) != meta["digest"]:
            raise ValueError("its content differs from what was saved")
        reason = other_step(
            int(getattr(state, "step", step)), step
        )  # the metadata of older checkpoints do not tell
        if reason:
            raise ValueError(reason)
        return state

    def _write(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except (
            Exception
        ) as error:  # what the background thread met: full disk, permission, lost mount
            raise InputError(
                f"a checkpoint could not be written to {self.workdir / 'checkpoints'} ({brief(error)}): make room or "
                "permission there and run the same command again; earlier checkpoints are intact."
            ) from error


def open_checkpoints(
    workdir: Path,
    experiment: Config,
    fingerprint: str | None,
    say: Callable[[str], None],
    *,
    read_only: bool = False,
) -> Checkpoints:
    """Open the checkpoints of a work directory: the last `keep_checkpoints` and the best are kept.

    The best is the one with the smallest score.

    Args:
        workdir: the work directory.
        experiment: what is trained; checkpoints of another one are refused.
        fingerprint: of the images; checkpoints of others are refused. None where the images do not matter.
        say: called with a sentence when something is amiss.
        read_only: change nothing on disk.

    Raises:
        InputError: if the folder cannot be read, or damaged checkpoints may not be set aside.
    """
    keep = [
        policies.LatestN(experiment.keep_checkpoints),
        policies.BestN(get_metric_fn=_score, reverse=True, n=1),
    ]
    folder, bad = workdir / "checkpoints", set[int]()
    try:
        candidates = sorted(path for path in folder.iterdir() if looks_like_step(path.name))
    except OSError as error:
        raise InputError(
            f"{folder} must be a folder that can be read: {error.strerror or error}."
        ) from error
    for path in candidates:
        if reason := damage(path):
            bad |= {int(path.name)} if is_step(path.name) else set()
            if read_only:
                say(f"checkpoint {path} is damaged ({reason}).")
            else:
                set_aside(path, f"is damaged ({reason})", say)
    options = ocp.CheckpointManagerOptions(
        best_fn=None if read_only else _score,  # also what makes Orbax keep the metric on disk
        best_mode="min",
        preservation_policy=policies.AnyPreservationPolicy(keep),
        cleanup_tmp_directories=not read_only,
        create=not read_only,
        read_only=read_only,
        lightweight_initialize=read_only,  # else Orbax opens files of damaged ones too
        async_options=ocp.options.AsyncOptions(
            post_finalization_callback=lambda: write_manifest(folder)
        ),
    )
    try:
        manager = ocp.CheckpointManager(folder.absolute(), options=options)
    except (
        Exception
    ) as error:  # what Orbax makes of files in a damaged checkpoint that we may not set aside
        named = ", ".join(map(str, sorted(bad))) or brief(error)
        raise InputError(
            f"{folder} cannot be read because of damaged checkpoints ({named}): the training command sets them aside, "
            "or move them away by hand."
        ) from error
    return Checkpoints(workdir, experiment, fingerprint, manager, say, read_only, frozenset(bad))


def layout(tree: PyTree) -> str:
    """A digest of the paths, shapes and dtypes of a tree."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    names = [
        f"{jax.tree_util.keystr(path)} {leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves
    ]
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()


def digest(tree: PyTree) -> str:
    """A sha256 of every bit of a tree's leaves, in flattening order."""
    sha = hashlib.sha256()
    for leaf in jax.device_get(jax.tree.leaves(tree)):
        sha.update(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data)
    return sha.hexdigest()


def _score(metrics: dict[str, float]) -> float:
    return metrics["score"]
