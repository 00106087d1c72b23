"""Decoded images in the cache folder."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from image_files import FILES, PIXELS, encode, open_images, pack, write_folder

from l1jax.config import DigitsData, InputError
from l1jax.data.cache import cache_folder, with_cache
from l1jax.data.opening import open_source
from l1jax.data.source import take

ALL = np.arange(6)
EXPECTED = np.stack([PIXELS[name] for name in sorted(PIXELS)])


def without_decoder(source):
    """The same source, which fails when an image is decoded."""

    def example(i):
        raise AssertionError(f"example {i} is decoded")

    return source._replace(example=example)


@pytest.fixture
def filled(tmp_path):
    """A source whose images are all in the cache, that cache's folder, and its file."""
    source = open_images(write_folder(tmp_path / "images"))
    np.testing.assert_array_equal(take(with_cache(source, tmp_path / "cache"), ALL), EXPECTED)
    (file,) = (tmp_path / "cache").iterdir()
    return source, tmp_path / "cache", file


def test_images_are_decoded_once(filled):
    source, folder, _ = filled
    again = with_cache(without_decoder(source), folder)
    np.testing.assert_array_equal(take(again, ALL[::-1]), EXPECTED[::-1])
    np.testing.assert_array_equal(again.example(2), EXPECTED[2])
    assert again.stamp is None  # nothing is left to decode
    assert again.fingerprint == source.fingerprint


def test_cached_images_are_used_and_the_others_are_added(tmp_path):
    source = open_images(write_folder(tmp_path / "images"))
    first = with_cache(source, tmp_path / "cache")
    take(first, np.array([4, 1]))
    second = with_cache(without_decoder(source), tmp_path / "cache")
    assert second.stamp == source.stamp
    np.testing.assert_array_equal(take(second, np.array([1, 4, 1])), EXPECTED[[1, 4, 1]])
    with pytest.raises(AssertionError, match="example 3 is decoded"):
        take(second, ALL[3:4])
    take(first, ALL)
    # The second sees at once what the first, or another process, adds.
    np.testing.assert_array_equal(take(second, ALL), EXPECTED)


@pytest.mark.parametrize("place", range(6))
def test_a_damaged_image_is_noticed_and_decoded_again(filled, place):
    source, folder, file = filled
    content = bytearray(file.read_bytes())
    content[-1 - 48 * place] ^= 1  # the last byte of an image of 48
    file.write_bytes(content)
    with pytest.raises(AssertionError, match=f"example {5 - place} is decoded"):
        take(with_cache(without_decoder(source), folder), ALL)
    np.testing.assert_array_equal(take(with_cache(source, folder), ALL), EXPECTED)
    np.testing.assert_array_equal(take(with_cache(without_decoder(source), folder), ALL), EXPECTED)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content + b"0",
        lambda content: b"",
        lambda content: b"?" + content[1:],
        lambda content: content[:4096] + bytes(len(content) - 4096),
    ],
    ids=["short", "long", "empty", "header", "sums"],
)
def test_a_file_of_another_size_or_header_is_replaced(filled, damage):
    source, folder, file = filled
    file.write_bytes(damage(file.read_bytes()))
    np.testing.assert_array_equal(take(with_cache(source, folder), ALL), EXPECTED)
    np.testing.assert_array_equal(take(with_cache(without_decoder(source), folder), ALL), EXPECTED)
    assert list(folder.iterdir()) == [file]


def test_a_write_to_an_image_makes_a_new_cache_file(
    tmp_path,
):
    path = write_folder(tmp_path / "images")
    take(with_cache(open_images(path), tmp_path / "cache"), ALL)
    os.utime(path / "a0.png", (1, 1))
    with pytest.raises(AssertionError):
        take(with_cache(without_decoder(open_images(path)), tmp_path / "cache"), ALL)
    take(with_cache(open_images(path, image_size=3), tmp_path / "cache"), ALL)
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_each_archive_has_a_cache_file_and_the_same_pixels(tmp_path):
    for kind in ("tar", "tar.gz", "zip"):
        source = with_cache(open_images(pack(tmp_path / f"data.{kind}", kind)), tmp_path / "cache")
        np.testing.assert_array_equal(take(source, ALL), EXPECTED)


