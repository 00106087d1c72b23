"""Encoded image files of a folder, a tar or a zip, by name; nothing is ever extracted to disk."""

import io
import os
import posixpath
import tarfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, cast

from l1jax.config import InputError
from l1jax.data.images import SUFFIXES, reason

_COMPRESSED = (b"\x1f\x8b", b"\xfd7zXZ\x00", b"BZh")  # gzip, xz, bzip2
_WANTED = "give --data.path FOLDER_OR_ARCHIVE, a folder of images, a tar (.gz, .xz, .bz2) or a zip"


class Files(NamedTuple):
    """Encoded files, sorted by name."""

    names: tuple[str, ...]
    """Relative to the folder, or as in the archive, with "/" between folders."""
    sizes: tuple[int, ...]
    """Bytes."""
    read: Callable[[str], bytes]
    """The file's content by name; thread safe."""


def open_files(path: str) -> Files:
    """List the image files of a folder (recursively), a tar (plain, .gz, .xz, .bz2) or a zip.

    Image files are told by their suffix, upper or lower case; hidden files and folders are skipped,
    links are followed. The order is that of the whole names, folders included, so a folder and its
    archive list the same. Of a compressed tar the encoded images are kept in memory, for it can only
    be read from the start; a plain tar, a zip and a folder are read from disk at each call. An
    archive's end is checked, so one that was cut short is not taken for a smaller one.

    Raises:
        InputError: if `path` is empty, missing, unreadable, of another kind, damaged or has no images,
            or if an image file has 0 bytes.
    """
    if not path:
        raise InputError(f"`data.path` is empty: {_WANTED}.")
    place = os.path.expanduser(path)
    try:
        opener = _opener(place)
        sizes, read = opener(place) if opener else ({}, None)
    except MemoryError:
        raise
    except Exception as error:  # whatever damaged bytes lead `tarfile`, `zipfile` and their decompressors to
        raise _refusal(path, error) from error
    if read is None:
        raise InputError(f"`data.path` (={path!r}) is neither a folder nor a tar nor a zip; {_WANTED}.")
    if not sizes:
        raise InputError(f"`data.path` (={path!r}) holds no images ({' '.join(SUFFIXES)}, not hidden); {_WANTED}.")
    names = sorted(sizes)
    empty = [name for name in names if not sizes[name]]
    if empty:
        more = f" and {len(empty) - 1} more" if len(empty) > 1 else ""
        raise InputError(f"`data.path` (={path!r}) holds {empty[0]!r}{more} of 0 bytes; restore or remove it.")
    return Files(tuple(names), tuple(sizes[name] for name in names), read)


_Opened = tuple[dict[str, int], Callable[[str], bytes]]  # sizes in bytes by name, and how to read


def _opener(path: str) -> Callable[[str], _Opened] | None:
    os.stat(path)  # says why, where isdir and isfile say no
    if os.path.isdir(path):
        return _open_folder
    if not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        head = file.read(6)
    if head.startswith(_COMPRESSED) or tarfile.is_tarfile(path):
        return _open_tar
    return _open_zip if head.startswith(b"PK") or zipfile.is_zipfile(path) else None


def _open_folder(path: str) -> _Opened:
    def refuse(error: OSError) -> None:
        raise error

    sizes, seen = {}, set()
    for folder, folders, files in os.walk(path, onerror=refuse, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link back up, or to a folder that has been listed
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in map(Path(folder).joinpath, filter(_is_image, files)):
            sizes[file.relative_to(path).as_posix()] = file.stat().st_size
    return sizes, lambda name: Path(path, name).read_bytes()


def _open_tar(path: str) -> _Opened:
    places: dict[str, tuple[int, int]] = {}  # offset and size in bytes
    contents: dict[str, bytes] = {}
    links: dict[str, str] = {}

    def follow(name: str, target: str) -> None:
        if target not in places:
            raise tarfile.ReadError(f"{name!r} is a link to {target!r}, which is no image in it")
        places[name] = places[target]
        if compressed:
            contents[name] = contents[target]

    with tarfile.open(path) as tar:
        stream = cast(io.BufferedIOBase, tar.fileobj)
        compressed = not isinstance(stream, io.BufferedReader)
        for member in tar:
            name = _clean(member.name)
            if not _is_image(name):
                continue
            if member.isreg():
                places[name] = member.offset_data, member.size
                if compressed:
                    contents[name] = cast(io.BufferedIOBase, tar.extractfile(member)).read()
            elif member.islnk():  # to an earlier member
                follow(name, _clean(member.linkname))
            elif member.issym():  # to any member
                links[name] = _clean(posixpath.join(posixpath.dirname(name), member.linkname))
        # Two blocks of zeros end a tar. `tarfile` has read one, and takes a damaged header for the
        # end as well; reading on also checks the sum at the end of a compressed file.
        rest = stream.read(2**20)
        if not rest or any(rest):
            raise tarfile.ReadError("the end is missing or not where it should be")
    for name, target in links.items():
        follow(name, target)

    def read(name: str) -> bytes:
        offset, size = places[name]
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(size)

    return {name: size for name, (_, size) in places.items()}, contents.__getitem__ if compressed else read


def _open_zip(path: str) -> _Opened:
    archive, lock = zipfile.ZipFile(path), threading.Lock()
    members = {_clean(member.filename): member for member in archive.infolist() if not member.is_dir()}
    images = {name: member for name, member in members.items() if _is_image(name)}

    def read(name: str) -> bytes:
        with lock:
            return archive.read(images[name])

    return {name: member.file_size for name, member in images.items()}, read


def _clean(name: str) -> str:
    return posixpath.normpath(name).lstrip("/")


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not any(part.startswith(".") for part in name.split("/"))


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
