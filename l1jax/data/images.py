"""From an encoded image of any kind to uint8 pixels of one shape."""

import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from l1jax.config import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff")

# Pillow goes by the content, not by the suffix, and some of its other formats start programs (EPS).
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF")


def decode(encoded: bytes) -> Image.Image:
    """Decode a PNG, JPEG, BMP, WebP, GIF or TIFF, the first frame of an animation.

    Raises:
        Exception: whatever Pillow meets in a damaged file, and ValueError where it would only warn.
    """
    try:
        image = Image.open(io.BytesIO(encoded), formats=_FORMATS)
    except UnidentifiedImageError:
        raise ValueError("it is empty" if not encoded else f"it is not {', '.join(_FORMATS)}, or is damaged") from None
    if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        raise ValueError(f"its {image.width}×{image.height} pixels are over the limit of {Image.MAX_IMAGE_PIXELS}")
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
    image = ImageOps.exif_transpose(image)
    width, height = image.size
    side = crop or min(width, height)
    if side > min(width, height):
        raise InputError(
            f"`data.crop` (={crop}) must be at most the shorter side of every image, and {name!r} has "
            f"{width}×{height} pixels; give a smaller --data.crop, or 0 for the largest square."
        )
    left, top = (width - side) // 2, (height - side) // 2
    image = _convert(image.crop((left, top, left + side, top + side)), "L" if channels == 1 else "RGB")
    if side != image_size:
        image = image.resize((image_size, image_size), Image.Resampling.LANCZOS)
    return np.array(image, np.uint8).reshape(image_size, image_size, channels)


def reason(error: Exception) -> str:
    """Put an error into a few words that fit in a sentence: its first line."""
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".:")


def _convert(image: Image.Image, mode: str) -> Image.Image:
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
