"""Is it right?

Checks convolutions, a step of every experiment, zeros, transformations, mappings, and a run that
resumes.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from gpu_convolutions import convolutions
from gpu_record import LIMITS, MARGIN, Record, within
from gpu_steps import COMPILERS, compile_for, each_experiment, first_state, relative_error, shrunk

import l1jax
from l1jax.build import image_shape
from l1jax.cli.experiment_file import load_experiment
from l1jax.data.batches import resident_feed
from l1jax.training.keys import named_seed_key
from l1jax.training.parallel import make_runner
from l1jax.training.task import make_task

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # the one list of all transformations


def measure(record: Record, options: argparse.Namespace) -> None:
    """Check everything, what is quick first; the run that is killed goes on beside the rest."""
    with ThreadPoolExecutor(1) as beside:
        resumed = beside.submit(resume_after_kill, record.smoke)
        record.attempt("exact zeros after 200 proximal steps", exact_zeros)
        record.attempt("pmap against shard_map", partial(mappings, record.smoke))
        record.attempt("convolutions", partial(convolutions, record.smoke))
        record.attempt("transformations", partial(transformations, record.smoke))
        each_experiment(record)
        record.attempt(
            "killed and resumed", partial(resumed.result, max(record.seconds_left() - MARGIN, 0))
        )


def exact_zeros() -> dict[str, Any]:
    """Take 200 steps of proximal Adam on ½‖x − z‖² + penalty.

    The minimum is known: which entries are exactly zero.

    Entries of z keep a distance from the threshold, so that 200 steps decide each of them.
    """
    rng = np.random.default_rng(0)
    sizes = np.concatenate([rng.uniform(0.0, 0.6, (300, 32)), rng.uniform(1.5, 3.0, (212, 32))])
    z = (rng.permutation(sizes) * rng.choice([-1, 1], sizes.shape)).astype(np.float32)
    rows = np.sqrt(np.square(z).sum(1, keepdims=True)) / np.sqrt(z.shape[1])
    small_rows = np.broadcast_to(rows < 0.8, z.shape)
    penalties = {
        "l1": (l1jax.l1(1.0), np.abs(z) < 1),
        "elastic_net": (l1jax.elastic_net(1.0, 0.5), np.abs(z) < 1),
        "nonnegative_l1": (l1jax.nonnegative_l1(1.0), z < 1),
        "group_l1": (l1jax.group_l1(1.0, axis=1), small_rows),
    }
    return {name: zeros_of(penalty, z, zero) for name, (penalty, zero) in penalties.items()}


def zeros_of(penalty: Any, z: np.ndarray, zero: np.ndarray) -> dict[str, Any]:
    """Compare the zeros with those of the minimum."""
    tx = l1jax.proximal_adam(0.05, penalty)
    target = jnp.asarray(z)

    @jax.jit
    def train(params: jax.Array) -> jax.Array:
        def step(carry: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], None]:
            params, state = carry
            updates, state = tx.update(params - target, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, tx.init(params)), length=200)[0][0]

    found = np.asarray(train(target))
    right = bool(np.array_equal(found == 0, zero) and not np.any(np.signbit(found[found == 0])))
    return {"zeros": float(np.mean(found == 0)), "expected": float(np.mean(zero)), "passed": right}


def transformations(smoke: bool) -> dict[str, Any]:
    """Take two steps of every transformation on the device and on the CPU.

    Types are kept, each compiles once, and results and zeros are equal.
    """
    from transformations import CASES

    names = list(CASES)[:: 50 if smoke else 1]
    jobs = [(name, dtype) for name in names for dtype in LIMITS]
    with ThreadPoolExecutor(COMPILERS) as pool:
        found = list(pool.map(lambda job: transformation(*job), jobs))
    return {f"{name}, {dtype}": result for (name, dtype), result in zip(jobs, found, strict=True)}


def transformation(name: str, dtype: str) -> dict[str, Any]:
    """One of them."""
    from transformations import CASES, tree

    def run(device: jax.Device) -> tuple[Any, int]:
        with jax.default_device(device):
            tx = CASES[name].make()
            params = tree(0, dtype)
            state = tx.init(params)
            update = compile_for(device, partial(_applied, tx), donate_argnums=(1, 2))
            for seed in (1, 2):
                params, state = update(tree(seed, dtype), state, params)
            return jax.device_get(params), update._cache_size()

    (found, compiled), (expected, _) = run(jax.devices()[0]), run(jax.devices("cpu")[0])
    same_types = jax.tree.map(lambda a: str(a.dtype), found) == jax.tree.map(
        lambda a: dtype, expected
    )
    wide = [
        jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree) for tree in (found, expected)
    ]
    same_zeros = all(
        jax.tree.leaves(jax.tree.map(lambda a, b: np.array_equal(a == 0, b == 0), *wide))
    )
    result = within(relative_error(*wide), LIMITS[dtype])
    passed = result["passed"] and same_types and same_zeros and compiled == 1
    return result | {
        "types_kept": same_types,
        "same_zeros": same_zeros,
        "compiled": compiled,
        "passed": passed,
    }


def _applied(
    tx: optax.GradientTransformation, grads: Any, state: Any, params: Any
) -> tuple[Any, Any]:
    updates, state = tx.update(grads, state, params)
    return optax.apply_updates(params, updates), state


def mappings(smoke: bool) -> dict[str, Any]:
    """Five steps of the digits' GAN under `pmap` and under `jit(shard_map)`."""
    experiment = load_experiment("digits")
    experiment = shrunk(experiment, smoke) if smoke else experiment
    shape = image_shape(experiment.data)
    task = make_task(experiment, shape)
    images = np.random.default_rng(0).integers(0, 256, (256, *shape), np.uint8)
    feed = resident_feed(images, 0, task.batches_per_step, experiment.batch_size)
    start = first_state(task, experiment.seed)

    def after_five(parallel: Any) -> Any:
        runner = make_runner(task, feed, jax.devices()[:1], parallel)
        state, resident = runner.replicate(start), runner.replicate(feed.resident)
        state, _ = runner.run(state, resident, feed.chunk(0, 5), named_seed_key(0, "training"))
        return jax.device_get(state)

    by_pmap, by_shard_map = after_five("pmap"), after_five("shard_map")
    equal = jax.tree.map(np.array_equal, by_pmap, by_shard_map)
    return within(relative_error(by_pmap, by_shard_map), 1e-6) | {
        "identical_bits": all(jax.tree.leaves(equal))
    }


