"""Images in NumPy's files, `.npz` and `.npy`, as a source; nothing is ever unpickled."""

import math
import os
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from l1jax import config
from l1jax.config import InputError
from l1jax.data.class_labels import as_labels
from l1jax.data.file_listing import max_decompressed_size
from l1jax.data.float_pixels import floats_to_uint8
from l1jax.data.path_hints import require_local_path, suggest_data_flag
from l1jax.data.skipped_files import first_line
from l1jax.data.source import Source, fingerprint, hash_arrays, source_from_arrays

_MAX_CHANNELS = 4  # a last axis of up to so many holds channels, and of more the width
_MAX_HASHED_BYTES = 2**30  # for the fingerprint; of larger arrays, evenly spaced images are hashed


class _Arrays(NamedTuple):
    images: np.ndarray
    labels: np.ndarray | None


def open_arrays(data: config.ArrayData) -> Source:
    """Open images from an array in a `.npz`, with labels if it has them, or in a `.npy`.

    A `.npy` of uint8 is mapped into memory and stays on disk. Floats become uint8 in memory.

    Raises:
        InputError: if the file cannot be read or is damaged, its arrays are not images and labels,
            or they hold objects, which would have to be unpickled.
    """
    origin = f"`data.path` (={data.path!r})"
    path = _check_path(data, origin)
    try:
        images, labels = _read(path, data)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # damaged bytes lead `zipfile` and NumPy to any kind of error
        raise InputError(
            f"{origin} must be a whole .npz or .npy file without objects, and cannot be read "
            f"({first_line(error)}): check the path, or save it again."
        ) from error
    if not _holds_images(images):
        raise InputError(
            f"{origin} must hold images as uint8 or floats [number, height, width] or with 1 or 3 "
            f"channels last, and `data.images` (={data.images!r}) is {images.dtype} of shape "
            f"{images.shape}: {_suggest_conversion(images)}."
        )
    if images.dtype.kind == "f":
        images = floats_to_uint8(images, data.floats, f"`data.images` (={data.images!r})")
    if not images.size:
        raise InputError(
            f"{origin} must hold at least one image, and its images are of shape {images.shape}."
        )
    if labels is not None:
        labels = as_labels(labels, len(images), origin, f"`data.labels` (={data.labels!r})")
    hashed = [images[:: math.ceil(images.nbytes / _MAX_HASHED_BYTES)]]
    if labels is not None:
        hashed.append(labels.astype(np.int64))
    identity = fingerprint(
        "array", list(images.shape), hash_arrays(*hashed), data.image_size, data.channels
    )
    return source_from_arrays(images, labels, data.image_size, data.channels, identity)


def _check_path(data: config.ArrayData, origin: str) -> Path:
    if not data.path:
        raise InputError(
            "`data.path` is empty: give --data.path FILE, a .npz with images and labels, or a .npy."
        )
    require_local_path(data.path)
    path = Path(data.path).expanduser()
    suggestion = suggest_data_flag(str(path), "array")
    if suggestion:
        raise InputError(f"{origin} must be a .npz or .npy file; {suggestion}.")
    if os.path.exists(path) and not os.path.isfile(path):  # opening a pipe would wait for a writer
        raise InputError(
            f"{origin} must be a .npz or .npy file, and is a folder, a pipe or a device; give a "
            "file."
        )
    return path


def _holds_images(images: np.ndarray) -> bool:
    """Return whether an array holds several images.

    [16, 16, 3] is taken for one image in colour, not for 16 narrow ones.
    """
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        return False
    if images.ndim == 3:
        return images.shape[2] > _MAX_CHANNELS
    return images.ndim == 4 and images.shape[3] in (1, 3)


def _suggest_conversion(array: np.ndarray) -> str:
    """Say how to make images of an array that does not hold any as it is."""
    if array.dtype.kind == "b":
        return "convert it, as by `255 * images.astype(numpy.uint8)`"
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        return "convert it, as by `images.astype(numpy.uint8)` if it goes from 0 to 255"
    shape = array.shape
    if len(shape) == 2:
        return (
            "it looks like one grey image; save `images[None]` for that, or "
            "`images.reshape(-1, height, width)`"
        )
    if len(shape) == 3:
        channels = "1 channel"
        if shape[2] > 1:
            channels = f"{shape[2]} channels"
        return (
            f"it looks like one image with {channels}; save `images[None]` for that, or "
            f"`images[..., None]` for {shape[0]} grey images of {shape[1]}×{shape[2]} pixels"
        )
    if len(shape) == 4 and shape[1] in (1, 3):
        return "it looks like channels first; save `numpy.moveaxis(images, 1, -1)`"
    if len(shape) == 4 and shape[3] == 4:
        return "it looks like colours with transparency; save `images[..., :3]`"
    return "convert it"


def _read(path: Path, data: config.ArrayData) -> _Arrays:
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            return _Arrays(npy.open_memmap(path, mode="r"), None)
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if data.images not in names:
            raise InputError(
                f"`data.images` (={data.images!r}) must name an array of {data.path!r}, which has "
                f"{', '.join(names)}: give one of them, such as --data.images NAME."
            )
        if data.labels not in ("", "labels", *names):
            raise InputError(
                f"`data.labels` (={data.labels!r}) must name an array of {data.path!r}, which has "
                f"{', '.join(names)}: give one of them, or --data.labels '' for images without "
                "classes."
            )
        limit = max_decompressed_size(os.path.getsize(path))
        labels = None
        if data.labels in names:
            labels = _read_array(archive, data.labels, limit)
        return _Arrays(_read_array(archive, data.images, limit), labels)


def _read_array(archive: zipfile.ZipFile, name: str, limit: int) -> np.ndarray:
    """Read one array of at most `limit` bytes."""
    member = archive.getinfo(f"{name}.npy")
    if member.file_size > limit:
        raise ValueError(
            f"{name!r} grows beyond {limit:,} bytes; save it with numpy.savez or as .npy"
        )
    with archive.open(member) as file:
        major, _ = npy.read_magic(file)
        read_header: Any = npy.read_array_header_2_0
        if major == 1:
            read_header = npy.read_array_header_1_0
        shape, is_fortran, dtype = read_header(file)
        values = np.frombuffer(file.read(), dtype)  # raises for objects
    if min(shape, default=0) < 0 or math.prod(shape) != values.size:
        raise ValueError(f"{name!r} does not hold as many values as its header says")
    return values.reshape(shape, order="F" if is_fortran else "C")
