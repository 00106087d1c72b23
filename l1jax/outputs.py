"""What may stand in the way of an output, told before any work is done."""

import os
import stat
import tempfile
from pathlib import Path

from l1jax.config import InputError
from l1jax.files import PARTIAL


def names_folder(value: str) -> bool:
    """Whether a path as it was typed can only be a folder's: it ends in a slash, or in `.` or `..`."""
    return os.path.basename(value) in ("", ".", "..")


def check_file(value: str, flag: str = "--output") -> Path:
    """The path of a file to write or to replace, `~` expanded.

    Args:
        value: the path as it was typed, or a default.
        flag: that it was given by.

    Raises:
        InputError: if it is a folder's, what is there is no ordinary file, or its folder is missing or not writable.
    """
    if not value:
        raise InputError(f"`{flag}` is empty: give it a path.")
    path = Path(os.path.expanduser(value))
    if names_folder(value) or os.path.isdir(path):
        raise InputError(f"`{flag}` (={value}) must be a file, and is a folder: name a file in it.")
    _check_parent(path, flag)
    if os.path.lexists(path) and not _is_ordinary(path):
        raise InputError(f"`{flag}` (={value}) must be a new or an ordinary file: choose another.")
    return path


def check_folder(folder: Path, flag: str = "--output") -> None:
    """Refuse a folder that may not be written, before any work is done.

    Raises:
        InputError: if it holds something, or what it is to be in is missing or not writable.
    """
    _check_parent(Path(os.path.abspath(folder)), flag)
    if not os.path.lexists(folder):
        return
    if os.path.realpath(folder) == os.path.realpath("."):
        raise InputError(
            f"`{flag}` (={folder}) must be a new folder, and is the current one: name one in it."
        )
    try:
        empty = not folder.is_symlink() and folder.is_dir() and not any(folder.iterdir())
    except OSError as error:
        raise InputError(
            f"`{flag}` (={folder}) must be readable: {error.strerror or error}."
        ) from error
    if not empty:
        raise InputError(
            f"`{flag}` (={folder}) must be a new or an empty folder: choose another, or delete it."
        )


def not_written(value: str | Path, error: OSError, flag: str = "--output") -> InputError:
    """What is said when writing fails after all, as on a full disk."""
    return InputError(f"`{flag}` (={value}) must be writable: {error.strerror or error}.")


def _check_parent(path: Path, flag: str) -> None:
    parent = path.absolute().parent
    if not os.path.isdir(parent):  # Path.is_dir raises where it may not look
        raise InputError(
            f"`{flag}` (={path}) must be in a folder that exists: make {parent} first."
        )
    try:
        with tempfile.NamedTemporaryFile(prefix=f".{path.name}.", suffix=PARTIAL, dir=parent):
            pass  # whatever forbids this would forbid the output
    except OSError as error:
        raise not_written(path, error, flag) from error


def _is_ordinary(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:  # a link that leads nowhere
        return False
