"""CelebA's official layout at its real size: opened, trained on, resumed; time and memory.

    python benchmarks/celeba.py --output benchmarks/results/celeba-cpu.json
    python benchmarks/celeba.py --smoke   # 300 images; keeps nothing

CelebA itself is not needed: a zip of 202,599 JPEGs of 178×218 pixels under its names is made of a
few pictures, with the table of attributes beside it. Each line is a process of its own, with the
processor's time and the largest memory of its whole life. The training is that of the experiment
`celeba` with a narrower network, whose steps are not what is measured here.
"""

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import measure
import numpy as np
from PIL import Image

NUM_IMAGES = 202_599
PICTURES = 8  # that differ
OPEN = """
import sys
from l1jax.config import ImageData
from l1jax.data.opening import open_examples
path, labels = sys.argv[1:]
source, _ = open_examples(ImageData(path, image_size=64, crop=178, labels=labels))
print(source.length, *source.classes, sep="; ")
"""
FLAGS = {
    "config": "celeba",
    "data": "image",
    "data.crop": 178,
    "model.channels": 8,
    "batch-size": 16,
    "resident-mib": 64,
    "log-every": 1,
}


class Cost(NamedTuple):
    """What a process took."""

    processor_seconds: float
    seconds: float
    memory_mib: float


def make_celeba(folder: Path, count: int) -> None:
    """Write the zip of images and the table of attributes, as CelebA has them."""
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(PICTURES):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 10, 3)).astype(np.uint8))
        content = io.BytesIO()
        coarse.resize((178, 218), Image.Resampling.BICUBIC).save(content, "JPEG", quality=60)
        pictures.append(content.getvalue())
    rows = [str(count), "5_o_Clock_Shadow Smiling "]
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
        for i in range(1, count + 1):
            archive.writestr(f"img_align_celeba/{i:06d}.jpg", pictures[i % PICTURES])
            smiles = 1 if i % PICTURES < PICTURES // 2 else -1
            rows.append(f"{i:06d}.jpg -1 {smiles:2d}")
    (folder / "list_attr_celeba.txt").write_text("\n".join([*rows, ""]))


def run(command: list[str], cache: Path) -> Cost:
    """Run a program to its end and return what it took, with its children."""
    environment = dict(os.environ, L1JAX_CACHE_DIR=str(cache), JAX_PLATFORMS="cpu")
    begin = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with status {status}:\n{said}")
    return Cost(
        usage.ru_utime + usage.ru_stime, time.perf_counter() - begin, usage.ru_maxrss / 1024
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, help="JSON file for the result")
    parser.add_argument("--smoke", action="store_true", help="300 images; keeps nothing")
    options = parser.parse_args()
    count = 300 if options.smoke else NUM_IMAGES
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary, "celeba")
        data.mkdir()
        make_celeba(data, count)
        python = [sys.executable]
        train = [*python, "-m", "l1jax.train"]
        places = {"data.path": data, "workdir": Path(temporary, "run")}
        size = 8 if options.smoke else 64
        for name, value in {**FLAGS, "data.image-size": size, **places}.items():
            train += [f"--{name}", str(value)]
        cache = Path(temporary, "cache")
        smiling = "list_attr_celeba.txt:Smiling"
        commands = {
            "open": [*python, "-c", OPEN, str(data), "none"],
            "open with the attribute Smiling": [*python, "-c", OPEN, str(data), smiling],
            "train 2 steps": [*train, "--steps", "2"],
            "resume and train 2 more": [*train, "--steps", "4"],
        }
        if options.smoke:  # resuming runs the same code
            commands = {name: commands[name] for name in list(commands)[1:3]}
        result: dict[str, Any] = {"images": count}
        for name, command in commands.items():
            cost = run(command, cache)
            result[name] = cost._asdict()
            print(
                f"{name:32s} {cost.processor_seconds:6.1f} s of the processor, {cost.seconds:6.1f} "
                f"by the clock, {cost.memory_mib:6,.0f} MiB"
            )
    if options.output and not options.smoke:
        command_line = "python benchmarks/celeba.py"
        print(f"written to {measure.write_result(options.output, command_line, result)}")


if __name__ == "__main__":
    main()
