"""Files that someone else may have made or damaged, read with a limit: no pipe, device or endless file."""

import hashlib
import json
import math
import stat
from pathlib import Path
from typing import Any

from l1jax.config import InputError

MAX_JSON_BYTES = 64 * 2**20
DEPTH = 100  # lists and objects inside of each other
REMEDY = "give the folder that python -m l1jax.export made, whole"


class UnreadableFileError(InputError):
    """A file that is not what it must be; `reason` is the part of the sentence behind its path."""

    def __init__(self, path: Path, why: str, remedy: str) -> None:
        super().__init__(f"`{path}` {why}: {remedy}.")
        self.reason = why


def check_input_file(path: Path, most: int, remedy: str = REMEDY) -> None:
    """Refuse what is no file, or larger than it can be, before it is opened.

    Args:
        path: of the file.
        most: bytes.
        remedy: how the sentence of a refusal ends.

    Raises:
        Unreadable: if it is missing, no regular file, or larger.
    """
    try:
        found = path.stat()
    except FileNotFoundError as error:
        raise UnreadableFileError(path, "is missing", remedy) from error
    except OSError as error:
        raise UnreadableFileError(
            path, f"cannot be read: {error.strerror or error}", remedy
        ) from error
    if not stat.S_ISREG(found.st_mode):
        raise UnreadableFileError(
            path, "must be a file, and is a folder, a pipe or a device", remedy
        )
    if found.st_size > most:
        size = f"(={found.st_size:,} bytes) must have at most {most:,} bytes, which is more than it can need"
        raise UnreadableFileError(path, size, remedy)


def read_bytes(path: Path, most: int, remedy: str = REMEDY) -> bytes:
    """Read a file of at most so many bytes.

    Raises:
        Unreadable: as `check_file` does, or if it cannot be read.
    """
    check_input_file(path, most, remedy)
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise UnreadableFileError(
            path, f"cannot be read: {error.strerror or error}", remedy
        ) from error


def sha256(path: Path) -> str:
    """Hash a file without holding it in memory; hexadecimal digits.

    Raises:
        Unreadable: if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UnreadableFileError(
            path, f"cannot be read: {error.strerror or error}", REMEDY
        ) from error


def read_json(path: Path, most: int = MAX_JSON_BYTES, remedy: str = REMEDY) -> Any:
    """Read a JSON file.

    Raises:
        Unreadable: as `read_bytes` does, or if it is no JSON, nested deeper than 100 levels, or has
            a number that is too large for a float.
    """
    content = read_bytes(path, most, remedy)
    try:
        return parse_json(content)
    except ValueError as error:
        raise UnreadableFileError(path, f"is no JSON{error}", remedy) from error


def parse_json(content: bytes) -> Any:
    """Read JSON as strictly as `read_json` does.

    Raises:
        ValueError: saying why in the words that `read_json` puts behind "is no JSON".
    """
    too_deep = f" of ours: it is nested deeper than {DEPTH} levels"
    try:
        value = json.loads(content.decode(), parse_float=_finite)
    except RecursionError as error:
        raise ValueError(too_deep) from error
    except ValueError as error:
        raise ValueError(f" ({str(error).splitlines()[0]})") from error
    if _deeper(value, DEPTH):
        raise ValueError(too_deep)
    return value


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


def _deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects are inside of each other more often than that."""
    layer = [value]
    for _ in range(levels):
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