def resume_after_kill(smoke: bool) -> dict[str, Any]:
    """Run the default experiment once as a whole, and once killed and started again.

    The kill comes after the second checkpoint.

    The second run starts when the first one has compiled: it finds that program in the cache, as a
    run that is resumed on its machine does. Compiled anew, XLA may choose other kernels by their
    speed, whose sums round otherwise.
    """
    steps, every = (60, 20) if smoke else (1_000, 100)
    flags = ["--steps", str(steps)]
    flags += [
        part for name in ("log", "sample", "checkpoint") for part in (f"--{name}-every", str(every))
    ]
    if smoke:
        flags += ["--model.generator-hidden", "32", "--model.discriminator-hidden", "32"]
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder, "whole"), Path(folder, "killed")
        uninterrupted = start_training(whole, flags)
        wait_for(lambda: uninterrupted.poll() is not None or bool(committed(whole)))
        victim = start_training(killed, flags)
        wait_for(lambda: victim.poll() is not None or len(committed(killed)) >= 2)
        before = committed(killed)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        check_exit(uninterrupted, whole)
        check_exit(start_training(killed, flags), killed)
        digests = [digest(workdir, steps) for workdir in (whole, killed)]
        interrupted = bool(before) and before[-1] < steps
        same = digests[0] == digests[1]
        return {
            "steps": steps,
            "killed_with_checkpoints": before,
            "same_bits": same,
            "passed": same and interrupted,
        }


def start_training(workdir: Path, flags: list[str]) -> subprocess.Popen:
    command = [sys.executable, "-m", "l1jax.train", "--workdir", str(workdir), *flags]
    environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    with Path(f"{workdir}.log").open("a") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)


def wait_for(happened: Callable[[], bool]) -> None:
    while not happened():
        time.sleep(0.01)


def committed(workdir: Path) -> list[int]:
    """Steps of the checkpoints that are whole."""
    return sorted(
        int(path.name) for path in (workdir / "checkpoints").glob("*") if path.name.isdigit()
    )


def check_exit(process: subprocess.Popen, workdir: Path) -> None:
    if process.wait():
        raise RuntimeError(
            f"training ended with {process.returncode}: "
            f"{Path(f'{workdir}.log').read_text()[-300:]!r}"
        )


def digest(workdir: Path, step: int) -> str:
    """Of all leaves of a checkpoint's state."""
    return json.loads((workdir / "checkpoints" / str(step) / "meta" / "metadata").read_text())[
        "digest"
    ]
