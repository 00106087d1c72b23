"""Encoded files of folders, tars and zips, by name; nothing is ever extracted to disk."""

import hashlib
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from l1jax.config import InputError
from l1jax.data.cache import warn_of_cache
from l1jax.data.file_listing import MAX_FILE_BYTES, FileListing
from l1jax.data.folders import open_folder
from l1jax.data.formats import KindOf, file_kind, recording_kind, suffix_of
from l1jax.data.parquet import PARQUET_MAGIC, unpack_parquet
from l1jax.data.path_hints import require_local_path, suggest_data_flag
from l1jax.data.patterns import expand_pattern, is_pattern, merge_listings
from l1jax.data.skipped_files import SkippedFile, SkippedKind, first_line
from l1jax.data.tars import DECOMPRESSORS, decompress, open_tar
from l1jax.data.unpacking import open_unpacked
from l1jax.data.zips import open_zip


class Medium(NamedTuple):
    """What files are examples of a data set, and what messages call them."""

    flag: str
    """The --data that reads them."""
    noun: SkippedKind
    kind_of: KindOf
    """(name) → what a file seems to be."""
    suffixes: str
    """Some of their suffixes, in words."""
    unpack_into: Path | None = None
    """The cache folder, in which compressed tars and tables are unpacked once; None for none."""

    @property
    def what_to_give(self) -> str:
        """What `--data.path` may be, as a clause."""
        return (
            f"give --data.path FOLDER_OR_ARCHIVE, a folder of {self.noun}s, a tar (.gz, .xz, .bz2) "
            "or a zip"
        )


IMAGES = Medium("image", "image", file_kind, ".png, .jpg or .webp")
RECORDINGS = Medium("audio", "recording", recording_kind, ".wav, .flac, .ogg or .mp3")


class ImageFiles(NamedTuple):
    """Encoded files of one medium, sorted by name."""

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


def list_image_files(path: str, medium: Medium = IMAGES) -> ImageFiles:
    """List the image files of a folder (recursively), a tar (plain, .gz, .xz, .bz2) or a zip.

    A pattern such as "shards/{000..099}.tar" or "shards/*.tar" stands for all its archives, and a
    folder that holds one archive and no image for that archive.

    A file is an image if the installed Pillow reads files of its suffix, in upper or lower case.
    Another medium has its own suffixes, and all else holds for it as well.
    Hidden files and folders are ignored, and links are followed. Files are sorted by their whole
    names, folders included, so that a folder and its archive list the same; a backslash in a name
    counts as a slash. The images of a compressed tar are kept in memory, for such a tar can only be
    read from the start; those of a folder, a plain tar and a zip are read from disk at each call.
    The end of an archive is checked, so that one that was cut short is not taken for a smaller one.

    `ImageFiles.skipped` tells what cannot be an image: a file of 0 bytes or of more than 256 MiB, a
    name that leads out of the archive, the earlier of two files of one name, a link that leads
    nowhere, a folder that cannot be listed, an image of a format that Pillow does not read, an
    archive within, the work directory of a run.

    Args:
        path: the folder or archive.
        medium: which files are listed.

    Raises:
        InputError: if `path` is empty, missing, unreadable, of another kind, damaged or without
            images, or a tar that decompresses to more than it can well hold.
    """
    if not path:
        raise InputError(f"`data.path` is empty: {medium.what_to_give}.")
    require_local_path(path)
    location = os.path.expanduser(path)
    listing = open_all(path, medium)
    if not listing.sizes and not any(file.is_error for file in listing.skipped):
        raise _no_files_error(path, location, listing.skipped, medium)
    bad_sizes = files_of_bad_size(listing.sizes, medium.noun)
    names = tuple(sorted(listing.sizes.keys() - {file.name for file in bad_sizes}))
    return ImageFiles(
        names=names,
        sizes=tuple(listing.sizes[name] for name in names),
        read=listing.read,
        skipped=tuple(sorted(listing.skipped + bad_sizes)),
        stamp=hashlib.sha256(np.array(listing.times, np.int64).tobytes()).hexdigest(),
    )


def open_all(path: str, medium: Medium) -> FileListing:
    """List a folder, an archive, a pattern of archives, or a folder that holds one archive alone.

    Args:
        path: as the user gave it.
        medium: which files are listed.

    Raises:
        InputError: as `list_image_files`, but not where there are no such files.
    """
    location = os.path.expanduser(path)
    if is_pattern(location):
        paths = expand_pattern(location)
        return merge_listings(paths, [_open_one(part, part, medium) for part in paths])
    listing = _open_one(path, location, medium)
    if os.path.isdir(location) and not listing.sizes and len(listing.skipped) == 1:
        only = listing.skipped[0]
        if only.kind == "archive" and "/" not in only.name:
            archive = os.path.join(location, only.name)
            return _open_one(archive, archive, medium)
    return listing


