"""Recognize a path that was given to the wrong kind of data, and say what to give instead."""

import os
import re
import zipfile
from collections.abc import Container, Iterable
from typing import NamedTuple

from l1jax.config import InputError
from l1jax.data.formats import RECORDINGS, image_suffixes, suffix_of

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # a drive of Windows has only one letter
_TABLES = frozenset((
    ".arrow", ".h5", ".hdf5", ".lmdb", ".mat", ".mdb", ".pickle", ".pkl", ".pt", ".tfrecord",
))  # fmt: skip
_TEXT_SUFFIXES = (".txt", ".text", ".md", ".rst", ".jsonl", ".ndjson")
_IDX = re.compile(r"(train|t10k)-(images|labels)[-.]idx[13]-ubyte(\.gz)?$")


def require_local_path(path: str, field: str = "data.path") -> None:
    """Raise for an address on a network, such as https://…, s3://…, gs://… or hf://….

    Raises:
        InputError: naming the field that it was given to.
    """
    if _ADDRESS.match(path):
        raise InputError(
            f"`{field}` (={path!r}) is an address on a network, which is not read: download it and "
            "give the path of the file or folder on this machine."
        )


def suggest_data_flag(path: str, kind: str) -> str:
    """Say what a path looks like and which --data reads it.

    Args:
        path: path of an existing file or folder.
        kind: the --data that it was given to: image, array, idx, audio or text.

    Returns:
        A clause such as "it looks like … : give --data array"; empty if the path fits `kind`, or
        nothing is known about it.
    """
    guess = _guess(path)
    if guess is None or kind in guess.kinds:
        return ""
    return f"it looks like {guess.description}"


def fitting_kinds(path: str) -> tuple[str, ...]:
    """Return which --data may read a path that is there; none if nothing is known about it."""
    guess = _guess(path)
    return () if guess is None else guess.kinds


class _Guess(NamedTuple):
    """What a path looks like."""

    description: str
    """In words, with the remedy."""
    kinds: tuple[str, ...] = ()
    """The --data that reads it."""


_MNIST_FILE = _Guess(
    "one of MNIST's files: give --data idx with its folder as --data.path", ("idx",)
)
_MNIST_FOLDER = _Guess("a folder of MNIST's files: give --data idx", ("idx",))
_ARRAY = _Guess("NumPy's file: give --data array", ("array",))
_ARCHIVE = _Guess("an archive: give --data image if images are in it", ("image", "audio", "text"))
_FOLDER = _Guess("a folder: give --data image if images are in it", ("image", "audio", "text"))
_RECORDING = _Guess("a single recording: give the folder that it is in, with --data audio")
_RECORDINGS = _Guess("a folder of recordings: give --data audio", ("audio",))
_SINGLE_IMAGE = _Guess("a single image: give the folder that it is in, with --data image")
_TEXT = _Guess("text: give --data text", ("text",))
_TEXT_FOLDER = _Guess("a folder of text: give --data text", ("text",))
_TFDS = _Guess(
    "a set that TFDS has prepared: give --data tfds --data.name NAME --data.data-dir FOLDER",
    ("tfds",),
)

_LMDB = _Guess(
    "a database of LMDB, which is not read: write its images into a tar or a folder, for instance "
    "with lmdb's cursor and Python's tarfile"
)


def _guess(path: str) -> _Guess | None:
    name = os.path.basename(path)
    suffix = suffix_of(name)
    if os.path.isdir(path):
        return _guess_folder(path)
    if not os.path.isfile(path):  # a pipe, for instance: opening it would wait for a writer
        return None
    if _IDX.match(name):
        return _MNIST_FILE
    if suffix in (".npz", ".npy") or (suffix != ".zip" and _holds_arrays(path)):
        return _ARRAY
    if suffix in (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".parquet") or zipfile.is_zipfile(path):
        return _ARCHIVE
    if suffix in image_suffixes():
        return _SINGLE_IMAGE
    if suffix in RECORDINGS:
        return _RECORDING
    if suffix in _TEXT_SUFFIXES:
        return _TEXT
    if suffix in (".7z", ".rar", ".zst"):
        remedy = "unpack it, or pack it as a zip"
        return _Guess(f"a {suffix} archive, which is not read: {remedy}")
    if suffix in _TABLES:
        remedy = "write its images into a folder, or a .npz with numpy.savez, or text into a .jsonl"
        return _Guess(f"a {suffix} file, which is not read: {remedy}")
    return None


def _guess_folder(path: str) -> _Guess | None:
    """Guess what a folder holds from the names in it."""
    try:
        names = os.listdir(path)
    except OSError:
        return None
    if any(map(_IDX.match, names)):
        return _MNIST_FOLDER
    if "data.mdb" in names:
        return _LMDB
    arrays = _first_with_suffix(names, (".npz", ".npy"))
    if arrays:
        flags = f"--data array --data.path {os.path.join(path, arrays)}"
        return _Guess(f"a folder with NumPy's files: give {flags}")
    if any(".array_record" in name or name == "dataset_info.json" for name in names):
        return _TFDS
    if not _first_with_suffix(names, image_suffixes()):
        if _first_with_suffix(names, RECORDINGS):
            return _RECORDINGS
        if _first_with_suffix(names, _TEXT_SUFFIXES):
            return _TEXT_FOLDER
    return _FOLDER


def _first_with_suffix(names: Iterable[str], suffixes: Container[str]) -> str:
    return min((name for name in names if suffix_of(name) in suffixes), default="")


def _holds_arrays(path: str) -> bool:
    """Return whether a file is a .npy, or a zip of nothing but such files, whatever its suffix."""
    with open(path, "rb") as file:
        head = file.read(6)
    if head == b"\x93NUMPY":
        return True
    if not head.startswith(b"PK"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # a damaged zip: the code that opens it says so
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)
