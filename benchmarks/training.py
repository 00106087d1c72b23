"""Training steps against PyTorch: images per second, memory and compile time.

    python benchmarks/training.py --startup --output benchmarks/results
    python benchmarks/training.py --cases dcgan64 --batch 512 --dtype bfloat16
    python benchmarks/training.py --smoke

A step is one update of all networks with Adam, norms and the generator's average. l1jax runs it as
training does, many steps in one compiled call on images that stay on the device, once with Adam and
once with the L1 penalty's proximal Adam on the generator. PyTorch runs the same networks
(`peers.py`, `unet_peer.py`), eager and compiled, channels first and last; the best of these is
compared. All take turns in one process, so that all see the same machine. Memory and start-up are
measured in fresh processes: the peak of resident memory over that before the networks are built (on
a GPU, the allocator's peak), and, with an empty and with a filled compilation cache, the seconds to
the end of the first call and how much longer than a later one that call took, which is what
compiling the step costs, of l1jax and of the best peer. `--smoke` runs all of this on tiny
networks, whose graphs PyTorch traces and does not translate, and keeps nothing. Without PyTorch
l1jax is measured alone.
"""

import argparse
import importlib
import importlib.util
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import measure
import numpy as np

from l1jax import config
from l1jax.compilation import jit_once
from l1jax.data.batches import resident_feed
from l1jax.training.parallel import make_runner
from l1jax.training.task import make_task

IMAGES = 512  # resident; the content does not matter
STRENGTH = 1e-4


class Case(NamedTuple):
    """A network for images of a size, the batch it is measured at, and PyTorch's.

    The peer and its trainer are named, as their module names them, so that this file can be read
    without PyTorch.
    """

    model: config.Model
    image_shape: tuple[int, int, int]
    batch: int
    peer: str
    peer_range: tuple[float, float] = (-1.0, 1.0)
    steps: int = 4  # per turn
    trainer: str = "Trainer"
    backend: str = "inductor"  # of PyTorch's compiler
    peers: str = "peers"  # the module of both


DENSE = config.MlpGan(
    latent_size=100,
    generator_hidden=(1024, 1024),
    discriminator_channels=(64, 128, 256, 512),
    discriminator_hidden=(),
    output="sigmoid",
)
FLOW_PEER = {"peer": "unet", "trainer": "FlowTrainer", "peers": "unet_peer", "steps": 4}
CASES = {
    "dcgan64": Case(config.Dcgan(), (64, 64, 3), 64, "dcgan"),
    "dcgan28": Case(config.Dcgan(), (28, 28, 1), 64, "dcgan", steps=40),
    "mlp_gan": Case(DENSE, (64, 64, 3), 128, "mlp_gan", (0.0, 1.0), steps=2),
    "sn_resnet32": Case(config.SnResnet(latent_size=100), (32, 32, 3), 32, "sn_resnet", steps=1),
    "vae": Case(config.Vae(), (28, 28, 1), 128, "vae", steps=100, trainer="VaeTrainer"),
    "unet28": Case(config.Unet(attention=(14,)), (28, 28, 1), 16, **FLOW_PEER),
    "unet32": Case(config.Unet(attention=(16,)), (32, 32, 3), 16, **FLOW_PEER),
}
SMALL_UNET = config.Unet(channels=4, multipliers=(1,), blocks=1, group_size=2, head_size=4)

SMOKE = {
    name: case._replace(backend="aot_eager")  # traces, and does not translate to C++
    for name, case in {
        "vae": Case(config.Vae(), (8, 8, 1), 4, "vae", steps=1, trainer="VaeTrainer"),
        "dcgan": Case(config.Dcgan(), (8, 8, 3), 4, "dcgan", steps=1),
        "unet": Case(SMALL_UNET, (8, 8, 1), 4, **FLOW_PEER | {"steps": 1}),
    }.items()
}
SMOKE_VARIANTS = {
    "dcgan": ["l1jax", "l1jax checkpointing", "torch eager channels-last"],
    "unet": ["l1jax", "torch eager channels-last"],
}
"""Those of a case that are tried, where the others have been in another."""


def images(case: Case) -> np.ndarray:
    """Random images."""
    return np.random.default_rng(0).integers(0, 256, (IMAGES, *case.image_shape), np.uint8)


def make_experiment(
    case: Case, batch: int, dtype: str, proximal: bool, checkpointing: bool = False
) -> config.Config:
    """What l1jax trains: the case's network in this precision, with or without the L1 penalty."""
    model = replace(case.model, **({"dtype": dtype} if dtype != "float32" else {}))
    model = replace(model, checkpointing=True) if checkpointing else model
    adam = config.Optimizer(learning_rate=2e-4, b1=0.5, b2=0.999)
    penalised = replace(
        adam, penalty=config.L1(STRENGTH if proximal else 0.0)
    )  # of strength 0 it is Adam alone
    other: dict[str, Any] = {"discriminator": adam}
    if isinstance(model, config.Vae):
        other = {"objective": config.Variational(), "encoder": adam, "discriminator": None}
    elif isinstance(model, config.Unet):
        other = {"objective": config.FlowMatching(), "discriminator": None}
    return config.Config(model=model, generator=penalised, batch_size=batch, **other)


