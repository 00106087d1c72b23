"""How fast is a training step?

Measured are images per second beside PyTorch, and the share of what the chip can do.
"""

import argparse
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import measure as measuring
import numpy as np
import training
from gpu_record import Record, aimed
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from l1jax import config
from l1jax.data.batches import Batch, Feed, resident_feed
from l1jax.data.opening import open_source
from l1jax.data.streaming import streaming_feed
from l1jax.models.network import AXIS
from l1jax.training.parallel import make_runner
from l1jax.training.task import make_task

AIM = 1.5  # times PyTorch's images per second
ROUNDS = 5
IMAGES_PER_TURN = 6_400  # so many that starting a call costs nothing beside them
EAGER = "torch eager channels-last"
COMPILED = "torch compiled channels-last"


class Job(NamedTuple):
    """A case of `training.py` at a batch size and a precision."""

    name: str
    batch: int
    dtype: str

    def label(self) -> str:
        """As the results name it."""
        return f"{self.name}, batch {self.batch}, {self.dtype}"


JOBS = [
    *(Job("dcgan64", batch, dtype) for batch in (64, 512) for dtype in ("float32", "bfloat16")),
    *(Job(name, 64, "float32") for name in ("sn_resnet32", "vae", "mlp_gan", "dcgan28")),
    *(Job(name, 512, "bfloat16") for name in ("sn_resnet32", "vae", "mlp_gan", "dcgan28")),
    *(Job(name, 512, "float32") for name in ("sn_resnet32", "vae", "mlp_gan", "dcgan28")),
    *(Job(name, 64, "bfloat16") for name in ("sn_resnet32", "vae", "mlp_gan", "dcgan28")),
]
SMOKE_JOBS = [Job("vae", 4, "bfloat16")]


class Runs(NamedTuple):
    """The compiled turns of a job, kept for the comparison with compiled PyTorch."""

    case: training.Case
    by_variant: dict[str, Callable[[], None]]


def measure(record: Record, options: argparse.Namespace) -> None:
    """Run the eager comparisons first, because they are quick, then the main cases.

    The main cases compare with compiled PyTorch, and measure lower bounds and input too.
    """
    ceilings = record.attempt("ceilings", partial(measure_ceilings, record.smoke))
    jobs = [job for job in JOBS if job.name in (options.cases or training.CASES)]
    jobs = SMOKE_JOBS if record.smoke else jobs
    if not training.has_torch():
        record.keep("torch", "not installed: no comparison")
    main = jobs[:2]
    runs: dict[Job, Runs] = {}

    def compared(job: Job) -> dict[str, Any]:
        runs[job] = prepare(job, record.smoke)
        return compare(job, runs[job], record.smoke)

    for job in main:
        record.attempt(job.label(), partial(compared, job), needs=30)
    for job in main:
        if job in runs:
            floor = partial(
                floors, job, runs[job].case, ceilings, record.items.get(job.label(), {})
            )
            record.attempt(f"{job.label()}, floors", floor, needs=30)
            if training.has_torch():
                compile_torch = partial(compare_compiled, job, runs[job], record.smoke)
                record.attempt(f"{job.label()}, {COMPILED}", compile_torch, needs=60)
    if jobs and jobs[0] in runs:
        share = partial(input_share, jobs[0], runs[jobs[0]].case, record.smoke)
        record.attempt(f"{jobs[0].label()}, input", share, needs=60)
    for job in jobs[len(main) :]:
        record.attempt(job.label(), partial(compared, job), needs=30)
        runs.pop(job, None)  # its arrays make room for the next


# What the chip can do.


def measure_ceilings(smoke: bool) -> dict[str, Any]:
    """FLOP/s of large matrix products and bytes/s of a copy, the best of several."""
    side = 256 if smoke else 8192
    repeats = 2 if smoke else 8
    found: dict[str, Any] = {}
    for dtype in ("float32", "bfloat16"):
        a = jax.random.normal(jax.random.key(0), (side, side)).astype(dtype)

        @jax.jit
        def chain(a: jax.Array) -> jax.Array:
            def product(b: jax.Array, _: None) -> tuple[jax.Array, None]:
                return (a @ b) / jnp.asarray(side**0.5, a.dtype), None

            return jax.lax.scan(product, a, length=repeats)[0]

        found[f"{dtype}_flops_per_second"] = repeats * 2 * side**3 / best_seconds(partial(chain, a))
    length = 2**20 if smoke else 2**28
    x = jnp.zeros(length, jnp.float32)
    found["bytes_per_second"] = 2 * x.nbytes / best_seconds(partial(jax.jit(lambda x: x + 1), x))
    return found