def test_what_needs_no_decoding_is_not_cached(tmp_path):
    source = open_source(DigitsData())
    assert with_cache(source, tmp_path / "cache") is source
    assert with_cache(open_images(write_folder(tmp_path / "images")), None).gather is None
    assert not (tmp_path / "cache").exists()


def full(*_, **__):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("call", ["pwrite", "replace"])
def test_a_full_disk_leads_to_a_warning_and_training_goes_on(tmp_path, monkeypatch, capsys, call):
    source = open_images(write_folder(tmp_path / "images"))
    monkeypatch.setattr(os, call, full)
    for _ in range(2):
        np.testing.assert_array_equal(take(with_cache(source, tmp_path / "cache"), ALL), EXPECTED)
    output = capsys.readouterr().err.splitlines()
    assert len(output) == 2  # once for each opening, not for each image
    assert all("(No space left on device)" in line and "L1JAX_CACHE_DIR" in line for line in output)
    assert not list((tmp_path / "cache").glob("partial-*"))


def test_free_space_is_checked_before_anything_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 100}))
    source = with_cache(open_images(write_folder(tmp_path / "images")), tmp_path / "cache")
    np.testing.assert_array_equal(take(source, ALL), EXPECTED)
    assert "MiB are needed" in capsys.readouterr().err
    assert not list((tmp_path / "cache").iterdir())


def test_a_folder_that_cannot_be_written_leads_to_a_warning(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    source = with_cache(open_images(write_folder(tmp_path / "images")), tmp_path / "file" / "cache")
    np.testing.assert_array_equal(take(source, ALL), EXPECTED)
    assert "images are decoded again in each pass" in capsys.readouterr().err


def test_an_unusable_image_raises_the_same_error_with_a_cache(tmp_path):
    source = with_cache(
        open_images(write_folder(tmp_path / "images", FILES | {"z.png": b"no"})), tmp_path / "cache"
    )
    for _ in range(2):
        with pytest.raises(InputError, match=r"'z.png', which cannot be used"):
            source.example(6)


def test_the_folder_follows_the_environment(monkeypatch):
    monkeypatch.setenv("L1JAX_CACHE_DIR", "/there")
    assert cache_folder() == Path("/there")
    monkeypatch.delenv("L1JAX_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert cache_folder() == Path("/cache/l1jax")


READER = """
import sys
import numpy as np
from l1jax.config import ImageData
from l1jax.data.cache import with_cache
from l1jax.data.source import take
from l1jax.data.opening import open_source
from pathlib import Path
source = open_source(ImageData(sys.argv[1], image_size=8, channels=1))
source = with_cache(source, Path(sys.argv[2]))
order = np.random.default_rng(int(sys.argv[3])).permutation(400)
assert (take(source, order)[:, 0, 0, 0] == order % 256).all()
"""


@pytest.mark.slow
def test_processes_fill_one_cache_at_the_same_time(tmp_path):
    write_folder(
        tmp_path / "images",
        {f"{i:03}.png": encode(np.full((8, 8), i % 256, np.uint8)) for i in range(400)},
    )
    command = [sys.executable, "-c", READER, str(tmp_path / "images"), str(tmp_path / "cache")]
    running = [subprocess.Popen([*command, str(seed)]) for seed in range(3)]
    assert [process.wait(timeout=120) for process in running] == [0, 0, 0]
    source = open_images(tmp_path / "images", image_size=8, channels=1)
    assert open_images(tmp_path / "images", image_size=8, channels=1).stamp == source.stamp
    images = take(with_cache(without_decoder(source), tmp_path / "cache"), np.arange(400))
    np.testing.assert_array_equal(images[:, 3, 4, 0], np.arange(400) % 256)
