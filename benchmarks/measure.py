"""What every benchmark shares.

Functions are timed in turn, the machine is recorded, and the result is kept.
"""

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

RESULTS = Path(__file__).parent / "results"
PACKAGES = (
    "jax",
    "jaxlib",
    "optax",
    "flax",
    "numpy",
    "torch",
    "jaxopt",
    "scikit-learn",
    "torch-fidelity",
    "librosa",
)


def alternate(
    functions: Mapping[str, Callable[[], Any]],
    pairs: int,
    warmup: int = 3,
    clock: Callable[[], float] | None = None,
) -> dict[str, np.ndarray]:
    """Time functions in turn, the order reversed every other round.

    The order AB, BA, AB, … makes drift cancel.

    Args:
        functions: what to time, by name. Each returns when its work is done
            (`jax.block_until_ready`).
        pairs: rounds; every round calls each function once.
        warmup: rounds that are not timed, for compilation and caches.
        clock: in seconds, such as `time.process_time`, which counts the processor's time; None for
            the time on the wall.

    Returns:
        Seconds of each function in each round, arrays of length `pairs`.
    """
    read_clock = time.perf_counter if clock is None else clock
    names = list(functions)
    seconds = {name: np.zeros(pairs) for name in names}
    for i in range(-warmup, pairs):
        for name in names if i % 2 == 0 else reversed(names):
            begin = read_clock()
            functions[name]()
            if i >= 0:
                seconds[name][i] = read_clock() - begin
    return seconds


def quartiles(samples: np.ndarray) -> dict[str, float]:
    """The median and the quartiles, the form in which results keep a sample."""
    low, median, high = np.quantile(samples, (0.25, 0.5, 0.75))
    return {"median": float(median), "low": float(low), "high": float(high)}


def ratio(seconds: np.ndarray, baseline: np.ndarray) -> dict[str, float]:
    """Quartiles of the ratio to the baseline of the same round: above 1 is slower."""
    return quartiles(seconds / baseline)


def environment() -> dict[str, Any]:
    """Where and with what this runs: devices, processor, versions, commit, date."""
    devices = jax.devices()
    return {
        "device": devices[0].device_kind if devices[0].platform != "cpu" else "cpu",
        "devices": len(devices),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "commit": COMMIT,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def write_result(path: str | Path, command: str, result: Mapping[str, Any]) -> Path:
    """Keep a result as JSON, together with the command and the environment; returns where."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"command": command, "environment": environment(), **result}
    path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    return path


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str:
    """Return the commit, with `+` if tracked files differ from it.

    Outside a repository the commit is what L1JAX_COMMIT says.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + (
            "+" if git("status", "--porcelain", "-uno") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("L1JAX_COMMIT", "unknown")


COMMIT = (
    _commit()
)  # read as the program starts: a long run ends with the commit it was started from
