"""Encoded image files of a folder, a tar or a zip, by name; nothing is ever extracted to disk."""

import hashlib
import json
import os
import tarfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from l1jax.config import InputError
from l1jax.data.images import SUFFIXES, reason
from l1jax.data.tars import COMPRESSED, LARGEST, Opened, clean, is_image, leads_out, open_tar

_WANTED = "give --data.path FOLDER_OR_ARCHIVE, a folder of images, a tar (.gz, .xz, .bz2) or a zip"


class Files(NamedTuple):
    """Encoded files, sorted by name."""

    names: tuple[str, ...]
    """Relative to the folder, or as in the archive, with "/" between folders."""
    sizes: tuple[int, ...]
    """Bytes."""
    opened: Opened
    """Reads them."""
    faults: tuple[tuple[str, str], ...]
    """Names of image files that are left out, and why; of two of one name, the later remains."""
    stamp: str
    """Changes when a file or the archive is written to, even if names and sizes stay."""

    def read(self, name: str) -> bytes:
        """The file's content; thread safe."""
        return self.opened.read(name)


def open_files(path: str) -> Files:
    """List the image files of a folder (recursively), a tar (plain, .gz, .xz, .bz2) or a zip.

    Image files are told by their suffix, upper or lower case; hidden files and folders are skipped,
    links are followed. The order is that of the whole names, folders included, so a folder and its
    archive list the same. Of a compressed tar the encoded images are kept in memory, for it can only
    be read from the start; a plain tar, a zip and a folder are read from disk at each call. An
    archive's end is checked, so one that was cut short is not taken for a smaller one.

    What cannot be an image is left out and told as a fault: a file of 0 bytes or over 256 MiB, a
    name that leads out of the archive, the earlier of two files of one name.

    Raises:
        InputError: if `path` is empty, missing, unreadable, of another kind, damaged, without images, or
            a tar that grows beyond all measure.
    """
    if not path:
        raise InputError(f"`data.path` is empty: {_WANTED}.")
    place = os.path.expanduser(path)
    try:
        opener = _opener(place)
        opened = opener(place) if opener else None
    except MemoryError:
        raise
    except Exception as error:  # whatever damaged bytes lead `tarfile`, `zipfile` and their decompressors to
        raise _refusal(path, error) from error
    if opened is None:
        raise InputError(f"`data.path` (={path!r}) is neither a folder nor a tar nor a zip; {_WANTED}.")
    if not opened.sizes and not opened.faults:
        raise InputError(f"`data.path` (={path!r}) holds no images ({' '.join(SUFFIXES)}, not hidden); {_WANTED}.")
    empty = [(name, "it has 0 bytes") for name, size in opened.sizes.items() if not size]
    large = [
        (name, f"its {n:,} bytes are over the limit of {LARGEST:,}") for name, n in opened.sizes.items() if n > LARGEST
    ]
    names = tuple(sorted(opened.sizes.keys() - {name for name, _ in empty + large}))
    stamp = hashlib.sha256(json.dumps(opened.times).encode()).hexdigest()
    faults = tuple(sorted(opened.faults + empty + large))
    return Files(names, tuple(opened.sizes[name] for name in names), opened, faults, stamp)


def _opener(path: str) -> Callable[[str], Opened] | None:
    os.stat(path)  # says why, where isdir and isfile say no
    if os.path.isdir(path):
        return _open_folder
    if not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        head = file.read(6)
    if head.startswith(tuple(COMPRESSED)) or tarfile.is_tarfile(path):
        return open_tar
    return _open_zip if head.startswith(b"PK") or zipfile.is_zipfile(path) else None


def _open_folder(path: str) -> Opened:
    def refuse(error: OSError) -> None:
        raise error

    sizes, times, seen = {}, {}, set()
    for folder, folders, files in os.walk(path, onerror=refuse, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link back up, or to a folder that has been listed
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in map(Path(folder).joinpath, filter(is_image, files)):
            name, status = file.relative_to(path).as_posix(), file.stat()
            sizes[name], times[name] = status.st_size, status.st_mtime_ns

    def read(name: str) -> bytes:
        with open(os.path.join(path, name), "rb", buffering=0) as file:
            return file.read()

    return Opened(sizes, read, [times[name] for name in sorted(times)], [])


def _open_zip(path: str) -> Opened:
    archive, lock = zipfile.ZipFile(path), threading.Lock()
    images: dict[str, zipfile.ZipInfo] = {}
    faults = []
    for member in archive.infolist():
        name = clean(member.filename)
        if leads_out(name):
            faults.append((name, "its name leads out of the archive"))
        elif is_image(name) and not member.is_dir():
            if name in images:
                faults.append((name, "another of its name comes later"))
            images[name] = member

    def read(name: str) -> bytes:
        with lock:
            return archive.read(images[name])

    times = [os.stat(path).st_mtime_ns]
    return Opened({name: member.file_size for name, member in images.items()}, read, times, faults)


def _refusal(path: str, error: Exception) -> InputError:
    if isinstance(error, OSError) and error.errno is not None:
        which = f" at {error.filename!r}" if error.filename not in (None, path) else ""
        return InputError(
            f"`data.path` (={path!r}) cannot be read{which} ({error.strerror}): check the path and its permissions, "
            f"or {_WANTED}."
        )
    return InputError(
        f"`data.path` (={path!r}) must be a whole archive, and is damaged or incomplete ({reason(error)}); "
        "copy or download it again."
    )
