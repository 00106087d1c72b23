"""How much of each spatial frequency images have, and how far generated ones are off."""

import numpy as np
from jaxtyping import Float64, Shaped

from l1jax.config import InputError

FLOOR = 1e-12  # share of the largest power below which a frequency counts as absent

Images = Shaped[np.ndarray, "..."]
"""What is no image is refused with a message, not with a type error."""
Spectrum = Float64[np.ndarray, " frequencies"]


def radial_spectrum(images: Images, batch: int = 256) -> Spectrum:
    """Average the power of images over all directions of a frequency.

    Entry k − 1 is the mean of |DFT|²/(height·width) over channels, images and the frequencies whose
    distance from zero rounds to k cycles along the shorter side, for k from 1 to half of it. White
    noise has its variance at every k; photographs fall like k⁻².

    Args:
        images: numbers of any range, such as uint8.
        batch: images that are transformed at once.

    Raises:
        InputError: if there is no image, their number of axes is not four, or they are below 4
            pixels a side.

    Source: Durall, Keuper, Keuper, "Watch your up-convolution", CVPR 2020, section 3.
    """
    images = np.asarray(images)
    if images.ndim != 4 or not len(images) or min(images.shape[1:3]) < 4:
        raise InputError(
            f"`images` (of shape {images.shape}) must be at least one image of at least 4×4 "
            "pixels: [number, height, width, channels]."
        )
    height, width = images.shape[1:3]
    shorter = min(height, width)
    rows = np.fft.fftfreq(height)[:, None]
    columns = np.fft.rfftfreq(width)[None]
    cycles = np.rint(np.hypot(rows, columns) * shorter).astype(np.int64)
    # `rfft2` leaves out the columns of negative frequency, which mirror those of positive ones.
    weight = np.full(cycles.shape, 2.0)
    weight[:, 0] = 1
    if width % 2 == 0:
        weight[:, -1] = 1
    power = np.zeros(cycles.shape)
    for start in range(0, len(images), batch):
        part = images[start : start + batch].astype(np.float64)
        power += np.square(np.abs(np.fft.rfft2(part, axes=(1, 2)))).sum(axis=(0, 3))
    power /= len(images) * images.shape[3] * height * width
    totals = np.bincount(cycles.ravel(), (weight * power).ravel())
    counts = np.bincount(cycles.ravel(), weight.ravel())
    return (totals / counts)[1 : shorter // 2 + 1]


def spectrum_distance(real: Images, generated: Images) -> float:
    """Measure how far generated images' spectrum is from that of real ones, in decibels.

    It is the root mean square, over the frequencies of `radial_spectrum`, of 10 log₁₀ of the ratio
    of their powers: 0 for equal spectra, 3 if every frequency has twice or half of its power.
    Checkerboards and missing detail show here even where features do not see them.

    Args:
        real: real images.
        generated: generated images of the same height and width.

    Raises:
        InputError: as `radial_spectrum`, or if their sizes differ.
    """
    if np.shape(real)[1:3] != np.shape(generated)[1:3]:
        raise InputError(
            f"`real` and `generated` (of shapes {np.shape(real)} and {np.shape(generated)}) must "
            "have the same height and width: resize one of them."
        )
    return decibels_between(radial_spectrum(real), radial_spectrum(generated))


def decibels_between(real: Spectrum, generated: Spectrum) -> float:
    """Measure the distance of two spectra as `spectrum_distance` does.

    Args:
        real: of real images.
        generated: of generated images of the same height and width.
    """
    spectra = (real, generated)
    floor = FLOOR * max(float(spectrum.max()) for spectrum in spectra)
    decibels = [10 * np.log10(np.maximum(spectrum, max(floor, 1e-300))) for spectrum in spectra]
    return float(np.sqrt(np.mean(np.square(decibels[0] - decibels[1]))))
