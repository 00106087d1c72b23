"""What a training run does between chunks: log, sample grids, health metrics, evaluation."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

from l1jax.config import Config
from l1jax.models import Generator
from l1jax.processes.agreement import count, lead
from l1jax.reporting import sample_picture
from l1jax.training.checkpoint import Checkpoints
from l1jax.training.keys import named_seed_key
from l1jax.training.log import Log
from l1jax.training.loop import CheckpointRequest, ChunkCallbacks, ChunkResult
from l1jax.training.monitoring import make_alarm_monitor, make_health_metrics
from l1jax.training.sample_quality import (
    NUM_METRIC_IMAGES,
    make_checkpoint_metric,
    make_evaluation_metrics,
)
from l1jax.training.sampling import draw_latents, grid_columns, make_sampler
from l1jax.training.state import State, Task
from l1jax.training.weight_histograms import weight_histograms

NUM_GRID_IMAGES = 64
NUM_PLOT_POINTS = 2_000
NUM_HEALTH_IMAGES = 128  # generated for the health metrics

SaveGrid = Callable[[int, State], None]  # (step, state) → None


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
    reference: Shaped[np.ndarray, "n h w c"],
    save_grid: SaveGrid,
    log: Log,
) -> ChunkCallbacks:
    """Build the callbacks of a training run, which process 0 runs.

    Args:
        experiment: how often to do what.
        task: whose averaged generator is evaluated.
        reference: real images, or points, to compare with, in random order.
        save_grid: called every `sample_every` steps and at the end.
        log: where metrics and alarms go.
    """
    generator = task.generator
    checkpoint_metric = make_checkpoint_metric(generator, reference, experiment.seed)
    evaluate = None
    score_name = "kernel_distance"
    if experiment.evaluate_every:
        evaluate = make_evaluation_metrics(generator, reference, experiment.seed)
        score_name = "evaluation/frechet_distance"
    health_metrics = make_health_metrics(generator)
    # The names choose the random numbers of runs that exist, so they stay as they are.
    health_key = named_seed_key(experiment.seed, "probe")
    real = reference[:NUM_METRIC_IMAGES]
    latents = draw_latents(
        generator, named_seed_key(experiment.seed, "judged"), min(NUM_HEALTH_IMAGES, len(real))
    )
    report_alarms = make_alarm_monitor(log.alarm)

    def on_chunk(result: ChunkResult) -> CheckpointRequest | None:
        step = result.step
        state: State = result.state
        values = as_floats(result.metrics)
        if result.seconds_per_step is not None:
            images_per_step = task.batches_per_step * experiment.batch_size
            values["images_per_second"] = images_per_step / result.seconds_per_step
            values["seconds_per_step"] = result.seconds_per_step
        is_last = step == experiment.steps
        if is_last or step % experiment.sample_every == 0:
            save_grid(step, state)
            log.histograms(step, weight_histograms(state, task))
            metrics = health_metrics(state, jnp.asarray(real), latents, health_key)
            values |= as_floats(jax.device_get(metrics))
        report_alarms(step, values)
        if evaluate is not None and (is_last or step % experiment.evaluate_every == 0):
            values |= evaluate(state.average)
        request = None
        is_evaluated = "evaluation/frechet_distance" in values
        if is_last or is_evaluated or step % experiment.checkpoint_every == 0:
            values["kernel_distance"] = checkpoint_metric(state.average)
            request = CheckpointRequest(values.get(score_name, math.inf))
        # The loop saves after this: on resuming, metrics beyond the checkpoint are cut.
        log.metrics(step, values)
        return request

    def score_when_stopped(state: State) -> float:
        if evaluate is not None:
            return math.inf
        return checkpoint_metric(state.average)

    return ChunkCallbacks(on_chunk, score_when_stopped)


def share_callbacks(callbacks: ChunkCallbacks, checkpoints: Checkpoints) -> ChunkCallbacks:
    """Let process 0 run the callbacks of all processes; `on_chunk` raises `NonFiniteError` in all.

    Args:
        callbacks: those of a run.
        checkpoints: the save under way is waited for before a `NonFiniteError`.
    """

    def on_chunk(result: ChunkResult) -> CheckpointRequest | None:
        if result.metrics["skipped"] == result.num_steps:
            checkpoints.wait()
            raise NonFiniteError(result.step - result.num_steps, result.step)

        def find_score() -> float | None:
            request = callbacks.on_chunk(result._replace(state=on_one_device(result.state)))
            if request is None:
                return None
            return request.score

        score = lead(find_score)
        if score is None:
            return None
        return CheckpointRequest(score)

    def score_when_stopped(state: State) -> float:
        return lead(lambda: callbacks.score_when_stopped(on_one_device(state)))

    return ChunkCallbacks(on_chunk, score_when_stopped)


def on_one_device(state: State) -> State:
    """Return the copy of a replicated state that this process alone can compute with."""
    if count() == 1:
        return state
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), state)


def as_floats(metrics: dict[str, np.ndarray]) -> dict[str, float]:
    """Convert scalars on the host to numbers."""
    return {name: float(value) for name, value in metrics.items()}


def make_grid_saver(
    generator: Generator, reference: Shaped[np.ndarray, "n h w c"], seed: int, log: Log
) -> SaveGrid:
    """Build (step, state) → None, which logs a picture of samples of the averaged generator.

    Args:
        generator: whose samples are drawn, always from the same latents.
        reference: real points, shown beside generated ones.
        seed: of the latents.
        log: where the picture goes.
    """
    columns = grid_columns(generator.classes)
    count = NUM_PLOT_POINTS
    if generator.image_range is not None:
        count = NUM_GRID_IMAGES - NUM_GRID_IMAGES % (columns or 1)
    sampler = make_sampler(generator)
    latents = draw_latents(generator, named_seed_key(seed, "grid"), count)
    real = reference[:NUM_METRIC_IMAGES]

    def save_grid(step: int, state: State) -> None:
        log.grid(step, sample_picture(sampler(state.average, latents), real, columns))

    return save_grid


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
