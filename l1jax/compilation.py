"""Compiled programs: kept for the next start, where that cannot hurt a run; made quickly where they run once.

JAX checks what it reads (a damaged entry is compiled anew) and works without what it cannot write. What
it leaves to us: entries that a kill cut short, which it would never replace, entries of a processor
with other instructions under one home directory, and a folder that only grows.
"""

import ctypes
import hashlib
import os
import platform
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

LIMIT = 64 * 2**20  # bytes; a small GAN's programs take half a mebibyte
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
ZSTANDARD = b"\x28\xb5\x2f\xfd"  # how entries begin where JAX finds that library instead of zlib


def jit_once(function: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.jit` for what runs once or rarely: on CPUs without optimisation, which takes longer than running."""
    return jax.jit(function, compiler_options=QUICK if jax.default_backend() == "cpu" else None)


def release_freed_memory() -> None:
    """Give back to the system what compiling has freed: glibc keeps hundreds of mebibytes of it.

    Takes milliseconds; does nothing with other C libraries.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def use_compilation_cache() -> None:
    """Let JAX keep compiled programs in `l1jax/` of the user's cache folder, before anything is compiled.

    JAX's own settings come first: another folder by JAX_COMPILATION_CACHE_DIR, and none by
    JAX_ENABLE_COMPILATION_CACHE=0. Where the folder cannot be written there is no cache.
    """
    settings: Any = jax.config  # its attributes are made at run time
    if settings.jax_compilation_cache_dir or not settings.jax_enable_compilation_cache:
        return
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(home) / "l1jax" / f"compiled-{_processor()}"
        folder.mkdir(parents=True, exist_ok=True)
        tidy(folder)
    except (OSError, RuntimeError):  # no home directory is a RuntimeError
        return
    if os.access(folder, os.W_OK | os.X_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def tidy(folder: Path, limit: int = LIMIT) -> None:
    """Delete entries that are not whole, and the oldest beyond `limit` bytes in all."""
    total = 0
    entries = [(path.stat(), path) for path in folder.glob("*-cache")]
    for status, path in sorted(entries, key=lambda entry: entry[0].st_mtime, reverse=True):
        total += status.st_size
        if total > limit or not _whole(path):
            path.unlink(missing_ok=True)


def _whole(path: Path) -> bool:
    content = path.read_bytes()
    try:
        return content.startswith(ZSTANDARD) or bool(zlib.decompress(content))
    except zlib.error:
        return False


def _processor() -> str:
    """What compiled code depends on besides JAX, which looks after its own version."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    flags = next(
        (line for line in lines if line.startswith(("flags", "Features"))), platform.processor()
    )
    return hashlib.sha256(f"{platform.machine()} {flags}".encode()).hexdigest()[:12]
