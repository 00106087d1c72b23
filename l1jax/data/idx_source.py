"""IDX files, the format of MNIST and Fashion-MNIST, and stacked digits made of them, as sources."""

import gzip
import math
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from l1jax import config
from l1jax.config import InputError
from l1jax.data.path_hints import require_local_path, suggest_data_flag
from l1jax.data.source import Pixels, Source, fingerprint, hash_arrays, source_from_arrays
from l1jax.reading import check_input_file

MAX_FILE_BYTES = 4 * 2**30
SPLITS = {"train": "train", "test": "t10k"}  # split → what file names call it
_UNSIGNED_BYTES = b"\0\0\x08"  # how a file of unsigned bytes begins


class LabelledImages(NamedTuple):
    """The images of a split with their labels."""

    images: UInt8[np.ndarray, "n height width"]
    labels: UInt8[np.ndarray, " n"]


def open_idx(data: config.IdxData) -> Source:
    """Open the images of a split, with their labels.

    Raises:
        InputError: if a file is missing or damaged, or images and labels do not fit.
    """
    images, labels = read_labelled(data.path, data.split)
    identity = fingerprint("idx", hash_arrays(images, labels), data.image_size)
    return source_from_arrays(images, labels.astype(np.int32), data.image_size, 1, identity)


def open_stacked(data: config.StackedData) -> Source:
    """Open images of three random digits a, b, c as channels, with the label 100·a + 10·b + c.

    Raises:
        InputError: as `open_idx`, and if there are labels beyond 9.
    """
    images, labels = read_labelled(data.path, data.split)
    if labels.max() > 9:
        raise InputError(
            f"`data.path` (={data.path!r}) must hold the ten digits, and has a label "
            f"{labels.max()}."
        )
    generator = np.random.Generator(np.random.Philox(key=data.draw_seed))
    chosen = generator.integers(len(images), size=(data.count, 3))
    digit = source_from_arrays(images, None, data.image_size, 1, "").example
    content_hash = hash_arrays(images, labels)

    def example(i: int) -> Pixels:
        return np.concatenate([digit(int(j)) for j in chosen[i]], axis=-1)

    return Source(
        length=data.count,
        image_shape=(data.image_size, data.image_size, 3),
        example=example,
        fingerprint=fingerprint(
            "stacked", content_hash, data.image_size, data.count, data.draw_seed
        ),
        labels=labels[chosen].astype(np.int32) @ np.array([100, 10, 1], np.int32),
        content=lambda i: images[chosen[i]].tobytes(),
    )


def read_idx(path: Path) -> UInt8[np.ndarray, "..."]:
    """Read an IDX file of unsigned bytes, gzipped or not.

    The file holds two zero bytes, 8 for unsigned bytes, the number of dimensions, the size of each
    dimension as a big-endian 32-bit integer, and the values, of which the last dimension varies
    fastest.

    Raises:
        InputError: if the file cannot be read, is not such a file, or is cut short or too long.
    """
    content = _read_content(path)
    if len(content) < 4 or content[:3] != _UNSIGNED_BYTES:
        raise InputError(
            f"{str(path)!r} must be an IDX file of unsigned bytes, and starts otherwise: replace "
            "it."
        )
    start = 4 + 4 * content[3]
    damaged = InputError(
        f"{str(path)!r} does not hold as many values as its header says: it is damaged; replace it."
    )
    if len(content) < start:
        raise damaged
    shape = tuple(int(n) for n in np.frombuffer(content[4:start], ">i4"))
    if min(shape, default=0) < 0 or len(content) - start != math.prod(shape):
        raise damaged
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _read_content(path: Path) -> bytes:
    try:
        check_input_file(path, MAX_FILE_BYTES, "mend or replace it")
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{str(path)!r} cannot be read ({reason}): mend or replace it.") from error
    return content


def read_labelled(folder: str, split: str) -> LabelledImages:
    """Read the images and labels of a split from the four files that MNIST comes in.

    Args:
        folder: folder with train-images-idx3-ubyte, train-labels-idx1-ubyte and the t10k files,
            plain or with .gz.
        split: "train" or "test".

    Raises:
        InputError: if a file is missing or damaged, or images and labels do not fit.
    """
    images = read_idx(_find(folder, f"{SPLITS[split]}-images-idx3-ubyte"))
    labels = read_idx(_find(folder, f"{SPLITS[split]}-labels-idx1-ubyte"))
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels) or not images.size:
        raise InputError(
            f"`data.path` (={folder!r}) must hold as many {split} images as labels, at least one; "
            f"it has images of shape {images.shape} and labels of shape {labels.shape}: replace "
            "the files."
        )
    return LabelledImages(images, labels)


def _find(folder: str, name: str) -> Path:
    """Find a file of MNIST in a folder, also if a copy has a dot in place of a dash in its name."""
    require_local_path(folder)
    location = Path(folder).expanduser()
    for spelling in (name, name.replace("-idx", ".idx")):
        for candidate in (location / spelling, location / f"{spelling}.gz"):
            if candidate.is_file():
                return candidate
    suggestion = _suggest_folder(location, folder) or "give --data.path FOLDER"
    raise InputError(
        f"`data.path` (={folder!r}) must be a folder with {name} or {name}.gz: {suggestion}."
    )


def _suggest_folder(location: Path, folder: str) -> str:
    """Say what to give instead of `folder`, which is at `location`; empty if nothing is known."""
    if not folder or not location.exists():
        return ""
    if location.is_file() and "-ubyte" in location.name:
        return (
            "it is one of these files; give the folder that they are in, --data.path "
            f"{location.parent}"
        )
    below = sorted(path.parent for path in location.glob("*/*-ubyte*") if path.is_file())
    if below:
        return (
            f"such files are in {str(below[0])!r}; put them all into one folder and give that as "
            "--data.path"
        )
    return suggest_data_flag(str(location), "idx")
