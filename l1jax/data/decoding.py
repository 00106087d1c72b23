"""Decode an encoded image of any format that Pillow reads, within limits of size."""

import io
import math
import re
import threading

from PIL import Image, UnidentifiedImageError

from l1jax.data.formats import possible_formats
from l1jax.data.jpeg import decode_plain

LARGE_IMAGE_PIXELS = 2**22  # images of more are decoded one at a time
MAX_PIXELS = 2**26  # with which an image and what is made of it stay below a gibibyte
MAX_SIDE = 2**16  # in pixels; each row costs memory besides its pixels
_MEMORY_FACTORS = {
    "WEBP": 2,
    "AVIF": 2,
    "HEIF": 2,
    "JPEG2000": 4,
}  # of decoders, relative to the others
_CONTAINERS = ("ICO", "ICNS", "BLP")  # formats that hold an image of another format

large_image_lock = threading.Lock()
"""Is held while a large image is decoded, so that several threads do not fill the memory."""


def decode(encoded: bytes, name: str = "", most_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode an image of any format that the installed Pillow reads.

    Of an animation, the first frame is decoded.

    The usual formats are recognized by the content, whatever the suffix. The others are tried only
    for files of their own suffix, because some of them take anything for an image. An image of more
    than `LARGE_IMAGE_PIXELS` is only opened here, and decoded by `preprocess`.

    Args:
        encoded: the file's content.
        name: the file's name, for its suffix.
        most_pixels: largest number of pixels to accept. Pillow's own limit applies as well.

    Raises:
        Exception: whatever Pillow meets in a damaged file. It is a ValueError if Pillow would only
            warn, or if the image has too many pixels.
    """
    limit = min(most_pixels, Image.MAX_IMAGE_PIXELS or most_pixels)
    image = decode_plain(encoded, min(limit, LARGE_IMAGE_PIXELS))
    if image is not None:
        return image
    return _decode_any(encoded, name, limit)


def _decode_any(encoded: bytes, name: str, limit: int) -> Image.Image:
    formats = possible_formats(name)
    try:
        image = Image.open(io.BytesIO(encoded), formats=formats)
    except UnidentifiedImageError:
        reason = f"it is not {', '.join(formats)}, or is damaged" if encoded else "it is empty"
        raise ValueError(reason) from None
    except Image.DecompressionBombError as error:  # over twice Pillow's own limit
        pixels = max(map(int, re.findall(r"\d+", str(error))), default=limit)
        raise ValueError(
            f"its {pixels:,} pixels are over the limit; --data.most-pixels {pixels} would allow "
            "them"
        ) from error
    _check_size(image, limit)
    if image.format == "PNG":
        _correct_transparency(image, encoded)
    if image.format in _CONTAINERS:  # the size of the image within is known after decoding
        with large_image_lock:
            image.load()
        _check_size(image, limit)
    elif image.width * image.height <= LARGE_IMAGE_PIXELS:
        image.load()
    return image


def _check_size(image: Image.Image, limit: int) -> None:
    memory_factor = _MEMORY_FACTORS.get(image.format or "", 1)
    pixels = limit // memory_factor
    side = MAX_SIDE * max(limit, MAX_PIXELS) // MAX_PIXELS
    if image.width * image.height > pixels or max(image.size) > side:
        raise ValueError(
            f"its {image.width}×{image.height} pixels are over the limit of {pixels:,} in all and "
            f"{side:,} on a side; --data.most-pixels {_needed_limit(image.size, memory_factor)} "
            "would allow them"
        )


def _needed_limit(size: tuple[int, int], memory_factor: int) -> int:
    """Return the least `most_pixels` that allows an image of this size."""
    for_pixels = size[0] * size[1] * memory_factor
    if max(size) <= MAX_SIDE:
        return for_pixels
    return max(for_pixels, math.ceil(max(size) * MAX_PIXELS / MAX_SIDE))


def _correct_transparency(image: Image.Image, png: bytes) -> None:
    """Convert the transparent colour of a PNG to the depth that Pillow decodes to.

    Pillow leaves it in the depth of the file, and would not find it among the pixels.
    """
    colour = image.info.get("transparency")
    depth = png[24]
    if isinstance(colour, int) and image.mode == "L" and depth in (2, 4):
        image.info["transparency"] = colour * 255 // (2**depth - 1)
    elif isinstance(colour, tuple) and depth == 16:
        image.info["transparency"] = tuple(value >> 8 for value in colour)
