"""Batches in an order that depends on seed and step alone, from images that stay on the device."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree, Shaped

from l1jax.data.source import THREADS, Source, take

BLOCK = 64  # images that a thread makes at a time


class Host(NamedTuple):
    """One of the machines that share each batch, in the order of JAX's processes."""

    index: int = 0
    count: int = 1


SINGLE_HOST = Host()


class Batch(NamedTuple):
    """The data that one step sees; every leaf leads with draws and batch."""

    example: Shaped[Array | np.ndarray, "draws batch ..."]
    """uint8 images with values from 0 to 255, float32 points, or windows of int32 tokens."""
    index: Int[Array | np.ndarray, "draws batch"]
    """Index of each example in its source."""
    label: Int[Array | np.ndarray, "draws batch"]
    """Class of each example; 0 if the source has none."""


class Feed(NamedTuple):
    """Where steps get their batches.

    A chunk is what the host sends to the device for several steps at once. The compiled program
    makes the batch of each step from its part of the chunk.
    """

    resident: PyTree
    """Arrays that stay on the device: all images and labels, or nothing that matters."""
    make_batch: Callable[[PyTree, PyTree], Batch]
    """(`resident`, one step's part of a chunk) → the batch. Runs inside the compiled step."""
    chunk: Callable[[int, int], PyTree]
    """(first step, number of steps) → a chunk for these steps.

    It is a tree of NumPy arrays that lead with steps, draws and this host's part of the batch."""
    close: Callable[[], None]
    """() → None. Stops the threads or processes that read ahead."""
    is_split: bool = False
    """Whether each device has its part of `resident` only, along the first axis."""


@lru_cache(maxsize=4)
def epoch_permutation(seed: int, epoch: int, length: int) -> Int[np.ndarray, " length"]:
    """Return the order of the examples in one pass over the data.

    Args:
        seed: seed of the order.
        epoch: number of the pass, from 0 on.
        length: number of examples.
    """
    generator = np.random.Generator(np.random.Philox(key=(seed << 32) + epoch))
    return generator.permutation(length).astype(np.int32)


def shuffled_indices(
    seed: int, start: int, stop: int, length: int
) -> Int[np.ndarray, " positions"]:
    """Return which examples stand at positions [start, stop) of endless shuffled passes.

    Args:
        seed: seed of the order.
        start: first position, from 0 on.
        stop: position after the last.
        length: number of examples in a pass.
    """
    epochs = range(start // length, (stop - 1) // length + 1)
    stream = np.concatenate([epoch_permutation(seed, epoch, length) for epoch in epochs])
    offset = epochs.start * length
    return stream[start - offset : stop - offset]


def batch_indices(
    seed: int,
    first: int,
    steps: int,
    draws: int,
    batch_size: int,
    length: int,
    host: Host = SINGLE_HOST,
) -> Int[np.ndarray, "steps draws local_batch"]:
    """Return which examples a host's part of the batches holds.

    Together, any number of hosts make the same batches.

    Args:
        seed: seed of the order.
        first: first step, from 0 on.
        steps: number of steps.
        draws: batches per step.
        batch_size: examples per batch over all hosts.
        length: number of examples of the source.
        host: the host whose part is returned.

    Raises:
        ValueError: if the hosts cannot share a batch evenly.
    """
    if batch_size % host.count:
        raise ValueError(
            f"`batch_size` (={batch_size}) must be divisible by the number of hosts "
            f"(={host.count})."
        )
    examples_per_step = draws * batch_size
    indices = shuffled_indices(
        seed, first * examples_per_step, (first + steps) * examples_per_step, length
    )
    local_size = batch_size // host.count
    local_start = host.index * local_size
    global_indices = indices.reshape(steps, draws, batch_size)
    return global_indices[:, :, local_start : local_start + local_size]


def load_all(
    source: Source, progress: Callable[[int], None] = lambda done: None
) -> Shaped[np.ndarray, "n height width channels"]:
    """Return all examples of a source, made by parallel threads.

    Args:
        source: the examples.
        progress: (number of examples done) → None; is called after every block of them.
    """
    return load_range(source, 0, source.length, progress)


def load_range(
    source: Source, start: int, stop: int, progress: Callable[[int], None] = lambda done: None
) -> Shaped[np.ndarray, "n height width channels"]:
    """Return the examples [start, stop) of a source, made by parallel threads.

    Args:
        source: the examples.
        start: index of the first.
        stop: index after the last.
        progress: (number of examples done) → None; is called after every block of them.
    """
    images = np.empty((stop - start, *source.image_shape), source.dtype)
    starts = range(start, stop, BLOCK)
    blocks = [np.arange(first, min(first + BLOCK, stop)) for first in starts]
    with ThreadPoolExecutor(THREADS) as pool:
        for block, loaded in zip(blocks, pool.map(partial(take, source), blocks), strict=True):
            images[block - start] = loaded
            progress(int(block[-1]) + 1 - start)
    return images


def resident_feed(
    images: Shaped[np.ndarray, "n height width channels"],
    seed: int,
    draws: int,
    batch_size: int,
    labels: Int[np.ndarray, " n"] | None = None,
    host: Host = SINGLE_HOST,
) -> Feed:
    """Keep all images on the device and index them inside the step; a chunk holds indices only.

    Args:
        images: all examples.
        seed: seed of their order.
        draws: batches per step.
        batch_size: examples per batch over all hosts.
        labels: class of each example; None if there are none.
        host: the host whose part of each batch the chunks hold.
    """
    if labels is None:
        labels = np.zeros(len(images), np.int32)
    resident = (images, labels)

    def chunk(first: int, steps: int) -> np.ndarray:
        return batch_indices(seed, first, steps, draws, batch_size, len(images), host)

    def make_batch(resident: PyTree, index: Int[Array, "draws batch"]) -> Batch:
        image, label = map(jnp.asarray, resident)
        return Batch(image[index], index, label[index])

    return Feed(resident, make_batch, chunk, close=lambda: None)
