"""Compressed tars are unpacked once into the cache."""

import errno
import lzma

import numpy as np
import pytest
from image_files import FILES, input_error, pack, tar_bytes, write_folder

from l1jax.config import ImageData
from l1jax.data import tars, unpacking
from l1jax.data.opening import open_examples, open_source


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("L1JAX_CACHE_DIR", str(folder))
    return folder


def opened(path, **options):
    return open_source(ImageData(str(path), 4, 3), **options)


@pytest.mark.parametrize("suffix", ["tar.gz", "tar.xz", "tar.bz2"])
def test_it_is_decompressed_once_and_read_like_the_folder(tmp_path, cache, monkeypatch, suffix):
    folder = opened(write_folder(tmp_path / "d"))
    path = pack(tmp_path / "e", suffix)
    first = opened(path)
    (unpacked,) = cache.glob("unpacked-*.tar")
    assert unpacked.read_bytes() == tar_bytes()
    monkeypatch.setattr(tars, "DECOMPRESSORS", {})  # nothing can be decompressed any more
    again = opened(path)
    for source in (first, again):
        assert source.fingerprint == folder.fingerprint
        for i in range(folder.length):
            np.testing.assert_array_equal(source.example(i), folder.example(i))
    assert first.stamp == again.stamp


def test_an_archive_that_has_changed_is_unpacked_again(tmp_path, cache):
    path = pack(tmp_path / "d", "tar.gz")
    opened(path)
    fewer = {name: FILES[name] for name in list(FILES)[:3]}
    pack(tmp_path / "d", "tar.gz", fewer)
    assert opened(path).length == 3
    assert len(list(cache.glob("unpacked-*.tar"))) == 2


def test_an_unpacked_file_that_was_cut_short_is_written_again(tmp_path, cache):
    path = pack(tmp_path / "d", "tar.xz")
    opened(path)
    (unpacked,) = cache.glob("unpacked-*.tar")
    unpacked.write_bytes(unpacked.read_bytes()[:2000])
    assert opened(path).length == len(FILES)
    assert unpacked.read_bytes() == tar_bytes()


def test_without_the_cache_nothing_is_written(tmp_path, cache):
    path = pack(tmp_path / "d", "tar.xz")
    training, _ = open_examples(ImageData(str(path), 4, 3), cache=False)
    assert training.length == len(FILES)
    training.example(0)
    assert not cache.exists()


@pytest.mark.parametrize(
    "content", [lzma.compress(b"no tar" * 200), lzma.compress(tar_bytes())[:-40]]
)
def test_a_damaged_archive_leaves_nothing_behind(tmp_path, cache, content):
    path = tmp_path / "d.tar.xz"
    path.write_bytes(content)
    input_error(lambda: opened(path), "d.tar.xz", "damaged or incomplete")
    assert not list(cache.iterdir())


def test_without_room_it_is_unpacked_in_memory(tmp_path, cache, monkeypatch, capsys):
    path = pack(tmp_path / "d", "tar.gz")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(unpacking, "atomic_write", full)
    assert opened(path).length == len(FILES)
    said = capsys.readouterr().err
    assert "unpacked in memory" in said
    assert "No space left" in said
    assert not list(cache.glob("*.tar"))
