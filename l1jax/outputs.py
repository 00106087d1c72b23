"""Checks of output files and folders, made before any work is done."""

import os
import stat
import tempfile
from pathlib import Path

from l1jax.config import InputError
from l1jax.files import PARTIAL


def names_a_folder(value: str) -> bool:
    """Return whether a typed path can only name a folder: it ends in a slash, or in `.` or `..`."""
    return os.path.basename(value) in ("", ".", "..")


def check_output_file(value: str, flag: str = "--output") -> Path:
    """Return the path of a file to write or to replace, with `~` expanded.

    Args:
        value: the path as the user typed it, or a default.
        flag: the flag that gives it.

    Raises:
        InputError: if it names a folder, if something other than an ordinary file is there, or if
            its folder is missing or cannot be written to.
    """
    if not value:
        raise InputError(f"`{flag}` is empty: give it a path.")
    path = Path(os.path.expanduser(value))
    if names_a_folder(value) or os.path.isdir(path):
        raise InputError(f"`{flag}` (={value}) must be a file, and is a folder: name a file in it.")
    _check_parent(path, flag)
    if os.path.lexists(path) and not _is_ordinary(path):
        raise InputError(f"`{flag}` (={value}) must be a new or an ordinary file: choose another.")
    return path


def check_output_folder(folder: Path, flag: str = "--output") -> None:
    """Check that a folder can be written: it is new or empty, and so can its parent be.

    Raises:
        InputError: if it holds something, or its parent is missing or cannot be written to.
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


def write_error(value: str | Path, error: OSError, flag: str = "--output") -> InputError:
    """Make the error for an output that cannot be written after all, as on a full disk.

    Args:
        value: the path of the output.
        error: what went wrong.
        flag: the flag that gives the path.
    """
    return InputError(f"`{flag}` (={value}) must be writable: {error.strerror or error}.")


def _check_parent(path: Path, flag: str) -> None:
    parent = path.absolute().parent
    if not os.path.isdir(parent):  # Path.is_dir raises where it has no permission to look
        raise InputError(
            f"`{flag}` (={path}) must be in a folder that exists: make {parent} first."
        )
    try:
        with tempfile.NamedTemporaryFile(prefix=f".{path.name}.", suffix=PARTIAL, dir=parent):
            pass  # whatever forbids this file would forbid the output
    except OSError as error:
        raise write_error(path, error, flag) from error


def _is_ordinary(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:  # a link to nothing
        return False
