"""Files and folders that appear whole or not at all."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PARTIAL = ".partial"  # ends the names of what is not whole yet


@contextmanager
def atomic_write(path: Path, shared: bool = False) -> Iterator[Path]:
    """Yield a place beside `path` to write to; its content takes `path`'s name at the end, or goes if the block fails.

    Args:
        path: of the file, which is replaced if it is there.
        shared: whether several processes may write it at once; the last one's content stays.
    """
    own = f".{os.getpid()}" if shared else ""
    partial = path.with_name(f".{path.name}{own}{PARTIAL}")
    try:
        partial.unlink(
            missing_ok=True
        )  # what a kill left there, or a pipe, which would wait for a reader
        yield partial
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):  # what went wrong first is what is told
            partial.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside `folder` to write to; it takes `folder`'s name at the end, or goes if the block fails.

    What a process that was killed has left of the same folder is removed first. Several processes may write at once:
    the first one's content stays, and the others raise an OSError.

    Args:
        folder: is not there, or is empty.
    """
    folder = Path(os.path.abspath(folder))
    _remove_abandoned(folder)
    started = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    partial = started.with_name(started.name + PARTIAL)
    descriptor = _lock(started)  # before it has the name by which others find what is abandoned
    try:
        os.rename(started, partial)
        yield partial
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(
            partial, 0o777 & ~umask
        )  # as any new folder; temporary ones are their owner's alone
        os.replace(partial, folder)
    finally:
        shutil.rmtree(started, ignore_errors=True)
        shutil.rmtree(partial, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


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
    """Hold a folder until the descriptor is closed or the process ends; None if another does, or it cannot be."""
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
    except OSError:  # held, or on a file system without locks
        os.close(descriptor)
        return None
    return descriptor


def write_json(path: Path, values: Any) -> None:
    """Write values for programs and people."""
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
