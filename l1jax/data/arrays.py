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
from l1jax.data.images import reason
from l1jax.data.source import Source, digest, fingerprint, of_arrays
from l1jax.data.tars import growth_limit

_READ_AT_MOST = 2**30  # bytes that go into the fingerprint; of more, evenly spaced images do


def open_arrays(data: config.ArrayData) -> Source:
    """Images from an array in a `.npz`, with labels if it has them, or in a `.npy`, which stays on disk.

    Raises:
        InputError: if the file cannot be read or is damaged, if its arrays are no images and labels, or if
            they are objects, which would have to be unpickled.
    """
    origin = f"`data.path` (={data.path!r})"
    if not data.path:
        raise InputError("`data.path` is empty: give --data.path FILE, a .npz with images and labels, or a .npy.")
    try:
        images, labels = _read(Path(data.path).expanduser(), data, origin)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # whatever damaged bytes lead `zipfile` and NumPy to
        raise InputError(
            f"{origin} must be a whole .npz or .npy file without objects, and cannot be read ({_reason(error)}): "
            "check the path, or save it again."
        ) from error
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.shape[3:] not in ((), (1,), (3,)):
        raise InputError(
            f"{origin} must hold images as uint8 [number, height, width] or with 1 or 3 channels last, and "
            f"`data.images` (={data.images!r}) is {images.dtype} of shape {images.shape}: convert it."
        )
    if not images.size:
        raise InputError(f"{origin} must hold at least one image, and its images are of shape {images.shape}.")
    if labels is not None and (labels.dtype.kind not in "iu" or labels.shape != images.shape[:1] or labels.min() < 0):
        raise InputError(
            f"{origin} must hold a whole number from 0 on for each of its {len(images)} images, and `data.labels` "
            f"(={data.labels!r}) is {labels.dtype} of shape {labels.shape}: correct it, or give --data.labels ''."
        )
    some = images[:: -(-images.nbytes // _READ_AT_MOST)]
    content = digest(some) if labels is None else digest(some, labels.astype(np.int64))
    identity = fingerprint("array", list(images.shape), content, data.image_size, data.channels)
    return of_arrays(images, labels, data.image_size, data.channels, identity)


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
        limit = growth_limit(os.path.getsize(path))
        labels = _array(archive, data.labels, limit) if data.labels in names else None
        return _array(archive, data.images, limit), labels


def _array(archive: zipfile.ZipFile, name: str, limit: int) -> np.ndarray:
    """One array, its bytes counted before they are read."""
    member = archive.getinfo(f"{name}.npy")
    if member.file_size > limit:
        raise ValueError(f"{name!r} grows beyond {limit:,} bytes; save it with numpy.savez or as .npy")
    with archive.open(member) as file:
        major, _ = npy.read_magic(file)
        header: Any = npy.read_array_header_1_0 if major == 1 else npy.read_array_header_2_0
        shape, fortran, dtype = header(file)
        values = np.frombuffer(file.read(), dtype)  # which refuses objects
    if min(shape, default=0) < 0 or math.prod(shape) != values.size:
        raise ValueError(f"{name!r} does not hold as many values as its header says")
    return values.reshape(shape, order="F" if fortran else "C")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or reason(error)
