"""Batches in an order that depends on seed and step alone, from memory on the device or streamed."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Shaped

from l1jax.data.sources import Source

THREADS = 8  # decoding releases the GIL


class Batch(NamedTuple):
    """What one step sees of the data; every leaf leads with draws and batch."""

    image: Shaped[Array | np.ndarray, "draws batch height width channels"]  # uint8, or points as float32
    index: Int[Array | np.ndarray, "draws batch"]  # of the example in its source
    label: Int[Array | np.ndarray, "draws batch"]  # its class; 0 where the source has none


class Feed(NamedTuple):
    """Where steps get their batches.

    resident: arrays that stay on the device (all images and labels, or nothing).
    take: (resident, one step's slice of a chunk) → Batch; runs inside the compiled step.
    chunk: (first step, steps) → NumPy tree that leads with steps, draws, batch.
    close: stops whatever reads ahead.
    """

    resident: Any
    take: Callable[[Any, Any], Batch]
    chunk: Callable[[int, int], Any]
    close: Callable[[], None]


@lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, length: int) -> Int[np.ndarray, " length"]:
    """The order of one pass over the data."""
    return np.random.Generator(np.random.Philox(key=(seed << 32) + epoch)).permutation(length).astype(np.int32)


def order(seed: int, start: int, stop: int, length: int) -> Int[np.ndarray, " positions"]:
    """Which examples stand at positions [start, stop) of an endless stream of shuffled passes."""
    passes = range(start // length, (stop - 1) // length + 1)
    stream = np.concatenate([epoch_order(seed, epoch, length) for epoch in passes])
    return stream[start - passes.start * length : stop - passes.start * length]


def load(source: Source, progress: Callable[[int], None] = lambda done: None) -> Shaped[np.ndarray, "n h w c"]:
    """Decode all images, in parallel threads, calling `progress` with the number done."""
    images = np.empty((source.length, *source.image_shape), source.dtype)
    with ThreadPoolExecutor(THREADS) as pool:
        for i, image in enumerate(pool.map(source.example, range(source.length))):
            images[i] = image
            progress(i + 1)
    return images


def resident_feed(
    images: Shaped[np.ndarray, "n h w c"],
    seed: int,
    draws: int,
    batch_size: int,
    labels: Int[np.ndarray, " n"] | None = None,
) -> Feed:
    """Keep all images on the device and index them inside the step; a chunk is indices only."""
    labels = np.zeros(len(images), np.int32) if labels is None else labels

    def chunk(first: int, steps: int) -> np.ndarray:
        per_step = draws * batch_size
        found = order(seed, first * per_step, (first + steps) * per_step, len(images))
        return found.reshape(steps, draws, batch_size)

    def take(resident: Any, index: Int[Array, "draws batch"]) -> Batch:
        image, label = map(jnp.asarray, resident)
        return Batch(image[index], index, label[index])

    return Feed((images, labels), take, chunk, lambda: None)


def streaming_feed(source: Source, seed: int, draws: int, batch_size: int) -> Feed:
    """Decode in background threads, ahead of the steps; a chunk is the images themselves."""
    import grain

    per_step = draws * batch_size
    labels = np.zeros(source.length, np.int32) if source.labels is None else source.labels
    reader: dict[str, Any] = {"step": None, "iterator": None}

    def batch_at(step: int) -> Batch:
        index = order(seed, step * per_step, (step + 1) * per_step, source.length)
        image = np.stack([source.example(int(i)) for i in index])
        image, shape = image.reshape(draws, batch_size, *source.image_shape), (draws, batch_size)
        return Batch(image, index.reshape(shape), labels[index].reshape(shape))

    def read_from(step: int) -> Iterator[Batch]:
        options = grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=2 * THREADS)
        endless = grain.MapDataset.range(step, np.iinfo(np.int32).max).map(batch_at)
        return iter(endless.to_iter_dataset(options))

    def close() -> None:
        if reader["iterator"] is not None:
            reader["iterator"].close()
        reader.update(step=None, iterator=None)

    def chunk(first: int, steps: int) -> Batch:
        if reader["step"] != first:
            close()
            reader.update(step=first, iterator=read_from(first))
        batches = [next(reader["iterator"]) for _ in range(steps)]
        reader["step"] = first + steps
        return jax.tree.map(lambda *leaves: np.stack(leaves), *batches)

    return Feed(np.zeros(()), lambda resident, batch: batch, chunk, close)
