"""Which files are images or only look like images or archives, told by the names' suffixes."""

from functools import cache
from typing import Literal

from PIL import Image, features

# Formats that Pillow tells by the content. On the web a file often has another's suffix.
BY_CONTENT = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "AVIF", "JPEG2000")

# Formats that Pillow opens and that are no images here: it starts a program for EPS, reads WMF on
# one system alone, and knows of the others no more than that they are there.
_NEVER = {"EPS", "WMF", "MPEG", "BUFR", "GRIB", "HDF5", "IPTC"}
_OPENED_AS = {"MPO": "JPEG"}  # formats whose files another one's plug-in opens
_LIBRARIES = {"AVIF": "avif", "JPEG2000": "jpg_2000", "WEBP": "webp"}  # perhaps missing

_OTHER_IMAGES = frozenset((
    ".ai", ".arw", ".avif", ".avifs", ".cr2", ".cr3", ".dng", ".emf", ".eps", ".exr", ".hdr",
    ".heic", ".heif", ".hif", ".j2c", ".j2k", ".jp2", ".jpf", ".jpx", ".jxl", ".jxr", ".nef",
    ".orf", ".ps", ".psb", ".raf", ".rw2", ".svg", ".svgz", ".webp", ".wmf", ".xcf",
))  # fmt: skip
_ARCHIVES = frozenset((
    ".7z", ".bz2", ".gz", ".rar", ".tar", ".tbz", ".tbz2", ".tgz", ".txz", ".xz", ".zip", ".zst",
))  # fmt: skip

Sort = Literal["image", "other image", "archive", ""]


@cache
def image_suffixes() -> dict[str, str]:
    """The suffixes of images that the installed Pillow reads, in lower case, with their formats."""
    Image.init()
    found = {}
    for suffix, name in Image.EXTENSION.items():
        format_name = _OPENED_AS.get(name, name)
        library = _LIBRARIES.get(format_name)
        if format_name not in Image.OPEN or format_name in _NEVER:
            continue
        if library is None or features.check(library):
            found[suffix] = format_name
    return found


def suffix_of(name: str) -> str:
    """The suffix of a file's name in lower case, such as ".png"; empty where it has none."""
    dot = name.rfind(".", name.rfind("/") + 1)
    return name[dot:].lower() if dot >= 0 else ""


def sort_of(name: str) -> Sort:
    """What a file seems to be by its suffix: an image, one that is not read here, an archive."""
    suffix = name[name.rfind(".") :].lower()  # of a name without a dot its last letter
    if suffix in image_suffixes():
        return "image"
    suffix = suffix_of(name)
    if suffix in _OTHER_IMAGES:
        return "other image"
    return "archive" if suffix in _ARCHIVES else ""


def is_hidden(name: str) -> bool:
    """Whether a file or a folder that it lies in is hidden."""
    return name.startswith(".") or "/." in name


def formats_of(name: str) -> tuple[str, ...]:
    """The formats that a file may have: those told by the content, and its suffix's own."""
    own = image_suffixes().get(suffix_of(name))
    return BY_CONTENT if own is None or own in BY_CONTENT else (*BY_CONTENT, own)
