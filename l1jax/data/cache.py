"""Decoded, resized images kept on disk, so that they are decoded once.

A file holds a header, a checksum for each image (0 until it is there) and the images, at fixed places. So
any number of threads, processes and machines can read and fill it at the same time without a lock: all
write the same bytes to the same places, a checksum is written after its image, and an image whose checksum
does not fit, after a crash or damage, is decoded again. The file is mapped into memory for reading.
"""

import json
import mmap
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import PIL
from jaxtyping import Int, UInt8
from PIL import features

from l1jax.data.source import Source, fingerprint

_MAGIC = b"l1jax images 1\n"
_HEADER = 4096  # bytes
_PRESENT = 1 << 32  # added to a checksum, so that none is 0

Images = UInt8[np.ndarray, "n height width channels"]


def cache_folder() -> Path | None:
    """L1JAX_CACHE_DIR, or `l1jax/` in the user's cache folder; None where there is neither."""
    if chosen := os.environ.get("L1JAX_CACHE_DIR"):
        return Path(chosen)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "l1jax"
    except RuntimeError:  # no home directory
        return None


def cached(source: Source, folder: Path | None) -> Source:
    """The same source, which keeps what it decodes and does not decode it again.

    A source whose examples need no decoding is returned as it is. Where the file cannot be written, one
    line on stderr says so, and the examples are decoded each time.

    Args:
        source: what to keep; the file is told by its fingerprint, its stamp and the decoder's version.
        folder: where; it is made. None keeps nothing.
    """
    if source.stamp is None or folder is None:
        return source
    try:
        cache = _open(source, folder)
    except OSError as error:
        _say(folder, error)
        return source
    return source._replace(
        example=cache.example,
        gather=cache.gather,
        stamp=None if cache.complete() else source.stamp,
        reopen=source.reopen and partial(_reopen, source.reopen, folder),
    )


def _reopen(reopen: Callable[[], Source], folder: Path) -> Source:
    return cached(reopen(), folder)


class _Cache:
    """The open file of a source."""

    def __init__(self, source: Source, path: Path) -> None:
        self.source, self.path = source, path
        self.descriptor = os.open(path, os.O_RDWR)
        self.bytes = int(np.prod(source.image_shape))
        mapped = mmap.mmap(self.descriptor, 0, access=mmap.ACCESS_READ)
        self.sums = np.frombuffer(mapped, "<u8", source.length, _HEADER)
        self.start = _HEADER + self.sums.nbytes
        pixels = np.frombuffer(mapped, np.uint8, offset=self.start)
        self.images = pixels.reshape(source.length, *source.image_shape)
        self.checked = np.zeros(source.length, bool)  # against their checksums, by this process
        self.writable = True

    def complete(self) -> bool:
        """Whether every image has been written; each is still checked when it is read."""
        return bool(self.sums.all())

    def example(self, i: int) -> UInt8[np.ndarray, "height width channels"]:
        return self.gather(np.array([i]))[0]

    def gather(self, index: Int[np.ndarray, " n"]) -> Images:
        if self.checked[index].all():
            return self.images[index]
        found = np.empty((len(index), *self.source.image_shape), np.uint8)
        for image, i in zip(found, index.tolist(), strict=True):
            if self.sums[i]:
                image[...] = self.images[i]
                self.checked[i] = self.checked[i] or self.sums[i] == _checksum(image, i)
            if not self.checked[i]:
                image[...] = self.source.example(i)
                self.write(i, image)
        return found

    def write(self, i: int, image: UInt8[np.ndarray, "height width channels"]) -> None:
        if not self.writable:
            return
        try:
            # Not through the map: where the disk is full that would kill the process.
            _write(self.descriptor, image.tobytes(), self.start + i * self.bytes)
            _write(self.descriptor, _checksum(image, i).to_bytes(8, "little"), _HEADER + 8 * i)
        except OSError as error:
            self.writable = False
            _say(self.path, error)


def _checksum(image: UInt8[np.ndarray, "height width channels"], i: int) -> int:
    """That of an image in its place."""
    return _PRESENT + zlib.crc32(image.data, i)


def _open(source: Source, folder: Path) -> _Cache:
    """Open the file of a source, made anew if there is none or it is not of the right size with the right header."""
    decoder = [PIL.__version__, features.version("jpg"), features.version("webp")]
    identity = [source.fingerprint, source.stamp, source.length, *source.image_shape, *decoder]
    header = (_MAGIC + json.dumps(identity).encode()).ljust(_HEADER, b"\0")
    size = _HEADER + source.length * (8 + int(np.prod(source.image_shape)))
    path = folder / f"images-{fingerprint(header.decode())[:32]}"
    try:
        with path.open("rb") as file:
            good = file.read(_HEADER) == header and os.fstat(file.fileno()).st_size == size
    except FileNotFoundError:
        good = False
    if not good:
        _create(path, header + bytes(8 * source.length), size)
    return _Cache(source, path)


def _create(path: Path, start: bytes, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    if size > free:
        raise OSError(
            28,
            f"No space left on device: {size >> 20:,} MiB are needed, {free >> 20:,} MiB are free",
        )
    descriptor, partial_name = tempfile.mkstemp(prefix="partial-", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(start)
            file.truncate(size)
        os.replace(partial_name, path)
    except BaseException:
        os.unlink(partial_name)
        raise


def _write(descriptor: int, content: bytes, place: int) -> None:
    while content:
        written = os.pwrite(descriptor, content, place)
        content, place = content[written:], place + written


def _say(path: Path, error: OSError) -> None:
    print(
        f"images are decoded anew in each pass, for they cannot be kept in {path} ({error.strerror or error}): "
        "make room or permission there, or name another folder in L1JAX_CACHE_DIR.",
        file=sys.stderr,
    )
