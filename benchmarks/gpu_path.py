"""What do eight strengths in one program cost, beside eight runs?"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import measure as measuring
import numpy as np
from gpu_record import Record, aimed

from l1jax.build import image_shape
from l1jax.cli.experiment_file import load_experiment
from l1jax.data.batches import resident_feed
from l1jax.selection.experiments import with_strength
from l1jax.selection.task_replicas import ImageExamples, image_fold_feed, vectorize_task
from l1jax.training.keys import named_seed_key
from l1jax.training.parallel import make_runner
from l1jax.training.task import make_task

AIM = 0.15  # of the time of as many runs
STRENGTHS = np.geomspace(1e-5, 1e-2, 8)
IMAGES = 2_048
LENGTH = 2_000  # steps of a run, where compiling is counted too


def measure(record: Record, options: argparse.Namespace) -> None:
    """A dense GAN, a VAE and a convolutional GAN."""
    names = ["digits"] if record.smoke else ["digits", "vae_digits", "mnist"]
    for name in names:
        record.attempt(name, partial(path_against_runs, name, record.smoke), needs=20)


def path_against_runs(name: str, smoke: bool) -> dict[str, Any]:
    """Steps of eight strengths in one program against eight times the steps of one."""
    experiment = load_experiment(name)
    shape = image_shape(experiment.data)
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, *shape), np.uint8)
    steps = 5 if smoke else 200
    turns = {
        "path": path_turn(with_strength(experiment, "generator", 1.0), images, steps),
        "run": run_turn(with_strength(experiment, "generator", 1e-4), images, steps),
    }
    first = {}
    for kind, turn in turns.items():
        began = time.perf_counter()
        turn()
        first[kind] = time.perf_counter() - began
    seconds = measuring.alternate(turns, 2 if smoke else 7, warmup=1)
    count = len(STRENGTHS)
    later = {kind: float(np.median(own)) for kind, own in seconds.items()}
    compiling = {kind: first[kind] - later[kind] for kind in turns}
    calls = LENGTH / steps
    whole = (compiling["path"] + calls * later["path"]) / (
        compiling["run"] + count * calls * later["run"]
    )
    return {
        "share_of_the_runs": aimed(
            measuring.quartiles(seconds["path"] / (count * seconds["run"])), at_most=AIM
        ),
        f"share_with_compiling_at_{LENGTH}_steps": whole,
        "milliseconds_per_step": {kind: 1e3 * own / steps for kind, own in later.items()},
        "seconds_to_compile": compiling,
    }


def path_turn(experiment: Any, images: np.ndarray, steps: int) -> Callable[[], None]:
    """Some steps of all strengths."""
    task = make_task(experiment, images.shape[1:])
    feed = image_fold_feed(
        ImageExamples(images, np.zeros(len(images), np.int32)),
        [np.arange(len(images))],
        seed=0,
        batches_per_step=task.batches_per_step,
        batch_size=experiment.batch_size,
    )
    replicas = vectorize_task(
        task,
        len(STRENGTHS),
        feed,
        network="generator",
        start=named_seed_key(0, "parameters"),
        devices=jax.devices()[:1],
    )
    resident = jax.device_put(feed.resident)
    carried = {"state": replicas.init(STRENGTHS)}

    def run() -> None:
        chunk = replicas.put(feed.chunk(0, steps))
        carried["state"], metrics = replicas.run(
            carried["state"], resident, chunk, named_seed_key(0, "training")
        )
        jax.block_until_ready(metrics)

    return run


def run_turn(experiment: Any, images: np.ndarray, steps: int) -> Callable[[], None]:
    """Some steps of one strength, as training makes them."""
    task = make_task(experiment, images.shape[1:])
    feed = resident_feed(images, 0, task.batches_per_step, experiment.batch_size)
    runner = make_runner(task, feed, jax.devices()[:1])
    resident = runner.replicate(feed.resident)
    carried = {"state": runner.replicate(jax.jit(task.init)(named_seed_key(0, "parameters")))}

    def run() -> None:
        chunk = feed.chunk(0, steps)
        carried["state"], metrics = runner.run(
            carried["state"], resident, chunk, named_seed_key(0, "training")
        )
        jax.block_until_ready(metrics)

    return run
