"""IDX files, the format of MNIST and Fashion-MNIST, and stacked digits made of them, as sources."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from l1jax import config
from l1jax.config import InputError
from l1jax.data.recognition import refuse_address, what_to_give
from l1jax.data.source import Source, digest, fingerprint, of_arrays
from l1jax.reading import check_file

LARGEST = 4 * 2**30  # bytes of a file
SPLITS = {"train": "train", "test": "t10k"}  # as the file names call them
_UNSIGNED_BYTES = b"\0\0\x08"


def open_idx(data: config.IdxData) -> Source:
    """The images of a split, with their labels.

    Raises:
        InputError: if a file is missing or damaged, or images and labels do not fit.
    """
    images, labels = read_labelled(data.path, data.split)
    identity = fingerprint("idx", digest(images, labels), data.image_size)
    return of_arrays(images, labels.astype(np.int32), data.image_size, 1, identity)


def open_stacked(data: config.StackedData) -> Source:
    """Three random digits as the channels of each image; label 100·a + 10·b + c for the digits a, b, c.

    Raises:
        InputError: as `open_idx`, and if there are labels beyond 9.
    """
    images, labels = read_labelled(data.path, data.split)
    if labels.max() > 9:
        raise InputError(
            f"`data.path` (={data.path!r}) must hold the ten digits, and has a label {labels.max()}."
        )
    chosen = np.random.Generator(np.random.Philox(key=data.draw_seed)).integers(
        len(images), size=(data.count, 3)
    )
    digit = of_arrays(images, None, data.image_size, 1, "").example

    def example(i: int) -> UInt8[np.ndarray, "height width channels"]:
        return np.concatenate([digit(int(j)) for j in chosen[i]], axis=-1)

    identity = fingerprint(
        "stacked", digest(images, labels), data.image_size, data.count, data.draw_seed
    )
    classes = labels[chosen].astype(np.int32) @ np.array([100, 10, 1], np.int32)
    shape = (data.image_size, data.image_size, 3)
    return Source(
        data.count, shape, example, identity, classes, content=lambda i: images[chosen[i]].tobytes()
    )


def read_idx(path: Path) -> UInt8[np.ndarray, "..."]:
    """Read an IDX file of unsigned bytes, gzipped or not.

    Layout: two zero bytes, 8 for unsigned bytes, the number of dimensions; each dimension as a
    big-endian 32-bit integer; the values, the last dimension fastest.

    Raises:
        InputError: if the file cannot be read, or is not such a file, or is cut short or too long.
    """
    try:
        check_file(path, LARGEST, "mend or replace it")
        content = path.read_bytes()
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (OSError, EOFError, zlib.error) as error:
        text = getattr(error, "strerror", None) or error
        raise InputError(f"{str(path)!r} cannot be read ({text}): mend or replace it.") from error
    if len(content) < 4 or content[:3] != _UNSIGNED_BYTES:
        raise InputError(
            f"{str(path)!r} must be an IDX file of unsigned bytes, and starts otherwise: replace it."
        )
    start = 4 + 4 * content[3]
    shape = (
        tuple(int(n) for n in np.frombuffer(content[4:start], ">i4"))
        if len(content) >= start
        else (-1,)
    )
    if min(shape, default=0) < 0 or len(content) - start != math.prod(shape):
        raise InputError(
            f"{str(path)!r} does not hold as many values as its header says: it is damaged; replace it."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read_labelled(
    folder: str, split: str
) -> tuple[UInt8[np.ndarray, "n height width"], UInt8[np.ndarray, " n"]]:
    """Images and labels of a split, from the four files that MNIST comes in.

    Args:
        folder: with train-images-idx3-ubyte, train-labels-idx1-ubyte and the t10k ones, or with .gz.
        split: "train" or "test".

    Raises:
        InputError: if a file is missing or damaged, or images and labels do not fit.
    """
    images, labels = (
        read_idx(_find(folder, f"{SPLITS[split]}-{kind}-ubyte"))
        for kind in ("images-idx3", "labels-idx1")
    )
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels) or not images.size:
        raise InputError(
            f"`data.path` (={folder!r}) must hold as many {split} images as labels, at least one; it has images of "
            f"shape {images.shape} and labels of shape {labels.shape}: replace the files."
        )
    return images, labels


def _find(folder: str, name: str) -> Path:
    """A file of MNIST in a folder, under its own name or with a dot for the dash, as some copies have it."""
    refuse_address(folder)
    place = Path(folder).expanduser()
    for spelling in (name, name.replace("-idx", ".idx")):
        for candidate in (place / spelling, place / f"{spelling}.gz"):
            if candidate.is_file():
                return candidate
    hint = _instead(place, name) if folder else "give --data.path FOLDER"
    raise InputError(
        f"`data.path` (={folder!r}) must be a folder with {name} or {name}.gz: {hint}."
    )


def _instead(place: Path, name: str) -> str:
    """What to give for a path that is no folder with the files of MNIST."""
    if place.is_file() and "-ubyte" in place.name:
        return f"it is one of these files; give the folder that they are in, --data.path {place.parent}"
    below = sorted(path.parent for path in place.glob("*/*-ubyte*") if path.is_file())
    if below:
        return f"such files are in {str(below[0])!r}; put them all into one folder and give that as --data.path"
    remedy = what_to_give(str(place), "idx") if place.exists() else ""
    return remedy or "give --data.path FOLDER"
