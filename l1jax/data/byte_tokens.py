"""Tokens of text: its bytes, and a boundary before, between and after documents."""

import codecs
from collections.abc import Iterable

import numpy as np
from jaxtyping import Integer, UInt16

BOUNDARY = 256  # the other tokens are the 256 bytes
VOCABULARY = 257


def encode(text: str | bytes) -> UInt16[np.ndarray, " tokens"]:
    """Return the tokens of the beginning of a document: a boundary and the bytes, UTF-8 of text.

    Raises:
        UnicodeEncodeError: if text has half of a surrogate pair, which UTF-8 cannot express.
    """
    content = text.encode() if isinstance(text, str) else text
    return np.array([BOUNDARY, *content], np.uint16)


def decode(tokens: Integer[np.ndarray, " tokens"]) -> bytes:
    """Return the bytes of the tokens up to the first boundary, where the document ends."""
    ends = np.flatnonzero(tokens == BOUNDARY)
    stop = ends[0] if len(ends) else len(tokens)
    return np.asarray(tokens[:stop]).astype(np.uint8).tobytes()


def to_text(content: bytes) -> str:
    """Return bytes as text: without a character that is cut off at the end, U+FFFD for others."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    return decoder.decode(content)  # not final, so that it keeps the beginning of a character


def sample_page(samples: Iterable[str]) -> str:
    """Put samples below each other, each under a line with its number."""
    return "".join(f"──── {i} ────\n{sample}\n\n" for i, sample in enumerate(samples, 1))
