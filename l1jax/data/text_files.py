"""Documents of a text file, a folder, a tar or a zip, one after the other."""

import codecs
import json
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from io import BufferedIOBase, BytesIO
from lzma import LZMAError
from typing import NamedTuple, cast

from l1jax import config
from l1jax.config import InputError
from l1jax.data.file_listing import MAX_FILE_BYTES, max_decompressed_size
from l1jax.data.formats import COMPRESSED, document_kind, suffix_of
from l1jax.data.image_files import cannot_open_error, files_of_bad_size, open_listing
from l1jax.data.path_hints import require_local_path, suggest_data_flag
from l1jax.data.skipped_files import SkippedFile
from l1jax.data.tars import DECOMPRESSORS, Opener

_WHAT_TO_GIVE = (
    "give --data.path FILE_FOLDER_OR_ARCHIVE, a text file, a .jsonl, or a folder, tar or zip of "
    "them"
)
_LINES = (".jsonl", ".ndjson")
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_DAMAGED = (OSError, EOFError, LZMAError, zlib.error, tarfile.TarError)


class Document(NamedTuple):
    """A document, before it is known whether it can be used."""

    name: str
    content: bytes


def documents(data: config.TextData) -> Iterator[Document | SkippedFile]:
    """Yield the documents that a configuration names, sorted by name; a .jsonl has one a line.

    What cannot be used is yielded as such, so that the caller can stop at it or go on.

    Raises:
        InputError: if the path is empty, missing, unreadable, damaged, or without text.
    """
    if not data.path:
        raise InputError(f"`data.path` is empty: {_WHAT_TO_GIVE}.")
    require_local_path(data.path)
    location = os.path.expanduser(data.path)
    try:
        listing = None
        if not is_single_file(location):
            listing = open_listing(location, "text", partial(document_kind, suffixes=data.suffixes))
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes lead the decompressors to any kind of error
        raise cannot_open_error(data.path, error, _WHAT_TO_GIVE) from error
    if listing is None:
        yield from _single_file(location, data)
        return
    bad_sizes = files_of_bad_size(listing.sizes, "document")
    yield from sorted(listing.skipped + bad_sizes)
    names = sorted(listing.sizes.keys() - {file.name for file in bad_sizes})
    if not names and not any(file.is_error for file in listing.skipped + bad_sizes):
        raise _no_documents_error(data, location)
    for name in names:
        try:
            content = _decompressed(name, listing.read(name))
        except Exception as error:  # as above
            yield SkippedFile(name, str(error) or type(error).__name__, "document")
            continue
        yield from _documents_of(name, BytesIO(content), data)


def is_single_file(path: str) -> bool:
    """Return whether a path is a file that is neither a tar nor a zip nor another one's data."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        head = file.read(6)
    return not (head.startswith(b"PK\x03\x04") or tarfile.is_tarfile(path))


def find_text_error(chunks: Iterator[bytes] | list[bytes]) -> str:
    """Return why bytes, given in chunks, are not UTF-8 text, as a clause; empty if they are."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    place = 0  # of the chunk
    pending = 0  # bytes before it that the decoder still holds
    for chunk in chunks:
        if not place:
            for mark, name in _BYTE_ORDER_MARKS.items():
                if chunk.startswith(mark):
                    return f"it is {name}: convert it to UTF-8"
        if b"\0" in chunk:
            return f"its byte {place + chunk.index(0):,} is 0, as in a binary file"
        try:
            decoder.decode(chunk)
        except UnicodeDecodeError as error:
            wrong = place - pending + error.start
            return f"its byte {wrong:,} is not UTF-8 ({error.reason})"
        place += len(chunk)
        pending = len(decoder.getstate()[0])
    if pending:
        return "it ends inside a character of UTF-8"
    return ""


def _single_file(path: str, data: config.TextData) -> Iterator[Document | SkippedFile]:
    hint = suggest_data_flag(path, "text")
    if hint:
        raise InputError(f"`data.path` (={data.path!r}) must be text; {hint}.")
    with open(path, "rb") as file:
        head = file.read(6)
    opener = next(
        (opener for magic, opener in DECOMPRESSORS.items() if head.startswith(magic)),
        cast(Opener, partial(open, mode="rb")),
    )
    limit = max_decompressed_size(os.path.getsize(path))
    try:
        with opener(path) as stream:
            yield from _documents_of(os.path.basename(path), stream, data, limit)
    except _DAMAGED as error:
        raise cannot_open_error(data.path, error, _WHAT_TO_GIVE) from error


def _documents_of(
    name: str, stream: BufferedIOBase, data: config.TextData, limit: int = MAX_FILE_BYTES
) -> Iterator[Document | SkippedFile]:
    """Yield the only document of a file, or one for each line of a .jsonl."""
    plain = name.lower()
    for suffix in COMPRESSED:
        plain = plain.removesuffix(suffix)
    if suffix_of(plain) not in _LINES:
        content = stream.read(limit + 1)
        if len(content) > limit:
            yield SkippedFile(name, f"it grows beyond {limit:,} bytes", "document")
        else:
            yield Document(name, content)
        return
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        line_name = f"{name} line {number:,}"
        try:
            yield Document(line_name, _field_of(line, data.jsonl_field).encode())
        except (ValueError, RecursionError) as error:
            reason = str(error).splitlines()[0]
            yield SkippedFile(line_name, reason, "document")


def _field_of(line: bytes, field: str) -> str:
    """Return a string of the JSON object in a line.

    Raises:
        ValueError: with the reason as a clause.
    """
    value = json.loads(line)
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")
    if field in value and not isinstance(value[field], str):
        raise ValueError(f"its {field!r} is no string; name another by --data.jsonl-field")
    if field not in value:
        names = ", ".join(list(value)[:8]) or "none"
        raise ValueError(f"it has no string {field!r}, but {names}; name one by --data.jsonl-field")
    return value[field]


def _decompressed(name: str, content: bytes) -> bytes:
    if not name.lower().endswith(COMPRESSED):
        return content
    for magic, opener in DECOMPRESSORS.items():
        if content.startswith(magic):
            limit = max_decompressed_size(len(content))
            with cast(Callable[[BytesIO], BufferedIOBase], opener)(BytesIO(content)) as stream:
                decompressed = stream.read(limit + 1)
            if len(decompressed) > limit:
                raise ValueError(f"it grows beyond {limit:,} bytes")
            return decompressed
    raise ValueError("it is not compressed as its name says")


def _no_documents_error(data: config.TextData, location: str) -> InputError:
    suffixes = ", ".join(data.suffixes)
    hint = suggest_data_flag(location, "text")
    other = f", or {hint}" if hint else ""
    return InputError(
        f"`data.path` (={data.path!r}) holds no text files ({suffixes}, not hidden): name the "
        f"suffixes of yours with --data.suffixes{other}."
    )
