"""The sound of spectrograms that a generator drew, and WAV files of it."""

import io
import wave
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, UInt8

from l1jax import config
from l1jax.audio import clips_from_log_mel, log_mel_from_image, normalise_peak
from l1jax.data.spectrograms import SpectrogramMaker, mel_settings
from l1jax.files import atomic_write

PEAK = 0.9  # of a clip; 1 is full scale
_BATCH = 8  # clips that are computed at a time; more no longer fit a processor's cache
_GAP_SECONDS = 0.25  # between clips that are joined
_MAX_SAMPLE_SECONDS = 15.0  # of the clips that are joined during training


class Sounds(NamedTuple):
    """Clips of one length."""

    clips: Float32[np.ndarray, "count samples"]
    """Values from −1 to 1; each clip's peak is `PEAK`, or it is silent."""
    sample_rate: int
    """Samples per second."""


def make_sounds(images: UInt8[np.ndarray, "count mels frames 1"], data: config.Sound) -> Sounds:
    """Turn spectrograms into clips of `frames` × `hop` samples, in batches of one size.

    The same images give the same clips, whatever their number.

    Args:
        images: the spectrograms, as a generator of sound draws them.
        data: what the generator was trained on, which says how spectrograms are made.
    """
    settings = mel_settings(data)
    size = min(_BATCH, len(images))
    padded = np.pad(images, ((0, -len(images) % size), (0, 0), (0, 0), (0, 0)))
    batches = []
    for start in range(0, len(images), size):
        batch = jnp.asarray(padded[start : start + size])
        clips = clips_from_log_mel(log_mel_from_image(batch, settings), settings)
        batches.append(np.asarray(normalise_peak(clips, PEAK)))
    return Sounds(np.concatenate(batches)[: len(images)], settings.sample_rate)


def spectrograms_through_sound(
    images: UInt8[np.ndarray, "count mels frames 1"], data: config.Sound
) -> UInt8[np.ndarray, "count mels frames 1"]:
    """Turn spectrograms into sound of peak 1, and that into spectrograms, as real ones are made.

    Args:
        images: the spectrograms, as a generator of sound draws them.
        data: what the generator was trained on.
    """
    make_image = SpectrogramMaker(mel_settings(data))
    clips = make_sounds(images, data).clips / PEAK
    return np.stack([make_image(clip) for clip in clips])


def join_clips(sounds: Sounds) -> Float32[np.ndarray, " samples"]:
    """Put clips one after the other, with a quarter of a second of silence between them."""
    gap = np.zeros(round(_GAP_SECONDS * sounds.sample_rate), np.float32)
    parts = [part for clip in sounds.clips for part in (gap, clip)]
    return np.concatenate(parts[1:])


def make_sample_clip(
    images: UInt8[np.ndarray, "count mels frames 1"], data: config.Sound
) -> Float32[np.ndarray, " samples"]:
    """Join the sound of the first spectrograms, as many as make 15 seconds, at least one.

    Args:
        images: the spectrograms, as a generator of sound draws them.
        data: what the generator was trained on.
    """
    seconds = data.frames * data.hop / data.sample_rate + _GAP_SECONDS
    count = max(1, int(_MAX_SAMPLE_SECONDS / seconds))
    return join_clips(make_sounds(images[:count], data))


def wav_bytes(clip: Float32[np.ndarray, " samples"], sample_rate: int) -> bytes:
    """Encode a clip as a WAV of 16 bits and one channel; values beyond ±1 are clipped."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(np.rint(32767 * np.clip(clip, -1, 1)).astype("<i2").tobytes())
    return content.getvalue()


def write_wav(clip: Float32[np.ndarray, " samples"], sample_rate: int, path: Path) -> None:
    """Write a WAV, which appears whole or not at all.

    Args:
        clip: values from −1 to 1.
        sample_rate: samples per second.
        path: where.
    """
    with atomic_write(path) as partial:
        partial.write_bytes(wav_bytes(clip, sample_rate))
