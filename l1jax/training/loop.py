"""The loop: compiled chunks of steps, and between them metrics, grids and checkpoints."""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

from l1jax.config import Config
from l1jax.evaluation import kernel_distance
from l1jax.reporting import sample_picture, save_image
from l1jax.training.checkpoint import Checkpoints
from l1jax.training.log import Log
from l1jax.training.parallel import Runner
from l1jax.training.probe import make_probe, make_watch
from l1jax.training.sampling import draw_latents, grid_columns, make_sampler
from l1jax.training.state import State, Task
from l1jax.training.task import stream

GRID = 64  # images of a sample grid
POINTS = 2_000  # points of a plot of them
JUDGED = 512  # images, real and generated each, that the kernel distance looks at
PROBED = 128  # images that a look at the generator's health takes


class NotFinite(RuntimeError):
    """No step of a whole call had a finite loss and gradient; `began` is where it began, `step` where it ended."""

    def __init__(self, began: int, step: int) -> None:
        super().__init__(f"no step from {began + 1:,} to {step:,} had a finite loss and gradient")
        self.began, self.step = began, step


class Stopped(NamedTuple):
    """How far the loop came, and the signal that stopped it, if any."""

    step: int
    signal: int | None


def train(
    experiment: Config,
    task: Task,
    runner: Runner,
    state: State,
    resident: object,
    next_chunk: Callable[[int, int], object],
    reference: Shaped[np.ndarray, "n h w c"],
    workdir: Path,
    checkpoints: Checkpoints,
    log: Log,
) -> Stopped:
    """Train from `state` to `experiment.steps`, saving on the way and when told to stop.

    Args:
        experiment: steps and how often to do what.
        task: for its generator.
        runner: the compiled steps.
        state: on the devices; donated.
        resident: data that stays on the devices.
        next_chunk: (first step, steps) → the batches of these steps.
        reference: real images for the kernel distance, or points.
        workdir: where samples go.
        checkpoints: where the state goes.
        log: where the metrics go.

    Raises:
        NotFinite: if no step of a whole call was finite.
        InputError: if a checkpoint cannot be written.
    """
    key, sampler = stream(experiment.seed, "training"), make_sampler(task.generator)
    columns = grid_columns(task.generator.classes)
    shown = GRID - GRID % (columns or 1) if task.generator.image_range is not None else POINTS
    grid_latents = draw_latents(task.generator, stream(experiment.seed, "grid"), shown)
    judged = min(JUDGED, len(reference))
    judged_latents = draw_latents(task.generator, stream(experiment.seed, "judged"), judged)

    def save_grid(step: int, state: State) -> None:
        samples = sampler(state.average, grid_latents)
        save_image(sample_picture(samples, reference, columns), workdir / "samples" / f"step_{step:06d}.png")

    probe, probe_key, watch = make_probe(task.generator), stream(experiment.seed, "probe"), make_watch(log.say)

    def judge(state: State) -> float:
        return pixel_kernel_distance(sampler(state.average, judged_latents), reference)

    compiled = set[int]()
    step = saved = int(state.step)
    if step == 0:
        save_grid(0, state)
    with stop_requests(log.say) as requests:
        count = chunk_length(experiment, step)
        chunk = next_chunk(step, count) if count else None
        while step < experiment.steps and not requests:
            began = time.perf_counter()
            state, metrics = runner.run(state, resident, chunk, key)
            step, following = step + count, chunk_length(experiment, step + count)
            chunk = next_chunk(step, following) if following else None  # while the devices work
            values = {name: float(value) for name, value in jax.device_get(metrics).items()}
            seconds = time.perf_counter() - began
            if values["skipped"] == count:
                checkpoints.wait()
                raise NotFinite(step - count, step)
            if count in compiled:  # the first call of a length compiles: its time says nothing of speed
                images = count * task.draws * experiment.batch_size
                values |= {"images_per_second": images / seconds, "seconds_per_step": seconds / count}
            compiled.add(count)
            last = step == experiment.steps
            if last or step % experiment.sample_every == 0:
                save_grid(step, state)
                found = jax.device_get(probe(state, jnp.asarray(reference), judged_latents[:PROBED], probe_key))
                values |= {name: float(value) for name, value in found.items()}
                watch(step, values)
            if saving := last or step % experiment.checkpoint_every == 0:
                values["kernel_distance"] = judge(state)
            log.metrics(step, values)  # before the checkpoint: what is beyond it is cut on resuming
            if saving:
                checkpoints.save(step, state, values["kernel_distance"])
                saved = step
            count = following
    if step != saved:
        checkpoints.save(step, state, judge(state))
    checkpoints.wait()
    return Stopped(step, requests[0] if requests else None)


def chunk_length(experiment: Config, step: int) -> int:
    """Steps until the next thing to do: a line of metrics, a grid, a checkpoint or the end."""
    every = (experiment.log_every, experiment.sample_every, experiment.checkpoint_every)
    return min(experiment.steps - step, *(period - step % period for period in every))


def pixel_kernel_distance(a: Shaped[np.ndarray, "n h w c"], b: Shaped[np.ndarray, "m h w c"]) -> float:
    """Kernel distance of two sets of images on their pixels in [-1, 1], or of points; infinite where there is none."""
    if min(len(a), len(b)) < 2:
        return math.inf

    def features(images: Shaped[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n features"]:
        flat = images.reshape(len(images), -1)
        return flat.astype(np.float32) / 127.5 - 1 if images.dtype == np.uint8 else flat

    distance = float(kernel_distance(jnp.asarray(features(a)), jnp.asarray(features(b))))
    return distance if math.isfinite(distance) else math.inf


@contextmanager
def stop_requests(say: Callable[[str], None]) -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of them; a second one is not caught."""
    received: list[int] = []
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def receive(number: int, frame: object) -> None:
        received.append(number)
        restore()
        say("stopping after the steps under way, then saving; once more to stop at once.")

    for number in previous:
        signal.signal(number, receive)
    try:
        yield received
    finally:
        restore()
