"""A path of strengths in one program against a run for each strength.

Measured are wall time and processor time of the commands.

    python benchmarks/strength_path.py --output benchmarks/results/strength_path-cpu.json
        [--steps 400] [--rounds 3]
    python benchmarks/strength_path.py --smoke   # two strengths, one run; keeps nothing

`python -m l1jax.select` trains all strengths together, judges them and draws its plots; beside it
`python -m l1jax.train` runs once for each strength, on the same images, for the same steps. The two
take turns, each with a compilation cache of its own that is empty at the start of its turn: the
second training command finds what the first has compiled.
"""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import measure
import numpy as np

RANGES = {"digits": (1e-5, 1e-2), "vae_digits": (1e-4, 1e-1)}


class Cost(NamedTuple):
    """Seconds of one or several processes."""

    wall: float
    processor: float  # user and system time, all threads


def cost(commands: list[list[str]]) -> Cost:
    """Run commands one after the other, in a cache of their own."""
    wall = processor = 0.0
    with tempfile.TemporaryDirectory() as cache:
        for command in commands:
            environment = {**os.environ, "XDG_CACHE_HOME": cache}
            began, before = time.perf_counter(), os.times()
            subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
            after = os.times()
            wall += time.perf_counter() - began
            processor += (
                after.children_user
                - before.children_user
                + after.children_system
                - before.children_system
            )
    return Cost(wall, processor)


def commands(
    config: str, strengths: int, steps: int, folder: Path, runs: int | None
) -> dict[str, list[list[str]]]:
    """The path as one command, and as many, or the first `runs` of them."""
    low, high = RANGES[config]
    common = ["--config", config, "--holdout", "0.2", "--steps", str(steps)]
    common += [
        part
        for name in ("log", "sample", "checkpoint")
        for part in (f"--{name}-every", str(min(steps, 400)))
    ]
    module = [sys.executable, "-m"]
    one = ["--strengths", f"{low}:{high}:{strengths}", "--folds", "1", "--no-dense", "--no-refit"]
    grid = np.geomspace(low, high, strengths)[:runs]
    return {
        "path": [[*module, "l1jax.select", *common, *one, "--workdir", str(folder / "path")]],
        "runs": [
            [
                *module,
                "l1jax.train",
                *common,
                "--generator.penalty.strength",
                str(s),
                "--workdir",
                str(folder / f"run{i}"),
            ]
            for i, s in enumerate(grid)
        ],
    }


def compare(
    config: str, strengths: int, steps: int, rounds: int, runs: int | None
) -> dict[str, Any]:
    """Turns of the path and of the runs, all or the first ones."""
    costs: dict[str, list[Cost]] = {"path": [], "runs": []}
    for i in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            turns = commands(config, strengths, steps, Path(folder), runs)
            for name in sorted(turns, reverse=bool(i % 2)):
                costs[name].append(cost(turns[name]))
    found: dict[str, Any] = {
        "config": config,
        "strengths": strengths,
        "steps": steps,
        "rounds": rounds,
    }
    for field in Cost._fields:
        path, trained = (
            np.array([getattr(own, field) for own in costs[name]]) for name in ("path", "runs")
        )
        found[f"{field}_seconds"] = {
            "path": measure.quartiles(path),
            "runs": measure.quartiles(trained),
        }
        found[f"{field}_ratio"] = measure.ratio(path, trained)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", default="")
    parser.add_argument("--steps", type=int, nargs="+", default=[400])
    parser.add_argument("--strengths", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--configs", nargs="+", default=list(RANGES))
    parser.add_argument(
        "--smoke", action="store_true", help="two strengths, one run of a few steps; keeps nothing"
    )
    options = parser.parse_args()
    if options.smoke:
        options.configs, options.steps = ["digits"], [4]
        options.strengths, options.rounds = 2, 1
    found = []
    runs = 1 if options.smoke else None
    for config in options.configs:
        for steps in options.steps:
            found.append(compare(config, options.strengths, steps, options.rounds, runs))
            wall, processor = (found[-1][f"{name}_ratio"]["median"] for name in Cost._fields)
            print(
                f"{config}, {steps} steps: {wall:.2f} of the wall time, {processor:.2f} of the "
                "processor time",
                flush=True,
            )
    if options.output and not options.smoke:
        measure.write_result(options.output, shlex.join(["python", *sys.argv]), {"paths": found})


if __name__ == "__main__":
    main()
