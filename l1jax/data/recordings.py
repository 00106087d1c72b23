"""Read a clip from an encoded recording: its middle, in mono, at one rate and peak."""

import importlib
import io
import re
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32

from l1jax import config
from l1jax.config import InputError

SILENT_PEAK = 1e-4  # −80 dB: about three steps of 16 bits
MIN_RATE = 1_000  # hertz; a header that says less or more is damaged, or not of sound
MAX_RATE = 768_000
_EDGE_SECONDS = 0.1  # around the part that is resampled, which the filter's edges do not reach
_WHOLE_SECONDS = 10.0  # recordings of at most so much are read whole, which needs no seeking
_DATA_CHUNK = re.compile(r"^data : (\d+) \(should be (\d+)\)", re.MULTILINE)
_UNKNOWN_SIZE = 2**31 - 1  # bytes and more; programs that write into a pipe say so

Clip = Float32[np.ndarray, " samples"]


def import_package(name: Literal["soundfile", "soxr"]) -> Any:
    """Import a package of the extra `audio`.

    Raises:
        InputError: if it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"`--data audio` needs the package {name}, which is missing: pip install "
            "'l1jax[audio]'."
        ) from error
    except OSError as error:  # soundfile's, without the library that it calls
        raise InputError(
            f"`--data audio` needs the package {name}, which cannot be loaded ({error}): pip "
            f"install --force-reinstall {name}."
        ) from error


def read_clip(encoded: bytes, data: config.AudioData) -> Clip:
    """Read the middle `frames` × `hop` samples of a recording, at the rate of the configuration.

    Channels are averaged. Of a recording longer than a clip the middle is taken; a shorter one has
    silence before and after it, and an odd sample more after it. Then the clip is scaled to a peak
    of 1. Of a long recording only a part around the middle is decoded.

    Args:
        encoded: the content of a WAV, FLAC, OGG or MP3 file, or another that libsndfile reads.
        data: rate and length of the clip, and the longest recording to accept.

    Raises:
        InputError: if soundfile or soxr is missing.
        ValueError: if the recording is empty, too long, silent, of an impossible rate, cut short,
            or has samples that are not finite; the message is a clause.
        Exception: whatever libsndfile meets in a damaged file.
    """
    soundfile = import_package("soundfile")
    with soundfile.SoundFile(io.BytesIO(encoded)) as file:
        _check_header(file, data)
        samples = _read_middle(file, data)
        rate = file.samplerate
    if not np.isfinite(samples).all():
        raise ValueError("some of its samples are NaN or infinite")
    mono = samples.mean(axis=1)
    if rate != data.sample_rate:
        mono = import_package("soxr").resample(mono, rate, data.sample_rate)
    clip = fit_length(mono, data.frames * data.hop)
    peak = np.abs(clip).max()
    if peak < SILENT_PEAK:
        raise ValueError(f"it is silent: the largest value of its middle is {peak:.1e}")
    return (clip / peak).astype(np.float32)


def fit_length(samples: Float32[np.ndarray, " any"], length: int) -> Clip:
    """Take the middle of a signal, or put zeros before and after it, an odd one after it."""
    excess = len(samples) - length
    if excess >= 0:
        start = excess // 2
        return samples[start : start + length]
    before = -excess // 2
    return np.pad(samples, (before, -excess - before))


def _check_header(file: Any, data: config.AudioData) -> None:
    if not MIN_RATE <= file.samplerate <= MAX_RATE:
        raise ValueError(
            f"its sample rate of {file.samplerate:,} Hz is not between {MIN_RATE:,} and "
            f"{MAX_RATE:,}"
        )
    cut_short = _DATA_CHUNK.search(file.extra_info)
    if cut_short and int(cut_short[2]) < int(cut_short[1]) < _UNKNOWN_SIZE:
        raise ValueError(
            f"it is cut short: {int(cut_short[1]):,} bytes of sound are announced and "
            f"{int(cut_short[2]):,} are there"
        )
    if file.frames < 1:
        raise ValueError("it holds no samples, or is cut short")
    seconds = file.frames / file.samplerate
    if seconds > data.most_seconds:
        raise ValueError(
            f"its {seconds:,.0f} seconds are over the limit of {data.most_seconds:g}: cut it into "
            f"clips, or --data.most-seconds {int(seconds) + 1} would take its middle"
        )


def _read_middle(file: Any, data: config.AudioData) -> Float32[np.ndarray, "samples channels"]:
    """Read at least what the clip is made of; all of a short recording.

    Raises:
        ValueError: if there is less than the header says.
    """
    wanted = file.frames
    if file.frames > _WHOLE_SECONDS * file.samplerate:
        seconds = data.frames * data.hop / data.sample_rate + 2 * _EDGE_SECONDS
        wanted = min(file.frames, int(seconds * file.samplerate) + 1)
        file.seek((file.frames - wanted) // 2)
    samples = file.read(wanted, dtype="float32", always_2d=True)
    if len(samples) < wanted:
        raise ValueError(
            f"it is cut short: {wanted:,} samples are announced and {len(samples):,} are there"
        )
    return samples
