"""Images in NumPy's files, `.npz` and `.npy`, as a source; nothing is ever unpickled."""

import math
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from l1jax import config
from l1jax.config import InputError
from l1jax.data.classes import whole_labels
from l1jax.data.images import reason
from l1jax.data.recognition import refuse_address, what_to_give
from l1jax.data.source import Source, digest, fingerprint, of_arrays
from l1jax.data.tars import growth_limit

_MOST_CHANNELS = 4  # the last axis of an image with channels, and the width of none
_READ_AT_MOST = 2**30  # bytes that go into the fingerprint; of more, evenly spaced images do


def open_arrays(data: config.ArrayData) -> Source:
    """Images from an array in a `.npz`, with labels if it has them, or in a `.npy`, which stays on disk.

    Raises:
        InputError: if the file cannot be read or is damaged, if its arrays are no images and labels, or if
            they are objects, which would have to be unpickled.
    """
    origin = f"`data.path` (={data.path!r})"
    if not data.path:
        raise InputError(
            "`data.path` is empty: give --data.path FILE, a .npz with images and labels, or a .npy."
        )
    refuse_address(data.path)
    path = Path(data.path).expanduser()
    remedy = what_to_give(str(path), "array")
    if remedy:
        raise InputError(f"{origin} must be a .npz or .npy file; {remedy}.")
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe would be waited for
        raise InputError(
            f"{origin} must be a .npz or .npy file, and is a folder, a pipe or a device; give a file."
        )
    try:
        images, labels = _read(path, data, origin)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # whatever damaged bytes lead `zipfile` and NumPy to
        raise InputError(
            f"{origin} must be a whole .npz or .npy file without objects, and cannot be read ({reason(error)}): "
            "check the path, or save it again."
        ) from error
    if not _are_images(images):
        raise InputError(
            f"{origin} must hold images as uint8 [number, height, width] or with 1 or 3 channels last, and "
            f"`data.images` (={data.images!r}) is {images.dtype} of shape {images.shape}: {_conversion(images)}."
        )
    if not images.size:
        raise InputError(
            f"{origin} must hold at least one image, and its images are of shape {images.shape}."
        )
    if labels is not None:
        labels = whole_labels(labels, len(images), origin, f"`data.labels` (={data.labels!r})")
    some = images[:: -(-images.nbytes // _READ_AT_MOST)]
    content = digest(some) if labels is None else digest(some, labels.astype(np.int64))
    identity = fingerprint("array", list(images.shape), content, data.image_size, data.channels)
    return of_arrays(images, labels, data.image_size, data.channels, identity)


def _are_images(images: np.ndarray) -> bool:
    """Whether an array is of images, and of several: [16, 16, 3] is rather one in colour than 16 narrow ones."""
    if images.dtype != np.uint8:
        return False
    return (images.ndim == 3 and images.shape[2] > _MOST_CHANNELS) or (
        images.ndim == 4 and images.shape[3] in (1, 3)
    )


def _conversion(images: np.ndarray) -> str:
    """How to make images of an array that holds none as it is."""
    shape = images.shape
    if images.dtype != np.uint8:
        if images.dtype.kind == "f":
            return "convert it, as by `(255 * images).round().astype(numpy.uint8)` if it goes from 0 to 1"
        if images.dtype.kind == "b":
            return "convert it, as by `255 * images.astype(numpy.uint8)`"
        return "convert it, as by `images.astype(numpy.uint8)` if it goes from 0 to 255"
    if len(shape) == 2:
        return "it looks like one grey image; save `images[None]` for that, or `images.reshape(-1, height, width)`"
    if len(shape) == 3:
        channels = "1 channel" if shape[2] == 1 else f"{shape[2]} channels"
        return (
            f"it looks like one image with {channels}; save `images[None]` for that, or `images[..., None]` for "
            f"{shape[0]} grey images of {shape[1]}×{shape[2]} pixels"
        )
    if len(shape) == 4 and shape[1] in (1, 3):
        return "it looks like channels first; save `numpy.moveaxis(images, 1, -1)`"
    if len(shape) == 4 and shape[3] == 4:
        return "it looks like colours with transparency; save `images[..., :3]`"
    return "convert it"


def _read(path: Path, data: config.ArrayData, origin: str) -> tuple[np.ndarray, np.ndarray | None]:
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            return npy.open_memmap(path, mode="r"), None
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if data.images not in names:
            raise InputError(
                f"`data.images` (={data.images!r}) must name an array of {data.path!r}, which has {', '.join(names)}: "
                "give one of them, such as --data.images NAME."
            )
        if data.labels not in ("", "labels", *names):
            raise InputError(
                f"`data.labels` (={data.labels!r}) must name an array of {data.path!r}, which has {', '.join(names)}: "
                "give one of them, or --data.labels '' for images without classes."
            )
        limit = growth_limit(os.path.getsize(path))
        labels = _array(archive, data.labels, limit) if data.labels in names else None
        return _array(archive, data.images, limit), labels


def _array(archive: zipfile.ZipFile, name: str, limit: int) -> np.ndarray:
    """One array, its bytes counted before they are read."""
    member = archive.getinfo(f"{name}.npy")
    if member.file_size > limit:
        raise ValueError(
            f"{name!r} grows beyond {limit:,} bytes; save it with numpy.savez or as .npy"
        )
    with archive.open(member) as file:
        major, _ = npy.read_magic(file)
        header: Any = npy.read_array_header_1_0 if major == 1 else npy.read_array_header_2_0
        shape, fortran, dtype = header(file)
        values = np.frombuffer(file.read(), dtype)  # which refuses objects
    if min(shape, default=0) < 0 or math.prod(shape) != values.size:
        raise ValueError(f"{name!r} does not hold as many values as its header says")
    return values.reshape(shape, order="F" if fortran else "C")
