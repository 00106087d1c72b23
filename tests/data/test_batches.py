"""The order of examples, and the batches made of it."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l1jax.config import InputError
from l1jax.data.batches import epoch_permutation, load_all, resident_feed, shuffled_indices
from l1jax.data.source import Source
from l1jax.data.streaming import streaming_feed

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 10, 2000, dtype=np.int32)


def make_source(length, broken=None):
    images = RNG.integers(0, 256, (length, 3, 2, 1), dtype=np.uint8)

    def example(i):
        if i == broken:
            raise InputError(f"image {i} is broken.")
        return images[i]

    return Source(length, (3, 2, 1), example, "fingerprint", LABELS[:length]), images


@pytest.mark.parametrize("length", [1, 2, 7, 1797])
@pytest.mark.parametrize("epoch", [0, 1, 5])
def test_every_pass_sees_every_example_once(length, epoch):
    indices = shuffled_indices(3, epoch * length, (epoch + 1) * length, length)
    np.testing.assert_array_equal(np.sort(indices), np.arange(length))


def test_each_pass_and_seed_has_another_order():
    orders = [
        tuple(shuffled_indices(seed, epoch * 50, epoch * 50 + 50, 50))
        for seed in range(3)
        for epoch in range(3)
    ]
    assert len(set(orders)) == 9
    assert tuple(range(50)) not in orders


def test_the_first_example_is_uniform():
    first = [shuffled_indices(seed, 0, 1, 5)[0] for seed in range(1000)]
    counts = np.bincount(first, minlength=5)
    assert ((counts - 200) ** 2 / 200).sum() < 18.5  # χ² with 4 degrees of freedom, p = 0.001


@pytest.mark.parametrize(
    "cuts", [[0, 100], [0, 1, 2, 50, 99, 100], [0, 13, 26, 39, 52, 65, 78, 91, 100]]
)
def test_the_order_does_not_depend_on_how_it_is_cut(cuts):
    pieces = [shuffled_indices(1, start, stop, 13) for start, stop in itertools.pairwise(cuts)]
    np.testing.assert_array_equal(np.concatenate(pieces), shuffled_indices(1, 0, 100, 13))


def test_the_largest_seed_works():
    assert sorted(shuffled_indices(2**32 - 1, 0, 4, 4)) == [0, 1, 2, 3]
    assert not np.array_equal(epoch_permutation(0, 1, 50), epoch_permutation(1, 0, 50))


@pytest.mark.parametrize("length", [5, 40])  # a batch of 8 images is more than the data, or less
@pytest.mark.parametrize("make", ["resident", "streaming"])
def test_batches_follow_the_order(make, length):
    source, images = make_source(length)
    draws = 2
    batch = 4
    if make == "resident":
        feed = resident_feed(images, 7, draws, batch, source.labels)
    else:
        feed = streaming_feed(source, 7, draws, batch)
    chunk = feed.chunk(3, 2)
    assert {leaf.shape[:3] for leaf in jax.tree.leaves(chunk)} == {(2, draws, batch)}
    for step in range(2):
        made = jax.jit(feed.make_batch)(
            jax.tree.map(jnp.asarray, feed.resident),
            jax.tree.map(lambda leaf, s=step: leaf[s], chunk),
        )
        expected = shuffled_indices(7, (3 + step) * 8, (4 + step) * 8, length).reshape(draws, batch)
        np.testing.assert_array_equal(made.index, expected)
        np.testing.assert_array_equal(made.example, images[expected])
        np.testing.assert_array_equal(made.label, LABELS[expected])
        assert made.example.dtype == np.uint8
    feed.close()


def test_resident_and_streamed_batches_are_the_same_however_they_are_chunked():
    source, images = make_source(30)
    resident = resident_feed(images, 0, 1, 8)
    streamed = streaming_feed(source, 0, 1, 8)
    step = 0
    for steps in (1, 4, 2, 5):  # reading ahead across several passes
        chunk = streamed.chunk(step, steps)
        expected = resident.chunk(step, steps)
        np.testing.assert_array_equal(chunk.index, expected)
        np.testing.assert_array_equal(chunk.example, images[expected])
        step += steps
    streamed.close()


def test_a_stream_can_start_anywhere_and_go_back():
    source, _ = make_source(30)
    feed = streaming_feed(source, 0, 1, 8)
    steps = [feed.chunk(first, 1).index[0] for first in (5, 6, 2, 9)]
    for first, index in zip((5, 6, 2, 9), steps, strict=True):
        np.testing.assert_array_equal(index[0], shuffled_indices(0, first * 8, first * 8 + 8, 30))
    feed.close()
    feed.close()  # closing twice is fine
    np.testing.assert_array_equal(feed.chunk(5, 1).index[0], steps[0])  # and so is going on
    feed.close()


def test_the_error_of_a_broken_image_is_raised():
    source, _ = make_source(8, broken=3)
    feed = streaming_feed(source, 0, 1, 8)
    with pytest.raises(InputError, match="image 3 is broken"):
        feed.chunk(0, 1)
    feed.close()
    with pytest.raises(InputError, match="image 3 is broken"):
        load_all(source)


def test_loading_keeps_the_order_and_reports_progress():
    source, images = make_source(150)
    done = []
    np.testing.assert_array_equal(load_all(source, done.append), images)
    assert done == [64, 128, 150]
