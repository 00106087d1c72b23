"""What a path that was given to the wrong kind of data looks like, and what to give instead."""

import os
import re
import zipfile
from collections.abc import Iterable

from l1jax.config import InputError
from l1jax.data.formats import image_suffixes, suffix_of

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # a drive of Windows has one letter
_TABLES = frozenset((
    ".arrow", ".h5", ".hdf5", ".lmdb", ".mat", ".parquet", ".pickle", ".pkl", ".pt", ".tfrecord",
))  # fmt: skip
_IDX = re.compile(r"(train|t10k)-(images|labels)[-.]idx[13]-ubyte(\.gz)?$")


def refuse_address(path: str, field: str = "data.path") -> None:
    """Refuse an address on a network, such as https://…, s3://…, gs://… or hf://….

    Raises:
        InputError: naming the field that it was given to.
    """
    if _ADDRESS.match(path):
        raise InputError(
            f"`{field}` (={path!r}) is an address on a network, which is not read: download it and "
            "give the path of the file or folder on this machine."
        )


def what_to_give(path: str, kind: str) -> str:
    """Say what a path looks like and which --data reads it; empty where that is `kind` or unknown.

    Args:
        path: of a file or folder that is there.
        kind: the --data that it was given to: image, array or idx.
    """
    looks, wanted = _look(path)
    if not looks or kind == wanted:
        return ""
    return f"it looks like {looks}"


def _look(path: str) -> tuple[str, str]:
    """What a path looks like with the remedy, and which --data reads it."""
    name, suffix = os.path.basename(path), suffix_of(os.path.basename(path))
    if os.path.isdir(path):
        return _look_into(path)
    if not os.path.isfile(path):  # a pipe, which must not be waited for
        return "", ""
    if _IDX.match(name):
        return "one of MNIST's files: give --data idx with its folder as --data.path", "idx"
    if suffix in (".npz", ".npy") or (suffix != ".zip" and _is_array(path)):
        return "NumPy's file: give --data array", "array"
    if suffix in (".zip", ".tar", ".tgz", ".tbz2", ".txz") or zipfile.is_zipfile(path):
        return "an archive: give --data image if images are in it", "image"
    if suffix in image_suffixes():
        return "a single image: give the folder that it is in, with --data image", "folder"
    if suffix in (".7z", ".rar", ".zst"):
        return f"a {suffix} archive, which is not read: unpack it, or pack it as a zip", "none"
    if suffix in _TABLES:
        return (
            f"a {suffix} file, which is not read: write its images into a folder, or a .npz with numpy.savez"
        ), "none"
    return "", ""


def _look_into(path: str) -> tuple[str, str]:
    """The same for a folder, by the names in it."""
    try:
        names = os.listdir(path)
    except OSError:
        return "", ""
    if any(map(_IDX.match, names)):
        return "a folder of MNIST's files: give --data idx", "idx"
    arrays = _first(names, (".npz", ".npy"))
    if arrays:
        whole = os.path.join(path, arrays)
        return f"a folder with NumPy's files: give --data array --data.path {whole}", "file"
    records = [name for name in names if ".array_record" in name or name == "dataset_info.json"]
    if records:
        flags = "--data tfds --data.name NAME --data.data-dir FOLDER"
        return f"a set that TFDS has prepared: give {flags}", "tfds"
    return "a folder: give --data image if images are in it", "image"


def _first(names: Iterable[str], suffixes: tuple[str, ...]) -> str:
    return min((name for name in names if suffix_of(name) in suffixes), default="")


def _is_array(path: str) -> bool:
    """Whether a file without such a suffix is a .npy, or a zip of nothing but them."""
    with open(path, "rb") as file:
        head = file.read(6)
    if head == b"\x93NUMPY":
        return True
    if not head.startswith(b"PK"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # a damaged zip: whoever opens it says so
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)
