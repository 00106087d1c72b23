"""Clips as the grey images that models see: log-mel spectrograms of 8 bits, made on the host."""

import math

import numpy as np
from jaxtyping import Float32, UInt8

from l1jax import config
from l1jax.audio import MelSettings, hann_window
from l1jax.config import InputError


def mel_settings(data: config.Sound) -> MelSettings:
    """Return the settings of the spectrograms that a configuration describes.

    Raises:
        InputError: if its fields contradict each other.
    """
    settings = MelSettings(
        sample_rate=data.sample_rate,
        n_fft=data.n_fft,
        hop=data.hop,
        mels=data.mels,
        lowest=data.lowest,
        highest=data.highest or None,
        floor=data.floor,
    )
    try:
        settings.framing.num_frames(data.frames * data.hop)
        settings.filters()
    except ValueError as error:
        raise InputError(_in_fields(str(error))) from error
    if settings.floor >= settings.ceiling:
        raise InputError(
            f"`data.floor` (={data.floor:g}) must be below log(n_fft / 4) = "
            f"{settings.ceiling:.2f}, the magnitude of a sine at full scale: give about -4.6."
        )
    return settings


def _in_fields(sentence: str) -> str:
    """Name the fields of the configuration where a sentence names arguments."""
    for name in ("sample_rate", "n_fft", "hop", "mels", "lowest", "highest"):
        sentence = sentence.replace(f"`{name}`", f"`data.{name}`")
    return sentence


class SpectrogramMaker:
    """Makes images of clips, as `log_mel` and `image_from_log_mel` do, but with NumPy.

    So the images of a data set do not depend on the device that trains, and processes that read
    ahead need no JAX.
    """

    def __init__(self, settings: MelSettings) -> None:
        self.settings = settings
        self.window = hann_window(settings.n_fft).astype(np.float32)
        self.filters = settings.filters().astype(np.float32)

    def __call__(self, clip: Float32[np.ndarray, " samples"]) -> UInt8[np.ndarray, "mels frames 1"]:
        """Return the image of a clip; time goes to the right, high frequencies are at the top."""
        settings = self.settings
        framing = settings.framing
        padded = np.pad(clip, (framing.before, framing.after))
        frames = np.lib.stride_tricks.sliding_window_view(padded, framing.n_fft)[:: framing.hop]
        magnitudes = np.abs(np.fft.rfft(frames * self.window)).astype(np.float32)
        # Not by BLAS, whose own threads would wait for each other in the threads that read ahead.
        mel = np.einsum("tb,mb->tm", magnitudes, self.filters)
        log_mel = np.log(np.maximum(mel, math.exp(settings.floor)))
        shares = (log_mel - settings.floor) / (settings.ceiling - settings.floor)
        pixels = np.rint(255 * np.clip(shares, 0, 1)).astype(np.uint8)
        return np.ascontiguousarray(pixels.T[::-1, :, None])
