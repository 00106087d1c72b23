"""Log-mel spectrograms of clips, their way back to sound, and their form as images."""

import math
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

from l1jax.audio.fourier import Framing, framing, stft
from l1jax.audio.griffin_lim import griffin_lim
from l1jax.audio.mel import mel_filters

_TINY = 1e-12  # keeps a quotient by 0 finite
_AT_FLOOR = 1e-4  # logarithms so near above the floor are the floor, rounded

LogMels = Float[Array, "*batch frames mels"]
Clips = Float[Array, "*batch samples"]


@dataclass(frozen=True)
class MelSettings:
    """How a clip becomes a log-mel spectrogram; the defaults suit speech at 8 kHz."""

    sample_rate: int = 8000
    """Of the clips in hertz."""
    n_fft: int = 512
    """Samples per frame, under a Hann window."""
    hop: int = 80
    """Samples from one frame to the next; frame t is centred on the samples [t·hop, (t+1)·hop)."""
    mels: int = 64
    """Bands, evenly spaced on Slaney's mel scale; each is a weighted mean of magnitudes."""
    lowest: float = 40.0
    """Lower edge of the lowest band in hertz."""
    highest: float | None = None
    """Upper edge of the highest band in hertz; None for half the sample rate."""
    floor: float = -4.6
    """Natural logarithm of the magnitude below which everything is taken for silence."""

    @property
    def ceiling(self) -> float:
        """Natural logarithm of the magnitude of a sine at full scale, n_fft / 4."""
        return math.log(self.n_fft / 4)

    @property
    def framing(self) -> Framing:
        """How a clip is cut: a frame for each `hop` samples."""
        return framing(self.n_fft, self.hop)

    def filters(self) -> Float[np.ndarray, "mels bins"]:
        """Return the mel filters, whose rows sum to 1.

        Raises:
            ValueError: if the edges are not in order or a band holds no frequency.
        """
        rate = self.sample_rate
        return mel_filters(rate, self.n_fft, self.mels, self.lowest, self.highest)


@partial(jax.jit, static_argnames="settings")
def log_mel(clips: Clips, settings: MelSettings) -> LogMels:
    """Return natural logarithms of mel-band magnitudes, at least the floor.

    Args:
        clips: values from −1 to 1. Of T·hop samples they have T frames; a rest of less than a hop
            is left out.
        settings: of the spectrogram.

    Raises:
        ValueError: if the settings contradict each other.
    """
    magnitudes = jnp.abs(stft(clips, settings.framing))
    filters = settings.filters().astype(magnitudes.dtype)
    mel = jnp.matmul(magnitudes, filters.T, precision=jax.lax.Precision.HIGHEST)
    return jnp.log(jnp.maximum(mel, math.exp(settings.floor)))


def invert_mel(
    mel: Float[Array, "*batch frames mels"],
    filters: Float[np.ndarray, "mels bins"],
    iterations: int = 10,
) -> Float[Array, "*batch frames bins"]:
    """Find non-negative magnitudes of frequencies whose mel bands are as given.

    The multiplicative updates decrease the generalised Kullback–Leibler divergence from the given
    bands, which weighs loud and soft bands more alike than squares do, and keep every value
    non-negative. Frequencies outside all bands are 0.

    Args:
        mel: magnitudes of the bands, at least 0.
        filters: as from `mel_filters`.
        iterations: how many.

    Source: Lee, Seung, "Algorithms for non-negative matrix factorization", NeurIPS 2000, theorem
        2, with one factor fixed.
    """
    weights = jnp.asarray(filters, mel.dtype)
    product = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    column_sums = weights.sum(axis=0)
    in_a_band = column_sums > 0

    def update(
        _: Int[Array, ""], magnitudes: Float[Array, "*batch frames bins"]
    ) -> Float[Array, "*batch frames bins"]:
        ratios = mel / jnp.maximum(product(magnitudes, weights.T), _TINY)
        return magnitudes * product(ratios, weights) / jnp.where(in_a_band, column_sums, 1)

    start = product(mel, weights)
    return jax.lax.fori_loop(0, iterations, update, start)


@partial(jax.jit, static_argnames=("settings", "iterations"))
def clips_from_log_mel(
    log_mels: LogMels,
    settings: MelSettings,
    iterations: int = 12,
    key: Key[Array, ""] | None = None,
) -> Clips:
    """Return clips with nearly these log-mel spectrograms, of frames · hop samples.

    Bands at the floor are taken for silence. Magnitudes of all frequencies come from `invert_mel`,
    and phases from `griffin_lim`. Values may exceed 1 a little; `normalise_peak` scales them.

    Args:
        log_mels: natural logarithms of the bands' magnitudes.
        settings: of the spectrograms.
        iterations: of the Griffin–Lim algorithm.
        key: that the first phases are drawn from; None for phases of 0.

    Raises:
        ValueError: if the settings contradict each other, or the bands are not as many as theirs.
    """
    num_frames, mels = log_mels.shape[-2:]
    if mels != settings.mels:
        raise ValueError(
            f"`log_mels` (shape={log_mels.shape}) must end in frames and {settings.mels} bands."
        )
    is_heard = log_mels > settings.floor + _AT_FLOOR
    magnitudes = invert_mel(jnp.where(is_heard, jnp.exp(log_mels), 0), settings.filters())
    num_samples = num_frames * settings.hop
    return griffin_lim(magnitudes, settings.framing, num_samples, iterations, key=key)


def normalise_peak(clips: Clips, peak: float = 1.0) -> Clips:
    """Scale each clip so that its largest absolute value is `peak`; silence stays silent."""
    largest = jnp.max(jnp.abs(clips), axis=-1, keepdims=True)
    return clips * jnp.where(largest > 0, peak / jnp.where(largest > 0, largest, 1), 0)


def image_from_log_mel(
    log_mels: LogMels, settings: MelSettings
) -> UInt8[Array, "*batch mels frames 1"]:
    """Turn spectrograms into grey images: time to the right, high frequencies at the top.

    0 is the floor, and 255 the ceiling of the settings; what is louder is clipped.
    """
    range_ = settings.ceiling - settings.floor
    shares = jnp.clip((log_mels - settings.floor) / range_, 0, 1)
    pixels = jnp.round(255 * shares).astype(jnp.uint8)
    return jnp.flip(jnp.swapaxes(pixels, -1, -2), axis=-2)[..., None]


def log_mel_from_image(
    images: UInt8[Array, "*batch mels frames 1"], settings: MelSettings
) -> LogMels:
    """Turn grey images back into spectrograms; the inverse of `image_from_log_mel` to rounding."""
    range_ = settings.ceiling - settings.floor
    shares = jnp.asarray(images)[..., 0].astype(jnp.float32) / 255
    return jnp.swapaxes(jnp.flip(settings.floor + range_ * shares, axis=-2), -1, -2)
