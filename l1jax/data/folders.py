"""Encoded image files of a folder, searched recursively."""

import os
import stat
from collections import Counter

from l1jax.data.faults import Fault, by_suffix, unreadable
from l1jax.data.formats import Sort, is_hidden, sort_of, suffix_of
from l1jax.data.members import MOST_VISITS, OWN, clean, is_workdir, leads_out
from l1jax.data.tars import Opened, moments


def open_folder(path: str) -> Opened:
    """List the images of a folder.

    Links are followed; one back to a folder that it lies in ends there, and several to one folder
    each show its images. What cannot be read or leads nowhere is a fault, and a work directory is
    none of the data.

    Raises:
        OSError: if the folder itself cannot be listed.
        ValueError: if links lead to one folder from too many places.
    """
    found: dict[str, os.stat_result] = {}
    renamed: dict[str, str] = {}
    faults: list[Fault] = []
    visits: Counter[tuple[int, int]] = Counter()
    pending = [("", frozenset[tuple[int, int]]())]  # names' beginning, and the folders above it
    while pending:
        prefix, above = pending.pop()
        try:
            identity, entries = _list(os.path.join(path, prefix[:-1]) if prefix else path)
        except OSError as error:
            if not prefix:
                raise
            faults.append(unreadable(prefix[:-1], error, "folder"))
            continue
        if identity in above:
            continue
        visits[identity] += 1
        if visits[identity] > MOST_VISITS:
            folder = prefix[:-1]
            raise ValueError(
                f"links lead to the folder {folder!r} from over {MOST_VISITS:,} places"
            )
        if is_workdir(entries):
            faults.append(Fault(prefix[:-1] or ".", "it is a run's", "work directory"))
            if prefix:
                continue
            entries = {name: entry for name, entry in entries.items() if name not in OWN}
        above |= {identity}
        for name, entry in entries.items():
            if name[0] == ".":
                continue
            if _is_folder(entry):
                pending.append((f"{prefix}{name}/", above))
                continue
            sort = sort_of(name)
            if not sort and (suffix_of(name) or not entry.is_symlink()):
                continue
            name = prefix + name
            if "\\" in name:
                renamed[name] = clean(name)
            status = _look_at(entry, name, sort, faults)
            if status is not None:
                found[name] = status
    originals = _rename(found, renamed, faults)

    def read(name: str) -> bytes:
        with open(os.path.join(path, originals.get(name, name)), "rb", buffering=0) as file:
            return file.read()

    sizes = {name: status.st_size for name, status in found.items()}
    return Opened(sizes, read, [moments(found[name]) for name in sorted(found)], faults)


def _list(folder: str) -> tuple[tuple[int, int], dict[str, os.DirEntry[str]]]:
    """A folder's device and inode, and its entries by name."""
    status = os.stat(folder)
    with os.scandir(folder) as entries:
        return (status.st_dev, status.st_ino), {entry.name: entry for entry in entries}


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or to where we may not look
        return False


def _look_at(
    entry: os.DirEntry[str],
    name: str,
    sort: Sort,
    faults: list[Fault],
) -> os.stat_result | None:
    """What the system says of an image; None, and perhaps a fault, for anything else."""
    try:
        status = entry.stat()
    except OSError as error:
        faults.append(unreadable(name, error, "image" if sort else "folder"))
        return None
    if sort == "image" and stat.S_ISREG(status.st_mode):
        return status
    if sort == "image":
        faults.append(Fault(name, "it is neither a file nor a folder"))
    elif sort:
        faults.append(by_suffix(name, sort))
    return None


def _rename(
    found: dict[str, os.stat_result],
    renamed: dict[str, str],
    faults: list[Fault],
) -> dict[str, str]:
    """Give files with a backslash in their names those of an archive; returns the originals."""
    originals = {}
    for original in sorted(renamed):
        name = renamed[original]
        status = found.pop(original, None)
        if status is None or is_hidden(name):
            continue
        if leads_out(name):
            faults.append(Fault(name, "its name leads out of the folder"))
        elif name in found:
            faults.append(Fault(name, "another of its name is there, with / for \\"))
        else:
            found[name] = status
            originals[name] = original
    return originals
