"""Pixels that are floats: their range is recognized where it is certain, and never guessed."""

import math
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from l1jax.config import InputError

_SLICE_VALUES = 2**24  # that are converted at a time

Floats = Literal["auto", "unit", "symmetric", "bytes"]


class _Range(NamedTuple):
    """The values of black and of white, and how near to them pixels come if it is this range."""

    black: float
    white: float
    dark: float
    bright: float


_RANGES = {
    "unit": _Range(0, 1, 0.25, 0.75),
    "symmetric": _Range(-1, 1, -0.75, 0.75),
    "bytes": _Range(0, 255, 64, 128),
}


def floats_to_uint8(
    images: Float[np.ndarray, "n ..."], floats: Floats, origin: str
) -> UInt8[np.ndarray, "n ..."]:
    """Convert pixels that are floats to whole numbers from 0 to 255, rounding to the nearest.

    Pixels from 0 to 1 are taken for `unit` if some are at most 0.25 and some at least 0.75, those
    from −1 to 1 for `symmetric` if some are at most −0.75 and some at least 0.75, and those from 0
    to 255 for `bytes` if some are at most 64 and some at least 128.

    Args:
        images: with pixels in one of these ranges.
        floats: which one; auto to recognize it.
        origin: what an error calls the images.

    Raises:
        InputError: if pixels are NaN or infinite, are out of the range, or it is not certain of
            which range they are.
    """
    if not images.size:
        return np.zeros(images.shape, np.uint8)
    low = float(np.min(images))
    high = float(np.max(images))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError(
            f"{origin} must hold finite pixels, and some are NaN or infinite: repair or leave out "
            "these images."
        )
    name = _recognize(low, high, origin) if floats == "auto" else floats
    black, white, _, _ = _RANGES[name]
    if low < black or high > white:
        raise InputError(
            f"`data.floats` (={name}) is for pixels from {black:g} to {white:g}, and those of "
            f"{origin} are from {low:.4g} to {high:.4g}: give the range that they have, or clip "
            "them."
        )
    converted = np.empty(images.shape, np.uint8)
    scale = 255 / (white - black)
    images_at_once = max(_SLICE_VALUES // images[0].size, 1)
    for start in range(0, len(images), images_at_once):
        part = slice(start, start + images_at_once)
        pixels = images[part].astype(np.float64)
        converted[part] = np.rint((pixels - black) * scale)
    return converted


def _recognize(low: float, high: float, origin: str) -> str:
    """Return the range that pixels are of.

    Raises:
        InputError: if that is not certain.
    """
    for name, (black, white, dark, bright) in _RANGES.items():
        if black <= low <= dark and bright <= high <= white:
            return name
    raise InputError(
        f"{origin} holds floats from {low:.4g} to {high:.4g}, of which it is not certain what is "
        "black and what is white: give --data.floats unit for pixels from 0 to 1, symmetric for "
        "-1 to 1, bytes for 0 to 255, or save uint8."
    )
