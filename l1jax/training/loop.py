"""The loop: compiled chunks of steps, and between them metrics, grids and checkpoints."""

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

from l1jax.config import Config
from l1jax.reporting import sample_picture, save_image
from l1jax.training.checkpoint import Checkpoints
from l1jax.training.judge import JUDGED, make_evaluation, make_judge
from l1jax.training.log import Log
from l1jax.training.parallel import Runner
from l1jax.training.probe import make_probe, make_watch
from l1jax.training.sampling import draw_latents, grid_columns, make_sampler
from l1jax.training.state import State, Task
from l1jax.training.task import stream

GRID = 64  # images of a sample grid
POINTS = 2_000  # points of a plot of them
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
        reference: real images to judge by, or points, in random order.
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
    judge = make_judge(task.generator, reference, experiment.seed)
    evaluate = (
        make_evaluation(task.generator, reference, experiment.seed)
        if experiment.evaluate_every
        else None
    )
    reference = reference[:JUDGED]
    probed_latents = draw_latents(
        task.generator, stream(experiment.seed, "judged"), min(PROBED, len(reference))
    )

    def save_grid(step: int, state: State) -> None:
        samples = sampler(state.average, grid_latents)
        save_image(
            sample_picture(samples, reference, columns),
            workdir / "samples" / f"step_{step:06d}.png",
        )

    probe, probe_key, watch = (
        make_probe(task.generator),
        stream(experiment.seed, "probe"),
        make_watch(log.say),
    )

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
            if (
                count in compiled
            ):  # the first call of a length compiles: its time says nothing of speed
                images = count * task.draws * experiment.batch_size
                values |= {
                    "images_per_second": images / seconds,
                    "seconds_per_step": seconds / count,
                }
            compiled.add(count)
            last = step == experiment.steps
            if last or step % experiment.sample_every == 0:
                save_grid(step, state)
                found = jax.device_get(
                    probe(state, jnp.asarray(reference), probed_latents, probe_key)
                )
                values |= {name: float(value) for name, value in found.items()}
            watch(step, values)
            if evaluate and (last or step % experiment.evaluate_every == 0):
                values |= evaluate(state.average)
            if (
                saving := last
                or step % experiment.checkpoint_every == 0
                or "evaluation/frechet_distance" in values
            ):
                values["kernel_distance"] = judge(state.average)
            log.metrics(step, values)  # before the checkpoint: what is beyond it is cut on resuming
            if saving:
                score = "evaluation/frechet_distance" if evaluate else "kernel_distance"
                checkpoints.save(step, state, values.get(score, math.inf))
                saved = step
            count = following
        if step != saved:
            checkpoints.save(step, state, math.inf if evaluate else judge(state.average))
        checkpoints.wait()
    return Stopped(step, requests[0] if requests else None)


def chunk_length(experiment: Config, step: int) -> int:
    """Steps until the next thing to do: a line of metrics, a grid, a checkpoint or the end."""
    every = (
        experiment.log_every,
        experiment.sample_every,
        experiment.checkpoint_every,
        experiment.evaluate_every,
    )
    return min(experiment.steps - step, *(period - step % period for period in every if period))


@contextmanager
def stop_requests(say: Callable[[str], None]) -> Iterator[list[int]]:
    """Collect SIGINT, SIGTERM and SIGHUP instead of dying of them.

    A second SIGINT or SIGTERM is not caught. Any number of SIGHUPs is: a terminal that closes sends several. Where
    the parent ignores SIGHUP, as nohup does, it stays ignored.
    """
    received: list[int] = []
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    hangup = getattr(signal, "SIGHUP", None)  # Windows has none
    caught = dict(previous)
    if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:
        caught[hangup] = signal.getsignal(hangup)

    def restore(handlers: Mapping[Any, Any]) -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def receive(number: int, frame: object) -> None:
        first = not received
        received.append(number)
        if number != hangup:
            restore(previous)
        if first:
            with suppress(RuntimeError):  # the signal came in the middle of a line
                say("stopping after the steps under way, then saving; once more to stop at once.")

    for number in caught:
        signal.signal(number, receive)
    try:
        yield received
    finally:
        restore(caught)
