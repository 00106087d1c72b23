"""Read files that someone else may have made or damaged.

Every function has a limit of size, and raises for a pipe, a device or a folder.
"""

import hashlib
import json
import math
import stat
from pathlib import Path
from typing import Any

from l1jax.config import InputError

MAX_JSON_BYTES = 64 * 2**20
MAX_DEPTH = 100  # of lists and objects inside of each other
REMEDY = "give the folder that python -m l1jax.export made, whole"


class UnreadableFileError(InputError):
    """Raised for a file that is not what it must be.

    `reason` is the part of the message that follows the path and precedes the remedy.
    """

    def __init__(self, path: Path, reason: str, remedy: str) -> None:
        super().__init__(f"`{path}` {reason}: {remedy}.")
        self.reason = reason


def check_input_file(path: Path, max_bytes: int, remedy: str = REMEDY) -> None:
    """Check, before a file is opened, that it is a regular file of a possible size.

    Args:
        path: the file.
        max_bytes: largest size to accept.
        remedy: what the error tells the user to do.

    Raises:
        UnreadableFileError: if it is missing, no regular file, or larger.
    """
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise UnreadableFileError(path, "is missing", remedy) from error
    except OSError as error:
        raise _system_error(path, error, remedy) from error
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableFileError(
            path, "must be a file, and is a folder, a pipe or a device", remedy
        )
    if status.st_size > max_bytes:
        reason = (
            f"(={status.st_size:,} bytes) must have at most {max_bytes:,} bytes, which is more "
            "than it can need"
        )
        raise UnreadableFileError(path, reason, remedy)


def read_bytes(path: Path, max_bytes: int, remedy: str = REMEDY) -> bytes:
    """Read a file of at most `max_bytes` bytes.

    Args:
        path: the file.
        max_bytes: largest size to accept.
        remedy: what an error tells the user to do.

    Raises:
        UnreadableFileError: as `check_input_file` does, or if the file cannot be read.
    """
    check_input_file(path, max_bytes, remedy)
    try:
        with path.open("rb") as file:
            return file.read(max_bytes)
    except OSError as error:
        raise _system_error(path, error, remedy) from error


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, without holding the file in memory.

    Raises:
        UnreadableFileError: if the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _system_error(path, error, REMEDY) from error


def read_json(path: Path, max_bytes: int = MAX_JSON_BYTES, remedy: str = REMEDY) -> Any:
    """Read a JSON file.

    Args:
        path: the file.
        max_bytes: largest size to accept.
        remedy: what an error tells the user to do.

    Raises:
        UnreadableFileError: as `read_bytes` does, or if the content is not valid JSON, is nested
            deeper than 100 levels, or has a number that is too large for a float.
    """
    content = read_bytes(path, max_bytes, remedy)
    try:
        return parse_json(content)
    except ValueError as error:
        raise UnreadableFileError(path, f"is not valid JSON ({error})", remedy) from error


def parse_json(content: bytes) -> Any:
    """Parse JSON as strictly as `read_json` does.

    Raises:
        ValueError: with the reason as a clause.
    """
    too_deep = f"it is nested deeper than {MAX_DEPTH} levels"
    try:
        value = json.loads(content.decode(), parse_float=_finite_float)
    except RecursionError as error:
        raise ValueError(too_deep) from error
    except ValueError as error:
        raise ValueError(str(error).splitlines()[0]) from error
    if _is_nested_deeper(value, MAX_DEPTH):
        raise ValueError(too_deep)
    return value


def _system_error(path: Path, error: OSError, remedy: str) -> UnreadableFileError:
    return UnreadableFileError(path, f"cannot be read: {error.strerror or error}", remedy)


def _finite_float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


def _is_nested_deeper(value: object, levels: int) -> bool:
    """Whether more than `levels` lists and objects are inside of each other."""
    layer = [value]
    for _ in range(levels):
        children: list[object] = []
        for part in layer:
            if isinstance(part, dict):
                children += part.values()
            elif isinstance(part, list):
                children += part
        layer = [child for child in children if isinstance(child, dict | list)]
        if not layer:
            return False
    return True
