"""Text as a corpus: read once, checked, and mapped into memory where it is large."""

import codecs
import hashlib
import os
import tempfile
from collections.abc import Iterator
from typing import IO

import numpy as np
from jaxtyping import UInt8

from l1jax import config
from l1jax.config import InputError
from l1jax.data.cache import cache_folder
from l1jax.data.corpus import Corpus
from l1jax.data.corpus_splits import hold_out_documents
from l1jax.data.skipped_files import SkippedFile, describe_skipped
from l1jax.data.source import fingerprint, hash_arrays
from l1jax.data.text_files import Document, documents, find_text_error, is_single_file

LARGE_BYTES = 2**28  # text above this many bytes is mapped from a file instead of held in memory
_CHUNK_BYTES = 2**24
_ANY_BYTES = "; give --data.encoding bytes to take any bytes"


def open_corpus(data: config.Text) -> Corpus:
    """Open the text that a configuration names.

    The same documents in the same order have the same fingerprint wherever they lie: in a folder,
    a tar, a zip or a .jsonl. Text of more than 256 MiB is mapped from a file: a plain one from
    where it lies, any other from a temporary copy in the cache folder. A byte order mark of UTF-8
    is left out.

    Raises:
        InputError: if it cannot be opened, or a document cannot be used and `data.on_error` is not
            skip.
    """
    match data:
        case config.TopicsData():
            return _open_topics()
        case config.TextData():
            return _open_text(data)


def open_text(data: config.Text, holdout: float = 0.0) -> tuple[Corpus, Corpus | None]:
    """Open the text to train on, and the held-out text or None if `holdout` is 0.

    Raises:
        InputError: if the text cannot be opened, or `holdout` leaves one side empty.
    """
    corpus = open_corpus(data)
    if not holdout:
        return corpus, None
    return hold_out_documents(corpus, holdout, data.split)


def _open_topics() -> Corpus:
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise InputError(
            "`data` (=topics) needs the module pydoc_data, which this Python lacks: install its "
            "standard library whole, or give --data text --data.path FILE."
        ) from error
    named = (Document(name, topics[name].encode()) for name in sorted(topics))
    return _collect(named, "`data` (=topics)", utf8=True, skip=False)


def _open_text(data: config.TextData) -> Corpus:
    origin = f"`data.path` (={data.path!r})"
    path = os.path.expanduser(data.path)
    utf8 = data.encoding == "utf-8"
    if data.path and _is_large_and_plain(path):
        return _map_file(path, origin, utf8=utf8)
    return _collect(documents(data), origin, utf8=utf8, skip=data.on_error == "skip")


def _collect(
    found: Iterator[Document | SkippedFile], origin: str, *, utf8: bool, skip: bool
) -> Corpus:
    """Put documents one behind the other, in memory or, if they are large, into a file."""
    sizes = []
    skipped = []
    sha = hashlib.sha256()
    with tempfile.SpooledTemporaryFile(LARGE_BYTES, dir=_temporary_folder()) as file:
        for document in found:
            checked = _checked(document, utf8)
            if isinstance(checked, bytes):
                sizes.append(len(checked))
                sha.update(checked)
                file.write(checked)
                continue
            if checked.is_error and not skip:
                raise InputError(describe_skipped(origin, checked))
            skipped.append(checked)
        content = _contents(file, sum(sizes))
    if not sizes:
        reason = f"{skipped[0].name!r}: {skipped[0].reason}" if skipped else "it is empty"
        raise InputError(
            f"{origin} holds no document that can be used ({reason}): give text as --data.path."
        )
    lengths = np.array(sizes, np.int64)
    return Corpus(
        content=content,
        starts=np.cumsum(lengths) - lengths,
        sizes=lengths,
        fingerprint=fingerprint("text", sha.hexdigest(), hash_arrays(lengths)),
        utf8=utf8,
        skipped=tuple(describe_skipped(origin, file) for file in skipped),
    )


def _checked(document: Document | SkippedFile, utf8: bool) -> bytes | SkippedFile:
    """Return a document's bytes, or why it cannot be used."""
    if isinstance(document, SkippedFile):
        return document
    content = document.content
    reason = ""
    if utf8:
        content = content.removeprefix(codecs.BOM_UTF8)
        reason = find_text_error([content])
        if reason:
            reason += _ANY_BYTES
    if not content:
        reason = "it has 0 bytes"
    if reason:
        return SkippedFile(document.name, reason, "document")
    return content


def _contents(file: IO[bytes], size: int) -> UInt8[np.ndarray, " size"]:
    """Return what was written to a file: mapped if it is on disk, else in memory."""
    file.flush()
    if size > LARGE_BYTES:
        return np.memmap(file, np.uint8, "r", shape=(size,))
    file.seek(0)
    return np.frombuffer(file.read(), np.uint8)


def _temporary_folder() -> str | None:
    """Return the cache folder, which is on a disk where the system's may be in memory."""
    folder = cache_folder()
    if folder is None:
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return str(folder) if os.access(folder, os.W_OK) else None


def _is_large_and_plain(path: str) -> bool:
    if not os.path.isfile(path) or os.path.getsize(path) <= LARGE_BYTES:
        return False
    other = path.lower().endswith((".jsonl", ".ndjson", ".gz", ".xz", ".bz2"))
    return not other and is_single_file(path)


def _map_file(path: str, origin: str, *, utf8: bool) -> Corpus:
    """Map a file that is one document into memory."""
    content = np.memmap(path, np.uint8, "r")
    start = 0
    if utf8 and content[:3].tobytes() == codecs.BOM_UTF8:
        start = 3
    sha = hashlib.sha256()

    def chunks() -> Iterator[bytes]:
        for place in range(start, len(content), _CHUNK_BYTES):
            chunk = content[place : place + _CHUNK_BYTES].tobytes()
            sha.update(chunk)
            yield chunk

    reason = ""
    if utf8:
        reason = find_text_error(chunks())
    else:
        for _ in chunks():
            pass
    if reason:
        reason += _ANY_BYTES
        raise InputError(
            describe_skipped(origin, SkippedFile(os.path.basename(path), reason, "document"))
        )
    sizes = np.array([len(content) - start], np.int64)
    return Corpus(
        content=content,
        starts=np.array([start], np.int64),
        sizes=sizes,
        fingerprint=fingerprint("text", sha.hexdigest(), hash_arrays(sizes)),
        utf8=utf8,
    )
