"""Which files are examples, or only look like images or archives, by their names' suffixes."""

import importlib.util
from collections.abc import Callable, Collection
from functools import cache
from typing import Literal

# Formats that Pillow recognizes by the content. On the web a file often has another's suffix.
BY_CONTENT = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "AVIF", "JPEG2000")

# Formats that Pillow registers and that are not read here: it starts a program for EPS, reads WMF
# on one system only, and recognizes the others without decoding them.
_NEVER_READ = {"EPS", "WMF", "MPEG", "BUFR", "GRIB", "HDF5", "IPTC"}
_OPENED_AS = {"MPO": "JPEG"}  # formats whose files the plug-in of another one opens
_LIBRARIES = {"AVIF": "avif", "JPEG2000": "jpg_2000", "WEBP": "webp"}  # may be missing in Pillow

_OTHER_IMAGES = frozenset((
    ".ai", ".arw", ".avif", ".avifs", ".cr2", ".cr3", ".dng", ".emf", ".eps", ".exr", ".hdr",
    ".heic", ".heif", ".hif", ".j2c", ".j2k", ".jp2", ".jpf", ".jpx", ".jxl", ".jxr", ".nef",
    ".orf", ".ps", ".psb", ".raf", ".rw2", ".svg", ".svgz", ".webp", ".wmf", ".xcf",
))  # fmt: skip
_ARCHIVES = frozenset((
    ".7z", ".bz2", ".gz", ".parquet", ".rar", ".tar", ".tbz", ".tbz2", ".tgz", ".txz", ".xz",
    ".zip", ".zst",
))  # fmt: skip

RECORDINGS = (
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".w64", ".caf",
)  # fmt: skip
_OTHER_RECORDINGS = frozenset((
    ".aac", ".ac3", ".aifc", ".amr", ".ape", ".m4a", ".m4b", ".mka", ".mp2", ".rf64",
    ".snd", ".sph", ".tta", ".voc", ".wma", ".wv",
))  # fmt: skip

COMPRESSED = (".gz", ".xz", ".bz2")  # suffixes of compressed single files

FileKind = Literal[
    "image", "recording", "document", "other image", "other recording", "archive", ""
]
KindOf = Callable[[str], FileKind]
"""(name) → what a file seems to be."""
HEIF_SUFFIXES = (".heic", ".heif", ".hif")
"""Of images that the extra `heif` reads."""
READ = ("image", "recording", "document")  # the kinds of files that are read


@cache
def image_suffixes() -> dict[str, str]:
    """Return suffix → format of the images that the installed Pillow reads, in lower case."""
    from PIL import Image, features  # the commands check paths before they load it

    Image.init()
    if importlib.util.find_spec("pillow_heif"):  # the extra `heif`
        import pillow_heif

        pillow_heif.register_heif_opener()
    suffixes = {}
    for suffix, name in Image.EXTENSION.items():
        format_name = _OPENED_AS.get(name, name)
        library = _LIBRARIES.get(format_name)
        if format_name not in Image.OPEN or format_name in _NEVER_READ:
            continue
        if library is None or features.check(library):
            suffixes[suffix] = format_name
    return suffixes


def suffix_of(name: str) -> str:
    """Return the suffix of a file's name in lower case, such as ".png"; empty if it has none."""
    dot = name.rfind(".", name.rfind("/") + 1)
    if dot < 0:
        return ""
    return name[dot:].lower()


def file_kind(name: str) -> FileKind:
    """Tell by its suffix what a file seems to be.

    Returns:
        "image" for one that is read, "other image" for one that is not, "archive", or "" for
        anything else.
    """
    # Most files are images, so this test comes first and is quick. It takes what follows the last
    # dot or, without a dot, the last letter; the latter is never among the suffixes.
    if name[name.rfind(".") :].lower() in image_suffixes():
        return "image"
    suffix = suffix_of(name)
    if suffix in _OTHER_IMAGES:
        return "other image"
    if suffix in _ARCHIVES:
        return "archive"
    return ""


def recording_kind(name: str) -> FileKind:
    """Tell by its suffix whether a file is a recording that libsndfile reads: one of `RECORDINGS`.

    Returns:
        "recording", "other recording" for one that is not read, "archive", or "" for anything else.
    """
    suffix = suffix_of(name)
    if suffix in RECORDINGS:
        return "recording"
    if suffix in _OTHER_RECORDINGS:
        return "other recording"
    if suffix in _ARCHIVES:
        return "archive"
    return ""


def document_kind(name: str, suffixes: Collection[str]) -> FileKind:
    """Tell by its suffix whether a file is a document, perhaps a compressed one.

    Args:
        name: the file's name.
        suffixes: of documents, in lower case, such as ".txt"; one of `COMPRESSED` may follow.

    Returns:
        "document", "archive" or "".
    """
    lower = name.lower()
    for compressed in COMPRESSED:
        lower = lower.removesuffix(compressed)
    if suffix_of(lower) in suffixes:
        return "document"
    return "archive" if suffix_of(name) in _ARCHIVES else ""


def is_hidden(name: str) -> bool:
    """Return whether a file, or a folder that it lies in, is hidden."""
    return name.startswith(".") or "/." in name


def possible_formats(name: str) -> tuple[str, ...]:
    """Return the formats that a file may have: those recognized by content, and its suffix's."""
    by_suffix = image_suffixes().get(suffix_of(name))
    if by_suffix is None or by_suffix in BY_CONTENT:
        return BY_CONTENT
    return (*BY_CONTENT, by_suffix)
