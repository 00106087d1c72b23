"""How the training step of every experiment would scale to more devices, by simulation.

python benchmarks/scaling.py           # traces every experiment's step, and fills the page
python benchmarks/scaling.py --tpu     # also compiles some for a TPU (needs the package libtpu)
python benchmarks/scaling.py --page    # fills the page's tables from the kept result
python benchmarks/scaling.py --smoke   # two experiments; keeps nothing

Nothing here runs on several machines. The program that training maps over N devices is traced, and
what its all-reduces carry and its products compute is counted in it. The time of a step follows
from stated rates, see `RATE`, `BANDWIDTHS` and `step_seconds`. The result is
benchmarks/results/scaling-simulated.json.
"""

import argparse
import json
import os
import re
from math import prod
from pathlib import Path
from typing import Any

import jax
from measure import RESULTS, write_result
from scaling_work import Work, count_step, gradient_bytes, trace

from l1jax.cli.experiment_file import experiments_folder, load_experiment

RESULT = RESULTS / "scaling-simulated.json"
PAGE = Path(__file__).parent.parent / "docs" / "machines.md"
DEVICES = (8, 64)
BANDWIDTHS = (10, 100, 900)  # GB/s of each device, in each direction
RATE = 100e12  # FLOP/s that a device sustains
SMOKE = ("dense_generator", "digits")
TPU = "v5e:2x4"  # the topology that `--tpu` compiles for: 8 chips
TPU_EXPERIMENTS = ("celeba", "digits", "vae_mnist")


def step_seconds(work: Work, devices: int, bandwidth: float) -> tuple[float, float]:
    """Seconds that a step computes, and that its all-reduces take.

    A ring all-reduce of b bytes over N devices sends 2·(N − 1)/N·b from each to the next. Latency
    is not in it.

    Args:
        work: of a step on a device.
        devices: N.
        bandwidth: bytes/s of each device, in each direction.
    """
    return work.flops / RATE, 2 * (devices - 1) / devices * work.reduced_bytes / bandwidth


def efficiency(work: Work, devices: int, bandwidth: float) -> dict[str, float]:
    """Share of a step's time that is computation: when nothing overlaps, and when all does."""
    compute, communicate = step_seconds(work, devices, bandwidth)
    return {
        "apart": compute / (compute + communicate),
        "overlapped": compute / max(compute, communicate),
    }


def images_for(share: float, work: Work, devices: int, bandwidth: float, batch: int) -> float:
    """Images per device for which this share of a step is computation, when nothing overlaps.

    Computation grows with the images, and what is all-reduced does not.

    Args:
        share: between 0 and 1.
        work: of a step on a device with `batch` images.
        devices: number of devices.
        bandwidth: bytes/s.
        batch: images per device of `work`.
    """
    compute, communicate = step_seconds(work, devices, bandwidth)
    return batch * share / (1 - share) * communicate / compute


def measured(name: str) -> dict[str, Any]:
    """Count and simulate one experiment, with its batch on every device."""
    experiment = load_experiment(name)
    batch = experiment.batch_size
    row: dict[str, Any] = {"experiment": name, "batch": batch}
    row["gradient_bytes"] = gradient_bytes(experiment)
    for devices in DEVICES:
        work = count_step(experiment, jax.devices()[:devices], batch)
        row[f"on {devices}"] = {
            **work._asdict(),
            "efficiency": {str(b): efficiency(work, devices, 1e9 * b) for b in BANDWIDTHS},
            "images_for_90": {
                str(b): images_for(0.9, work, devices, 1e9 * b, batch) for b in BANDWIDTHS
            },
        }
    return row


def compiled_all_reduces(name: str) -> dict[str, Any]:
    """Compile a step for 8 TPU chips, without one, and count the all-reduces that are left."""
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # there is no TPU to ask
    from jax.experimental import topologies

    devices = topologies.get_topology_desc(platform="tpu", topology_name=TPU).devices
    experiment = load_experiment(name)
    lowered = trace(experiment, devices, experiment.batch_size).lower()
    written = len(re.findall(r"stablehlo\.all_reduce", lowered.as_text()))
    lines = lowered.compile().as_text().splitlines()
    found = [line for line in lines if re.search(r" all-reduce(-start)?\(", line)]
    return {
        "experiment": name,
        "written": written,
        "compiled": len(found),
        "largest": max(result_bytes(line) for line in found),
        "asynchronous": sum("all-reduce-start(" in line for line in found),
    }


