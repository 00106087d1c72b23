"""Batches made ahead by threads and by worker processes."""

import multiprocessing
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
    folder = tmp_path_factory.mktemp("faces")
    rng = np.random.default_rng(0)
    files = {
        f"{'ab'[i % 2]}/{i:02}.jpg": encode(rng.integers(0, 256, (20, 24), np.uint8), "JPEG")
        for i in range(40)
    }
    return write_folder(folder, files)


def all_batches(feed, first=3, steps=4):
    """The batches of some steps, stacked."""
    chunk = jax.tree.map(jnp.asarray, feed.chunk(first, steps))
    per_step = [
        feed.make_batch(feed.resident, jax.tree.map(lambda leaf, s=step: leaf[s], chunk))
        for step in range(steps)
    ]
    feed.close()
    return jax.tree.map(lambda *leaves: np.stack(leaves), *per_step)


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.slow
def test_resident_and_streamed_batches_are_the_same_for_any_number_of_workers(faces, tmp_path):
    source = open_images(faces, image_size=16, channels=1)
    part = subset(with_cache(source, tmp_path), np.arange(5, 40))
    expected = all_batches(resident_feed(load_all(part), 7, 2, 8, part.labels))
    assert {expected.label.min(), expected.label.max()} == {0, 1}
    for workers in (2, 1, 0):
        part = subset(with_cache(source, tmp_path / f"{workers}"), np.arange(5, 40))
        assert part.stamp is not None  # so that the workers have something to decode
        assert_same(all_batches(streaming_feed(part, 7, 2, 8, workers)), expected)
        reopened = with_cache(source, tmp_path / f"{workers}")
        assert reopened.gather(np.arange(5)).shape == (5, 16, 16, 1)
    (file,) = (tmp_path / "2").iterdir()  # which the workers wrote
    assert file.stat().st_size == 4096 + 40 * (8 + 256)


@pytest.mark.parametrize("make", ["resident", "streaming"])
@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_hosts_share_the_batches_of_a_single_host(faces, make, hosts):
    source = open_images(faces, image_size=4, channels=1)

    def feed(host):
        if make == "streaming":
            return streaming_feed(source, 1, 2, 8, host=host)
        return resident_feed(load_all(source), 1, 2, 8, source.labels, host)

    parts = [all_batches(feed(Host(i, hosts))) for i in range(hosts)]
    whole = jax.tree.map(lambda *leaves: np.concatenate(leaves, 2), *parts)
    np.testing.assert_array_equal(
        whole.index, shuffled_indices(1, 3 * 16, 7 * 16, 40).reshape(4, 2, 8)
    )
    assert_same(whole, all_batches(feed(Host())))
    with pytest.raises(
        ValueError, match=r"`batch_size` \(=8\) must be divisible by the number of hosts \(=3\)"
    ):
        feed(Host(0, 3)).chunk(0, 1)


@pytest.mark.slow
def test_an_error_in_a_worker_names_the_image(faces, tmp_path):
    write_folder(tmp_path, {"good.jpg": (faces / "a/00.jpg").read_bytes(), "bad.jpg": b"no image"})
    feed = streaming_feed(open_images(tmp_path, image_size=16), 0, 1, 2, workers=1)
    with pytest.raises(InputError, match=r"'bad.jpg', which cannot be used"):
        feed.chunk(0, 1)
    feed.close()


@pytest.mark.slow
def test_images_that_changed_are_an_error_in_a_worker(faces, tmp_path):
    write_folder(tmp_path, {"a.jpg": (faces / "a/00.jpg").read_bytes()})
    feed = streaming_feed(open_images(tmp_path, image_size=16), 0, 1, 2, workers=1)
    write_folder(tmp_path, {"b.jpg": (faces / "a/02.jpg").read_bytes()})
    with pytest.raises(InputError, match="changed while they were read"):
        feed.chunk(0, 1)
    feed.close()


@pytest.mark.slow
def test_a_worker_that_is_killed_is_an_error(faces, tmp_path):
    source = open_images(faces, image_size=16)
    feed = streaming_feed(source, 0, 1, 2, workers=1)
    feed.chunk(0, 1)
    for worker in multiprocessing.active_children():
        if worker.name.startswith("grain"):
            worker.kill()
    with pytest.raises(InputError, match=r"`--workers` \(=1\), was ended by SIGKILL: run the same"):
        feed.chunk(1, 100)
    feed.close()


PROGRAM = """
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


@pytest.mark.slow
def test_workers_end_with_the_process_that_was_killed(faces, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    with subprocess.Popen(
        [sys.executable, tmp_path / "program.py", faces],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        pids = [int(pid) for pid in re.findall(r"\d+", process.stdout.readline())]
        assert len(pids) == 1
        os.kill(pids[0], 0)  # raises if there is no such process
        process.kill()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and any(map(is_running, pids)):
        time.sleep(0.1)
    assert not any(map(is_running, pids))


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            state = file.read().split()[2]
            return state != "Z"  # a process that ended may wait for the one that adopted it
    except FileNotFoundError:
        return False
