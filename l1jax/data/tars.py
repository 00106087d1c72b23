"""Encoded image files of a tar, read where they lie, or kept in memory where it is compressed."""

import bz2
import gzip
import lzma
import os
import tarfile
from collections.abc import Callable, Sequence
from io import BufferedIOBase
from typing import Any, BinaryIO, NamedTuple, cast

from l1jax.data.faults import Fault
from l1jax.data.formats import is_hidden, sort_of
from l1jax.data.members import clean, images_among, leads_out

COMPRESSED: dict[bytes, Callable[[str], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"\xfd7zXZ\x00": lzma.open,
    b"BZh": bz2.open,
}
LARGEST = 2**28  # bytes of an encoded image, and what the smallest compressed tar may grow to
_GROWTH = 256  # times its size that it may grow beyond that; the headers of small images shrink to almost nothing


_BITS = 2**63 - 1  # of an inode's number that are kept


class Place(NamedTuple):
    """Where a member's content is, in bytes."""

    offset: int
    size: int


class Opened(NamedTuple):
    """Image files of a folder or an archive, before it is known which can be used."""

    sizes: dict[str, int]
    """Bytes by name."""
    read: Callable[[str], bytes]
    """The content by name; thread safe."""
    times: Sequence[tuple[int, ...]]
    """What changes when a file is written to or replaced: see `moments`."""
    faults: list[Fault]
    """What is left out."""


def moments(status: os.stat_result) -> tuple[int, int, int]:
    """When a file was last written to and last changed in any way, in nanoseconds, and its inode.

    Programs set the first back, as `cp -p`, `rsync` and `tar` do; nobody sets the second.
    """
    return status.st_mtime_ns, status.st_ctime_ns, status.st_ino & _BITS


def growth_limit(size: int) -> int:
    """Bytes that a compressed file of `size` bytes may hold: beyond that it is taken for a decompression bomb."""
    return LARGEST + _GROWTH * size


def open_tar(path: str) -> Opened:
    """List the images of a tar; of a compressed one also read them.

    Raises:
        Exception: whatever a damaged archive leads to, and ReadError for one that was cut short or grows
            beyond all measure.
    """
    places: dict[str, Place] = {}
    contents: dict[Place, bytes] = {}
    links: dict[str, str] = {}
    faults: list[Fault] = []
    with open(path, "rb") as file:
        head, status = file.read(6), os.fstat(file.fileno())
    decompress = next(
        (opener for magic, opener in COMPRESSED.items() if head.startswith(magic)), None
    )
    limit = growth_limit(status.st_size)

    with (decompress or _plain)(path) as content:
        stream = _Bounded(content, limit)
        for member in tarfile.TarFile(fileobj=cast(BinaryIO, stream)):
            name = clean(member.name)
            is_image = sort_of(name) == "image" and not is_hidden(name)
            if leads_out(name):
                if sort_of(name) == "image":
                    faults.append(Fault(name, "its name leads out of the archive"))
                continue
            if member.isdir():
                continue
            if is_image and (name in places or name in links):
                faults.append(Fault(name, "another of its name comes later"))
            places.pop(name, None)
            links.pop(name, None)
            if member.isreg():
                places[name] = Place(member.offset_data, member.size)
                if decompress and is_image and member.size <= LARGEST:
                    contents[places[name]] = stream.at(*places[name])
            elif member.islnk():
                links[name] = "/" + clean(member.linkname)
            elif member.issym():
                links[name] = member.linkname.replace("\\", "/")
            elif is_image:
                faults.append(Fault(name, "it is neither a file nor a folder"))
        # Two blocks of zeros end a tar. `tarfile` has read one, and takes a damaged header for the
        # end as well; reading on also checks the sum at the end of a compressed file.
        rest = stream.read(2**20)
        if not rest or any(rest):
            raise tarfile.ReadError("the end is missing or not where it should be")
    images, left_out = images_among(places, links)
    if decompress:  # links may lead to files whose names are not those of images
        missing = {place for place in images.values() if place.size <= LARGEST} - contents.keys()
        with decompress(path) as content:
            stream = _Bounded(content, limit)
            contents |= {place: stream.at(*place) for place in sorted(missing)}

    def read(name: str) -> bytes:
        place = images[name]
        if decompress:
            return contents[place]
        with open(path, "rb") as file:
            file.seek(place.offset)
            return file.read(place.size)

    sizes = {name: place.size for name, place in images.items()}
    return Opened(sizes, read, [moments(status)], faults + left_out)


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
