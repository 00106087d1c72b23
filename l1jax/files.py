"""Files and folders that appear complete or not at all."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PARTIAL = ".partial"  # suffix of files and folders that are not complete yet


@contextmanager
def atomic_write(path: Path, shared: bool = False) -> Iterator[Path]:
    """Yield a temporary path to write to, which is renamed to `path` at the end.

    If the block fails, the temporary file is deleted and `path` stays as it is.

    Args:
        path: the file, which is replaced if it exists.
        shared: whether several processes may write it at once; the last one's content stays.
    """
    process = f".{os.getpid()}" if shared else ""
    partial = path.with_name(f".{path.name}{process}{PARTIAL}")
    try:
        # A killed process may have left a file there, or somebody a pipe, which waits for a reader.
        partial.unlink(missing_ok=True)
        yield partial
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):  # the first error is the one to report
            partial.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a new temporary folder to write to, which is renamed to `folder` at the end.

    If the block fails, the temporary folder is deleted. What a killed process left of the same
    folder is removed first. Several processes may write at once: the first one's content stays, and
    the others raise an OSError.

    Args:
        folder: a path where nothing is, or an empty folder.
    """
    folder = Path(os.path.abspath(folder))
    _remove_abandoned(folder)
    started = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    partial = started.with_name(started.name + PARTIAL)
    # Lock it before it gets the name by which other processes find abandoned folders.
    descriptor = _lock(started)
    try:
        os.rename(started, partial)
        yield partial
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(partial, 0o777 & ~umask)  # mkdtemp makes folders that only their owner may open
        os.replace(partial, folder)
    finally:
        shutil.rmtree(started, ignore_errors=True)
        shutil.rmtree(partial, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def write_json(path: Path, values: object) -> None:
    """Write values as indented JSON, atomically."""
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _remove_abandoned(folder: Path) -> None:
    """Remove partial folders of this name that no process holds any more."""
    for path in folder.parent.iterdir():
        if not (path.name.startswith(f".{folder.name}.") and path.name.endswith(PARTIAL)):
            continue
        descriptor = _lock(path)
        if descriptor is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(descriptor)


def _lock(folder: Path) -> int | None:
    """Lock a folder until the returned descriptor is closed or the process ends.

    Returns:
        The descriptor; None if another process holds the lock, or locks do not exist here.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another process holds it, or the file system has no locks
        os.close(descriptor)
        return None
    return descriptor
