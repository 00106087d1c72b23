"""How programs are compiled: kept on disk for the next start, and quickly if they run once.

JAX compiles a damaged entry of its cache again, and works without a cache that it cannot write.
This module handles what JAX leaves open:

- An entry that a kill has truncated would never be replaced: `prune_cache` deletes it.
- A home directory can be shared by machines with other processors: each kind has its own folder.
- The folder would only grow: `prune_cache` keeps the newest entries, up to `MAX_CACHE_BYTES`.
"""

import ctypes
import hashlib
import os
import platform
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import jax

MAX_CACHE_BYTES = 64 * 2**20  # the programs of a small GAN take half a mebibyte
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
ZSTANDARD = b"\x28\xb5\x2f\xfd"  # how entries begin where JAX finds that library instead of zlib

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def jit_once(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Compile a function that runs once or rarely.

    On CPUs it is compiled without optimisation, which would take longer than it saves.
    """
    options = None
    if jax.default_backend() == "cpu":
        options = QUICK
    return jax.jit(function, compiler_options=options)


def release_freed_memory() -> None:
    """Return memory that compiling has freed to the system; glibc keeps hundreds of mebibytes.

    It takes milliseconds, and does nothing with other C libraries.
    """
    if os.name != "posix":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def use_compilation_cache() -> None:
    """Let JAX keep compiled programs in `l1jax/` of the user's cache folder.

    Call it before anything is compiled. JAX's own settings come first: JAX_COMPILATION_CACHE_DIR
    names another folder, JAX_ENABLE_COMPILATION_CACHE=0 switches the cache off. If the folder
    cannot be written, there is no cache.
    """
    settings: Any = jax.config  # its attributes are made at run time
    if settings.jax_compilation_cache_dir or not settings.jax_enable_compilation_cache:
        return
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(home) / "l1jax" / f"compiled-{_processor()}"
        folder.mkdir(parents=True, exist_ok=True)
        prune_cache(folder)
    except (OSError, RuntimeError):  # without a home directory, Path.home is a RuntimeError
        return
    if os.access(folder, os.W_OK | os.X_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def prune_cache(folder: Path, max_bytes: int = MAX_CACHE_BYTES) -> None:
    """Delete truncated entries, and the oldest ones beyond `max_bytes` in all."""
    total = 0
    entries = [(path.stat(), path) for path in folder.glob("*-cache")]
    for status, path in sorted(entries, key=lambda entry: entry[0].st_mtime, reverse=True):
        total += status.st_size
        if total > max_bytes or not _is_complete(path):
            path.unlink(missing_ok=True)


def _is_complete(path: Path) -> bool:
    content = path.read_bytes()
    if content.startswith(ZSTANDARD):
        return True
    try:
        return bool(zlib.decompress(content))
    except zlib.error:
        return False


def _processor() -> str:
    """Hash what compiled code depends on besides JAX, which checks its own version."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    instructions = platform.processor()
    for line in lines:
        if line.startswith(("flags", "Features")):
            instructions = line
            break
    return hashlib.sha256(f"{platform.machine()} {instructions}".encode()).hexdigest()[:12]
