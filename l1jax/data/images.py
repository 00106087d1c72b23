"""From an encoded image of any kind to uint8 pixels of one shape."""

import io
import re
import threading
from contextlib import nullcontext

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from l1jax.config import InputError
from l1jax.data.formats import formats_of
from l1jax.data.jpeg import decode_plain

BAND = 2**20  # pixels that are converted at a time
LARGE = 2**22  # pixels beyond which images are decoded one at a time
PIXELS = 2**26  # of an image, so that it and what is made of it stay below a gibibyte
SIDE = 2**16  # pixels; each row costs memory besides its pixels
_MEMORY = {"WEBP": 2, "AVIF": 2, "JPEG2000": 4}  # times that of others, which these decoders take
_CONTAINERS = ("ICO", "ICNS", "BLP")  # which hold an image of another format

_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # tags of a TIFF
_WHITE_IS_ZERO = 0

_one_at_a_time = threading.Lock()


def decode(encoded: bytes, name: str = "", most_pixels: int = PIXELS) -> Image.Image:
    """Decode an image of any format that the installed Pillow reads, the first frame of an animation.

    The usual formats are told by the content, whatever the suffix; the others are tried for their own
    suffixes alone, as some of them take anything for an image. One of more than `LARGE` pixels is
    decoded by `preprocess`.

    Args:
        encoded: the file's content.
        name: the file's name, for its suffix.
        most_pixels: more are refused, and more than Pillow's own limit.

    Raises:
        Exception: whatever Pillow meets in a damaged file, and ValueError where it would only warn or the
            pixels are too many.
    """
    most = min(most_pixels, Image.MAX_IMAGE_PIXELS or most_pixels)
    return decode_plain(encoded, min(most, LARGE)) or _decode_any(encoded, name, most)


def _decode_any(encoded: bytes, name: str, most: int) -> Image.Image:
    formats = formats_of(name)
    try:
        image = Image.open(io.BytesIO(encoded), formats=formats)
    except UnidentifiedImageError:
        why = f"it is not {', '.join(formats)}, or is damaged" if encoded else "it is empty"
        raise ValueError(why) from None
    except Image.DecompressionBombError as error:  # over twice Pillow's own limit
        pixels = max(map(int, re.findall(r"\d+", str(error))), default=most)
        raise ValueError(
            f"its {pixels:,} pixels are over the limit; --data.most-pixels {pixels} would allow them"
        ) from error
    _refuse_large(image, most)
    if image.format == "PNG":
        _mend_transparency(image, encoded)
    if image.format in _CONTAINERS:  # the size within is seen when it is decoded
        with _one_at_a_time:
            image.load()
        _refuse_large(image, most)
    elif image.width * image.height <= LARGE:
        image.load()
    return image


def _refuse_large(image: Image.Image, most: int) -> None:
    share = _MEMORY.get(image.format or "", 1)
    side = SIDE * max(most, PIXELS) // PIXELS
    if image.width * image.height > most // share or max(image.size) > side:
        raise ValueError(
            f"its {image.width}×{image.height} pixels are over the limit of {most // share:,} in all and {side:,} on "
            f"a side; --data.most-pixels {_enough(image.size, share)} would allow them"
        )


