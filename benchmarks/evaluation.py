"""What an evaluation costs: the memory of large sets, the processor's time of two folders.

    python benchmarks/evaluation.py large --output benchmarks/results/evaluation-large-cpu.json
    python benchmarks/evaluation.py folders --output benchmarks/results/evaluation-folders-cpu.json
    python benchmarks/evaluation.py --smoke   # `large` in a tiny size; keeps nothing

`large` scores 50,000 images against 50,000 on 2,048 random features and 1,008 logits, as many as
Inception-v3 has, by the function behind `l1jax.evaluate`: all scores, their deviations, real
against real, copies. What is kept is the largest memory of the whole process.

`folders` runs `l1jax.evaluate --real X --generated Y --inception W` on two folders, half JPEG and
half PNG, in turn with torch-fidelity's FID, KID and inception score of the same folders and
weights, which are random. Each is a process of its own, from Python's start to its end. l1jax's
also has precision, recall, copies and deviations, and scores pixels and random convolutions. Its
programs are compiled once before, as in every process after a user's first.
"""

import argparse
import json
import resource
import shlex
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import measure
import numpy as np
from celeba import Cost, run
from PIL import Image

from l1jax.evaluation.comparison import SeedImages, compare
from l1jax.evaluation.features import Extracted, FeatureExtractor

SIDE = 8  # pixels of the images whose features are made up
FEATURES = 2_048
CLASSES = 1_008
PEER = """
import sys
sys.path.insert(0, sys.argv[1])
import evaluation_peer
evaluation_peer.main(*sys.argv[2:])
"""


def made_up_features(features: int, classes: int) -> FeatureExtractor:
    """Random projections of pixels, cut off below 0: as many as a network's, at no cost."""
    rng = np.random.default_rng(0)
    projections = [
        rng.normal(size=(3 * SIDE**2, count)).astype(np.float32) for count in (features, classes)
    ]

    def extract(parameters: Any, images: jax.Array) -> Extracted:
        pixels = images.reshape(len(images), -1) / 127.5 - 1
        first, second = parameters
        return Extracted(jax.nn.relu(pixels @ first), pixels @ second)

    return FeatureExtractor(
        f"{features} random projections", extract, [jnp.asarray(own) for own in projections]
    )


def large(count: int, features: int, classes: int) -> dict[str, Any]:
    """Score as many random images against as many others."""
    rng = np.random.default_rng(1)
    real, generated = (rng.integers(0, 256, (count, SIDE, SIDE, 3), np.uint8) for _ in range(2))
    generated //= 2
    begin = time.process_time()
    extractor = made_up_features(features, classes)
    found = compare({"made up": extractor}, real, [SeedImages(0, generated)])
    seconds = time.process_time() - begin
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    scores = found["features"]["made up"]
    print(
        f"{count:,} images against {count:,}, {features:,} features: {memory:.2f} GiB, "
        f"{seconds:.0f} s of the processor"
    )
    return {
        "images": count,
        "features": features,
        "classes": classes,
        "peak_memory_gib": memory,
        "processor_seconds": seconds,
        "frechet_distance": scores["frechet_distance"]["mean"],
    }


def write_pictures(folder: Path, count: int, side: int, seed: int) -> None:
    """Write smooth random pictures, every other one as JPEG."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3)).astype(np.uint8))
        suffix = "jpg" if i % 2 else "png"
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(folder / f"{i:05d}.{suffix}")


def commands(folder: Path, count: int) -> dict[str, list[str]]:
    """The command of each package, by its name."""
    from inception import write_weights

    from l1jax.evaluation.weight_files import convert_weights

    theirs, ours = folder / "weights.pth", folder / "weights.safetensors"
    write_weights(theirs)
    convert_weights(theirs, ours, any_weights=True)
    real, generated = str(folder / "real"), str(folder / "generated")
    own = ["-m", "l1jax.evaluate", "--real", real, "--generated", generated]
    own += ["--inception", str(ours), "--output", str(folder / "evaluation.json")]
    benchmarks = str(Path(__file__).parent)
    peer = ["-c", PEER, benchmarks, real, generated, str(theirs), str(count)]
    peer.append(str(folder / "peer.json"))
    return {"l1jax": [sys.executable, *own], "torch-fidelity": [sys.executable, *peer]}


def agreement(folder: Path) -> dict[str, list[float]]:
    """The scores of l1jax and of torch-fidelity that are the same by definition."""
    own = json.loads((folder / "evaluation.json").read_text())["features"]["inception"]
    peer = json.loads((folder / "peer.json").read_text())
    names = {
        "frechet_distance": "frechet_inception_distance",
        "kernel_distance": "kernel_inception_distance_mean",
    }
    return {name: [own[name]["mean"], peer[other]] for name, other in names.items()}


def folders(count: int, side: int, rounds: int) -> dict[str, Any]:
    """Run both packages' commands in turn."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for seed, name in enumerate(("real", "generated")):
            write_pictures(folder / name, count, side, seed)
        both = commands(folder, count)
        cache = folder / "cache"
        costs: dict[str, list[Cost]] = {name: [] for name in both}
        first = run(both["l1jax"], cache)
        for i in range(rounds):
            names = list(both) if i % 2 == 0 else list(both)[::-1]
            for name in names:
                costs[name].append(run(both[name], cache))
        scores = agreement(folder)
    result: dict[str, Any] = {"images_each": count, "side": side, "scores": scores}
    result["l1jax's first, which compiles"] = first._asdict()
    seconds = {}
    for name, own in costs.items():
        seconds[name] = np.array([cost.processor_seconds for cost in own]) * 1_000 / (2 * count)
        result[name] = {
            "processor_seconds_per_1000_images": measure.quartiles(seconds[name]),
            "memory_mib": max(cost.memory_mib for cost in own),
        }
        print(f"{name:16s} {np.median(seconds[name]):6.1f} s of the processor for 1,000 images")
    result["ratio"] = measure.ratio(seconds["l1jax"], seconds["torch-fidelity"])
    print(f"ratio {result['ratio']['median']:.2f}; scores of both: {scores}")
    return result


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="?", choices=("large", "folders"))
    parser.add_argument("--images", type=int, help="in each set; by default 50,000 or 500")
    parser.add_argument("--side", type=int, default=128, help="pixels, of pictures in folders")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each package")
    parser.add_argument("--output", type=Path, help="JSON file for the result")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes; keeps nothing")
    options = parser.parse_args(arguments)
    if options.smoke:
        large(60, 16, 8)
        return
    if options.part is None:
        parser.error("give large or folders")
    if options.part == "large":
        result = large(options.images or 50_000, FEATURES, CLASSES)
    else:
        result = folders(options.images or 500, options.side, options.rounds)
    if options.output:
        command = shlex.join(["python", "benchmarks/evaluation.py", *(arguments or sys.argv[1:])])
        print(f"written to {measure.write_result(options.output, command, result)}")


if __name__ == "__main__":
    main()
