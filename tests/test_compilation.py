"""Compiled programs are kept where that is safe, and nowhere else."""

import os
import platform
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l1jax.compilation import jit_once, prune_cache, release_freed_memory, use_compilation_cache

SETTINGS = (
    "jax_compilation_cache_dir",
    "jax_enable_compilation_cache",
    "jax_persistent_cache_min_compile_time_secs",
)


@pytest.fixture
def settings():
    """JAX's settings as a fresh process has them, and as they were afterwards."""
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def entry(folder, name, content, age):
    path = folder / f"{name}-cache"
    path.write_bytes(content)
    os.utime(path, (10_000 - age, 10_000 - age))
    return path


def test_entries_that_are_not_whole_and_the_oldest_go(tmp_path):
    whole = zlib.compress(bytes(range(256)) * 8)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 8
    bad = {"cut": whole[:-9], "flipped": bytes(flipped), "garbage": b"garbage", "empty": b""}
    for name, content in bad.items():
        entry(tmp_path, name, content, age=0)
    for age in (1, 2, 3):
        entry(tmp_path, f"age{age}", whole, age)
    entry(tmp_path, "zstandard", b"\x28\xb5\x2f\xfd and more", age=0)
    (tmp_path / "notes.txt").write_text("mine")
    spent = sum(len(content) for content in bad.values()) + len(b"\x28\xb5\x2f\xfd and more")
    prune_cache(tmp_path, max_bytes=spent + 2 * len(whole))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "age1-cache",
        "age2-cache",
        "notes.txt",
        "zstandard-cache",
    ]


def test_the_users_cache_folder_is_used(tmp_path, monkeypatch, settings):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    use_compilation_cache()
    folder = jax.config.jax_compilation_cache_dir
    assert os.path.dirname(folder) == str(tmp_path / "l1jax")
    assert os.path.isdir(folder)


@pytest.mark.parametrize("why", ["chosen", "off", "a file in the way"])
def test_it_is_not_used_where_it_should_not_be(tmp_path, monkeypatch, settings, why):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    chosen = str(tmp_path / "chosen") if why == "chosen" else None
    jax.config.update("jax_compilation_cache_dir", chosen)
    jax.config.update("jax_enable_compilation_cache", why != "off")
    if why == "a file in the way":
        (tmp_path / "l1jax").write_text("")
    use_compilation_cache()
    assert jax.config.jax_compilation_cache_dir == chosen


def test_what_runs_once_is_computed_all_the_same():
    x = np.linspace(-2, 2, 12).reshape(3, 4)
    found = jit_once(lambda x: {"product": x @ x.T, "tanh": jnp.tanh(x)})(x)
    np.testing.assert_allclose(found["product"], x @ x.T, atol=1e-6)
    np.testing.assert_allclose(found["tanh"], np.tanh(x), atol=1e-6)


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="reads Linux's own count of memory"
)
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone keeps it")
def test_memory_that_was_freed_between_blocks_in_use_goes_back():
    def resident():
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    blocks = [
        bytearray(b"x" * 60_000) for _ in range(4_000)
    ]  # below what glibc takes from the system one by one
    blocks = blocks[::50]  # those in between are free, but cannot be given back from the end
    before = resident()
    release_freed_memory()
    assert resident() < before - 100
    assert len(blocks) == 80
