"""Files of a folder, searched recursively."""

import os
import stat
from collections import Counter

from l1jax.data.archive_members import (
    MAX_VISITS,
    RUN_OUTPUTS,
    escapes_root,
    is_workdir,
    normalize_name,
)
from l1jax.data.file_listing import FileListing, change_times
from l1jax.data.formats import READ, KindOf, file_kind, is_hidden, suffix_of
from l1jax.data.skipped_files import (
    SkippedFile,
    skipped_kind,
    unreadable_file,
    unsupported_file,
)

FolderId = tuple[int, int]
"""A folder's device and inode, which are the same through every link to it."""


def open_folder(path: str, kind_of: KindOf = file_kind) -> FileListing:
    """List the files of a folder that are read.

    Links are followed. One that leads back to a folder that it lies in is ignored, and several that
    lead to one folder each show its files. What cannot be read or leads nowhere is listed as
    skipped, and so is a work directory.

    Args:
        path: the folder.
        kind_of: tells by the name which files are read.

    Raises:
        OSError: if the folder itself cannot be listed.
        ValueError: if links lead to one folder from too many places.
    """
    found: dict[str, os.stat_result] = {}
    skipped: list[SkippedFile] = []
    visits: Counter[FolderId] = Counter()
    pending = [("", frozenset[FolderId]())]  # the beginning of names, and the folders above
    while pending:
        prefix, ancestors = pending.pop()
        folder = prefix.removesuffix("/")
        try:
            identity, entries = _list(path, folder)
        except OSError as error:
            if not folder:
                raise
            skipped.append(unreadable_file(folder, error, "folder"))
            continue
        if identity in ancestors:
            continue
        visits[identity] += 1
        if visits[identity] > MAX_VISITS:
            raise ValueError(f"links lead to the folder {folder!r} from over {MAX_VISITS:,} places")
        if is_workdir(entries):
            skipped.append(SkippedFile(folder or ".", "it is a run's", "work directory"))
            if folder:
                continue
            entries = {name: entry for name, entry in entries.items() if name not in RUN_OUTPUTS}
        for entry_name, entry in entries.items():
            name = prefix + entry_name
            if entry_name.startswith("."):
                continue
            if _is_folder(entry):
                pending.append((f"{name}/", ancestors | {identity}))
                continue
            status = _file_status(entry, name, skipped, kind_of)
            if status is not None:
                found[name] = status
    original_names = _rename(found, skipped, kind_of)

    def read(name: str) -> bytes:
        file_path = os.path.join(path, original_names.get(name, name))
        with open(file_path, "rb", buffering=0) as file:
            return file.read()

    sizes = {name: status.st_size for name, status in found.items()}
    times = [change_times(found[name]) for name in sorted(found)]
    return FileListing(sizes, read, times, skipped)


def _list(path: str, folder: str) -> tuple[FolderId, dict[str, os.DirEntry[str]]]:
    """Return the identity of a folder below `path`, and its entries by name."""
    if folder:
        path = os.path.join(path, folder)
    status = os.stat(path)
    with os.scandir(path) as entries:
        return (status.st_dev, status.st_ino), {entry.name: entry for entry in entries}


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into a folder that we may not read
        return False


def _file_status(
    entry: os.DirEntry[str], name: str, skipped: list[SkippedFile], kind_of: KindOf
) -> os.stat_result | None:
    """Return the status of a file to read; for others return None, and perhaps add to `skipped`."""
    kind = kind_of(entry.name)
    if not kind and (suffix_of(entry.name) or not entry.is_symlink()):
        return None
    try:
        status = entry.stat()
    except OSError as error:
        skipped.append(unreadable_file(name, error, skipped_kind(kind)))
        return None
    if kind in READ and stat.S_ISREG(status.st_mode):
        return status
    if kind in READ:
        reason = "it is neither a file nor a folder"
        skipped.append(SkippedFile(name, reason, skipped_kind(kind)))
    elif kind:
        skipped.append(unsupported_file(name, kind))
    return None


def _rename(
    found: dict[str, os.stat_result], skipped: list[SkippedFile], kind_of: KindOf
) -> dict[str, str]:
    """Give files with a backslash in their names the names that they would have in an archive.

    Args:
        found: status by name; is changed.
        skipped: the files that are left out; is added to.
        kind_of: tells by the name what a file is.

    Returns:
        New name → original name.
    """
    original_names = {}
    for original in sorted(name for name in found if "\\" in name):
        name = normalize_name(original)
        status = found.pop(original)
        if is_hidden(name):
            continue
        kind = skipped_kind(kind_of(name))
        if escapes_root(name):
            skipped.append(SkippedFile(name, "its name leads out of the folder", kind))
        elif name in found:
            skipped.append(SkippedFile(name, "another of its name is there, with / for \\", kind))
        else:
            found[name] = status
            original_names[name] = original
    return original_names
