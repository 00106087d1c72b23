"""Turn a decoded image of any kind into uint8 pixels of one shape."""

from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps

from l1jax.config import InputError
from l1jax.data.decoding import LARGE_IMAGE_PIXELS, large_image_lock

BAND_PIXELS = 2**20  # that are converted at a time
_BITS_PER_SAMPLE = 258  # tag of a TIFF
_PHOTOMETRIC = 262  # tag of a TIFF
_WHITE_IS_ZERO = 0  # value of that tag


class _GreyRange(NamedTuple):
    """The values of black and white in a grey image of more than 8 bits."""

    black: int
    white: int


def preprocess(
    image: Image.Image, image_size: int, channels: int, crop: int = 0, name: str = "image"
) -> UInt8[np.ndarray, "height width channels"]:
    """Turn an image into `image_size`×`image_size` pixels: upright, cropped, converted, resized.

    The steps, in this order: apply the EXIF orientation; crop the centre to `crop`×`crop` pixels,
    leaving an odd pixel at the right and the bottom; composite alpha over white and convert the
    colours to grey (ITU-R 601) or RGB, rounding 16 bits to 8; resize by Lanczos with antialiasing
    unless the size is right. An image of the right size and kind is left as it is.

    Args:
        image: any Pillow image whose values are integers.
        image_size: height and width of the result in pixels.
        channels: 1 for grey, 3 for RGB.
        crop: side of the centre crop in pixels of the original; 0 takes the largest square.
        name: what an error calls the image.

    Returns:
        Values from 0 to 255.

    Raises:
        InputError: if the image is smaller than `crop`.
        ValueError: if its values are floats or do not fit in 16 bits.
    """
    is_large = image.width * image.height > LARGE_IMAGE_PIXELS
    with large_image_lock if is_large else nullcontext():
        return _preprocess(image, image_size, channels, crop, name)


def _preprocess(
    image: Image.Image, image_size: int, channels: int, crop: int, name: str
) -> UInt8[np.ndarray, "height width channels"]:
    grey_range = _grey_range(image)
    image = _upright(image)
    width, height = image.size
    side = crop or min(width, height)
    if side > min(width, height):
        raise InputError(
            f"`data.crop` (={crop}) must be at most the shorter side of every image, and {name!r} "
            f"has {width}×{height} pixels; give a smaller --data.crop, or 0 for the largest square."
        )
    left = (width - side) // 2
    top = (height - side) // 2
    mode = "L" if channels == 1 else "RGB"
    image = _convert_box(image, (left, top, left + side, top + side), mode, grey_range)
    if side != image_size:
        image = image.resize((image_size, image_size), Image.Resampling.LANCZOS)
    return np.frombuffer(image.tobytes(), np.uint8).reshape(image_size, image_size, channels)


def to_pixels(image: Image.Image, channels: int) -> UInt8[np.ndarray, "height width channels"]:
    """Turn an image into its own pixels: upright and converted as by `preprocess`, not resized.

    Args:
        image: any Pillow image whose values are integers.
        channels: 1 for grey, 3 for RGB.

    Raises:
        ValueError: if its values are floats or do not fit in 16 bits.
    """
    is_large = image.width * image.height > LARGE_IMAGE_PIXELS
    with large_image_lock if is_large else nullcontext():
        grey_range = _grey_range(image)
        image = _upright(image)
        width, height = image.size
        mode = "L" if channels == 1 else "RGB"
        image = _convert_box(image, (0, 0, width, height), mode, grey_range)
        return np.frombuffer(image.tobytes(), np.uint8).reshape(height, width, channels)


def _upright(image: Image.Image) -> Image.Image:
    if image.format and image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        return ImageOps.exif_transpose(image)
    return image


def _grey_range(image: Image.Image) -> _GreyRange:
    tags = {}
    if image.mode == "I;16":
        tags = getattr(image, "tag_v2", {})  # of a TIFF
    bits = tags.get(_BITS_PER_SAMPLE, (16,))[0]
    largest = 2 ** min(max(bits, 9), 16) - 1
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        return _GreyRange(black=largest, white=0)
    return _GreyRange(black=0, white=largest)


def _convert_box(
    image: Image.Image, box: tuple[int, int, int, int], mode: str, grey_range: _GreyRange
) -> Image.Image:
    """Convert a part of an image to a mode.

    It is done in bands of rows, for the wider forms on the way would fill the memory.
    """
    left, top, right, bottom = box
    size = (right - left, bottom - top)
    if image.mode == mode and not image.has_transparency_data:
        if image.size == size:
            return image
        return image.crop(box)
    result = Image.new(mode, size)
    rows = max(1, BAND_PIXELS // size[0])
    for start in range(top, bottom, rows):
        band = image.crop((left, start, right, min(start + rows, bottom)))
        result.paste(_convert_band(band, mode, grey_range), (0, start - top))
    return result


def _convert_band(image: Image.Image, mode: str, grey_range: _GreyRange) -> Image.Image:
    if image.mode == "F":
        raise ValueError("its values are floats, whose range is unknown; save it with 8 or 16 bits")
    if image.mode.startswith("I"):  # Pillow would clip instead of scale
        image = _to_8_bits(image, grey_range)
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image.convert("RGBA"))
    if image.mode == mode:
        return image
    return image.convert(mode)


def _to_8_bits(image: Image.Image, grey_range: _GreyRange) -> Image.Image:
    """Scale a grey image of more than 8 bits to 8, and make its transparent value white."""
    values = np.asarray(image, np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("its values do not fit in 16 bits; save it with 8 or 16 bits")
    black, white = grey_range
    scaled = np.rint((values - black) * 255 / (white - black))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        scaled[values == transparent] = 255
    return Image.fromarray(scaled.clip(0, 255).astype(np.uint8))
