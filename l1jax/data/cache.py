"""Decoded, resized images kept on disk, so that they are decoded once.

A file holds a header, a checksum for each image (0 until the image is written) and the images, each
at a fixed place. So any number of threads, processes and machines can read and fill it at the same
time without a lock: all write the same bytes to the same places, a checksum is written after its
image, and an image that does not fit its checksum, after a crash or damage, is decoded again. The
file is mapped into memory for reading.
"""

import errno
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

from l1jax.data.source import Pixels, Source, fingerprint

_MAGIC = b"l1jax images 1\n"
_HEADER_BYTES = 4096
_CHECKSUM_BYTES = 8
_PRESENT = 1 << 32  # is added to a checksum, so that none is 0

Images = UInt8[np.ndarray, "n height width channels"]


def cache_folder() -> Path | None:
    """Return L1JAX_CACHE_DIR, or `l1jax/` in the user's cache folder; None if there is neither."""
    if chosen := os.environ.get("L1JAX_CACHE_DIR"):
        return Path(chosen)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "l1jax"
    except RuntimeError:  # no home directory
        return None


def with_cache(source: Source, folder: Path | None) -> Source:
    """Return the same source, which keeps what it decodes and does not decode it again.

    A source whose examples need no decoding is returned as it is. If the file cannot be written,
    one line on standard error says so, and the examples are decoded each time.

    Args:
        source: the source. The file is named after its fingerprint, its stamp and the decoder's
            version.
        folder: where to keep the file; is made if it is missing. None keeps nothing.
    """
    if source.stamp is None or folder is None:
        return source
    try:
        cache = _open(source, folder)
    except OSError as error:
        _warn(folder, error)
        return source
    stamp = source.stamp
    if cache.complete():
        stamp = None  # nothing is left to decode
    return source._replace(
        example=cache.example,
        gather=cache.gather,
        stamp=stamp,
        reopen=source.reopen and partial(_reopen, source.reopen, folder),
    )


def _reopen(reopen: Callable[[], Source], folder: Path) -> Source:
    return with_cache(reopen(), folder)


class _Cache:
    """The open file of a source."""

    def __init__(self, source: Source, path: Path) -> None:
        self.source = source
        self.path = path
        self.descriptor = os.open(path, os.O_RDWR)
        mapped = mmap.mmap(self.descriptor, 0, access=mmap.ACCESS_READ)
        self.checksums = np.frombuffer(mapped, "<u8", source.length, _HEADER_BYTES)
        self.images_start = _HEADER_BYTES + self.checksums.nbytes
        pixels = np.frombuffer(mapped, np.uint8, offset=self.images_start)
        self.images = pixels.reshape(source.length, *source.image_shape)
        self.verified = np.zeros(source.length, bool)  # by this process, against the checksums
        self.writable = True

    def complete(self) -> bool:
        """Return whether every image has been written; each is still verified when it is read."""
        return bool(self.checksums.all())

    def example(self, i: int) -> Pixels:
        return self.gather(np.array([i]))[0]

    def gather(self, index: Int[np.ndarray, " n"]) -> Images:
        if self.verified[index].all():
            return self.images[index]
        gathered = np.empty((len(index), *self.source.image_shape), np.uint8)
        for image, i in zip(gathered, index.tolist(), strict=True):
            if self.checksums[i]:
                image[...] = self.images[i]
                fits = self.checksums[i] == _checksum(image, i)
                self.verified[i] = self.verified[i] or fits
            if not self.verified[i]:
                image[...] = self.source.example(i)
                self.write(i, image)
        return gathered

    def write(self, i: int, image: Pixels) -> None:
        """Write an image and then its checksum; stop writing for good if that fails."""
        if not self.writable:
            return
        # Not through the map: on a full disk that would kill the process.
        image_start = self.images_start + i * image.nbytes
        checksum_start = _HEADER_BYTES + i * _CHECKSUM_BYTES
        checksum = _checksum(image, i).to_bytes(_CHECKSUM_BYTES, "little")
        try:
            _write(self.descriptor, image.tobytes(), image_start)
            _write(self.descriptor, checksum, checksum_start)
        except OSError as error:
            self.writable = False
            _warn(self.path, error)


def _checksum(image: Pixels, i: int) -> int:
    """Return the checksum of an image at its place in the file."""
    return _PRESENT + zlib.crc32(image.data, i)


def _open(source: Source, folder: Path) -> _Cache:
    """Open the file of a source; create it unless one of the right size and header exists."""
    decoder = [PIL.__version__, features.version("jpg"), features.version("webp")]
    identity = [source.fingerprint, source.stamp, source.length, *source.image_shape, *decoder]
    header = (_MAGIC + json.dumps(identity).encode()).ljust(_HEADER_BYTES, b"\0")
    image_bytes = int(np.prod(source.image_shape))
    size = _HEADER_BYTES + source.length * (_CHECKSUM_BYTES + image_bytes)
    path = folder / f"images-{fingerprint(header.decode())[:32]}"
    if not _is_intact(path, header, size):
        _create(path, header + bytes(_CHECKSUM_BYTES * source.length), size)
    return _Cache(source, path)


def _is_intact(path: Path, header: bytes, size: int) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(header)) == header and os.fstat(file.fileno()).st_size == size
    except FileNotFoundError:
        return False


def _create(path: Path, start: bytes, size: int) -> None:
    """Create a file of `size` bytes that begins with `start`; it appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    if size > free:
        raise OSError(
            errno.ENOSPC,
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


def _write(descriptor: int, content: bytes, offset: int) -> None:
    while content:
        written = os.pwrite(descriptor, content, offset)
        content = content[written:]
        offset += written


def _warn(path: Path, error: OSError) -> None:
    warn_of_cache(path, error, "images are decoded again in each pass")


def warn_of_cache(path: Path, error: OSError, consequence: str) -> None:
    """Say on standard error that nothing can be kept in the cache.

    Args:
        path: the folder or file.
        error: what went wrong.
        consequence: what is done instead, as a clause.
    """
    print(
        f"{consequence}, because nothing can be kept in "
        f"{path} ({error.strerror or error}): make room or permission there, or name another "
        "folder in L1JAX_CACHE_DIR.",
        file=sys.stderr,
    )
