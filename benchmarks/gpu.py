"""Everything that wants an accelerator, in one command: is it right, fast, cheap, and good?

    python benchmarks/gpu.py --minutes 8 --output DIR --faces faces64.tar.xz
        [--cifar10 cifar10.tar.xz]
    python benchmarks/gpu.py --smoke   # every part in tiny sizes, on any device; keeps nothing

The parts, in this order, each a process of its own with a time limit:

    right  convolutions against float64 on the host; a step of every experiment against the CPU;
           zeros; transformations against the CPU; pmap against shard_map; a run that is killed and
           resumed
    fast   training steps beside PyTorch's, in images per second and as a share of what the
           chip can do
    cheap  what each transformation costs beside Adam
    path   eight strengths in one program beside eight runs
    good   faces (and CIFAR-10) trained dense and with L0 to 80 % zeros, judged, and drawn

A part that raises, runs past its limit or is killed leaves what it has found so far, and the others
go on. The time that a part leaves over goes to those behind it. DIR receives `PART-gpu.json` after
every item, `summary-gpu.json`, `gpu.log` and `samples.png`. The exit status is 1 if anything
raised, was wrong or was stopped. An item for which there was no time is listed and is no failure:
another call with `--parts` measures it.
"""

import argparse
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from gpu_record import Record, failures, missed, not_reached


class Part(NamedTuple):
    """A part of the benchmark: its function (record, options) → None, and its share of the time.

    The function is given by module and name.
    """

    module: str
    share: float


PARTS = {
    "right": Part("gpu_right", 0.25),
    "fast": Part("gpu_fast", 0.31),
    "cheap": Part("gpu_cheap", 0.08),
    "path": Part("gpu_path", 0.08),
    "good": Part("gpu_good", 0.28),
}
GRACE = 5.0  # seconds from the request to stop to the kill


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(sys.argv[1:] if arguments is None else arguments)
    if options.part:
        measure_part(options)
        sys.stdout.flush()
        os._exit(0)  # at once: programs that nobody waits for any more may still be compiling
    if options.commit:
        os.environ["L1JAX_COMMIT"] = options.commit  # the parts look for it as they start
    if options.output:
        return run_parts(options, Path(options.output))
    with tempfile.TemporaryDirectory(prefix="l1jax-gpu-") as folder:
        return run_parts(options, Path(folder))


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line; refuses what would be found out minutes later."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--minutes", type=float, help="for all parts together: 8, or 20 for a smoke test"
    )
    parser.add_argument("--output", help="folder for the results; needed but for --smoke")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="some only")
    parser.add_argument(
        "--faces",
        type=Path,
        help="64×64 faces, a folder or archive; without it `good` has no faces",
    )
    parser.add_argument(
        "--cifar10", type=Path, help="CIFAR-10's images, a folder or archive, after the faces"
    )
    parser.add_argument("--cases", nargs="+", help="of `fast`: some of training.py's cases only")
    parser.add_argument(
        "--steps", type=int, default=20_000, help="of `good`, if the time is enough for them"
    )
    parser.add_argument("--commit", help="of this checkout, where it has no .git")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: whether every part runs")
    parser.add_argument(
        "--part", choices=PARTS, help=argparse.SUPPRESS
    )  # in the process of one part
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)  # that part's limit
    options = parser.parse_args(arguments)
    if options.minutes is None:
        options.minutes = 20.0 if options.smoke else 8.0  # a busy machine may try the program too
    if not options.output and not options.smoke:
        parser.error("--output must name a folder for the results; only --smoke needs none.")
    if options.minutes <= 0:
        parser.error(f"--minutes (={options.minutes:g}) must be positive, such as 8.")
    for flag in ("faces", "cifar10"):
        path = getattr(options, flag)
        if path is not None and not path.exists():
            parser.error(
                f"--{flag} (={path}) does not exist; name a folder or archive of images, or "
                "leave it out."
            )
    return options


