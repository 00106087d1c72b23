"""Files of a tar, read where they lie, or kept in memory if the tar is compressed."""

import bz2
import gzip
import lzma
import os
import tarfile
from collections.abc import Callable
from io import BufferedIOBase
from typing import BinaryIO, NamedTuple, cast

from l1jax.data.archive_members import escapes_root, normalize_name, select_members
from l1jax.data.file_listing import (
    MAX_FILE_BYTES,
    FileListing,
    change_times,
    max_decompressed_size,
)
from l1jax.data.formats import READ, KindOf, file_kind, is_hidden
from l1jax.data.skipped_files import SkippedFile, skipped_kind

_PIECE_BYTES = 2**20  # that are decompressed at once
Opener = Callable[[str], BufferedIOBase]
"""(path) → a stream of the file's decompressed content."""
DECOMPRESSORS: dict[bytes, Opener] = {
    b"\x1f\x8b": gzip.open,
    b"\xfd7zXZ\x00": lzma.open,
    b"BZh": bz2.open,
}
"""By the bytes that a compressed file begins with."""


class ByteRange(NamedTuple):
    """Where a member's content is, in bytes."""

    offset: int
    size: int


class _Members(NamedTuple):
    """What a tar holds, by cleaned name."""

    ranges: dict[str, ByteRange]
    """Where the content of each ordinary file is."""
    links: dict[str, str]
    """Where each link leads from its own folder, or from the top if it begins with "/"."""
    contents: dict[ByteRange, bytes]
    """The files of a compressed tar that are read, by where they are in it."""
    skipped: list[SkippedFile]


def open_tar(path: str, kind_of: KindOf = file_kind) -> FileListing:
    """List the files of a tar that are read; read them, too, if it is compressed.

    Args:
        path: the tar.
        kind_of: tells by the name which files are read.

    Raises:
        Exception: whatever a damaged archive leads to. It is a ReadError if the archive was cut
            short, or decompresses to more than `max_decompressed_size`.
    """
    with open(path, "rb") as file:
        head = file.read(6)
        status = os.fstat(file.fileno())
    decompress = next(
        (opener for magic, opener in DECOMPRESSORS.items() if head.startswith(magic)), None
    )
    limit = max_decompressed_size(status.st_size)
    with (decompress or _open_plain)(path) as content:
        members = _read_members(_LimitedStream(content, limit), decompress is not None, kind_of)
    chosen, left_out = select_members(members.ranges, members.links, kind_of)
    contents = members.contents
    if decompress is not None:
        # A link with such a name may lead to a file without one, which was not kept.
        wanted = {byte_range for byte_range in chosen.values() if byte_range.size <= MAX_FILE_BYTES}
        with decompress(path) as content:
            stream = _LimitedStream(content, limit)
            for byte_range in sorted(wanted - contents.keys()):
                contents[byte_range] = stream.read_range(byte_range)

    def read(name: str) -> bytes:
        byte_range = chosen[name]
        if decompress is not None:
            return contents[byte_range]
        with open(path, "rb") as file:
            file.seek(byte_range.offset)
            return file.read(byte_range.size)

    sizes = {name: byte_range.size for name, byte_range in chosen.items()}
    return FileListing(sizes, read, [change_times(status)], members.skipped + left_out)


def decompress(path: str, output: BinaryIO) -> None:
    """Write the decompressed content of a compressed tar.

    Args:
        path: the tar.
        output: the file to write to.

    Raises:
        Exception: whatever a damaged archive leads to. It is a ReadError if the archive was cut
            short, holds no tar, or decompresses to more than `max_decompressed_size`.
    """
    with open(path, "rb") as file:
        head = file.read(6)
        size = os.fstat(file.fileno()).st_size
    opener = next(opener for magic, opener in DECOMPRESSORS.items() if head.startswith(magic))
    with opener(path) as content:
        stream = _LimitedStream(content, max_decompressed_size(size))
        first = stream.read(tarfile.BLOCKSIZE)
        tarfile.TarInfo.frombuf(first, "utf-8", "replace")  # raises if this is no tar
        output.write(first)
        while piece := stream.read(_PIECE_BYTES):
            output.write(piece)


def _open_plain(path: str) -> BufferedIOBase:
    return open(path, "rb")


def _read_members(stream: "_LimitedStream", keep_contents: bool, kind_of: KindOf) -> _Members:
    ranges: dict[str, ByteRange] = {}
    links: dict[str, str] = {}
    contents: dict[ByteRange, bytes] = {}
    skipped: list[SkippedFile] = []
    for member in tarfile.TarFile(fileobj=cast(BinaryIO, stream)):
        name = normalize_name(member.name)
        kind = kind_of(name)
        if escapes_root(name):
            if kind in READ:
                skipped.append(
                    SkippedFile(name, "its name leads out of the archive", skipped_kind(kind))
                )
            continue
        if member.isdir():
            continue
        is_read = kind in READ and not is_hidden(name)
        if is_read and (name in ranges or name in links):
            skipped.append(SkippedFile(name, "another of its name comes later", skipped_kind(kind)))
        ranges.pop(name, None)
        links.pop(name, None)
        if member.isreg():
            byte_range = ByteRange(member.offset_data, member.size)
            ranges[name] = byte_range
            if keep_contents and is_read and byte_range.size <= MAX_FILE_BYTES:
                contents[byte_range] = stream.read_range(byte_range)
        elif member.islnk():
            links[name] = "/" + normalize_name(member.linkname)
        elif member.issym():
            links[name] = member.linkname.replace("\\", "/")
        elif is_read:
            reason = "it is neither a file nor a folder"
            skipped.append(SkippedFile(name, reason, skipped_kind(kind)))
    _check_end(stream)
    return _Members(ranges, links, contents, skipped)


def _check_end(stream: "_LimitedStream") -> None:
    """Raise unless the tar ends as it should: with two blocks of zeros.

    `tarfile` has read one of them, and takes a damaged header for the end as well. Reading on also
    checks the sum at the end of a compressed file.
    """
    rest = stream.read(2**20)
    if not rest or any(rest):
        raise tarfile.ReadError("the end is missing or not where it should be")


class _LimitedStream:
    """A stream that raises when an archive claims to be larger than it can well be."""

    def __init__(self, stream: BufferedIOBase, limit: int) -> None:
        self.stream = stream
        self.limit = limit
        self.tell = stream.tell

    def read(self, size: int) -> bytes:
        if size > MAX_FILE_BYTES or self.tell() + size > self.limit:
            raise tarfile.ReadError(f"it grows beyond {min(MAX_FILE_BYTES, self.limit):,} bytes")
        return self.stream.read(size)

    def seek(self, position: int) -> int:
        if position > self.limit:
            raise tarfile.ReadError(f"it grows beyond {self.limit:,} bytes")
        return self.stream.seek(position)

    def read_range(self, byte_range: ByteRange) -> bytes:
        self.seek(byte_range.offset)
        content = self.read(byte_range.size)
        if len(content) < byte_range.size:
            raise tarfile.ReadError("it ends inside a file")
        return content
