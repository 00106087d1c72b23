"""Compressed archives and tables that are unpacked once, as plain tars in the cache folder."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from l1jax.config import InputError
from l1jax.data.file_listing import FileListing, change_times
from l1jax.data.formats import KindOf
from l1jax.data.source import fingerprint
from l1jax.data.tars import open_tar
from l1jax.files import atomic_write

_LAYOUT = 1  # of the unpacked files; changes when they are written in another way
_LARGE_BYTES = 2**26  # from which on the user is told that a file is unpacked

Unpack = Callable[[str, BinaryIO], None]
"""(path, file to write a plain tar to)"""


def open_unpacked(path: str, unpack: Unpack, folder: Path | None, kind_of: KindOf) -> FileListing:
    """List the files of what has to be unpacked first, which is done once for each state of it.

    Args:
        path: the file.
        unpack: writes its content as a plain tar.
        folder: the cache folder; is made if it is missing.
        kind_of: tells by the name which files are read.

    Raises:
        InputError: if there is no folder.
        Exception: whatever a damaged file leads to; an OSError with a number if there is no room.
    """
    if folder is None:
        raise InputError(
            f"`data.path` (={path!r}) has to be unpacked into the cache: leave --no-cache out, and "
            "name a folder in L1JAX_CACHE_DIR if there is none."
        )
    status = os.stat(path)
    times = change_times(status)
    identity = fingerprint(_LAYOUT, os.path.realpath(path), status.st_size, *times)
    unpacked = folder / f"unpacked-{identity[:32]}.tar"
    if unpacked.is_file():
        with suppress(Exception):  # it was damaged since, and is written again
            return open_tar(str(unpacked), kind_of)._replace(times=[times])
    folder.mkdir(parents=True, exist_ok=True)
    if status.st_size >= _LARGE_BYTES:
        print(f"unpacking {path} into {folder}, once", file=sys.stderr)
    with atomic_write(unpacked, shared=True) as partial, partial.open("wb") as file:
        unpack(path, file)
    return open_tar(str(unpacked), kind_of)._replace(times=[times])
