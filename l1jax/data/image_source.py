"""Files of a folder, a tar or a zip and their classes, and such images as a source."""

import contextlib
import hashlib
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from l1jax import config
from l1jax.config import InputError
from l1jax.data.class_labels import FOLDER_LABELS, ImageClasses, classes_from_folders
from l1jax.data.decoding import decode
from l1jax.data.image_files import IMAGES, ImageFiles, Medium, list_image_files
from l1jax.data.label_files import hash_labels, read_classes
from l1jax.data.skipped_files import SkippedFile, describe_skipped, no_usable_files_error
from l1jax.data.source import Source, source_from_encoded

_HASHED_FILES = 64  # whose contents go into the fingerprint


class ImageListing(NamedTuple):
    """The images, or recordings, that a configuration chooses from a folder or an archive."""

    files: ImageFiles
    names: list[str]
    """The files' names below the deepest folder that all of them are in."""
    classes: ImageClasses
    skipped: tuple[str, ...]
    """Sentences about what is left out."""


def open_images(data: config.ImageData, unpack_into: Path | None = None) -> Source:
    """Open the images of a folder or an archive, with labels from class folders.

    The fingerprint is made of the names below the deepest folder that all share, the sizes in
    bytes, some contents and the preprocessing, but not of times or the path. So it is the same
    whether an archive was packed from within a folder or from above it.

    Args:
        data: which images.
        unpack_into: the cache folder, in which a compressed tar is unpacked once; None to keep its
            images in memory.

    Raises:
        InputError: if the images cannot be listed, or one is seen to be unusable and
            `data.on_error` is not skip.
    """
    medium = IMAGES._replace(unpack_into=unpack_into)
    return source_from_listing(list_images(data, medium), data)


def list_images(data: config.ImageData | config.AudioData, medium: Medium = IMAGES) -> ImageListing:
    """Choose the images, or recordings, of a folder or an archive, and their classes.

    Args:
        data: which to choose.
        medium: what they are.

    Raises:
        InputError: as `open_images`.
    """
    files = list_image_files(data.path, medium)
    origin = f"`data.path` (={data.path!r})"
    skipped = list(files.skipped)
    errors = [file for file in skipped if file.is_error]
    if errors and not files.names:
        raise no_usable_files_error(origin, errors, medium.noun)
    if errors and data.on_error == "stop":
        raise InputError(describe_skipped(origin, errors[0]))
    if data.subfolder:
        files = _only_subfolder(files, data, medium)
    names = below_common_folder(files.names)
    if data.labels in FOLDER_LABELS:
        classes = classes_from_folders(names, data.labels, data.on_error, origin, medium.noun)
        reason = "it lies beside the class folders"
    else:
        classes = read_classes(files.names, data, origin, medium.unpack_into)
        reason = f"it has no class in {data.labels}"
    if classes.unclassified:
        skipped += [SkippedFile(names[i], reason, medium.noun) for i in classes.unclassified]
        chosen = sorted(set(range(len(names))) - set(classes.unclassified))
        files = _choose(files, chosen)
        names = [names[i] for i in chosen]
    sentences = tuple(describe_skipped(origin, file) for file in skipped)
    return ImageListing(files, names, classes, sentences)


def source_from_listing(listing: ImageListing, data: config.ImageData) -> Source:
    """Make the source of images that have been listed."""
    files, names, classes, skipped = listing
    source = source_from_encoded(
        data,
        origin=f"`data.path` (={data.path!r})",
        length=len(names),
        read=lambda i: files.read(files.names[i]),
        decode=partial(decode, most_pixels=data.most_pixels),
        name_of=files.names.__getitem__,
        identity=listing_identity(listing, data.labels),
    )
    return source._replace(
        labels=classes.labels,
        classes=classes.names,
        label_ambiguity=classes.ambiguity,
        stamp=files.stamp,
        skipped=skipped,
    )


def listing_identity(listing: ImageListing, labels: str) -> list[object]:
    """Return what identifies the chosen files, as JSON values.

    Args:
        listing: the files.
        labels: which of their folders are the classes, as `ImageData.labels`.
    """
    files = listing.files
    identity: list[object] = [
        *zip(listing.names, files.sizes, strict=True),
        _hash_some_contents(files),
    ]
    if labels == "innermost":  # the names do not say which of their folders are the classes
        identity.append("innermost")
    elif labels not in FOLDER_LABELS:
        identity.append(["classes", *listing.classes.names, hash_labels(listing.classes)])
    return identity


def below_common_folder(names: Sequence[str]) -> list[str]:
    """Return the names, which are sorted, below the deepest folder that all of them are in."""
    first = names[0]
    last = names[-1]
    common = min(len(first), len(last))
    for i in range(common):
        if first[i] != last[i]:
            common = i
            break
    start = first.rfind("/", 0, common) + 1
    return [name[start:] for name in names]


def _only_subfolder(
    files: ImageFiles, data: config.ImageData | config.AudioData, medium: Medium
) -> ImageFiles:
    folder = data.subfolder.replace("\\", "/").strip("/") + "/"
    names = below_common_folder(files.names)
    chosen = [i for i, name in enumerate(names) if name.startswith(folder)]
    if not chosen:
        folders = sorted({name.split("/")[0] for name in names if "/" in name})
        raise InputError(
            f"`data.subfolder` (={data.subfolder!r}) must be a folder with {medium.noun}s in "
            f"`data.path` (={data.path!r}), which has {', '.join(folders[:8]) or 'none'}; correct "
            f"it, or leave it empty for all {medium.noun}s."
        )
    return _choose(files, chosen)


def _choose(files: ImageFiles, chosen: Sequence[int]) -> ImageFiles:
    return files._replace(
        names=tuple(files.names[i] for i in chosen), sizes=tuple(files.sizes[i] for i in chosen)
    )


def _hash_some_contents(files: ImageFiles) -> str:
    """Return a SHA-256 over evenly spaced files; reading all of a large set would take too long."""
    sha = hashlib.sha256()
    for name in files.names[:: math.ceil(len(files.names) / _HASHED_FILES)]:
        with contextlib.suppress(Exception):  # an unreadable file is reported when it is decoded
            sha.update(hashlib.sha256(files.read(name)).digest())
    return sha.hexdigest()
