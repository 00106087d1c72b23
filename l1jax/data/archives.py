"""Encoded image files of a folder, a tar or a zip, by name; nothing is ever extracted to disk."""

import hashlib
import os
import stat
import tarfile
import threading
import zipfile
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from l1jax.config import InputError
from l1jax.data.faults import Fault
from l1jax.data.folders import open_folder
from l1jax.data.formats import is_hidden, sort_of
from l1jax.data.images import reason
from l1jax.data.members import clean, images_among, leads_out
from l1jax.data.recognition import refuse_address, what_to_give
from l1jax.data.tars import COMPRESSED, LARGEST, Opened, moments, open_tar

_WANTED = "give --data.path FOLDER_OR_ARCHIVE, a folder of images, a tar (.gz, .xz, .bz2) or a zip"
_ENCRYPTED = 1  # bit of a zip member's flags
_LONGEST_LINK = 2**16  # bytes of a link's target


class Files(NamedTuple):
    """Encoded files, sorted by name."""

    names: tuple[str, ...]
    """Relative to the folder, or as in the archive, with "/" between folders."""
    sizes: tuple[int, ...]
    """Bytes."""
    opened: Opened
    """Reads them."""
    faults: tuple[Fault, ...]
    """What is left out, and why; of two files of one name, the later remains."""
    stamp: str
    """Changes when a file or the archive is written to, even if names and sizes stay."""

    def read(self, name: str) -> bytes:
        """The file's content; thread safe."""
        return self.opened.read(name)


def open_files(path: str) -> Files:
    """List the image files of a folder (recursively), a tar (plain, .gz, .xz, .bz2) or a zip.

    Image files are told by their suffix, upper or lower case, any that the installed Pillow reads;
    hidden files and folders are skipped, links are followed. The order is that of the whole names,
    folders included, so a folder and its archive list the same; a backslash in a name counts as a
    slash. Of a compressed tar the encoded images are kept in memory, for it can only be read from
    the start; a plain tar, a zip and a folder are read from disk at each call. An archive's end is
    checked, so one that was cut short is not taken for a smaller one.

    What cannot be an image is left out and told as a fault: a file of 0 bytes or over 256 MiB, a
    name that leads out of the archive, the earlier of two files of one name, a link that leads
    nowhere, a folder that cannot be listed, an image of a format that Pillow does not read, an
    archive within, the work directory of a run.

    Raises:
        InputError: if `path` is empty, missing, unreadable, of another kind, damaged, without
            images, or a tar that grows beyond all measure.
    """
    if not path:
        raise InputError(f"`data.path` is empty: {_WANTED}.")
    refuse_address(path)
    place = os.path.expanduser(path)
    try:
        opener = _opener(place)
        opened = opener(place) if opener else None
    except MemoryError:
        raise
    except Exception as error:  # whatever damaged bytes lead the decompressors to
        raise _refusal(path, error) from error
    if opened is None:
        remedy = what_to_give(place, "image") or _WANTED
        raise InputError(
            f"`data.path` (={path!r}) is neither a folder nor a tar nor a zip of images; {remedy}."
        )
    if not opened.sizes and not any(fault.stops for fault in opened.faults):
        raise _nothing(path, place, opened.faults)
    empty = [Fault(name, "it has 0 bytes") for name, size in opened.sizes.items() if not size]
    large = [
        Fault(name, f"its {size:,} bytes are over the limit of {LARGEST:,}")
        for name, size in opened.sizes.items()
        if size > LARGEST
    ]
    names = tuple(sorted(opened.sizes.keys() - {fault.name for fault in empty + large}))
    stamp = hashlib.sha256(np.array(opened.times, np.int64).tobytes()).hexdigest()
    faults = tuple(sorted(opened.faults + empty + large))
    return Files(names, tuple(opened.sizes[name] for name in names), opened, faults, stamp)


def _opener(path: str) -> Callable[[str], Opened] | None:
    os.stat(path)  # says why, where isdir and isfile say no
    if os.path.isdir(path):
        return open_folder
    if not os.path.isfile(path) or what_to_give(path, "image"):
        return None
    with open(path, "rb") as file:
        head = file.read(6)
    if head.startswith(tuple(COMPRESSED)) or tarfile.is_tarfile(path):
        return open_tar
    return _open_zip if head.startswith(b"PK") or zipfile.is_zipfile(path) else None


def _open_zip(path: str) -> Opened:
    archive, lock = zipfile.ZipFile(path), threading.Lock()
    members: dict[str, zipfile.ZipInfo] = {}
    links: dict[str, str] = {}
    faults: list[Fault] = []
    for member in archive.infolist():
        name = clean(member.filename)
        is_image = sort_of(name) == "image"
        if leads_out(name):
            if is_image:
                faults.append(Fault(name, "its name leads out of the archive"))
            continue
        if member.is_dir() or member.filename.endswith("\\"):
            continue
        if is_image and not is_hidden(name) and (name in members or name in links):
            faults.append(Fault(name, "another of its name comes later"))
        members.pop(name, None)
        links.pop(name, None)
        if stat.S_ISLNK(member.external_attr >> 16) and member.file_size <= _LONGEST_LINK:
            links[name] = archive.read(member).decode(errors="replace").replace("\\", "/")
        else:
            members[name] = member
    images, left_out = images_among(members, links)
    locked = [name for name, member in images.items() if member.flag_bits & _ENCRYPTED]
    for name in locked:
        del images[name]
    why = "it is encrypted; unpack it with its password and give the folder"
    faults += [Fault(name, why) for name in locked]

    def read(name: str) -> bytes:
        with lock:
            return archive.read(images[name])

    sizes = {name: member.file_size for name, member in images.items()}
    return Opened(sizes, read, [moments(os.stat(path))], faults + left_out)


def _nothing(path: str, place: str, faults: list[Fault]) -> InputError:
    """The refusal of a folder or archive without images."""
    archives = sorted(fault.name for fault in faults if fault.what == "archive")
    if archives:
        named = ", ".join(map(repr, archives[:3])) + (", …" if len(archives) > 3 else "")
        return InputError(
            f"`data.path` (={path!r}) holds no images but {len(archives):,} archives ({named}): "
            "unpack them, or give one that holds the images as --data.path."
        )
    remedy = what_to_give(place, "image")
    if remedy:
        return InputError(f"`data.path` (={path!r}) holds no images; {remedy}.")
    return InputError(
        f"`data.path` (={path!r}) holds no images (such as .png, .jpg or .webp, not hidden); {_WANTED}."
    )


def _refusal(path: str, error: Exception) -> InputError:
    if isinstance(error, OSError) and error.errno is not None:
        which = f" at {error.filename!r}" if error.filename not in (None, path) else ""
        return InputError(
            f"`data.path` (={path!r}) cannot be read{which} ({error.strerror}): check the path and "
            f"its permissions, or {_WANTED}."
        )
    if os.path.isdir(os.path.expanduser(path)):
        return InputError(
            f"`data.path` (={path!r}) cannot be listed ({reason(error)}): remove such links."
        )
    return InputError(
        f"`data.path` (={path!r}) must be a whole archive, and is damaged or incomplete "
        f"({reason(error)}); copy or download it again."
    )
