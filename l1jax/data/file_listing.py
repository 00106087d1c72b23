"""What listing a folder, a tar or a zip returns, and the limits that all of them share."""

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from l1jax.data.skipped_files import SkippedFile

MAX_FILE_BYTES = 2**28  # of an encoded image or recording, or a document
_MAX_GROWTH = 256  # factor of decompression; a tar's headers shrink to almost nothing
_INODE_BITS = 2**63 - 1  # so that an inode's number fits in a signed 64-bit integer


class FileListing(NamedTuple):
    """The files of a folder or an archive to read, before it is known which can be used."""

    sizes: dict[str, int]
    """Size in bytes by name."""
    read: Callable[[str], bytes]
    """(name) → the file's content. Thread safe."""
    times: Sequence[tuple[int, ...]]
    """`change_times` of the files, or of the archive."""
    skipped: list[SkippedFile]
    """The files that are left out."""


def change_times(status: os.stat_result) -> tuple[int, int, int]:
    """Return a file's modification and change times in nanoseconds, and its inode.

    The first alone is not enough, for `cp -p`, `rsync` and `tar` set it back; no program sets the
    second.
    """
    return status.st_mtime_ns, status.st_ctime_ns, status.st_ino & _INODE_BITS


def max_decompressed_size(size: int) -> int:
    """Return how many bytes a compressed file of `size` bytes may hold.

    A file that holds more is taken for a decompression bomb.
    """
    return MAX_FILE_BYTES + _MAX_GROWTH * size
