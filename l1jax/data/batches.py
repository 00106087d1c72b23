"""Batches in an order that depends on seed and step alone, from images that stay on the device."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Shaped

from l1jax.data.source import THREADS, Source, take

BLOCK = 64  # images that a thread makes at a time


class Host(NamedTuple):
    """One of the machines that share each batch, in the order of JAX's processes."""

    index: int = 0
    count: int = 1


ALONE = Host()


class Batch(NamedTuple):
    """What one step sees of the data; every leaf leads with draws and batch."""

    image: Shaped[
        Array | np.ndarray, "draws batch height width channels"
    ]  # uint8, or points as float32
    index: Int[Array | np.ndarray, "draws batch"]  # of the example in its source
    label: Int[Array | np.ndarray, "draws batch"]  # its class; 0 where the source has none


class Feed(NamedTuple):
    """Where steps get their batches.

    resident: arrays that stay on the device (all images and labels, or nothing).
    take: (resident, one step's slice of a chunk) → Batch; runs inside the compiled step.
    chunk: (first step, steps) → NumPy tree that leads with steps, draws and this host's part of the batch.
    close: stops whatever reads ahead.
    """

    resident: Any
    take: Callable[[Any, Any], Batch]
    chunk: Callable[[int, int], Any]
    close: Callable[[], None]


@lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, length: int) -> Int[np.ndarray, " length"]:
    """The order of one pass over the data."""
    return (
        np.random.Generator(np.random.Philox(key=(seed << 32) + epoch))
        .permutation(length)
        .astype(np.int32)
    )


def order(seed: int, start: int, stop: int, length: int) -> Int[np.ndarray, " positions"]:
    """Which examples stand at positions [start, stop) of an endless stream of shuffled passes."""
    passes = range(start // length, (stop - 1) // length + 1)
    stream = np.concatenate([epoch_order(seed, epoch, length) for epoch in passes])
    return stream[start - passes.start * length : stop - passes.start * length]


def batch_indices(
    seed: int, first: int, steps: int, draws: int, batch_size: int, length: int, host: Host = ALONE
) -> Int[np.ndarray, "steps draws local_batch"]:
    """Which examples a host's part of the batches of these steps holds: the same batches for any number of hosts.

    Raises:
        ValueError: if the hosts cannot share a batch evenly.
    """
    if batch_size % host.count:
        raise ValueError(
            f"`batch_size` (={batch_size}) must be divisible by the number of hosts (={host.count})."
        )
    per_step, part = draws * batch_size, batch_size // host.count
    found = order(seed, first * per_step, (first + steps) * per_step, length).reshape(
        steps, draws, batch_size
    )
    return found[:, :, host.index * part : (host.index + 1) * part]


def load(
    source: Source, progress: Callable[[int], None] = lambda done: None
) -> Shaped[np.ndarray, "n h w c"]:
    """All examples, made in parallel threads, calling `progress` with the number done after every block of them."""
    images = np.empty((source.length, *source.image_shape), source.dtype)
    blocks = [np.arange(i, min(i + BLOCK, source.length)) for i in range(0, source.length, BLOCK)]
    with ThreadPoolExecutor(THREADS) as pool:
        for block, found in zip(blocks, pool.map(partial(take, source), blocks), strict=True):
            images[block] = found
            progress(int(block[-1]) + 1)
    return images


def resident_feed(
    images: Shaped[np.ndarray, "n h w c"],
    seed: int,
    draws: int,
    batch_size: int,
    labels: Int[np.ndarray, " n"] | None = None,
    host: Host = ALONE,
) -> Feed:
    """Keep all images on the device and index them inside the step; a chunk is indices only."""
    labels = np.zeros(len(images), np.int32) if labels is None else labels

    def chunk(first: int, steps: int) -> np.ndarray:
        return batch_indices(seed, first, steps, draws, batch_size, len(images), host)

    def pick(resident: Any, index: Int[Array, "draws batch"]) -> Batch:
        image, label = map(jnp.asarray, resident)
        return Batch(image[index], index, label[index])

    return Feed((images, labels), pick, chunk, lambda: None)
