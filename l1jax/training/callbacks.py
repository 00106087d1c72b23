"""What a training run does between chunks: log, sample grids, health metrics, evaluation."""

import math

import jax
import numpy as np

from l1jax.config import Config
from l1jax.processes.agreement import lead, num_processes
from l1jax.training.checkpoint import Checkpoints
from l1jax.training.log import Log
from l1jax.training.loop import CheckpointRequest, ChunkCallbacks, ChunkResult
from l1jax.training.monitoring import make_alarm_monitor
from l1jax.training.observer import Observer
from l1jax.training.patience import (
    BOUND_NAME,
    BestSoFar,
    find_watched,
    has_run_out,
    with_score,
)
from l1jax.training.state import State, Task
from l1jax.training.weight_histograms import weight_histograms
from l1jax.training.zero_target import make_target_report


class NonFiniteError(RuntimeError):
    """No step of a whole chunk had a finite loss and gradient.

    Attributes:
        first_step: number of steps before the chunk.
        last_step: number of steps after it.
    """

    def __init__(self, first_step: int, last_step: int) -> None:
        super().__init__(
            f"no step from {first_step + 1:,} to {last_step:,} had a finite loss and gradient"
        )
        self.first_step = first_step
        self.last_step = last_step


def make_callbacks(
    experiment: Config,
    task: Task,
    observer: Observer,
    log: Log,
    best: BestSoFar | None = None,
) -> ChunkCallbacks:
    """Build the callbacks of a training run, which process 0 runs.

    Args:
        experiment: how often to do what.
        task: whose averaged generator is evaluated.
        observer: what is looked at, and when samples are written.
        log: where metrics and alarms go.
        best: the best score so far; None if there is none yet.
    """
    evaluates = experiment.evaluate_every > 0
    watched = find_watched(experiment, observer)
    patience = experiment.patience
    best_so_far = BestSoFar(watched.name) if best is None else best
    report_alarms = make_alarm_monitor(log.alarm)
    report_target = make_target_report(experiment, task, log.alarm)

    def on_chunk(result: ChunkResult) -> CheckpointRequest | None:
        nonlocal best_so_far
        step = result.step
        state: State = result.state
        values = as_floats(result.metrics)
        if result.seconds_per_step is not None:
            examples_per_step = task.batches_per_step * experiment.batch_size
            rate = observer.rate_per_example * examples_per_step / result.seconds_per_step
            values[observer.rate_name] = rate
            values["seconds_per_step"] = result.seconds_per_step
        is_last = step == experiment.steps
        if is_last or step % experiment.sample_every == 0:
            observer.show_samples(step, state, log)
            log.histograms(step, weight_histograms(state, task))
            values |= as_floats(jax.device_get(observer.health(state)))
        report_alarms(step, values)
        report_target(step - result.num_steps, step, state)
        is_evaluation_due = evaluates and (is_last or step % experiment.evaluate_every == 0)
        if is_evaluation_due:
            values |= observer.evaluate(state.average)
        request = None
        is_evaluated = observer.evaluation_name in values or (patience and is_evaluation_due)
        if is_last or is_evaluated or step % experiment.checkpoint_every == 0:
            values[observer.score_name] = observer.score(state.average)
            if observer.bound is not None:
                values[BOUND_NAME] = observer.bound(state)
            score = values.get(watched.name, math.nan)
            if is_evaluation_due or not watched.is_evaluated:
                best_so_far = with_score(best_so_far, watched, step, score)
            stops = has_run_out(patience, best_so_far)
            request = CheckpointRequest(watched.sign * score, stops)
        # The loop saves after this: on resuming, metrics beyond the checkpoint are cut.
        log.metrics(step, values)
        return request

    # A run that a signal stops chooses the same checkpoint as one that was never stopped: the
    # checkpoint that is written at the signal has no score.
    return ChunkCallbacks(on_chunk, lambda state: math.inf, lambda: best_so_far)


def lead_callbacks(callbacks: ChunkCallbacks, checkpoints: Checkpoints) -> ChunkCallbacks:
    """Let process 0 run the callbacks of all processes; `on_chunk` raises `NonFiniteError` in all.

    Args:
        callbacks: those of a run.
        checkpoints: the save under way is waited for before a `NonFiniteError`.
    """

    def on_chunk(result: ChunkResult) -> CheckpointRequest | None:
        if result.metrics["skipped"] == result.num_steps:
            checkpoints.wait()
            raise NonFiniteError(result.step - result.num_steps, result.step)

        def find_request() -> list[float | bool] | None:
            request = callbacks.on_chunk(result._replace(state=on_one_device(result.state)))
            return None if request is None else list(request)

        request = lead(find_request)
        return None if request is None else CheckpointRequest(*request)

    def score_when_stopped(state: State) -> float:
        return lead(lambda: callbacks.score_when_stopped(on_one_device(state)))

    def best_so_far() -> BestSoFar | None:
        best = lead(callbacks.best_so_far)
        return None if best is None else BestSoFar(*best)

    return ChunkCallbacks(on_chunk, score_when_stopped, best_so_far)


def on_one_device(state: State) -> State:
    """Return the copy of a replicated state that this process alone can compute with."""
    if num_processes() == 1:
        return state
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), state)


def as_floats(metrics: dict[str, np.ndarray]) -> dict[str, float]:
    """Convert scalars on the host to numbers."""
    return {name: float(value) for name, value in metrics.items()}


def chunk_length(experiment: Config, step: int) -> int:
    """Return the number of steps until a log line, grid, evaluation, checkpoint or the end."""
    intervals = (
        experiment.log_every,
        experiment.sample_every,
        experiment.checkpoint_every,
        experiment.evaluate_every,
    )
    due = [interval - step % interval for interval in intervals if interval]
    return min(experiment.steps - step, *due)
