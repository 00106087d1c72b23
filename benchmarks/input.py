"""Batches of JPEGs streamed by l1jax and by a PyTorch DataLoader: images per second on the host.

    python benchmarks/input.py --path faces64.tar.xz --output benchmarks/results/input-cpu.json
    python benchmarks/input.py --smoke   # on a few images that it makes; keeps nothing

The images lie in a folder of files, and each is decoded to its pixels as bytes, in shuffled
batches; nothing is augmented, resized or put on a device. The DataLoader's data set opens each file
with Pillow and hands on a tensor of bytes, which is the least that it can do; l1jax also corrects
orientation, crops, converts and checks what it reads. All are started and warmed up first, then
take turns in one process, each for some batches. l1jax's cache has all images before its turns
begin.
"""

import argparse
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import measure
import numpy as np
import torch
from PIL import Image

from l1jax.config import ImageData
from l1jax.data.batches import load_all
from l1jax.data.cache import with_cache
from l1jax.data.image_files import list_image_files
from l1jax.data.opening import open_source
from l1jax.data.streaming import AHEAD, streaming_feed


class Folder(torch.utils.data.Dataset):
    """Grey or coloured images as tensors of bytes, channels first."""

    def __init__(self, folder: Path, mode: str) -> None:
        self.paths, self.mode = sorted(map(str, folder.rglob("*.*"))), mode

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> torch.Tensor:
        with Image.open(self.paths[i]) as image:
            pixels = torch.from_numpy(np.array(image.convert(self.mode)))
        return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)


def few_images(folder: Path) -> None:
    """Sixteen small JPEGs of noise."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for i in range(16):
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(folder / f"{i}.jpg")


def unpack(path: str, folder: Path) -> None:
    """The images as files of a folder."""
    files = list_image_files(path)
    for name in files.names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(files.read(name))


def dataloader(folder: Path, mode: str, batch: int, workers: int) -> Iterator[torch.Tensor]:
    ahead = {"prefetch_factor": AHEAD // workers, "persistent_workers": True} if workers else {}
    loader = torch.utils.data.DataLoader(
        Folder(folder, mode), batch, shuffle=True, num_workers=workers, **ahead
    )
    while True:
        yield from loader


def streams(
    folder: Path, cache: Path, side: int, channels: int, batch: int, turn: int, closing: ExitStack
) -> dict[str, Callable[[], Any]]:
    """Each peer by name: a function that takes `turn` batches."""
    source = open_source(ImageData(str(folder), image_size=side, channels=channels))
    load_all(with_cache(source, cache))
    peers: dict[str, Callable[[], Any]] = {}
    for workers in (0, 2):
        loader = dataloader(folder, "L" if channels == 1 else "RGB", batch, workers)
        peers[f"torch DataLoader, {workers} workers"] = lambda loader=loader: [
            next(loader) for _ in range(turn)
        ]
    feeds = {
        f"l1jax, {workers} workers": streaming_feed(source, 0, 1, batch, workers)
        for workers in (0, 1, 2)
    }
    feeds["l1jax, cached"] = streaming_feed(with_cache(source, cache), 0, 1, batch)
    for name, feed in feeds.items():
        closing.callback(feed.close)
        steps = iter(range(0, sys.maxsize, turn))
        peers[name] = lambda feed=feed, steps=steps: feed.chunk(next(steps), turn)
    return peers


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--path", help="archive or folder of JPEGs")
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--channels", type=int, choices=(1, 3), default=1)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--turn", type=int, default=50, help="batches per turn")
    parser.add_argument("--pairs", type=int, default=10, help="turns of each")
    parser.add_argument("--output", type=Path, help="JSON file for the result")
    parser.add_argument("--smoke", action="store_true", help="a few images; keeps nothing")
    options = parser.parse_args()
    if not options.path and not options.smoke:
        parser.error(
            "`--path` must name an archive or a folder of JPEGs, unless `--smoke` is given."
        )
    if options.smoke:
        options.side, options.channels, options.batch = 8, 1, 4
        options.turn = options.pairs = 1
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as closing:
        folder, cache = Path(temporary, "images"), Path(temporary, "cache")
        if options.smoke:
            few_images(folder)
        else:
            unpack(options.path, folder)
        peers = streams(
            folder, cache, options.side, options.channels, options.batch, options.turn, closing
        )
        seconds = measure.alternate(peers, options.pairs, warmup=2)
    best = min(
        (name for name in seconds if name.startswith("torch")),
        key=lambda name: np.median(seconds[name]),
    )
    result: dict[str, Any] = {
        "side": options.side,
        "channels": options.channels,
        "batch": options.batch,
        "best_peer": best,
    }
    for name, samples in seconds.items():
        result[name] = {
            "images_per_second": measure.quartiles(options.batch * options.turn / samples),
            "speed_against_best_peer": measure.quartiles(seconds[best] / samples),
        }
        speed, ratio = result[name]["images_per_second"], result[name]["speed_against_best_peer"]
        spread = f"{ratio['low']:.2f}–{ratio['high']:.2f}"
        print(f"{name:32s} {speed['median']:10,.0f} images/s  {ratio['median']:6.2f} × ({spread})")
    if options.output and not options.smoke:
        arguments = [
            "--path",
            Path(options.path).name,
            "--turn",
            str(options.turn),
            "--pairs",
            str(options.pairs),
        ]
        command = shlex.join(["python", "benchmarks/input.py", *arguments])
        print(f"written to {measure.write_result(options.output, command, result)}")


if __name__ == "__main__":
    main()
