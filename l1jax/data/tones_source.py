"""Tones, sweeps, pulses and noises that are made here, as a source of log-mel spectrograms."""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float32, Float64

from l1jax import config
from l1jax.data.source import Pixels, Source, fingerprint
from l1jax.data.spectrograms import SpectrogramMaker, mel_settings

_HIGHEST_SHARE = 0.4  # of the sample rate, up to where tones go
_LOWEST_HZ = 100.0
_FADE_SHARE = 0.05  # of a sound, at its start and its end

Times = Float64[np.ndarray, " samples"]
Maker = Callable[[Times, float, np.random.Generator], Times]


def _frequency(highest: float, rng: np.random.Generator) -> float:
    """Draw a frequency, uniformly on a logarithmic scale."""
    return float(np.exp(rng.uniform(np.log(_LOWEST_HZ), np.log(highest))))


def _tone(seconds: Times, highest: float, rng: np.random.Generator) -> Times:
    return np.sin(2 * np.pi * _frequency(highest, rng) * seconds)


def _chord(seconds: Times, highest: float, rng: np.random.Generator) -> Times:
    base = _frequency(highest / 2, rng)
    return sum((np.sin(2 * np.pi * base * r * seconds) for r in (1, 1.25, 1.5)), 0 * seconds)


def _rising(seconds: Times, highest: float, rng: np.random.Generator) -> Times:
    """Sweep from a low frequency to a higher one, evenly in time."""
    start = _frequency(highest / 4, rng)
    stop = rng.uniform(2 * start, highest)
    slope = (stop - start) / seconds[-1]
    return np.sin(2 * np.pi * (start + slope * seconds / 2) * seconds)


def _falling(seconds: Times, highest: float, rng: np.random.Generator) -> Times:
    return _rising(seconds, highest, rng)[::-1]


def _vibrato(seconds: Times, highest: float, rng: np.random.Generator) -> Times:
    centre = _frequency(highest / 2, rng) + _LOWEST_HZ
    rate = rng.uniform(4, 10)
    depth = rng.uniform(0.1, 0.3)
    swing = np.sin(2 * np.pi * rate * seconds) / (2 * np.pi * rate)
    return np.sin(2 * np.pi * centre * (seconds + depth * swing))


def _noise(seconds: Times, highest: float, rng: np.random.Generator) -> Times:
    return rng.standard_normal(len(seconds))


def _band_of_noise(seconds: Times, highest: float, rng: np.random.Generator) -> Times:
    centre = _frequency(highest, rng)
    spectrum = np.fft.rfft(rng.standard_normal(len(seconds)))
    frequencies = np.fft.rfftfreq(len(seconds), seconds[1] - seconds[0])
    inside = np.abs(frequencies - centre) < 0.15 * centre + 50
    return np.fft.irfft(spectrum * inside, len(seconds))


def _pulses(seconds: Times, highest: float, rng: np.random.Generator) -> Times:
    """Ticks of noise that fade quickly, 5 to 15 in a second."""
    rate = rng.uniform(5, 15)
    since_tick = np.mod(seconds + rng.uniform(0, 1 / rate), 1 / rate)
    return rng.standard_normal(len(seconds)) * np.exp(-since_tick * 200)


MAKERS: dict[str, Maker] = {
    "tone": _tone,
    "chord": _chord,
    "rising": _rising,
    "falling": _falling,
    "vibrato": _vibrato,
    "noise": _noise,
    "band": _band_of_noise,
    "pulses": _pulses,
}


def make_sound(data: config.TonesData, index: int) -> Float32[np.ndarray, " samples"]:
    """Make the sound of an index: its class is the index modulo 8, and its peak is 1.

    Every sound fades in and out, and has a length between half and all of the clip, at its middle.
    """
    rng = np.random.Generator(np.random.Philox(key=(data.draw_seed << 32) + index))
    samples = data.frames * data.hop
    length = max(2, int(samples * rng.uniform(0.5, 1)))
    seconds = np.arange(length) / data.sample_rate
    maker = list(MAKERS.values())[index % len(MAKERS)]
    sound = maker(seconds, _HIGHEST_SHARE * data.sample_rate, rng)
    fade = max(1, int(_FADE_SHARE * length))
    ramp = np.minimum(1, (np.arange(length) + 1) / fade)
    sound = sound * ramp * ramp[::-1]
    before = (samples - length) // 2
    padded = np.pad(sound, (before, samples - length - before))
    return (padded / max(np.abs(padded).max(), 1e-12)).astype(np.float32)


def open_tones(data: config.TonesData) -> Source:
    """Open sounds that are made when they are asked for; a larger count only adds some.

    Raises:
        InputError: if the settings of the spectrograms contradict each other.
    """
    make_image = SpectrogramMaker(mel_settings(data))

    def example(i: int) -> Pixels:
        return make_image(make_sound(data, i))

    identity = fingerprint("tones", dataclasses.asdict(data))
    return Source(
        length=data.count,
        image_shape=(data.mels, data.frames, 1),
        example=example,
        fingerprint=identity,
        labels=(np.arange(data.count) % len(MAKERS)).astype(np.int32),
        classes=tuple(MAKERS),
    )
