"""Images of a folder, a tar or a zip as a source."""

import contextlib
import hashlib
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from l1jax import config
from l1jax.config import InputError
from l1jax.data.archives import Files, open_files
from l1jax.data.classes import FolderClasses, from_folders
from l1jax.data.faults import Fault, nothing_left, sentence
from l1jax.data.images import decode
from l1jax.data.source import Source, of_images


class Listing(NamedTuple):
    """The images that a configuration chooses of a folder or an archive."""

    files: Files
    """Those that are kept."""
    names: list[str]
    """Of the kept below the folder that all share."""
    classes: FolderClasses
    skipped: tuple[str, ...]
    """Sentences on what is left out."""


def open_images(data: config.ImageData) -> Source:
    """Images of a folder or an archive; class folders are labels, as `data.labels` says.

    Its fingerprint: names below the folder that all share, sizes in bytes, some contents, the
    preprocessing. So it is the same whether an archive was packed from within a folder or from above
    it; the order is the same in any case. Times and the path do not count.

    Raises:
        InputError: if they cannot be listed, or, unless `data.on_error` is skip, one is seen to be
            unusable.
    """
    return source_of(list_images(data), data)


def list_images(data: config.ImageData) -> Listing:
    """Choose the images of a folder or an archive, and their classes.

    Raises:
        InputError: as `open_images`.
    """
    files, origin = open_files(data.path), f"`data.path` (={data.path!r})"
    faults = list(files.faults)
    stopping = [fault for fault in faults if fault.stops]
    if stopping and not files.names:
        raise nothing_left(origin, stopping)
    if stopping and data.on_error == "stop":
        raise InputError(sentence(origin, stopping[0]))
    if data.subfolder:
        files = _below(files, data)
    names = from_shared_folder(files.names)
    classes = from_folders(names, data.labels, data.on_error, origin)
    if classes.strays:
        faults += [Fault(names[i], "it lies beside the class folders") for i in classes.strays]
        kept = sorted(set(range(len(names))) - set(classes.strays))
        files, names = _chosen(files, kept), [names[i] for i in kept]
    return Listing(files, names, classes, tuple(sentence(origin, fault) for fault in faults))


def source_of(listing: Listing, data: config.ImageData) -> Source:
    """Make the source of images that have been listed."""
    files, names, classes, skipped = listing
    identity = [*zip(names, files.sizes, strict=True), _some_contents(files)]
    if data.labels == "innermost":  # the names do not say which of their folders are the classes
        identity.append("innermost")

    def read(i: int) -> bytes:
        return files.read(files.names[i])

    source = of_images(
        data,
        f"`data.path` (={data.path!r})",
        len(names),
        read,
        partial(decode, most_pixels=data.most_pixels),
        files.names.__getitem__,
        identity,
    )
    return source._replace(
        labels=classes.labels,
        classes=classes.names,
        question=classes.question,
        stamp=files.stamp,
        skipped=skipped,
    )


def from_shared_folder(names: Sequence[str]) -> list[str]:
    """The names, which are sorted, below the deepest folder that all of them are in."""
    first, last = names[0], names[-1]
    same = next(
        (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b),
        min(len(first), len(last)),
    )
    start = first.rfind("/", 0, same) + 1
    return [name[start:] for name in names]


def _below(files: Files, data: config.ImageData) -> Files:
    folder = data.subfolder.replace("\\", "/").strip("/") + "/"
    kept = [i for i, name in enumerate(from_shared_folder(files.names)) if name.startswith(folder)]
    if not kept:
        found = sorted(
            {name.split("/")[0] for name in from_shared_folder(files.names) if "/" in name}
        )
        raise InputError(
            f"`data.subfolder` (={data.subfolder!r}) must be a folder with images in `data.path` "
            f"(={data.path!r}), which has {', '.join(found[:8]) or 'none'}; correct it, or leave "
            "it empty for all images."
        )
    return _chosen(files, kept)


def _chosen(files: Files, kept: Sequence[int]) -> Files:
    return files._replace(
        names=tuple(files.names[i] for i in kept), sizes=tuple(files.sizes[i] for i in kept)
    )


def _some_contents(files: Files, most: int = 64) -> str:
    """A SHA-256 over the bytes of evenly spaced files; all of a large set would take too long to read."""
    sha = hashlib.sha256()
    for name in files.names[:: -(-len(files.names) // most)]:
        with contextlib.suppress(Exception):  # what cannot be read is told when it is asked for
            sha.update(hashlib.sha256(files.read(name)).digest())
    return sha.hexdigest()
