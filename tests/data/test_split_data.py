"""Images that lie on several devices in parts give every step the batch that one device sees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from l1jax.data.batches import Host, load_all, resident_feed
from l1jax.data.source import source_from_arrays
from l1jax.data.split_data import split_feed

SEED, DRAWS, BATCH, STEPS = 7, 2, 16, 5


def make_source(length):
    images = np.random.default_rng(0).integers(1, 256, (length, 4, 4, 1), np.uint8)
    labels = np.random.default_rng(1).integers(0, 10, length).astype(np.int32)
    return source_from_arrays(images, labels, 4, 1, "test")


@pytest.mark.parametrize("length", [45, 48, 3])  # not divisible, divisible, fewer than devices
def test_every_batch_is_that_of_one_device(length):
    source = make_source(length)
    devices = jax.devices()
    mesh = Mesh(np.asarray(devices), ("data",))
    feed = split_feed(source, SEED, DRAWS, BATCH, len(devices), "data")
    alone = resident_feed(load_all(source), SEED, DRAWS, BATCH, source.labels)
    resident = jax.device_put(feed.resident, NamedSharding(mesh, P("data")))
    parts = {shard.data.shape[0] for shard in resident[0].addressable_shards}
    assert parts == {-(-length // len(devices))}  # each device has its part only
    make_batch = jax.jit(
        jax.shard_map(
            feed.make_batch,
            mesh=mesh,
            in_specs=(P("data"), P(None, "data")),
            out_specs=P(None, "data"),
        )
    )
    chunk = feed.chunk(3, STEPS)
    expected_chunk = alone.chunk(3, STEPS)
    for index, expected_index in zip(chunk, expected_chunk, strict=True):
        batch = make_batch(resident, index)
        expected = alone.make_batch(alone.resident, jnp.asarray(expected_index))
        assert batch.example.dtype == expected.example.dtype
        jax.tree.map(np.testing.assert_array_equal, batch, expected)


def test_a_host_reads_the_parts_of_its_own_devices_only():
    source = make_source(45)
    images = load_all(source)
    read = []

    def example(index):
        read.append(index)
        return source.example(index)

    counted = source._replace(example=example, gather=None)
    padded = np.concatenate([images, np.zeros((3, *images.shape[1:]), np.uint8)])
    for host in (Host(0, 2), Host(1, 2)):
        read.clear()
        feed = split_feed(counted, SEED, DRAWS, BATCH, 8, "data", host)
        rows = slice(24 * host.index, 24 * (host.index + 1))
        np.testing.assert_array_equal(feed.resident[0], padded[rows])
        assert sorted(read) == list(range(45))[rows]
