"""The classes of a data set: labels from folders or as numbers, their names and counts."""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32

from l1jax.config import InputError
from l1jax.data.source import Source

MAX_LABEL = 2**31 - 1
FOLDER_LABELS = ("auto", "folders", "innermost", "none")
"""The `data.labels` that folders answer, and not a table or files beside the images."""
_NUM_LISTED = 10  # classes that a line lists
_MIN_SHARD_STEP = 10  # between numbers of folders that may only limit the files in each

# Names of parts of a data set. Those of the second pattern are also names of things; they count
# only if at least half of the folders have such names, or together with one of the first.
_SPLITS = re.compile(
    r"(test|testing|val|valid|validation|dev|eval|evaluation|training)(_?set|_?data)?|test-dev"
)
_POSSIBLE_SPLITS = re.compile(r"train(_?set|_?data)?|extra|unlabeled|unsup")


class ImageClasses(NamedTuple):
    """The classes of images, from their folders, a table or the files beside them."""

    labels: Int32[np.ndarray, " n"] | None
    """Class of each classified image; None without classes."""
    names: tuple[str, ...] = ()
    """The classes' names."""
    unclassified: tuple[int, ...] = ()
    """Indices of images that have no class and are to be left out."""
    ambiguity: str = ""
    """What the user must settle because the folders may be something else than classes."""


def classes_from_folders(
    names: Sequence[str], how: str, on_error: str, origin: str, noun: str = "image"
) -> ImageClasses:
    """Find the class of each image from its name below the folder that all images share.

    Args:
        names: the images' names, with "/" between folders.
        how: `auto`, `folders`, `innermost` or `none`, as for `ImageData.labels`.
        on_error: `stop` or `skip`: what to do with images that lie in no class folder.
        origin: the field that the images come from, with its value.
        noun: what messages call the images.

    Raises:
        InputError: if classes are asked for and an image lies in no folder.
    """
    folders = [_class_folder(name, innermost=how == "innermost") for name in names]
    classes = tuple(sorted({folder for folder in folders if folder}))
    unclassified = tuple(i for i, folder in enumerate(folders) if not folder)
    if how == "none":
        return ImageClasses(None)
    if how == "auto" and (not classes or (unclassified and len(classes) == 1)):
        return ImageClasses(None)
    if not classes:
        raise InputError(
            f"`data.labels` (={how}) must be auto or none for {origin}, whose {noun}s lie in no "
            "class folders: give --data.labels none."
        )
    if unclassified and (on_error == "stop" or 2 * len(unclassified) >= len(names)):
        message = _describe_unclassified(names, unclassified, classes, origin, noun)
        if how != "auto":
            raise InputError(message)
        return ImageClasses(None, ambiguity=message)
    label_of = {name: label for label, name in enumerate(classes)}
    labels = np.array([label_of[folder] for folder in folders if folder], np.int32)
    ambiguity = ""
    if how == "auto":
        ambiguity = _find_ambiguity(names, classes, origin, noun)
    return ImageClasses(labels, classes, unclassified, ambiguity)


def _class_folder(name: str, *, innermost: bool) -> str:
    """Return the folder that stands for the class; empty for an image that lies in none."""
    folders = name.split("/")[:-1]
    if not folders:
        return ""
    if innermost:
        return folders[-1]
    return folders[0]


def _describe_unclassified(
    names: Sequence[str],
    unclassified: Sequence[int],
    classes: Sequence[str],
    origin: str,
    noun: str,
) -> str:
    count = f"1 {noun}" if len(unclassified) == 1 else f"{len(unclassified):,} {noun}s"
    skip = ""
    if 2 * len(unclassified) < len(names):
        skip = ", leave it out with --data.on-error skip"
    return (
        f"{origin} holds {count} beside {len(classes):,} class folders, the first of them "
        f"{names[unclassified[0]]!r}, without a class: move or remove it{skip}, or give "
        f"--data.labels none for {noun}s without classes."
    )