def ours(
    case: Case, batch: int, dtype: str, proximal: bool, checkpointing: bool = False
) -> Callable[[], None]:
    """Some steps of l1jax's training."""
    task = make_task(make_experiment(case, batch, dtype, proximal, checkpointing), case.image_shape)
    feed = resident_feed(images(case), 0, task.batches_per_step, batch)
    runner = make_runner(task, feed, jax.devices()[:1])
    key, resident = jax.random.key(0), runner.replicate(feed.resident)
    current = {"state": runner.replicate(jit_once(task.init)(key))}

    def run() -> None:
        current["state"], metrics = runner.run(
            current["state"], resident, feed.chunk(0, case.steps), key
        )
        assert float(jax.device_get(metrics["skipped"])) == 0

    return run


def theirs(
    case: Case, batch: int, dtype: str, compiled: bool, channels_last: bool, graphs: bool = False
) -> Callable[[], None]:
    """As many steps of PyTorch's; compiled ones in CUDA graphs if that is asked."""
    import torch

    peers = importlib.import_module(case.peers)
    device = "cuda" if torch.cuda.is_available() and jax.default_backend() == "gpu" else "cpu"
    torch.set_num_threads(measure.environment()["cores"])
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    size, _, channels = case.image_shape
    networks = getattr(peers, case.peer)(size, channels)
    trainer = getattr(peers, case.trainer)(
        networks,
        case.peer_range,
        device=device,
        dtype=getattr(torch, dtype),
        backend=case.backend if compiled else None,
        channels_last=channels_last,
        graphs=graphs,
    )
    resident = torch.from_numpy(images(case)).permute(0, 3, 1, 2).to(device)

    def run() -> None:
        for _ in range(case.steps):
            losses = trainer.step(resident[torch.randint(IMAGES, (batch,), device=device)])
        assert all(np.isfinite(float(loss)) for loss in losses)

    return run


def has_torch() -> bool:
    """Whether the peer is installed."""
    return importlib.util.find_spec("torch") is not None


def variants(case: Case, batch: int, dtype: str) -> dict[str, Callable[[], Callable[[], None]]]:
    """What is measured, by name."""
    found = {
        "l1jax": lambda: ours(case, batch, dtype, False),
        "l1jax proximal": lambda: ours(case, batch, dtype, True),
    }
    for compiled in (False, True) if has_torch() else ():
        for last in (False, True):
            name = f"torch {'compiled' if compiled else 'eager'}{' channels-last' if last else ''}"
            found[name] = lambda compiled=compiled, last=last: theirs(
                case, batch, dtype, compiled, last
            )
    if hasattr(case.model, "checkpointing"):
        found["l1jax checkpointing"] = lambda: ours(case, batch, dtype, False, checkpointing=True)
    return found


def start(case: Case, batch: int, dtype: str, name: str) -> dict[str, float]:
    """Measure memory and time of three calls in this fresh process.

    Returned are the peak memory, and the seconds to the end of the first call and of its
    compilation.
    """
    before, times = _resident_mib("VmRSS"), [time.perf_counter()]
    run = variants(case, batch, dtype)[name]()
    times.append(time.perf_counter())
    for _ in range(3):
        run()
        times.append(time.perf_counter())
    first, _, later = np.diff(times)[1:]
    return {
        "peak_mib": _peak_mib(name) or _resident_mib("VmHWM") - before,
        "first_call_seconds": times[2] - times[0],
        "compile_seconds": first - later,
    }


