"""How Orbax keeps checkpoints: which, and what happens as one is written."""

import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from l1jax.config import Config
from l1jax.processes.agreement import is_leader
from l1jax.training.checkpoint_files import write_manifest


@dataclass
class KeepBest(policies.PreservationPolicy):
    """Preserves the best checkpoint; that of the smallest stored score until it is known.

    Attributes:
        step: of the best checkpoint; None until it is known.
    """

    step: int | None = None

    def should_preserve(
        self,
        checkpoints: Sequence[Any],  # a protocol of Orbax
        *,
        context: policies.PreservationContext,
    ) -> Sequence[bool]:
        """Return, for each checkpoint, whether it is to be preserved."""
        if self.step is not None:
            return [checkpoint.step == self.step for checkpoint in checkpoints]
        smallest = policies.BestN(get_metric_fn=_score, reverse=True, n=1)
        return smallest.should_preserve(checkpoints, context=context)


def manager_options(
    folder: Path, experiment: Config, keep_best: KeepBest, read_only: bool
) -> ocp.CheckpointManagerOptions:
    """Return how Orbax keeps the checkpoints of a run.

    Args:
        folder: of the checkpoints.
        experiment: says how many are kept.
        keep_best: which one is kept besides the last.
        read_only: change nothing on disk.
    """
    policy: Sequence[policies.PreservationPolicy] = [
        policies.LatestN(experiment.keep_checkpoints),
        keep_best,
    ]
    return ocp.CheckpointManagerOptions(
        best_fn=None if read_only else _score,  # also makes Orbax keep the metric on disk
        best_mode="min",
        preservation_policy=policies.AnyPreservationPolicy(policy),
        cleanup_tmp_directories=not read_only,
        create=not read_only,
        read_only=read_only,
        lightweight_initialize=read_only,  # otherwise Orbax opens files of damaged checkpoints
        async_options=ocp.options.AsyncOptions(
            post_finalization_callback=partial(_write_manifest_once, folder),
            barrier_sync_fn=_make_barrier(),
        ),
    )


def _make_barrier() -> Callable[..., None]:
    """Return Orbax's barrier of a save, which lets a background thread with an error pass.

    It would else wait, in a `finally` clause, for processes that wait elsewhere, and nobody would
    hear of the error.
    """
    wait = ocp.multihost.get_barrier_sync_fn()

    def wait_unless_failed(*, key: str, timeout_ms: int) -> None:
        is_background = threading.current_thread() is not threading.main_thread()
        if not (is_background and sys.exc_info()[0] is not None):
            wait(key=key, timeout_ms=timeout_ms)

    return wait_unless_failed


def _write_manifest_once(folder: Path) -> None:
    if is_leader():
        write_manifest(folder)


def _score(metrics: dict[str, float]) -> float:
    return metrics["score"]