def _find_ambiguity(names: Sequence[str], classes: Sequence[str], origin: str, noun: str) -> str:
    """Say why the folders may be no classes; empty if nothing suggests that."""
    splits = [name for name in classes if _SPLITS.fullmatch(name.lower())]
    possible = [name for name in classes if _POSSIBLE_SPLITS.fullmatch(name.lower())]
    if splits or 2 * len(possible) >= len(classes):
        return _describe_splits(names, sorted(splits + possible), origin, noun)
    if len(classes) > 1 and all(name.isdecimal() and name.isascii() for name in classes):
        step = math.gcd(*map(int, classes))
        if step >= _MIN_SHARD_STEP:
            return (
                f"{origin} holds the folders {classes[0]}, {classes[1]}, … whose numbers are "
                f"{step} apart, as if they only limited the number of files in a folder: give "
                f"--data.labels none for {noun}s without classes, or --data.labels folders if they "
                "are classes."
            )
    return ""


def _describe_splits(names: Sequence[str], splits: Sequence[str], origin: str, noun: str) -> str:
    training = next((name for name in splits if "train" in name.lower()), splits[0])
    innermost = ""
    if any(name.count("/") > 1 for name in names):
        innermost = ", --data.labels innermost if the folders within are the classes"
    return (
        f"{origin} holds the folders {', '.join(splits)}, which look like parts of a data set "
        f"and not like classes: give --data.subfolder {training} for one of them, --data.labels "
        f"none for all {noun}s without classes{innermost}, or --data.labels folders if they are "
        "classes."
    )


def as_labels(labels: object, length: int, origin: str, field: str) -> Int32[np.ndarray, " length"]:
    """Check that labels are whole numbers from 0 on that fit in 32 bits, one for each image.

    Args:
        labels: the labels, as an array or anything that NumPy can make one of.
        length: the number of images.
        origin: the field that they come from, with its value.
        field: what they are called there, with its value.

    Raises:
        InputError: naming what is wrong and how to make it right.
    """
    array = np.asarray(labels)
    if array.shape != (length,) or array.dtype.kind not in "iu":
        raise InputError(
            f"{origin} must hold a whole number from 0 on for each of its {length:,} images, and "
            f"{field} is {array.dtype} of shape {array.shape}: {_suggest_labels(array, length)}."
        )
    if not length:
        return array.astype(np.int32)
    for extreme in (array.min(), array.max()):
        if not 0 <= int(extreme) <= MAX_LABEL:
            raise InputError(
                f"{origin} must hold labels from 0 on and of at most {MAX_LABEL:,}, and "
                f"{field} has {extreme}: number the classes from 0, as `numpy.unique(labels, "
                "return_inverse=True)[1]` does."
            )
    return array.astype(np.int32)


def _suggest_labels(labels: np.ndarray, length: int) -> str:
    """Say how labels of the wrong shape or type can be made right."""
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
    """Count the examples of each class in the order of the labels; a named class may have none."""
    if source.labels is None:
        return []
    present, counts = np.unique(source.labels, return_counts=True)
    count_of = dict(zip(present.tolist(), counts.tolist(), strict=True))
    name_of = dict(enumerate(source.classes))
    return [
        ClassCount(label, name_of.get(label, str(label)), count_of.get(label, 0))
        for label in sorted(count_of.keys() | name_of.keys())
    ]


def describe_classes(source: Source) -> str:
    """List the classes in one line; empty if there are none."""
    counts = class_counts(source)
    if not counts:
        return ""
    listed = ", ".join(map(_describe_class, counts[:_NUM_LISTED]))
    if len(counts) > _NUM_LISTED:
        last = counts[-1]
        listed += f", … to {last.label} {last.name} {last.count:,}"
    noun = "class" if len(counts) == 1 else "classes"
    return f"{len(counts):,} {noun}, with their counts of images: {listed}"


def _describe_class(counted: ClassCount) -> str:
    if counted.name == str(counted.label):
        return f"{counted.name} {counted.count:,}"
    return f"{counted.label} {counted.name} {counted.count:,}"
