import os
import re
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from image_files import encode, open_images, write_folder

from l1jax.config import InputError
from l1jax.data.batches import Host, load_all, resident_feed, shuffled_indices
from l1jax.data.cache import with_cache
from l1jax.data.source import subset
from l1jax.data.streaming import streaming_feed


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """40 grey JPEGs in two class folders."""
    folder, rng = tmp_path_factory.mktemp("faces"), np.random.default_rng(0)
    files = {
        f"{'ab'[i % 2]}/{i:02}.jpg": encode(rng.integers(0, 256, (20, 24), np.uint8), "JPEG")
        for i in range(40)
    }
    return write_folder(folder, files)


def batches(feed, first=3, steps=4):
    """What the steps see, whichever way it comes."""
    chunk = jax.tree.map(jnp.asarray, feed.chunk(first, steps))
    found = [
        feed.make_batch(feed.resident, jax.tree.map(lambda leaf, s=step: leaf[s], chunk))
        for step in range(steps)
    ]
    feed.close()
    return jax.tree.map(lambda *leaves: np.stack(leaves), *found)


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_resident_and_streamed_batches_are_the_same_for_any_number_of_workers(faces, tmp_path):
    source = open_images(faces, image_size=16, channels=1)
    part = subset(with_cache(source, tmp_path), np.arange(5, 40))
    expected = batches(resident_feed(load_all(part), 7, 2, 8, part.labels))
    assert {expected.label.min(), expected.label.max()} == {0, 1}
    for workers in (2, 1, 0):
        part = subset(with_cache(source, tmp_path / f"{workers}"), np.arange(5, 40))
        assert part.stamp is not None  # so that the workers have something to decode
        same(batches(streaming_feed(part, 7, 2, 8, workers)), expected)
        assert with_cache(source, tmp_path / f"{workers}").gather(np.arange(5)).shape == (
            5,
            16,
            16,
            1,
        )
    assert next((tmp_path / "2").iterdir()).stat().st_size == 4096 + 40 * (
        8 + 256
    )  # which the workers wrote


@pytest.mark.parametrize("make", ["resident", "streaming"])
@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_hosts_share_the_batches_of_one(faces, make, hosts):
    source = open_images(faces, image_size=4, channels=1)

    def feed(host):
        if make == "streaming":
            return streaming_feed(source, 1, 2, 8, host=host)
        return resident_feed(load_all(source), 1, 2, 8, source.labels, host)

    parts = [batches(feed(Host(i, hosts))) for i in range(hosts)]
    whole = jax.tree.map(lambda *leaves: np.concatenate(leaves, 2), *parts)
    np.testing.assert_array_equal(
        whole.index, shuffled_indices(1, 3 * 16, 7 * 16, 40).reshape(4, 2, 8)
    )
    same(whole, batches(feed(Host())))
    with pytest.raises(
        ValueError, match=r"`batch_size` \(=8\) must be divisible by the number of hosts \(=3\)"
    ):
        feed(Host(0, 3)).chunk(0, 1)


def test_a_worker_tells_what_is_wrong_with_an_image(faces, tmp_path):
    write_folder(tmp_path, {"good.jpg": (faces / "a/00.jpg").read_bytes(), "bad.jpg": b"no image"})
    feed = streaming_feed(open_images(tmp_path, image_size=16), 0, 1, 2, workers=1)
    with pytest.raises(InputError, match=r"'bad.jpg', which cannot be used"):
        feed.chunk(0, 1)
    feed.close()


def test_a_worker_refuses_images_that_have_changed(faces, tmp_path):
    write_folder(tmp_path, {"a.jpg": (faces / "a/00.jpg").read_bytes()})
    feed = streaming_feed(open_images(tmp_path, image_size=16), 0, 1, 2, workers=1)
    write_folder(tmp_path, {"b.jpg": (faces / "a/02.jpg").read_bytes()})
    with pytest.raises(InputError, match="changed while they were read"):
        feed.chunk(0, 1)
    feed.close()


KILLED = """
import sys, time
from l1jax.config import ImageData
from l1jax.data.opening import open_source
from l1jax.data.streaming import streaming_feed
if __name__ == "__main__":
    feed = streaming_feed(open_source(ImageData(sys.argv[1], image_size=64)), 0, 1, 8, workers=1)
    feed.chunk(0, 1)
    import multiprocessing
    print("workers", *(process.pid for process in multiprocessing.active_children()), flush=True)
    time.sleep(600)
"""


def test_workers_end_with_the_process_that_was_killed(faces, tmp_path):
    (tmp_path / "program.py").write_text(KILLED)
    with subprocess.Popen(
        [sys.executable, tmp_path / "program.py", faces],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        pids = [int(pid) for pid in re.findall(r"\d+", process.stdout.readline())]
        assert len(pids) == 1
        os.kill(pids[0], 0)  # it is there
        process.kill()
    until = time.monotonic() + 30
    while time.monotonic() < until and any(map(alive, pids)):
        time.sleep(0.1)
    assert not any(map(alive, pids))


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return (
                file.read().split()[2] != "Z"
            )  # one that has ended may wait for whoever adopted it
    except FileNotFoundError:
        return False
