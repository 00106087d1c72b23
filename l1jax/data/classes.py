"""The classes of a data set: labels from folders or as numbers, their names and counts."""

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32

from l1jax.config import InputError
from l1jax.data.source import Source

LARGEST_LABEL = 2**31 - 1
_SHOWN = 10  # classes that are listed in a line

# Names of parts of a data set. The last are also names of things, and count beside others alone.
_SPLITS = re.compile(
    r"(test|testing|val|valid|validation|dev|eval|evaluation|training)(_?set|_?data)?|test-dev"
)
_PERHAPS_SPLITS = re.compile(r"train(_?set|_?data)?|extra|unlabeled|unsup")


class FolderClasses(NamedTuple):
    """What the folders that images lie in say of their classes."""

    labels: Int32[np.ndarray, " n"] | None
    """Class of each image that is kept; None where there are none."""
    names: tuple[str, ...] = ()
    """Of the classes."""
    strays: tuple[int, ...] = ()
    """Indices of images in no class folder, which are to be left out."""
    question: str = ""
    """What to ask before training, because folders may be something else than classes."""


def from_folders(names: Sequence[str], how: str, on_error: str, origin: str) -> FolderClasses:
    """Find the class of each image in its name below the folder that all share.

    Args:
        names: of the images, with "/" between folders.
        how: `auto`, `folders`, `innermost` or `none`, as `ImageData.labels` says.
        on_error: `stop` or `skip`, about images in no class folder.
        origin: the field that the images come from, with its value.

    Raises:
        InputError: if classes are asked for and an image lies in no folder.
    """
    folders = [_folder(name, innermost=how == "innermost") for name in names]
    classes = tuple(sorted({folder for folder in folders if folder}))
    strays = tuple(i for i, folder in enumerate(folders) if not folder)
    if how == "none" or (how == "auto" and (not classes or (strays and len(classes) == 1))):
        return FolderClasses(None)
    if not classes:
        raise InputError(
            f"`data.labels` (={how}) must be auto or none for {origin}, whose images lie in no "
            "class folders: give --data.labels none."
        )
    if strays and (on_error == "stop" or 2 * len(strays) >= len(names)):
        beside = _beside(names, strays, classes, origin)
        if how != "auto":
            raise InputError(beside)
        return FolderClasses(None, question=beside)
    number = {name: i for i, name in enumerate(classes)}
    labels = np.array([number[folder] for folder in folders if folder], np.int32)
    question = _doubt(names, classes, origin) if how == "auto" else ""
    return FolderClasses(labels, classes, strays, question)


def _folder(name: str, *, innermost: bool) -> str:
    parts = name.rsplit("/", 2) if innermost else name.split("/", 1)
    return "" if len(parts) == 1 else parts[-2]


def _beside(
    names: Sequence[str],
    strays: Sequence[int],
    classes: Sequence[str],
    origin: str,
) -> str:
    count = "1 image" if len(strays) == 1 else f"{len(strays):,} images"
    skip = ", leave it out with --data.on-error skip" if 2 * len(strays) < len(names) else ""
    return (
        f"{origin} holds {count} beside {len(classes):,} class folders, {names[strays[0]]!r} to "
        f"begin with, without a class: move or remove it{skip}, or give --data.labels none for "
        "images without classes."
    )


def _doubt(names: Sequence[str], classes: Sequence[str], origin: str) -> str:
    """Ask whether folders are classes; empty where nothing speaks against it."""
    splits = [name for name in classes if _SPLITS.fullmatch(name.lower())]
    perhaps = [name for name in classes if _PERHAPS_SPLITS.fullmatch(name.lower())]
    if splits or 2 * len(perhaps) >= len(classes):
        found = sorted(splits + perhaps)
        first = next((name for name in found if "train" in name.lower()), found[0])
        deeper = any(name.count("/") > 1 for name in names)
        within = ", --data.labels innermost if the folders within are the classes"
        innermost = within if deeper else ""
        return (
            f"{origin} holds the folders {', '.join(found)}, which look like parts of a data set "
            f"and not like classes: give --data.subfolder {first} for one of them, --data.labels "
            f"none for all images without classes{innermost}, or --data.labels folders if they are "
            "classes."
        )
    if len(classes) > 1 and all(name.isdecimal() and name.isascii() for name in classes):
        apart = math.gcd(*map(int, classes))
        if apart >= 10:
            return (
                f"{origin} holds the folders {classes[0]}, {classes[1]}, … whose numbers are "
                f"{apart} apart, as folders that only keep files few have: give --data.labels none "
                "for images without classes, or --data.labels folders if they are classes."
            )
    return ""


def whole_labels(labels: Any, length: int, origin: str, field: str) -> Int32[np.ndarray, " length"]:
    """Check that labels are whole numbers from 0 on that fit in 32 bits, one for each image.

    Args:
        labels: the array.
        length: the number of images.
        origin: the field that they come from, with its value.
        field: what they are called there, with its value.

    Raises:
        InputError: naming what is wrong and how to make it right.
    """
    found = np.asarray(labels)
    if found.shape != (length,) or found.dtype.kind not in "iu":
        raise InputError(
            f"{origin} must hold a whole number from 0 on for each of its {length:,} images, and "
            f"{field} is {found.dtype} of shape {found.shape}: {_remedy(found, length)}."
        )
    for extreme in (found.min(), found.max()) if length else ():
        if not 0 <= int(extreme) <= LARGEST_LABEL:
            raise InputError(
                f"{origin} must hold labels from 0 on and of at most {LARGEST_LABEL:,}, and "
                f"{field} has {extreme}: number the classes from 0, as `numpy.unique(labels, "
                "return_inverse=True)[1]` does."
            )
    return found.astype(np.int32)


def _remedy(labels: np.ndarray, length: int) -> str:
    if labels.ndim == 2 and len(labels) == length and labels.shape[1] > 1:
        return "save `labels.argmax(1)` if they are one-hot"
    if labels.size == length and labels.ndim != 1:
        return "save `labels.ravel()`"
    if labels.shape != (length,):
        return "correct it, or give --data.labels '' for images without classes"
    if labels.dtype.kind == "b":
        return "save `labels.astype(int)`"
    if labels.dtype.kind == "f" and np.all(labels == np.floor(labels)):
        return "save `labels.astype(int)`"
    return "save `numpy.unique(labels, return_inverse=True)[1]`, which numbers the classes from 0"


class ClassCount(NamedTuple):
    """How many examples a class has."""

    label: int
    name: str
    count: int


def class_counts(source: Source) -> list[ClassCount]:
    """The classes of a source in the order of their labels; also the named ones without examples."""
    if source.labels is None:
        return []
    present, counts = np.unique(source.labels, return_counts=True)
    number = dict(zip(present.tolist(), counts.tolist(), strict=True))
    found = sorted(number.keys() | set(range(len(source.classes))))
    names = dict(enumerate(source.classes))
    return [
        ClassCount(label, names.get(label, str(label)), number.get(label, 0)) for label in found
    ]  # fmt: skip


def describe_classes(source: Source) -> str:
    """One line that lists the classes; empty where there are none."""
    counts = class_counts(source)
    if not counts:
        return ""
    listed = ", ".join(
        f"{name} {count:,}" if name == str(label) else f"{label} {name} {count:,}"
        for label, name, count in counts[:_SHOWN]
    )
    last = counts[-1]
    to_the_last = f", … to {last.label} {last.name} {last.count:,}"
    more = to_the_last if len(counts) > _SHOWN else ""
    noun = "class" if len(counts) == 1 else "classes"
    return f"{len(counts):,} {noun}, with their counts of images: {listed}{more}"
