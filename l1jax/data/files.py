"""Images of a folder, a tar or a zip as a source."""

import contextlib
import hashlib
import posixpath
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32

from l1jax import config
from l1jax.config import InputError
from l1jax.data.archives import Files, open_files
from l1jax.data.images import decode
from l1jax.data.source import Source, of_images, unusable


def open_images(data: config.ImageData) -> Source:
    """Images of a folder or an archive; class folders are labels.

    Its fingerprint: names below the folder that all share, sizes in bytes, some contents, the preprocessing.
    So it is the same whether an archive was packed from within a folder or from above it; the order
    is the same in any case. Times and the path do not count.

    Raises:
        InputError: if they cannot be listed, or, unless `data.on_error` is skip, one is seen to be unusable.
    """
    files, origin = open_files(data.path), f"`data.path` (={data.path!r})"
    faults = [unusable(origin, name, why) for name, why in files.faults]
    if faults and (data.on_error == "stop" or not files.names):
        raise faults[0]
    if data.subfolder:
        files = _below(files, data)
    names = from_shared_folder(files.names)
    identity = [*zip(names, files.sizes, strict=True), _some_contents(files)]

    def read(i: int) -> bytes:
        return files.read(files.names[i])

    source = of_images(data, origin, len(names), read, decode, files.names.__getitem__, identity)
    return source._replace(labels=_folder_labels(names), stamp=files.stamp, skipped=tuple(map(str, faults)))


def from_shared_folder(names: Sequence[str]) -> list[str]:
    """The names below the deepest folder that all of them are in."""
    shared = posixpath.commonpath([posixpath.dirname(name) for name in names])
    return [name.removeprefix(f"{shared}/") for name in names]


def _below(files: Files, data: config.ImageData) -> Files:
    folder = data.subfolder.strip("/") + "/"
    kept = [i for i, name in enumerate(from_shared_folder(files.names)) if name.startswith(folder)]
    if not kept:
        found = sorted({name.split("/")[0] for name in from_shared_folder(files.names) if "/" in name})
        raise InputError(
            f"`data.subfolder` (={data.subfolder!r}) must be a folder with images in `data.path` (={data.path!r}), "
            f"which has {', '.join(found[:8]) or 'none'}; correct it, or leave it empty for all images."
        )
    return files._replace(names=tuple(files.names[i] for i in kept), sizes=tuple(files.sizes[i] for i in kept))


def _folder_labels(names: Sequence[str]) -> Int32[np.ndarray, " length"] | None:
    """The first folder of each name as its class, in the order of the folders' names; None if one has no folder."""
    folders = [name.split("/")[0] for name in names if "/" in name]
    if len(folders) < len(names):
        return None
    return np.unique(folders, return_inverse=True)[1].astype(np.int32)


def _some_contents(files: Files, most: int = 64) -> str:
    """A SHA-256 over the bytes of evenly spaced files; all of a large set would take too long to read."""
    sha = hashlib.sha256()
    for name in files.names[:: -(-len(files.names) // most)]:
        with contextlib.suppress(Exception):  # what cannot be read is told when it is asked for
            sha.update(hashlib.sha256(files.read(name)).digest())
    return sha.hexdigest()
