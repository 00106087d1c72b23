"""Image files of a zip, read where they lie."""

import os
import stat
import threading
import zipfile

from l1jax.data.archive_members import escapes_root, normalize_name, select_images
from l1jax.data.file_listing import FileListing, change_times
from l1jax.data.formats import file_kind, is_hidden
from l1jax.data.skipped_files import SkippedFile

_ENCRYPTED = 1  # bit of a member's flags
_MAX_LINK_BYTES = 2**16  # of a link's target


def open_zip(path: str) -> FileListing:
    """List the images of a zip.

    Raises:
        Exception: whatever a damaged archive leads `zipfile` to.
    """
    archive = zipfile.ZipFile(path)
    members: dict[str, zipfile.ZipInfo] = {}
    links: dict[str, str] = {}
    skipped: list[SkippedFile] = []
    for member in archive.infolist():
        name = normalize_name(member.filename)
        is_image = file_kind(name) == "image"
        if escapes_root(name):
            if is_image:
                skipped.append(SkippedFile(name, "its name leads out of the archive"))
            continue
        if member.is_dir() or member.filename.endswith("\\"):
            continue
        if is_image and not is_hidden(name) and (name in members or name in links):
            skipped.append(SkippedFile(name, "another of its name comes later"))
        members.pop(name, None)
        links.pop(name, None)
        if _is_link(member):
            links[name] = archive.read(member).decode(errors="replace").replace("\\", "/")
        else:
            members[name] = member
    images, left_out = select_images(members, links)
    encrypted = [name for name, member in images.items() if member.flag_bits & _ENCRYPTED]
    for name in encrypted:
        del images[name]
    reason = "it is encrypted; unpack it with its password and give the folder"
    skipped += [SkippedFile(name, reason) for name in encrypted]
    lock = threading.Lock()

    def read(name: str) -> bytes:
        with lock:
            return archive.read(images[name])

    sizes = {name: member.file_size for name, member in images.items()}
    return FileListing(sizes, read, [change_times(os.stat(path))], skipped + left_out)


def _is_link(member: zipfile.ZipInfo) -> bool:
    mode = member.external_attr >> 16  # where Unix programs keep it
    return stat.S_ISLNK(mode) and member.file_size <= _MAX_LINK_BYTES