def run_parts(options: argparse.Namespace, output: Path) -> int:
    """Run each part in a process of its own, and sum up; returns the exit status."""
    output.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + 60 * options.minutes
    summary: dict[str, Any] = {}
    chosen = [name for name in PARTS if name in options.parts]
    with (output / "gpu.log").open("a", encoding="utf-8") as log:
        for i, name in enumerate(chosen):
            shares = [PARTS[other].share for other in chosen[i:]]
            limit = max(deadline - time.monotonic(), 0) * shares[0] / sum(shares)
            print(f"== {name}, at most {limit:.0f} s", flush=True)
            began = time.monotonic()
            status = run_part(part_command(options, output, name, limit), limit, log)
            items = read_items(output, name)
            summary[name] = {
                "status": status,
                "seconds": round(time.monotonic() - began, 1),
                "limit": round(limit, 1),
                "failures": failures(items),
                "short_of_aim": [] if options.smoke else missed(items),
                "not_reached": not_reached(items),
            }
            write_summary(output, options, summary)
            print(f"   {status} after {summary[name]['seconds']} s", flush=True)
    return report(summary, output / "gpu.log")


def part_command(options: argparse.Namespace, output: Path, name: str, limit: float) -> list[str]:
    """This program again, for one part."""
    command = [
        sys.executable,
        sys.argv[0],
        "--part",
        name,
        "--output",
        str(output),
        "--seconds",
        f"{limit:.1f}",
    ]
    command += ["--minutes", str(options.minutes), "--steps", str(options.steps)]
    for flag in ("faces", "cifar10"):
        if getattr(options, flag):
            command += [f"--{flag}", str(getattr(options, flag))]
    if options.cases:
        command += ["--cases", *options.cases]
    return [*command, "--smoke"] if options.smoke else command


def run_part(command: Sequence[str], limit: float, log: Any) -> str:
    """Run a command with its output in the log.

    At the time limit the whole process group is asked to stop, then killed.

    Returns:
        "complete", or how it ended.
    """
    environment = {
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        **os.environ,
    }  # PyTorch needs memory beside JAX
    process = subprocess.Popen(
        command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
    )
    try:
        status = process.wait(timeout=limit)
    except subprocess.TimeoutExpired:
        _signal_group(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=GRACE)
        return f"stopped at its limit of {limit:.0f} s"
    finally:
        _signal_group(process, signal.SIGKILL)  # what it started and left behind
        process.wait()
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return "complete" if status == 0 else f"failed with exit status {status}"


def _signal_group(process: subprocess.Popen, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def measure_part(options: argparse.Namespace) -> None:
    """Measure one part in this process."""
    deadline = time.monotonic() + (options.seconds or 60 * options.minutes)
    path = Path(options.output) / f"{options.part}-gpu.json"
    path.unlink(missing_ok=True)
    record = Record(path, _command(options), deadline, options.smoke, {})
    measure: Callable[[Record, argparse.Namespace], None] = import_module(
        PARTS[options.part].module
    ).measure
    measure(record, options)


def _command(options: argparse.Namespace) -> str:
    """What was typed, as the results keep it."""
    words = [
        "python",
        "benchmarks/gpu.py",
        "--minutes",
        f"{options.minutes:g}",
        "--parts",
        options.part,
    ]
    if options.cases:
        words += ["--cases", *options.cases]
    for flag in ("faces", "cifar10"):
        if getattr(options, flag):
            words += [f"--{flag}", getattr(options, flag).name]
    return shlex.join([*words, "--smoke"] if options.smoke else words)


def read_items(output: Path, name: str) -> dict[str, Any]:
    """What a part has found, however it ended."""
    try:
        return json.loads((output / f"{name}-gpu.json").read_text(encoding="utf-8"))["items"]
    except FileNotFoundError:
        return {}


def write_summary(output: Path, options: argparse.Namespace, summary: dict[str, Any]) -> None:
    text = json.dumps({"minutes": options.minutes, "parts": summary}, indent=2, ensure_ascii=False)
    (output / "summary-gpu.json").write_text(f"{text}\n", encoding="utf-8")


def report(summary: dict[str, Any], log: Path) -> int:
    """Print how each part ended; 1 if anything was not as it must be."""
    print()
    good = True
    for name, row in summary.items():
        print(f"{name:6s} {row['status']}, {row['seconds']:.0f} of {row['limit']:.0f} s")
        for failure in row["failures"]:
            print(f"       FAILED  {failure}")
        for ratio in row["short_of_aim"]:
            print(f"       short of its aim  {ratio}")
        for item in row["not_reached"]:
            print(f"       no time for {item}")
        good = good and row["status"] == "complete" and not row["failures"]
    if not good:
        lines = log.read_text(encoding="utf-8").splitlines()
        print(f"\nThe last lines of the log:\n{os.linesep.join(lines[-30:])}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
