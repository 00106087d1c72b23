"""Classes of images from a table, or from WebDataset's files beside the images."""

import csv
import hashlib
import json
import os
import posixpath
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from l1jax import config
from l1jax.config import InputError
from l1jax.data.class_labels import ImageClasses
from l1jax.data.formats import FileKind, KindOf, suffix_of
from l1jax.data.image_files import Medium, open_all
from l1jax.data.patterns import sample_key

_NAME_COLUMNS = ("image_id", "image", "filename", "file_name", "file", "path", "name", "id", "key")
_DELIMITERS = (",", "\t", ";")
_NUM_LISTED = 12  # columns that a message lists
_TWO_VALUES = ({"-1", "1"}, {"0", "1"})
"""Values of a column that says whether an image has an attribute."""


class _Table(NamedTuple):
    """A table of images: which column has their names, and its rows."""

    columns: list[str]
    """The names of the columns; empty where the table has no header."""
    name_column: int
    rows: list[list[str]]


def read_classes(
    names: Sequence[str],
    data: config.ImageData | config.AudioData,
    origin: str,
    unpack_into: Path | None = None,
) -> ImageClasses:
    """Read the class of each image from where `data.labels` says.

    Args:
        names: the images' names.
        data: whose `labels` is FILE:COLUMN, `cls`, json:KEY, or column:NAME of a Parquet file.
        origin: the field that the images come from, with its value.
        unpack_into: the cache folder, as `open_images` takes it.

    Raises:
        InputError: if the table or the files cannot be read, have no such column or key, or an
            image has no class and `data.on_error` is not skip.
    """
    kind, _, key = data.labels.rpartition(":")
    if data.labels == "cls":
        beside = Medium("image", "document", _kind_of(".cls"), ".cls", unpack_into)
        value_of = _values_of_members(data, beside, lambda content: content.decode())
        attribute = ""
    elif kind in ("json", "column"):
        beside = Medium("image", "document", _kind_of(".json"), ".json", unpack_into)
        value_of = _values_of_members(data, beside, lambda content: _value_in_json(content, key))
        attribute = key
    else:
        file, column = (kind, key) if ":" in data.labels else (key, "")
        table = _read_table(_find_table(file, data), data.labels)
        value_of = _values_of_table(table, column, data.labels)
        attribute = "" if key.isdecimal() else key
    values = [value_of(name) for name in names]
    missing = tuple(i for i, value in enumerate(values) if not value)
    if missing and (data.on_error == "stop" or len(missing) == len(names)):
        raise InputError(
            f"`data.labels` (={data.labels!r}) has no class for {len(missing):,} of the "
            f"{len(names):,} images of {origin}, {names[missing[0]]!r} for one: add them, or leave "
            "such images out with --data.on-error skip."
        )
    return _number_classes(values, missing, attribute, data.labels)


def hash_labels(classes: ImageClasses) -> str:
    """Hash the class of each image, as SHA-256 in hexadecimal digits."""
    return hashlib.sha256(np.asarray(classes.labels, "<i4").tobytes()).hexdigest()


def _number_classes(
    values: Sequence[str], missing: tuple[int, ...], attribute: str, labels: str
) -> ImageClasses:
    """Give each different value a number: by size if all are whole numbers, else by alphabet."""
    present = {value for value in values if value}
    try:
        ordered = sorted(present, key=int)
    except ValueError:
        ordered = sorted(present)
        if all(map(_is_float, ordered)):
            raise InputError(
                f"`data.labels` (={labels!r}) must be of whole numbers or words, and holds "
                f"{ordered[0]!r}: choose a column of classes."
            ) from None
    number_of = {value: number for number, value in enumerate(ordered)}
    numbers = np.array([number_of[value] for value in values if value], np.int32)
    names = tuple(ordered)
    if attribute and present in _TWO_VALUES:
        names = (f"not {attribute}", attribute)
    return ImageClasses(numbers, names, missing)


