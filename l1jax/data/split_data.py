"""A data set whose parts lie on different devices, of which every step sees the whole."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree, Shaped

from l1jax.data.batches import SINGLE_HOST, Batch, Feed, Host, batch_indices, load_range
from l1jax.data.source import Source


def split_feed(
    source: Source,
    seed: int,
    draws: int,
    batch_size: int,
    num_devices: int,
    axis_name: str,
    host: Host = SINGLE_HOST,
) -> Feed:
    """Keep on each device its part of all images; in each step the devices exchange a batch.

    The batches are those of `resident_feed`, bit for bit. A host reads the parts of its own
    devices only. `make_batch` runs inside a function that is mapped over the devices.

    Args:
        source: the examples.
        seed: seed of their order.
        draws: batches per step.
        batch_size: examples per batch over all hosts.
        num_devices: over all hosts, each of which has equally many.
        axis_name: of the axis over which the step is mapped.
        host: the host whose parts are read.
    """
    part_length = -(-source.length // num_devices)
    host_length = part_length * num_devices // host.count
    start = min(host.index * host_length, source.length)
    stop = min(start + host_length, source.length)
    padding = host_length - (stop - start)  # examples that no index names
    images = load_range(source, start, stop)
    labels = np.zeros(stop - start, np.int32)
    if source.labels is not None:
        labels = source.labels[start:stop]
    resident = (_pad(images, padding), _pad(labels, padding))

    def chunk(first: int, steps: int) -> np.ndarray:
        return batch_indices(seed, first, steps, draws, batch_size, source.length, host)

    def make_batch(resident: PyTree, index: Int[Array, "draws batch"]) -> Batch:
        part_start = part_length * jax.lax.axis_index(axis_name)
        wanted = jax.lax.all_gather(index, axis_name)
        is_here = (wanted >= part_start) & (wanted < part_start + part_length)
        position = jnp.where(is_here, wanted - part_start, 0)

        def exchange(part: Shaped[Array, "part ..."]) -> Shaped[Array, "draws batch ..."]:
            found = part[position]
            shape = is_here.shape + (1,) * (found.ndim - is_here.ndim)
            # One device has each example, all others send zeros: the sum is the example itself.
            sent = jnp.where(is_here.reshape(shape), found, jnp.zeros((), part.dtype))
            return jax.lax.psum_scatter(sent, axis_name)

        image, label = map(exchange, resident)
        return Batch(image, index, label)

    return Feed(resident, make_batch, chunk, close=lambda: None, is_split=True)


def _pad(rows: Shaped[np.ndarray, "n ..."], count: int) -> Shaped[np.ndarray, "m ..."]:
    """Append rows of zeros."""
    return np.concatenate([rows, np.zeros((count, *rows.shape[1:]), rows.dtype)])
