"""Files that someone else may have made, read with a limit: no pipe, device or endless file."""

import hashlib
import json
import math
import stat
from pathlib import Path
from typing import Any

from l1jax.config import InputError

JSON_BYTES = 64 * 2**20
DEPTH = 100  # lists and objects inside of each other
REMEDY = "give the folder that python -m l1jax.export made, whole"


def check_file(path: Path, most: int) -> None:
    """Refuse what is no file, or larger than it can be, before it is opened.

    Args:
        path: of the file.
        most: bytes.

    Raises:
        InputError: if it is missing, no regular file, or larger.
    """
    try:
        found = path.stat()
    except FileNotFoundError as error:
        raise InputError(f"`{path}` is missing: {REMEDY}.") from error
    except OSError as error:
        raise InputError(f"`{path}` cannot be read: {error.strerror or error}.") from error
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"`{path}` must be a file, and is a folder, a pipe or a device: {REMEDY}.")
    if found.st_size > most:
        raise InputError(
            f"`{path}` (={found.st_size:,} bytes) must have at most {most:,} bytes, which is more "
            f"than such a model takes: {REMEDY}."
        )


def read_bytes(path: Path, most: int) -> bytes:
    """Read a file of at most so many bytes.

    Raises:
        InputError: as `check_file` does, or if it cannot be read.
    """
    check_file(path, most)
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise InputError(f"`{path}` cannot be read: {error.strerror or error}.") from error


def sha256(path: Path) -> str:
    """Hash a file without holding it in memory; hexadecimal digits.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"`{path}` cannot be read: {error.strerror or error}.") from error


def read_json(path: Path, most: int = JSON_BYTES) -> Any:
    """Read a JSON file.

    Raises:
        InputError: as `read_bytes` does, or if it is no JSON, nested deeper than 100 levels, or has
            a number that is too large for a float.
    """
    content = read_bytes(path, most)
    too_deep = f"`{path}` is no JSON of ours: it is nested deeper than {DEPTH} levels."
    try:
        value = json.loads(content.decode(), parse_float=_finite)
    except RecursionError as error:
        raise InputError(too_deep) from error
    except ValueError as error:
        why = str(error).splitlines()[0]
        raise InputError(f"`{path}` is no JSON ({why}): export the model anew.") from error
    if _deeper(value, DEPTH):
        raise InputError(too_deep)
    return value


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


def _deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects are inside of each other more often than that."""
    layer = [value]
    for _ in range(levels + 1):
        inner: list[Any] = []
        for part in layer:
            if isinstance(part, dict):
                inner += part.values()
            elif isinstance(part, list):
                inner += part
        layer = [part for part in inner if isinstance(part, dict | list)]
        if not layer:
            return False
    return True
