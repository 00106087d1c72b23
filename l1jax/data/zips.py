"""Files of a zip, read where they lie."""

import os
import stat
import threading
import zipfile

from l1jax.data.archive_members import escapes_root, normalize_name, select_members
from l1jax.data.file_listing import FileListing, change_times
from l1jax.data.formats import READ, KindOf, file_kind, is_hidden
from l1jax.data.skipped_files import SkippedFile, skipped_kind

_ENCRYPTED = 1  # bit of a member's flags
_MAX_LINK_BYTES = 2**16  # of a link's target


def open_zip(path: str, kind_of: KindOf = file_kind) -> FileListing:
    """List the files of a zip that are read.

    Args:
        path: the zip.
        kind_of: tells by the name which files are read.

    Raises:
        Exception: whatever a damaged archive leads `zipfile` to.
    """
    archive = zipfile.ZipFile(path)
    members: dict[str, zipfile.ZipInfo] = {}
    links: dict[str, str] = {}
    skipped: list[SkippedFile] = []
    for member in archive.infolist():
        name = normalize_name(member.filename)
        kind = kind_of(name)
        is_read = kind in READ
        if escapes_root(name):
            if is_read:
                reason = "its name leads out of the archive"
                skipped.append(SkippedFile(name, reason, skipped_kind(kind)))
            continue
        if member.is_dir() or member.filename.endswith("\\"):
            continue
        if is_read and not is_hidden(name) and (name in members or name in links):
            skipped.append(SkippedFile(name, "another of its name comes later", skipped_kind(kind)))
        members.pop(name, None)
        links.pop(name, None)
        if _is_link(member):
            links[name] = archive.read(member).decode(errors="replace").replace("\\", "/")
        else:
            members[name] = member
    chosen, left_out = select_members(members, links, kind_of)
    encrypted = [name for name, member in chosen.items() if member.flag_bits & _ENCRYPTED]
    for name in encrypted:
        del chosen[name]
    reason = "it is encrypted; unpack it with its password and give the folder"
    skipped += [SkippedFile(name, reason, skipped_kind(kind_of(name))) for name in encrypted]
    lock = threading.Lock()

    def read(name: str) -> bytes:
        with lock:
            return archive.read(chosen[name])

    sizes = {name: member.file_size for name, member in chosen.items()}
    return FileListing(sizes, read, [change_times(os.stat(path))], skipped + left_out)


def _is_link(member: zipfile.ZipInfo) -> bool:
    mode = member.external_attr >> 16  # where Unix programs keep it
    return stat.S_ISLNK(mode) and member.file_size <= _MAX_LINK_BYTES
