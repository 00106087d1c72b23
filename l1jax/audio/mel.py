"""Triangular filters on the mel scale."""

from typing import Literal

import numpy as np
from jaxtyping import Float

MelScale = Literal["slaney", "htk"]
Normalisation = Literal["sum", "area", "peak"]

_BREAK_HZ = 1000.0  # up to here Slaney's scale is linear
_HZ_PER_MEL = 200 / 3
_LOG_STEP = np.log(6.4) / 27  # of a mel above


def hz_to_mel(
    frequency: Float[np.ndarray, "..."] | float, scale: MelScale = "slaney"
) -> Float[np.ndarray, "..."]:
    """Convert hertz to mel.

    `slaney` is linear up to 1 kHz and logarithmic above; `htk` is 2595 log₁₀(1 + f/700).

    Source: Slaney, "Auditory Toolbox", version 2, 1998; O'Shaughnessy, "Speech Communication",
        1987.
    """
    hz = np.asarray(frequency, np.float64)
    if scale == "htk":
        return np.asarray(2595 * np.log10(1 + hz / 700))
    above = _BREAK_HZ / _HZ_PER_MEL + np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.where(hz < _BREAK_HZ, hz / _HZ_PER_MEL, above)


def mel_to_hz(
    mel: Float[np.ndarray, "..."] | float, scale: MelScale = "slaney"
) -> Float[np.ndarray, "..."]:
    """Convert mel to hertz, the inverse of `hz_to_mel`."""
    mels = np.asarray(mel, np.float64)
    if scale == "htk":
        return np.asarray(700 * (10 ** (mels / 2595) - 1))
    break_mel = _BREAK_HZ / _HZ_PER_MEL
    above = _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mels, break_mel) - break_mel))
    return np.where(mels < break_mel, mels * _HZ_PER_MEL, above)


def mel_filters(
    sample_rate: int,
    n_fft: int,
    mels: int,
    lowest: float = 0.0,
    highest: float | None = None,
    scale: MelScale = "slaney",
    normalisation: Normalisation = "sum",
) -> Float[np.ndarray, "mels bins"]:
    """Return triangular filters whose corners are evenly spaced in mel.

    Args:
        sample_rate: of the signals in hertz.
        n_fft: samples per frame; a spectrum has n_fft // 2 + 1 bins.
        mels: number of filters.
        lowest: lower corner of the first filter in hertz.
        highest: upper corner of the last filter in hertz; None for half the sample rate.
        scale: `slaney` or `htk`, as for `hz_to_mel`.
        normalisation: `sum` makes each filter a weighted mean of bins; `area` gives each the area
            1 in hertz, as librosa does by default; `peak` gives each the height 1 between bins.

    Raises:
        ValueError: if the frequencies are not in order or above half the sample rate, or if a
            filter is so narrow that it lies between two bins.
    """
    nyquist = sample_rate / 2
    if highest is None:
        highest = nyquist
    if not 0 <= lowest < highest <= nyquist:
        raise ValueError(
            f"`lowest` (={lowest:g}) and `highest` (={highest:g}) must be in order, from 0 to half "
            f"the `sample_rate` (={sample_rate}), which is {nyquist:g} Hz."
        )
    bins = np.arange(n_fft // 2 + 1) * (sample_rate / n_fft)
    ends = hz_to_mel(np.array([lowest, highest]), scale)
    corners = mel_to_hz(np.linspace(ends[0], ends[1], mels + 2), scale)
    widths = np.diff(corners)[:, None]
    rising = (bins - corners[:-2, None]) / widths[:-1]
    falling = (corners[2:, None] - bins) / widths[1:]
    filters = np.maximum(0, np.minimum(rising, falling))
    empty = np.flatnonzero(~filters.any(axis=1))
    if len(empty):
        raise ValueError(
            f"`mels` (={mels}) must be so few that each band holds a frequency of the transform, "
            f"and {len(empty)} hold none, the first at {corners[empty[0] + 1]:.0f} Hz: give fewer, "
            f"a larger `n_fft` (={n_fft}), or a higher `lowest` (={lowest:g})."
        )
    if normalisation == "area":
        return filters * (2 / (corners[2:] - corners[:-2]))[:, None]
    if normalisation == "sum":
        return filters / filters.sum(axis=1, keepdims=True)
    return filters
