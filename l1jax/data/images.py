"""From an encoded image of any kind to uint8 pixels of one shape."""

import io
import threading
from contextlib import nullcontext

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from l1jax.config import InputError
from l1jax.data.jpeg import decode_plain

BAND = 2**20  # pixels that are converted at a time
LARGE = 2**22  # pixels beyond which images are decoded one at a time
PIXELS = 2**26  # of an image, so that it and what is made of it stay below a gibibyte
SIDE = 2**16  # pixels; each row costs memory besides its pixels
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff")

# Pillow goes by the content, not by the suffix, and some of its other formats start programs (EPS).
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF")

_one_at_a_time = threading.Lock()


def decode(encoded: bytes) -> Image.Image:
    """Decode a PNG, JPEG, BMP, WebP, GIF or TIFF, the first frame of an animation.

    One of more than `LARGE` pixels is decoded by `preprocess`.

    Raises:
        Exception: whatever Pillow meets in a damaged file, and ValueError where it would only warn or the
            pixels are more than `PIXELS` or Pillow's limit.
    """
    most = min(PIXELS, Image.MAX_IMAGE_PIXELS or PIXELS)
    return decode_plain(encoded, min(most, LARGE)) or _decode_any(encoded, most)


def _decode_any(encoded: bytes, most: int) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(encoded), formats=_FORMATS)
    except UnidentifiedImageError:
        raise ValueError("it is empty" if not encoded else f"it is not {', '.join(_FORMATS)}, or is damaged") from None
    if image.format == "WEBP":  # whose decoder takes twice the memory
        most //= 2
    if image.width * image.height > most or max(image.size) > SIDE:
        raise ValueError(
            f"its {image.width}×{image.height} pixels are over the limit of {most:,} in all and {SIDE:,} on a side"
        )
    if image.width * image.height <= LARGE:
        image.load()
    return image


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
    if image.format and image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)
    width, height = image.size
    side = crop or min(width, height)
    if side > min(width, height):
        raise InputError(
            f"`data.crop` (={crop}) must be at most the shorter side of every image, and {name!r} has "
            f"{width}×{height} pixels; give a smaller --data.crop, or 0 for the largest square."
        )
    image = _convert(image, (width - side) // 2, (height - side) // 2, side, "L" if channels == 1 else "RGB")
    if side != image_size:
        image = image.resize((image_size, image_size), Image.Resampling.LANCZOS)
    return np.frombuffer(image.tobytes(), np.uint8).reshape(image_size, image_size, channels)


def reason(error: Exception) -> str:
    """Put an error into a few words that fit in a sentence: its first line."""
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".:")


def _convert(image: Image.Image, left: int, top: int, side: int, mode: str) -> Image.Image:
    """A square of an image in the mode, made in bands: the wider forms on the way would fill the memory."""
    if image.mode == mode and not image.has_transparency_data:
        return image if image.size == (side, side) else image.crop((left, top, left + side, top + side))
    result, rows = Image.new(mode, (side, side)), max(1, BAND // side)
    for row in range(0, side, rows):
        stop = min(row + rows, side)
        band = image.crop((left, top + row, left + side, top + stop))
        result.paste(_convert_band(band, mode), (0, row))
    return result


def _convert_band(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == "F":
        raise ValueError("its values are floats, whose range is unknown; save it with 8 or 16 bits")
    if image.mode.startswith("I"):  # Pillow would clip instead of scale
        values = np.asarray(image, np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("its values do not fit in 16 bits; save it with 8 or 16 bits")
        image = Image.fromarray(np.rint(values / 257).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image if image.mode == mode else image.convert(mode)
