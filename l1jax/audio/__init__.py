"""Log-mel spectrograms of sound and their way back to sound, in JAX.

`log_mel` turns clips into spectrograms and `clips_from_log_mel` turns them back, by the parts that
are here as well: `stft` and `istft`, `mel_filters` and `invert_mel`, and `griffin_lim`. All take
any number of leading batch axes and put time before frequency. `image_from_log_mel` and
`log_mel_from_image` are their form as images, which the models of this package generate.
"""

from l1jax.audio.fourier import Framing, framing, hann_window, istft, stft
from l1jax.audio.griffin_lim import griffin_lim
from l1jax.audio.log_mel import (
    MelSettings,
    clips_from_log_mel,
    image_from_log_mel,
    invert_mel,
    log_mel,
    log_mel_from_image,
    normalise_peak,
)
from l1jax.audio.mel import hz_to_mel, mel_filters, mel_to_hz

__all__ = [
    "Framing",
    "MelSettings",
    "clips_from_log_mel",
    "framing",
    "griffin_lim",
    "hann_window",
    "hz_to_mel",
    "image_from_log_mel",
    "invert_mel",
    "istft",
    "log_mel",
    "log_mel_from_image",
    "mel_filters",
    "mel_to_hz",
    "normalise_peak",
    "stft",
]