def best_seconds(call: Callable[[], Any], rounds: int = 6) -> float:
    """The shortest of several calls; the first one compiles."""
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])


# Beside PyTorch.


def prepare(job: Job, smoke: bool) -> Runs:
    """Compile l1jax's turns, plain and proximal, and build PyTorch's eager one."""
    case = training.SMOKE[job.name] if smoke else training.CASES[job.name]
    case = case._replace(steps=2 if smoke else max(IMAGES_PER_TURN // job.batch, 1))
    wanted = ["l1jax", "l1jax proximal"]
    if training.has_torch():
        wanted.append(EAGER)
    available = training.variants(case, job.batch, job.dtype)
    return Runs(case, {name: available[name]() for name in wanted})


def compare(job: Job, runs: Runs, smoke: bool) -> dict[str, Any]:
    """All turns of a job against PyTorch's eager one."""
    seconds = measuring.alternate(runs.by_variant, 1 if smoke else ROUNDS, warmup=1)
    images = job.batch * runs.case.steps
    found: dict[str, Any] = {
        name: measuring.quartiles(images / own) for name, own in seconds.items()
    }
    found["proximal_over_plain"] = measuring.ratio(seconds["l1jax proximal"], seconds["l1jax"])
    if EAGER in seconds:
        ratio = measuring.ratio(seconds[EAGER], seconds["l1jax"])
        found["speed_against_eager"] = aimed(ratio, at_least=AIM)
    found["peak_mib"] = peak_mib()
    return found


def peak_mib() -> dict[str, float]:
    """Read the peaks of JAX's and PyTorch's memory allocators.

    JAX counts from the start of the process, PyTorch from the last time that it was asked.
    """
    found = {}
    statistics = jax.devices()[0].memory_stats()
    if statistics:
        found["l1jax"] = statistics["peak_bytes_in_use"] / 2**20
    if training.has_torch():
        import torch

        if torch.cuda.is_available():
            found["torch"] = torch.cuda.max_memory_allocated() / 2**20
            torch.cuda.reset_peak_memory_stats()
    return found


def compare_compiled(job: Job, runs: Runs, smoke: bool) -> dict[str, Any]:
    """PyTorch compiled, with CUDA graphs if it can, beside l1jax."""
    found: dict[str, Any] = {}
    case = runs.case
    kinds = {"with CUDA graphs": True, "without CUDA graphs": False}
    if jax.default_backend() != "gpu":
        kinds.pop("with CUDA graphs")
    for kind, graphs in kinds.items():
        try:
            theirs = training.theirs(case, job.batch, job.dtype, True, True, graphs)
            turns = {"l1jax": runs.by_variant["l1jax"], "torch": theirs}
            seconds = measuring.alternate(turns, 1 if smoke else ROUNDS, warmup=2)
        except Exception as error:  # a peer's: said in the results, and the other kind is tried
            found[kind] = {"peer_raised": f"{type(error).__name__}: {error}".splitlines()[0][:300]}
            continue
        images = job.batch * case.steps
        found[kind] = {name: measuring.quartiles(images / own) for name, own in seconds.items()}
        ratio = measuring.ratio(seconds["torch"], seconds["l1jax"])
        found[kind]["speed_against_compiled"] = aimed(ratio, at_least=AIM)
        break
    return found


# Against the chip.


def floors(
    job: Job, case: training.Case, ceilings: dict[str, Any] | None, compared: dict[str, Any]
) -> dict[str, Any]:
    """Return one step's FLOPs and bytes as XLA counts them.

    With them come the least time that they need and the memory that the step takes.
    """
    task = make_task(
        training.make_experiment(case, job.batch, job.dtype, proximal=True), case.image_shape
    )
    mesh = Mesh(np.asarray(jax.devices()[:1]), (AXIS,))
    mapped = jax.shard_map(task.step, mesh=mesh, in_specs=(P(), P(None, AXIS), P()), out_specs=P())
    key = jax.random.key(0)
    indices = jnp.zeros((task.batches_per_step, job.batch), jnp.int32)
    image = jnp.zeros((task.batches_per_step, job.batch, *case.image_shape), jnp.uint8)
    state = jax.eval_shape(task.init, key)
    lowered = jax.jit(mapped, donate_argnums=0).lower(state, Batch(image, indices, indices), key)
    compiled = lowered.compile()
    flops = lowered.cost_analysis()["flops"]  # before fusion: every convolution by its definition
    bytes_accessed = compiled.cost_analysis().get("bytes accessed", math.nan)
    memory = compiled.memory_analysis()
    taken = memory.temp_size_in_bytes + memory.argument_size_in_bytes
    found: dict[str, Any] = {
        "flops": flops,
        "bytes": bytes_accessed,
        "memory_mib": taken / 2**20,
        "temporaries_mib": memory.temp_size_in_bytes / 2**20,
    }
    if ceilings and "l1jax proximal" in compared:
        rate = ceilings[f"{job.dtype}_flops_per_second"]
        seconds = job.batch / compared["l1jax proximal"]["median"]
        found["milliseconds"] = 1e3 * seconds
        found["floor_by_flops_ms"] = 1e3 * flops / rate
        found["floor_by_bytes_ms"] = 1e3 * bytes_accessed / ceilings["bytes_per_second"]
        found["share_of_matmul_ceiling"] = flops / seconds / rate
    return found


def input_share(job: Job, case: training.Case, smoke: bool) -> dict[str, Any]:
    """Time a step with images on the device, with images from the host, and with one batch."""
    task = make_task(
        training.make_experiment(case, job.batch, job.dtype, proximal=True), case.image_shape
    )
    images = training.images(case)
    with TemporaryDirectory() as folder:
        path = Path(folder, "images.npz")
        np.savez(path, images=images)
        side, _, channels = case.image_shape
        source = open_source(config.ArrayData(str(path), image_size=side, channels=channels))
        feeds = {
            "fixed": fixed_feed(images, task.batches_per_step, job.batch),
            "resident": resident_feed(images, 0, task.batches_per_step, job.batch),
            "streamed": streaming_feed(source, 0, task.batches_per_step, job.batch),
        }
        turns = {name: turn(task, feed, case.steps) for name, feed in feeds.items()}
        seconds = measuring.alternate(turns, 1 if smoke else ROUNDS, warmup=1)
        for feed in feeds.values():
            feed.close()
    found: dict[str, Any] = {
        name: measuring.quartiles(1e3 * own / case.steps) for name, own in seconds.items()
    }
    for name in ("resident", "streamed"):
        share = 1 - measuring.ratio(seconds["fixed"], seconds[name])["median"]
        found[f"share_{name}"] = share
    return {"milliseconds_per_step": found}


def fixed_feed(images: np.ndarray, draws: int, batch: int) -> Feed:
    """The same batch at every step."""
    indices = np.resize(np.arange(len(images), dtype=np.int32), (draws, batch))

    def take(resident: Any, item: Any) -> Batch:
        image, index = map(jnp.asarray, resident)
        return Batch(image, index, jnp.zeros_like(index))

    def chunk(first: int, steps: int) -> np.ndarray:
        return np.zeros((steps, draws, batch), np.int32)

    return Feed((images[indices], indices), take, chunk, lambda: None)


def turn(task: Any, feed: Feed, steps: int) -> Callable[[], None]:
    """Some steps with this feed, each turn going on where the last one ended."""
    runner = make_runner(task, feed, jax.devices()[:1])
    key = jax.random.key(0)
    resident = runner.replicate(feed.resident)
    carried = {"state": runner.replicate(jax.jit(task.init)(key)), "first": 0}

    def run() -> None:
        chunk = runner.put(feed.chunk(carried["first"], steps))
        carried["state"], metrics = runner.run(carried["state"], resident, chunk, key)
        carried["first"] += steps
        jax.block_until_ready(metrics)

    return run