def _enough(size: tuple[int, int], share: int) -> int:
    """The least --data.most-pixels that allows an image of this size."""
    for_the_side = -(-max(size) * PIXELS // SIDE) if max(size) > SIDE else 0
    return max(size[0] * size[1] * share, for_the_side)


def _mend_transparency(image: Image.Image, png: bytes) -> None:
    """Give the transparent colour of a PNG in the depth that Pillow decodes to, where it keeps the file's."""
    colour, depth = image.info.get("transparency"), png[24]
    if isinstance(colour, int) and image.mode == "L" and depth in (2, 4):
        image.info["transparency"] = colour * 255 // (2**depth - 1)
    elif isinstance(colour, tuple) and depth == 16:
        image.info["transparency"] = tuple(value >> 8 for value in colour)


def preprocess(
    image: Image.Image, image_size: int, channels: int, crop: int = 0, name: str = "image"
) -> UInt8[np.ndarray, "height width channels"]:
    """Turn an image into `image_size`×`image_size` pixels: upright, cropped, converted, resized.

    In this order: the EXIF orientation is applied; the centre is cropped to `crop`×`crop` pixels, an
    odd pixel being left at the right and the bottom; alpha is composited over white and the colours
    are converted to grey (ITU-R 601) or RGB, 16 bits being rounded to 8; what is not yet of the size
    is resized by Lanczos with antialiasing. An image of the right size and kind is left as it is.

    Args:
        image: Any Pillow image whose values are integers.
        image_size: Height and width of the result in pixels.
        channels: 1 for grey, 3 for RGB.
        crop: Side of the centre crop in pixels of the original; 0 takes the largest square.
        name: What an error calls the image.

    Returns:
        Values from 0 to 255.

    Raises:
        InputError: if the image is smaller than `crop`.
        ValueError: if its values are floats or do not fit in 16 bits.
    """
    with _one_at_a_time if image.width * image.height > LARGE else nullcontext():
        return _preprocess(image, image_size, channels, crop, name)


def _preprocess(
    image: Image.Image, image_size: int, channels: int, crop: int, name: str
) -> UInt8[np.ndarray, "height width channels"]:
    ends = _black_and_white(image)
    if image.format and image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)
    width, height = image.size
    side = crop or min(width, height)
    if side > min(width, height):
        raise InputError(
            f"`data.crop` (={crop}) must be at most the shorter side of every image, and {name!r} has "
            f"{width}×{height} pixels; give a smaller --data.crop, or 0 for the largest square."
        )
    mode = "L" if channels == 1 else "RGB"
    image = _convert(image, (width - side) // 2, (height - side) // 2, side, mode, ends)
    if side != image_size:
        image = image.resize((image_size, image_size), Image.Resampling.LANCZOS)
    return np.frombuffer(image.tobytes(), np.uint8).reshape(image_size, image_size, channels)


def reason(error: Exception) -> str:
    """Put an error into a few words that fit in a sentence: its first line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".:")


def _black_and_white(image: Image.Image) -> tuple[int, int]:
    """The values of black and white in a grey image of more than 8 bits."""
    tags = getattr(image, "tag_v2", {}) if image.mode == "I;16" else {}
    bits = tags.get(_BITS_PER_SAMPLE, (16,))[0]
    largest = 2 ** min(max(bits, 9), 16) - 1
    return (largest, 0) if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else (0, largest)


def _convert(
    image: Image.Image, left: int, top: int, side: int, mode: str, ends: tuple[int, int]
) -> Image.Image:
    """A square of an image in the mode, made in bands: the wider forms on the way would fill the memory."""
    if image.mode == mode and not image.has_transparency_data:
        return (
            image
            if image.size == (side, side)
            else image.crop((left, top, left + side, top + side))
        )
    result, rows = Image.new(mode, (side, side)), max(1, BAND // side)
    for row in range(0, side, rows):
        stop = min(row + rows, side)
        band = image.crop((left, top + row, left + side, top + stop))
        result.paste(_convert_band(band, mode, ends), (0, row))
    return result


def _convert_band(image: Image.Image, mode: str, ends: tuple[int, int]) -> Image.Image:
    if image.mode == "F":
        raise ValueError("its values are floats, whose range is unknown; save it with 8 or 16 bits")
    if image.mode.startswith("I"):  # Pillow would clip instead of scale
        image = _to_bytes(image, *ends)
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image.convert("RGBA"))
    return image if image.mode == mode else image.convert(mode)


def _to_bytes(image: Image.Image, black: int, white: int) -> Image.Image:
    """A grey image of more than 8 bits with 8, its transparent value made white."""
    values = np.asarray(image, np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("its values do not fit in 16 bits; save it with 8 or 16 bits")
    scaled = np.rint((values - black) * 255 / (white - black))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        scaled[values == transparent] = 255
    return Image.fromarray(scaled.clip(0, 255).astype(np.uint8))
