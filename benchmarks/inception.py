"""Inception-v3's features against torch-fidelity's: seconds per 1,000 images.

They take turns on the same device.

    python benchmarks/inception.py --side 64 --output benchmarks/results/inception-64-cpu.json
    python benchmarks/inception.py --smoke   # two images, one round; keeps nothing

Both read the same random weights from files (which cost as much as the public ones) and give the
last pool's features and the logits of uint8 images, resizing included. torch-fidelity's network
runs without gradients on all cores.
"""

import argparse
import importlib
import importlib.util
import shlex
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import jax
import measure
import numpy as np
import torch

from l1jax.evaluation.features import extract_all
from l1jax.evaluation.inception import inception_features
from l1jax.evaluation.inception_weights import tensor_shapes
from l1jax.evaluation.weight_files import convert_weights


def write_weights(path: Path) -> None:
    """Random ones that keep activations at one scale, in the public file's format."""
    rng, tensors = np.random.default_rng(0), {}
    for name, shape in tensor_shapes().items():
        values = rng.standard_normal(shape, np.float32)
        if len(shape) > 1:
            values *= np.sqrt(2 / np.prod(shape[1:]))
        elif name.endswith(("bn.weight", "running_var")):
            values = np.abs(values) + 0.5
        else:
            values *= 0.1
        tensors[name] = torch.from_numpy(values.astype(np.float32))
    torch.save(tensors, path)


def peer(path: Path) -> Any:
    """Load torch-fidelity's extractor.

    Its package imports torchvision, which this network does not need.
    """
    package: Any = types.ModuleType("torch_fidelity")
    found = importlib.util.find_spec("torch_fidelity")
    assert found is not None
    package.__path__ = found.submodule_search_locations
    sys.modules["torch_fidelity"] = package
    extractor: Any = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    wanted = ["2048", "logits_unbiased"]
    network = extractor.FeatureExtractorInceptionV3(
        "inception", wanted, feature_extractor_weights_path=str(path)
    )
    return network.cuda() if jax.default_backend() == "gpu" else network


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--images", type=int, default=128, help="of each turn")
    parser.add_argument("--side", type=int, default=64, help="pixels")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=7, help="turns of each")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--smoke", action="store_true", help="two images, one round; keeps nothing")
    options = parser.parse_args(arguments)
    if options.smoke:
        options.images, options.batch, options.pairs = 2, 2, 1
    images = np.random.default_rng(1).integers(
        0, 256, (options.images, options.side, options.side, 3), np.uint8
    )
    torch.set_num_threads(measure.environment()["cores"])
    with tempfile.TemporaryDirectory() as folder:
        theirs, ours = Path(folder) / "weights.pth", Path(folder) / "weights.safetensors"
        write_weights(theirs)
        convert_weights(theirs, ours, any_weights=True)
        network, features = peer(theirs), inception_features(ours)

    def fidelity(last: bool = False) -> list[np.ndarray]:
        form = torch.channels_last if last else torch.contiguous_format
        found = []
        with torch.no_grad():
            for start in range(0, len(images), options.batch):
                batch = torch.from_numpy(images[start : start + options.batch]).permute(0, 3, 1, 2)
                seen = network(
                    batch.to(next(network.parameters()).device).contiguous(memory_format=form)
                )
                found.append([values.cpu().numpy() for values in seen])
        return [np.concatenate(parts) for parts in zip(*found, strict=True)]

    for own, other in zip(extract_all(features, images, options.batch), fidelity(), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-3, atol=1e-4 * np.abs(other).max())
    turns = {
        "l1jax": lambda: extract_all(features, images, options.batch),
        "torch-fidelity": fidelity,
        "torch-fidelity, channels last": lambda: fidelity(last=True),
    }
    seconds = measure.alternate(turns, options.pairs, warmup=1)
    result: dict[str, Any] = {
        "images": options.images,
        "side": options.side,
        "batch": options.batch,
    }
    for name, samples in seconds.items():
        result[name] = {
            "seconds_per_1000_images": measure.quartiles(1_000 * samples / options.images),
            "speed_against_torch_fidelity": measure.quartiles(seconds["torch-fidelity"] / samples),
        }
        median, low, high = (
            result[name]["speed_against_torch_fidelity"][key] for key in ("median", "low", "high")
        )
        rate = result[name]["seconds_per_1000_images"]["median"]
        print(f"{name:32} {rate:6.1f} s for 1,000 images   {median:.2f} × ({low:.2f}–{high:.2f})")
    if options.output and not options.smoke:
        command = shlex.join(["python", "benchmarks/inception.py", *(arguments or sys.argv[1:])])
        print(f"written to {measure.write_result(options.output, command, result)}")


if __name__ == "__main__":
    main()