def _is_float(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


# Tables


def _find_table(file: str, data: config.ImageData | config.AudioData) -> str:
    """Return the path of a table, which may lie in the images' folder or beside their archive."""
    path = os.path.expanduser(file)
    of_images = os.path.expanduser(data.path)
    for folder in (of_images, os.path.dirname(of_images)):
        if os.path.isfile(path):
            break
        beside = os.path.join(folder, os.path.expanduser(file))
        if os.path.isfile(beside):
            return beside
    return path


def _read_table(path: str, labels: str) -> _Table:
    """Read a table of comma, tab or semicolon separated values, or of words as CelebA's are.

    CelebA's begin with the number of rows, and their header has no name for the images' column.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = [line for line in file.read().splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise InputError(
            f"`data.labels` (={labels!r}) names the table {path!r}, which cannot be read "
            f"({reason}): give FILE:COLUMN, or one of auto, folders, innermost, none and cls."
        ) from error
    if lines and lines[0].strip().isdecimal():
        lines = lines[1:]
    if len(lines) < 2:
        raise InputError(
            f"`data.labels` (={labels!r}) must name a table with a header and a row for each "
            f"image, and {path!r} has {len(lines)} lines."
        )
    rows = list(_split(lines))
    header = rows[0]
    if len(rows[1]) == len(header) + 1:
        header = ["", *header]
    lower = [name.strip().lower() for name in header]
    name_column = next((lower.index(name) for name in _NAME_COLUMNS if name in lower), 0)
    return _Table([name.strip() for name in header], name_column, rows)


def _split(lines: Sequence[str]) -> Iterator[list[str]]:
    delimiter = next((sign for sign in _DELIMITERS if sign in lines[1]), None)
    if delimiter is None:
        return (line.split() for line in lines)
    return csv.reader(lines, delimiter=delimiter)


def _values_of_table(table: _Table, column: str, labels: str) -> Callable[[str], str]:
    """Return the function from an image's name to its value; "" where the table has none."""
    index = _find_column(table, column, labels)
    value_of: dict[str, str] = {}
    for row in table.rows:
        if len(row) <= max(index, table.name_column):
            continue
        name = row[table.name_column].strip().replace("\\", "/").removeprefix("./")
        value = row[index].strip()
        if value_of.setdefault(name, value) != value:
            raise InputError(
                f"`data.labels` (={labels!r}) must have one class for each image, and has "
                f"{value_of[name]!r} and {value!r} for {name!r}."
            )
    image_of: dict[str, str] = {}  # by the name that the table has for it

    def find(name: str) -> str:
        key = next((shorter for shorter in _shorter_names(name) if shorter in value_of), None)
        if key is None:
            return ""
        if image_of.setdefault(key, name) != name:
            raise InputError(
                f"`data.labels` (={labels!r}) must tell images apart, and its row {key!r} fits "
                f"{image_of[key]!r} and {name!r}: write their folders into the table."
            )
        return value_of[key]

    return find


def _find_column(table: _Table, column: str, labels: str) -> int:
    """Return the place of a column: that of its name in any case, or of its number from 0."""
    if column and column in table.columns:
        return table.columns.index(column)
    lower = [name.lower() for name in table.columns]
    if column and lower.count(column.lower()) == 1:
        return lower.index(column.lower())
    if column.isdecimal() and int(column) < len(table.rows[1]):
        return int(column)
    others = [name for i, name in enumerate(table.columns) if i != table.name_column]
    shown = ", ".join(others[:_NUM_LISTED])
    if len(others) > _NUM_LISTED:
        shown += ", …"
    raise InputError(
        f"`data.labels` (={labels!r}) must name a column of the table, which has {shown}: write "
        "FILE:COLUMN, or FILE:NUMBER, counted from 0, where the table has no header."
    )


def _shorter_names(name: str) -> Iterator[str]:
    """Yield an image's name with ever fewer of its folders, each with and without its suffix."""
    while name:
        yield name
        yield name.removesuffix(posixpath.splitext(name)[1])
        _, _, name = name.partition("/")


# WebDataset


def _values_of_members(
    data: config.ImageData | config.AudioData, beside: Medium, parse: Callable[[bytes], object]
) -> Callable[[str], str]:
    """Return the function from an image's name to the value in the file beside it."""
    listing = open_all(data.path, beside)
    member_of = {sample_key(name): name for name in sorted(listing.sizes)}

    def value_of(name: str) -> str:
        member = member_of.get(sample_key(name))
        if member is None:
            return ""
        try:
            value = parse(listing.read(member))
            text = str(value)
        except (ValueError, TypeError) as error:
            raise InputError(
                f"`data.labels` (={data.labels!r}) cannot read the class in {member!r} "
                f"({type(error).__name__}: {error}): repair the file."
            ) from error
        except LookupError as error:
            raise InputError(
                f"`data.labels` (={data.labels!r}) must name a key that is there for every image, "
                f"and {member!r} {error.args[0]}."
            ) from error
        return text.strip()

    return value_of


def _kind_of(wanted: str) -> KindOf:
    """Return the function that tells by a file's name whether it has a suffix."""

    def kind_of(name: str) -> FileKind:
        return "document" if suffix_of(name) == wanted else ""

    return kind_of


def _value_in_json(content: bytes, key: str) -> object:
    """Return the value at a key.

    Raises:
        ValueError: if it is no JSON.
        LookupError: with what there is instead, if it has no such key.
    """
    value = json.loads(content)
    for part in key.split("."):
        if not isinstance(value, dict):
            raise LookupError(f"has no {part!r} in {value!r}")
        if part not in value:
            there = ", ".join(list(value)[:_NUM_LISTED])
            raise LookupError(f"has no {part!r}, only {there or 'nothing'}")
        value = value[part]
    return value