def _resident_mib(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def _peak_mib(name: str) -> float | None:
    """The allocator's peak, on a GPU."""
    if jax.default_backend() != "gpu":
        return None
    if name.startswith("torch"):
        import torch

        return torch.cuda.max_memory_allocated() / 2**20
    return jax.devices()[0].memory_stats()["peak_bytes_in_use"] / 2**20


def in_fresh_process(
    name: str, variant: str, batch: int, dtype: str, smoke: bool = False
) -> dict[str, float]:
    """Measure the start with an empty and a filled compilation cache, and the memory's peak."""
    command = [
        sys.executable,
        __file__,
        "--cases",
        name,
        "--batch",
        str(batch),
        "--dtype",
        dtype,
        "--start",
        variant,
    ]
    command += ["--smoke"] if smoke else []
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {
            "JAX_COMPILATION_CACHE_DIR": f"{cache}/jax",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "TORCHINDUCTOR_CACHE_DIR": f"{cache}/torch",
        }
        runs = [
            json.loads(
                subprocess.run(
                    command, env=environment, check=True, stdout=subprocess.PIPE, text=True
                ).stdout
            )
            for _ in range(2)
        ]
    cached = {f"{name}_cached": value for name, value in runs[1].items() if name != "peak_mib"}
    return runs[0] | cached


def measured(case: Case, batch: int, dtype: str, pairs: int, chosen: list[str] | None) -> dict:
    """One case: speed of all variants in turn."""
    available = variants(case, batch, dtype)
    seconds = measure.alternate(
        {name: available[name]() for name in chosen or available}, pairs, warmup=1
    )
    best = min(
        (v for v in seconds if v.startswith("torch")),
        key=lambda v: np.median(seconds[v]),
        default="l1jax",
    )
    result = {"batch": batch, "dtype": dtype, "steps_per_turn": case.steps, "best_peer": best}
    for variant, samples in seconds.items():
        result[variant] = {
            "images_per_second": measure.quartiles(batch * case.steps / samples),
            "speed_against_best_peer": measure.quartiles(seconds[best] / samples),
        }
    if {"l1jax", "l1jax proximal"} <= seconds.keys():
        result["proximal_over_plain"] = measure.ratio(seconds["l1jax proximal"], seconds["l1jax"])
    return result


def show(name: str, result: dict) -> None:
    """Print a case as a table."""
    print(f"{name}, batch {result['batch']}, {result['dtype']}; best peer: {result['best_peer']}")
    for variant, row in result.items():
        if isinstance(row, dict) and "images_per_second" in row:
            speed, ratio = row["images_per_second"], row["speed_against_best_peer"]
            spread = f"{ratio['low']:.2f}–{ratio['high']:.2f}"
            print(
                f"  {variant:32s} {speed['median']:9.1f} images/s  {ratio['median']:5.2f} × "
                f"({spread})"
            )
            if "peak_mib" in row:
                print(
                    f"  {'':32s} peak {row['peak_mib']:.0f} MiB, "
                    f"first call {row['first_call_seconds']:.1f} s, "
                    f"cached {row['first_call_seconds_cached']:.1f} s; "
                    f"compiling {row['compile_seconds']:.1f} s, "
                    f"cached {row['compile_seconds_cached']:.1f} s"
                )
    if "proximal_over_plain" in result:
        print(
            f"  proximal step over plain: {result['proximal_over_plain']['median']:.3f}", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", choices=[*CASES, *SMOKE], help="all by default")
    parser.add_argument("--batch", type=int, help="instead of each case's own")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument(
        "--variants", nargs="+", help="some only, such as l1jax 'torch compiled channels-last'"
    )
    parser.add_argument("--steps", type=int, help="per turn")
    parser.add_argument("--pairs", type=int, default=8, help="turns of each")
    parser.add_argument(
        "--output", type=Path, help="folder for the results, a JSON file for each case"
    )
    parser.add_argument(
        "--startup", action="store_true", help="memory and start-up too, in fresh processes"
    )
    parser.add_argument(
        "--smoke", action="store_true", help="everything on tiny networks; keeps nothing"
    )
    parser.add_argument("--start", help=argparse.SUPPRESS)  # a variant, in a fresh process
    options = parser.parse_args()
    cases = SMOKE if options.smoke else CASES
    names = options.cases or list(cases)
    if options.start:
        case = cases[names[0]]
        print(json.dumps(start(case, options.batch or case.batch, options.dtype, options.start)))
        return
    if not has_torch():
        print("torch is not installed: l1jax is measured alone", flush=True)
    command = shlex.join(["python", "benchmarks/training.py", *sys.argv[1:]])
    for name in names:
        case = cases[name]._replace(steps=options.steps or cases[name].steps)
        batch = options.batch or case.batch
        pairs = 1 if options.smoke else options.pairs
        chosen = options.variants
        if options.smoke and name in SMOKE_VARIANTS and has_torch():
            chosen = SMOKE_VARIANTS[name]
        result = measured(case, batch, options.dtype, pairs, chosen)
        if options.startup or (options.smoke and name == names[0]):
            wanted = ["l1jax"]
            if not options.smoke:  # one is enough to see that a fresh process measures
                wanted += ["l1jax checkpointing", result["best_peer"]]
            for variant in dict.fromkeys(wanted):
                if variant in result:
                    result[variant] |= in_fresh_process(
                        name, variant, batch, options.dtype, options.smoke
                    )
        show(name, result)
        if options.output and not options.smoke:
            path = (
                options.output
                / f"training-{jax.default_backend()}-{name}-{batch}-{options.dtype}.json"
            )
            print(
                f"written to {measure.write_result(path, command, {'case': name, **result})}",
                flush=True,
            )


if __name__ == "__main__":
    main()