def _open_one(path: str, location: str, medium: Medium) -> FileListing:
    try:
        listing = open_listing(location, medium.flag, medium.kind_of, medium.unpack_into)
    except (MemoryError, InputError, ModuleNotFoundError):
        raise
    except Exception as error:  # damaged bytes lead the decompressors to any kind of error
        raise cannot_open_error(path, error, medium.what_to_give) from error
    if listing is None:
        remedy = suggest_data_flag(location, medium.flag) or medium.what_to_give
        raise InputError(
            f"`data.path` (={path!r}) is neither a folder nor a tar nor a zip of "
            f"{medium.noun}s; {remedy}."
        )
    return listing


def open_listing(
    path: str, flag: str, kind_of: KindOf = file_kind, unpack_into: Path | None = None
) -> FileListing | None:
    """List a folder or an archive; return None for anything else.

    Args:
        path: the folder or file.
        flag: the --data that it was given to; None is returned for what another one reads.
        kind_of: tells by the name which files are read.
        unpack_into: the cache folder, in which a compressed tar is unpacked once; None to keep its
            files in memory. A Parquet file needs it.

    Raises:
        Exception: whatever a damaged archive leads to.
    """
    os.stat(path)  # raises with the reason where `isdir` and `isfile` only return False
    if os.path.isdir(path):
        return open_folder(path, kind_of)
    if not os.path.isfile(path) or suggest_data_flag(path, flag):
        return None
    with open(path, "rb") as file:
        head = file.read(6)
    if head.startswith(PARQUET_MAGIC):
        return open_unpacked(path, unpack_parquet, unpack_into, kind_of)
    if head.startswith(tuple(DECOMPRESSORS)):
        if unpack_into is None:
            return open_tar(path, kind_of)
        try:
            return open_unpacked(path, decompress, unpack_into, kind_of)
        except OSError as error:
            if error.errno is None:  # the archive is damaged
                raise
            warn_of_cache(unpack_into, error, "the archive is unpacked in memory")
            return open_tar(path, kind_of)
    if tarfile.is_tarfile(path):
        return open_tar(path, kind_of)
    if head.startswith(b"PK") or zipfile.is_zipfile(path):
        return open_zip(path, kind_of)
    return None


def files_of_bad_size(sizes: dict[str, int], kind: SkippedKind) -> list[SkippedFile]:
    """Choose the files that are empty or too large, with the reason to leave them out."""
    empty = [SkippedFile(name, "it has 0 bytes", kind) for name, size in sizes.items() if not size]
    large = [
        SkippedFile(name, f"its {size:,} bytes are over the limit of {MAX_FILE_BYTES:,}", kind)
        for name, size in sizes.items()
        if size > MAX_FILE_BYTES
    ]
    return empty + large


def _no_files_error(
    path: str, location: str, skipped: list[SkippedFile], medium: Medium
) -> InputError:
    archives = sorted(file.name for file in skipped if file.kind == "archive")
    nouns = f"{medium.noun}s"
    if archives:
        named = ", ".join(map(repr, archives[:3]))
        if len(archives) > 3:
            named += ", …"
        return InputError(
            f"`data.path` (={path!r}) holds no {nouns} but {len(archives):,} archives ({named}): "
            f"unpack them, or give those that hold the {nouns} as a pattern, such as --data.path "
            f"'{os.path.join(path, '*' + suffix_of(archives[0]))}'."
        )
    remedy = suggest_data_flag(location, medium.flag)
    if remedy:
        return InputError(f"`data.path` (={path!r}) holds no {nouns}; {remedy}.")
    return InputError(
        f"`data.path` (={path!r}) holds no {nouns} (such as {medium.suffixes}, not hidden); "
        f"{medium.what_to_give}."
    )


def cannot_open_error(path: str, error: Exception, remedy: str) -> InputError:
    """Make the error about a folder or an archive that cannot be listed.

    Args:
        path: as the user gave it.
        error: what went wrong.
        remedy: what the user may give instead.
    """
    if isinstance(error, OSError) and error.errno is not None:
        which = ""
        if error.filename not in (None, path):
            which = f" at {error.filename!r}"
        return InputError(
            f"`data.path` (={path!r}) cannot be read{which} ({error.strerror}): check the path and "
            f"its permissions, or {remedy}."
        )
    if os.path.isdir(os.path.expanduser(path)):
        return InputError(
            f"`data.path` (={path!r}) cannot be listed ({first_line(error)}): remove such links."
        )
    return InputError(
        f"`data.path` (={path!r}) must be a whole archive, and is damaged or incomplete "
        f"({first_line(error)}); copy or download it again."
    )
