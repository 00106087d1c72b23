"""Encoded image files of a tar, read where they lie, or kept in memory where it is compressed."""

import bz2
import gzip
import lzma
import os
import posixpath
import tarfile
from collections.abc import Callable, Sequence
from io import BufferedIOBase
from typing import Any, BinaryIO, NamedTuple, cast

from l1jax.data.images import SUFFIXES

COMPRESSED: dict[bytes, Callable[[str], Any]] = {b"\x1f\x8b": gzip.open, b"\xfd7zXZ\x00": lzma.open, b"BZh": bz2.open}
LARGEST = 2**28  # bytes of an encoded image, and what the smallest compressed tar may grow to
_GROWTH = 256  # times its size that it may grow beyond that; the headers of small images shrink to almost nothing


class Opened(NamedTuple):
    """Image files of a folder or an archive, before it is known which can be used."""

    sizes: dict[str, int]
    """Bytes by name."""
    read: Callable[[str], bytes]
    """The content by name; thread safe."""
    times: Sequence[int]
    """Of the last writes, in nanoseconds."""
    faults: list[tuple[str, str]]
    """Names that are left out, and why."""


def clean(name: str) -> str:
    """A member's name as a relative path."""
    return posixpath.normpath(name).lstrip("/")


def is_image(name: str) -> bool:
    """Whether a name has an image's suffix and is not hidden."""
    return name.lower().endswith(SUFFIXES) and not any(part.startswith(".") for part in name.split("/"))


def leads_out(name: str) -> bool:
    """Whether a cleaned image's name leads out of where it would be extracted."""
    return name.startswith("../") and name.lower().endswith(SUFFIXES)


def growth_limit(size: int) -> int:
    """Bytes that a compressed file of `size` bytes may hold: beyond that it is taken for a decompression bomb."""
    return LARGEST + _GROWTH * size


def open_tar(path: str) -> Opened:
    """List the images of a tar; of a compressed one also read them.

    Raises:
        Exception: whatever a damaged archive leads to, and ReadError for one that was cut short, has a link
            to no image, or grows beyond all measure.
    """
    places: dict[str, tuple[int, int]] = {}  # offset and size in bytes
    contents: dict[str, bytes] = {}
    links: dict[str, str] = {}
    faults: list[tuple[str, str]] = []
    with open(path, "rb") as file:
        head, status = file.read(6), os.fstat(file.fileno())
    decompress = next((opener for magic, opener in COMPRESSED.items() if head.startswith(magic)), None)

    def follow(name: str, target: str) -> None:
        if target not in places:
            raise tarfile.ReadError(f"{name!r} is a link to {target!r}, which is no image in it")
        places[name] = places[target]
        if decompress:
            contents[name] = contents[target]

    with (decompress or _plain)(path) as content:
        stream = _Bounded(content, growth_limit(status.st_size))
        for member in tarfile.TarFile(fileobj=cast(BinaryIO, stream)):
            name = clean(member.name)
            if leads_out(name):
                faults.append((name, "its name leads out of the archive"))
            if not is_image(name):
                continue
            if name in places or name in links:
                faults.append((name, "another of its name comes later"))
            if member.isreg():
                places[name] = member.offset_data, member.size
                if decompress and member.size <= LARGEST:
                    contents[name] = stream.at(member.offset_data, member.size)
            elif member.islnk():  # to an earlier member
                follow(name, clean(member.linkname))
            elif member.issym():  # to any member
                links[name] = clean(posixpath.join(posixpath.dirname(name), member.linkname))
        # Two blocks of zeros end a tar. `tarfile` has read one, and takes a damaged header for the
        # end as well; reading on also checks the sum at the end of a compressed file.
        rest = stream.read(2**20)
        if not rest or any(rest):
            raise tarfile.ReadError("the end is missing or not where it should be")
    for name, target in links.items():
        follow(name, target)

    def read(name: str) -> bytes:
        offset, size = places[name]
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(size)

    sizes = {name: size for name, (_, size) in places.items()}
    return Opened(sizes, contents.__getitem__ if decompress else read, [status.st_mtime_ns], faults)


def _plain(path: str) -> BufferedIOBase:
    return open(path, "rb")


class _Bounded:
    """A stream that gives up where an archive claims to be larger than it can well be."""

    def __init__(self, stream: BufferedIOBase, limit: int) -> None:
        self.stream, self.limit, self.tell = stream, limit, stream.tell

    def read(self, size: int) -> bytes:
        if size > LARGEST or self.tell() + size > self.limit:
            raise tarfile.ReadError(f"it grows beyond {min(LARGEST, self.limit):,} bytes")
        return self.stream.read(size)

    def seek(self, position: int) -> int:
        if position > self.limit:
            raise tarfile.ReadError(f"it grows beyond {self.limit:,} bytes")
        return self.stream.seek(position)

    def at(self, position: int, size: int) -> bytes:
        self.seek(position)
        content = self.read(size)
        if len(content) < size:
            raise tarfile.ReadError("it ends inside an image")
        return content