def result_bytes(line: str) -> int:
    """Bytes of the arrays that an all-reduce of compiled text gives."""
    result = line.split(" all-reduce")[0]
    total = 0
    for bits, shape in re.findall(r"\b(?:bf|f|s|u)(\d+)\[([\d,]*)\]", result):
        total += int(bits) // 8 * prod(int(side) for side in shape.split(",") if side)
    return total


def table(headings: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def tables(record: dict[str, Any]) -> dict[str, str]:
    """Each table of the page, by its name."""
    counted = []
    simulated = []
    for row in record["experiments"]:
        few, many = (row[f"on {devices}"] for devices in DEVICES)
        name = f"`{row['experiment']}`"
        others = few["reduced_bytes"] - row["gradient_bytes"]
        compute = few["flops"] / RATE
        counted.append(
            [
                name,
                f"{row['batch']:,}",
                f"{few['flops'] / 1e9:,.2f}",
                f"{1e6 * compute:,.0f}",
                f"{row['gradient_bytes'] / 1e6:,.2f}",
                f"{others / 1e3:,.1f}",
                f"{few['all_reduces']:,.0f}",
            ]
        )
        cells = [shares(many["efficiency"][str(bandwidth)]) for bandwidth in BANDWIDTHS]
        images = [f"{many['images_for_90'][str(bandwidth)]:,.0f}" for bandwidth in BANDWIDTHS]
        simulated.append([name, shares(few["efficiency"]["100"]), *cells, *images])
    few, many = DEVICES
    work = ["GFLOP", "µs of products", "gradients, MB", "other means, KB", "arrays"]
    rates = [f"{many} at {bandwidth} GB/s" for bandwidth in BANDWIDTHS]
    images = [f"examples for 90 % at {bandwidth}" for bandwidth in BANDWIDTHS]
    compiled = [
        [
            f"`{row['experiment']}`",
            f"{row['written']}",
            f"{row['compiled']}",
            f"{row['largest'] / 1e6:,.2f}",
            f"{row['asynchronous']}",
        ]
        for row in record["compiled"]
    ]
    return {
        "counted": table(["experiment", "examples per device", *work], counted),
        "simulated": table(["experiment", f"{few} at 100 GB/s", *rates, *images], simulated),
        "compiled": table(
            ["experiment", "all-reduces written", "compiled", "the largest, MB", "asynchronous"],
            compiled,
        ),
    }


def shares(found: dict[str, float]) -> str:
    """Both efficiencies in one cell."""
    return f"{100 * found['apart']:.0f} / {100 * found['overlapped']:.0f} %"


def fill(page: str, record: dict[str, Any]) -> str:
    """The page with the record's tables between `<!-- name -->` and `<!-- end -->`."""
    for name, text in tables(record).items():
        begin = f"<!-- {name} -->\n"
        before, rest = page.split(begin)
        page = before + begin + f"\n{text}\n\n" + rest[rest.index("<!-- end -->") :]
    return page


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--page", action="store_true", help="fill the page from the kept result")
    parser.add_argument("--tpu", action="store_true", help="also compile for 8 TPU chips")
    parser.add_argument("--smoke", action="store_true", help="two experiments; keeps nothing")
    options = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", max(DEVICES))
    if not options.page:
        names = sorted(path.stem for path in experiments_folder().glob("*.py"))
        record: dict[str, Any] = {"rate": RATE, "compiled": []}
        record["experiments"] = [measured(name) for name in (SMOKE if options.smoke else names)]
        if options.smoke:
            print("\n\n".join(tables(record).values()))
            return
        if options.tpu:
            record["compiled"] = [compiled_all_reduces(name) for name in TPU_EXPERIMENTS]
        elif RESULT.exists():  # compiling needs minutes, and a package that few have
            record["compiled"] = json.loads(RESULT.read_text())["compiled"]
        write_result(RESULT, "python benchmarks/scaling.py --tpu", record)
    PAGE.write_text(fill(PAGE.read_text(), json.loads(RESULT.read_text())))


if __name__ == "__main__":
    main()
