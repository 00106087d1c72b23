"""What a path of images is: a folder, arrays, a run that draws them, or statistics of them."""

import os
import re
from pathlib import Path
from typing import Literal, NamedTuple

from l1jax.config import InputError
from l1jax.data.path_hints import fitting_kinds, require_local_path
from l1jax.data.patterns import is_pattern
from l1jax.evaluation.statistics_files import holds_statistics
from l1jax.serialization.model_folder import is_model

Kind = Literal["statistics", "arrays", "idx", "idx file", "images", "tfds", "run", "model"]
NOUNS: dict[Kind, str] = {
    "statistics": "a file of statistics",
    "arrays": "NumPy's file",
    "idx": "a folder of IDX files",
    "idx file": "an IDX file",
    "images": "an archive",
    "tfds": "TFDS",
    "run": "a run",
    "model": "an exported model",
}
GENERATORS = ("run", "model")

_TFDS_NAME = re.compile(r"[a-z][a-z0-9_]*(/[\w.-]+)?(:[\d.*]+)?")
_LABEL_FILE = re.compile(r"labels[-.]idx1")


class Place(NamedTuple):
    """Where images are, and what is there."""

    flag: str
    """That gives it, for messages."""
    value: str
    """As the user typed it."""
    kind: Kind

    @property
    def path(self) -> str:
        """The path, with `~` expanded."""
        return os.path.expanduser(self.value)

    @property
    def noun(self) -> str:
        """What it is, with an article."""
        if self.kind == "images" and os.path.isdir(self.path):
            return "a folder"
        return NOUNS[self.kind]


def recognise(flag: str, value: str) -> Place:
    """Tell what a flag names.

    Args:
        flag: for messages.
        value: a path, or the name of a set that TFDS has prepared. What is there as a path comes
            first.

    Raises:
        InputError: if nothing is there, or it can be nothing of the kinds that are read.
    """
    if not value:
        raise InputError(f"`{flag}` is empty: give it a path.")
    require_local_path(value, flag)
    return Place(flag, value, _kind(flag, value))


def _kind(flag: str, value: str) -> Kind:
    path = os.path.expanduser(value)
    if is_pattern(path):
        return "images"
    if not os.path.exists(path):
        if _TFDS_NAME.fullmatch(value):
            return "tfds"
        raise InputError(
            f"`{flag}` (={value}) does not exist: give a folder, an archive or a file of images, a "
            "run, a model, or the name of a set that TFDS has prepared."
        )
    if os.path.isdir(os.path.join(path, "checkpoints")):
        return "run"
    if is_model(Path(path)):
        return "model"
    if holds_statistics(path):
        return "statistics"
    kinds = fitting_kinds(path)
    if "array" in kinds:
        return "arrays"
    if "idx" in kinds:
        return "idx" if os.path.isdir(path) else "idx file"
    if _LABEL_FILE.search(os.path.basename(path)):
        raise InputError(f"`{flag}` (={value}) holds labels: give the file of the images.")
    return "images"
