"""Images in Parquet files, as Hugging Face's `datasets` writes them; needs the extra `parquet`."""

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from l1jax.config import InputError
from l1jax.data.formats import file_kind, suffix_of

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET_MAGIC = b"PAR1"  # a Parquet file begins with it
_ROWS = 64  # that are read at once
_COLUMNS = ("image", "img", "jpg", "png", "webp", "pixel_values")
"""Names that a column of images has; any other counts if it is the only one of bytes."""
_SUFFIXES = {b"\xff\xd8": ".jpg", b"\x89P": ".png", b"RI": ".webp", b"GI": ".gif", b"BM": ".bmp"}
"""By the first two bytes of an encoded image; the content is what decides in the end."""


def unpack_parquet(path: str, output: BinaryIO) -> None:
    """Write each row's image, and its other values as JSON beside it, into a plain tar.

    A file's name is that of the Parquet file, and the number of the row. Numbers of classes become
    the classes' names, where the file has them.

    Args:
        path: the Parquet file.
        output: the file to write to.

    Raises:
        InputError: if it has no column of encoded images, or a row has none.
        Exception: whatever a damaged file leads to.
    """
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    schema = file.schema_arrow
    column = _image_column(schema, path)
    values = [name for name in schema.names if name != column and _is_plain(schema.field(name))]
    class_names = _class_names(schema)
    stem = Path(path).name.split(".")[0]
    number = 0
    with tarfile.open(fileobj=output, mode="w") as tar:
        for row in _rows(file, [column, *values]):
            image = row.pop(column)
            name = ""
            if isinstance(image, Mapping):
                name = image.get("path") or ""
                image = image.get("bytes")
            if not image:
                raise InputError(
                    f"`data.path` (={path!r}) must hold the bytes of an image in each row of "
                    f"{column!r}, and has none in row {number:,}."
                )
            suffix = suffix_of(name)
            if file_kind(name) != "image":
                suffix = _SUFFIXES.get(image[:2], ".png")
            described = {key: _class_name(class_names.get(key), row[key]) for key in values}
            _add(tar, f"{stem}-{number:08d}{suffix}", image)
            if values:
                content = json.dumps(described, default=str).encode()
                _add(tar, f"{stem}-{number:08d}.json", content)
            number += 1


def _rows(file: Any, columns: list[str]) -> Iterator[dict[str, Any]]:
    for batch in file.iter_batches(_ROWS, columns=columns):
        yield from batch.to_pylist()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _image_column(schema: "pa.Schema", path: str) -> str:
    """Return the name of the column of encoded images.

    Raises:
        InputError: if there is none, or several and none has a usual name.
    """
    columns = [name for name in schema.names if _holds_bytes(schema.field(name).type)]
    usual = [name for name in columns if name.lower() in _COLUMNS]
    if len(columns) == 1:
        return columns[0]
    if len(usual) == 1:
        return usual[0]
    listed = ", ".join(schema.names[:12])
    raise InputError(
        f"`data.path` (={path!r}) must have one column of encoded images, called image, or the "
        f"only one of bytes; its columns are {listed}."
    )


def _holds_bytes(kind: "pa.DataType") -> bool:
    """Tell whether values are bytes, or Hugging Face's images: a struct with bytes and a path."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _holds_bytes(kind.field(index).type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_plain(field: "pa.Field") -> bool:
    """Tell whether values are numbers, words or truth values, which can be classes."""
    import pyarrow as pa

    kind = field.type
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_string)
    return any(test(kind) for test in tests) or pa.types.is_large_string(kind)


def _class_names(schema: "pa.Schema") -> dict[str, list[str]]:
    """Return column → the names of its classes, which `datasets` keeps in the file's metadata."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {
            column: feature["names"]
            for column, feature in features.items()
            if isinstance(feature, dict) and isinstance(feature.get("names"), list)
        }
    except (KeyError, TypeError, ValueError, AttributeError):  # other programs write none
        return {}


def _class_name(names: list[str] | None, value: Any) -> Any:
    if names is None or not isinstance(value, int) or not 0 <= value < len(names):
        return value
    return names[value]
