"""Encoded image files of a folder, a tar or a zip, by name; nothing is ever extracted to disk."""

import hashlib
import os
import tarfile
import zipfile
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from l1jax.config import InputError
from l1jax.data.file_listing import MAX_IMAGE_BYTES, FileListing
from l1jax.data.folders import open_folder
from l1jax.data.path_hints import require_local_path, suggest_data_flag
from l1jax.data.skipped_files import SkippedFile, first_line
from l1jax.data.tars import DECOMPRESSORS, open_tar
from l1jax.data.zips import open_zip

_WHAT_TO_GIVE = (
    "give --data.path FOLDER_OR_ARCHIVE, a folder of images, a tar (.gz, .xz, .bz2) or a zip"
)


class ImageFiles(NamedTuple):
    """Encoded image files, sorted by name."""

    names: tuple[str, ...]
    """Relative to the folder, or as in the archive, with "/" between folders."""
    sizes: tuple[int, ...]
    """In bytes."""
    read: Callable[[str], bytes]
    """(name) → the file's content. Thread safe."""
    skipped: tuple[SkippedFile, ...]
    """The files that are left out. Of two files of one name, the later remains."""
    stamp: str
    """Changes when a file or the archive is written to, even if names and sizes stay."""


def list_image_files(path: str) -> ImageFiles:
    """List the image files of a folder (recursively), a tar (plain, .gz, .xz, .bz2) or a zip.

    A file is an image if the installed Pillow reads files of its suffix, in upper or lower case.
    Hidden files and folders are ignored, and links are followed. Files are sorted by their whole
    names, folders included, so that a folder and its archive list the same; a backslash in a name
    counts as a slash. The images of a compressed tar are kept in memory, for such a tar can only be
    read from the start; those of a folder, a plain tar and a zip are read from disk at each call.
    The end of an archive is checked, so that one that was cut short is not taken for a smaller one.

    `ImageFiles.skipped` tells what cannot be an image: a file of 0 bytes or of more than 256 MiB, a
    name that leads out of the archive, the earlier of two files of one name, a link that leads
    nowhere, a folder that cannot be listed, an image of a format that Pillow does not read, an
    archive within, the work directory of a run.

    Raises:
        InputError: if `path` is empty, missing, unreadable, of another kind, damaged or without
            images, or a tar that decompresses to more than it can well hold.
    """
    if not path:
        raise InputError(f"`data.path` is empty: {_WHAT_TO_GIVE}.")
    require_local_path(path)
    location = os.path.expanduser(path)
    try:
        listing = _open(location)
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes lead the decompressors to any kind of error
        raise _cannot_open_error(path, error) from error
    if listing is None:
        remedy = suggest_data_flag(location, "image") or _WHAT_TO_GIVE
        raise InputError(
            f"`data.path` (={path!r}) is neither a folder nor a tar nor a zip of images; {remedy}."
        )
    if not listing.sizes and not any(file.is_error for file in listing.skipped):
        raise _no_images_error(path, location, listing.skipped)
    bad_sizes = _files_of_bad_size(listing.sizes)
    names = tuple(sorted(listing.sizes.keys() - {file.name for file in bad_sizes}))
    return ImageFiles(
        names=names,
        sizes=tuple(listing.sizes[name] for name in names),
        read=listing.read,
        skipped=tuple(sorted(listing.skipped + bad_sizes)),
        stamp=hashlib.sha256(np.array(listing.times, np.int64).tobytes()).hexdigest(),
    )


def _open(path: str) -> FileListing | None:
    """List a folder or an archive; return None for anything else."""
    os.stat(path)  # raises with the reason where `isdir` and `isfile` only return False
    if os.path.isdir(path):
        return open_folder(path)
    if not os.path.isfile(path) or suggest_data_flag(path, "image"):
        return None
    with open(path, "rb") as file:
        head = file.read(6)
    if head.startswith(tuple(DECOMPRESSORS)) or tarfile.is_tarfile(path):
        return open_tar(path)
    if head.startswith(b"PK") or zipfile.is_zipfile(path):
        return open_zip(path)
    return None


def _files_of_bad_size(sizes: dict[str, int]) -> list[SkippedFile]:
    empty = [SkippedFile(name, "it has 0 bytes") for name, size in sizes.items() if not size]
    large = [
        SkippedFile(name, f"its {size:,} bytes are over the limit of {MAX_IMAGE_BYTES:,}")
        for name, size in sizes.items()
        if size > MAX_IMAGE_BYTES
    ]
    return empty + large


def _no_images_error(path: str, location: str, skipped: list[SkippedFile]) -> InputError:
    archives = sorted(file.name for file in skipped if file.kind == "archive")
    if archives:
        named = ", ".join(map(repr, archives[:3]))
        if len(archives) > 3:
            named += ", …"
        return InputError(
            f"`data.path` (={path!r}) holds no images but {len(archives):,} archives ({named}): "
            "unpack them, or give one that holds the images as --data.path."
        )
    remedy = suggest_data_flag(location, "image")
    if remedy:
        return InputError(f"`data.path` (={path!r}) holds no images; {remedy}.")
    return InputError(
        f"`data.path` (={path!r}) holds no images (such as .png, .jpg or .webp, not hidden); "
        f"{_WHAT_TO_GIVE}."
    )


def _cannot_open_error(path: str, error: Exception) -> InputError:
    if isinstance(error, OSError) and error.errno is not None:
        which = ""
        if error.filename not in (None, path):
            which = f" at {error.filename!r}"
        return InputError(
            f"`data.path` (={path!r}) cannot be read{which} ({error.strerror}): check the path and "
            f"its permissions, or {_WHAT_TO_GIVE}."
        )
    if os.path.isdir(os.path.expanduser(path)):
        return InputError(
            f"`data.path` (={path!r}) cannot be listed ({first_line(error)}): remove such links."
        )
    return InputError(
        f"`data.path` (={path!r}) must be a whole archive, and is damaged or incomplete "
        f"({first_line(error)}); copy or download it again."
    )
