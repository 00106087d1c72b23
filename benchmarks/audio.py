"""Log-mel spectrograms and their way back to sound: milliseconds a clip, beside librosa.

    python benchmarks/audio.py --output benchmarks/results/audio-cpu.json
    python benchmarks/audio.py --smoke   # a short clip, one round; keeps nothing

A clip is 1 second at 8 kHz of a sweep in noise, its spectrogram 64 frames of 64 bands. The way back
is the inversion of the mel bands and 16 iterations of fast Griffin–Lim; librosa inverts by
non-negative least squares and runs as many iterations. `error` is the mean distance, in natural
logarithms above the floor, from the spectrogram to that of the sound. Run it on one core, such as
by `taskset -c 0`; times are of the processor, so that other programs do not count.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import librosa
import measure
import numpy as np

from l1jax.audio import MelSettings, clips_from_log_mel, log_mel

ITERATIONS = 16
BATCH = 32


def sweep(samples: int, rate: int) -> np.ndarray:
    """A rising tone with noise of a tenth of its loudness."""
    seconds = np.arange(samples) / rate
    noise = np.random.default_rng(0).standard_normal(samples)
    return (0.8 * np.sin(2 * np.pi * 300 * seconds * (1 + seconds)) + 0.03 * noise).astype(
        np.float32
    )


def librosa_log_mel(clip: np.ndarray, settings: MelSettings) -> np.ndarray:
    mel = librosa.feature.melspectrogram(
        y=clip, sr=settings.sample_rate, n_fft=settings.n_fft, hop_length=settings.hop, power=1.0,
        n_mels=settings.mels, fmin=settings.lowest, norm=1, pad_mode="constant",
    )  # fmt: skip
    return np.log(np.maximum(mel, math.exp(settings.floor)))


def librosa_sound(spectrogram: np.ndarray, settings: MelSettings, samples: int) -> np.ndarray:
    return librosa.feature.inverse.mel_to_audio(
        np.exp(spectrogram), sr=settings.sample_rate, n_fft=settings.n_fft,
        hop_length=settings.hop, power=1.0, n_iter=ITERATIONS, length=samples,
        pad_mode="constant", fmin=settings.lowest, norm=1,
    )  # fmt: skip


def processor_milliseconds(function: Callable[[], Any], rounds: int, clips: int = 1) -> dict:
    """Quartiles over the rounds, after one that compiles."""
    function()
    samples = np.zeros(rounds)
    for i in range(rounds):
        begin = time.process_time()
        function()
        samples[i] = 1e3 * (time.process_time() - begin) / clips
    return measure.quartiles(samples)


def run(samples: int, rounds: int) -> dict[str, Any]:
    settings = MelSettings(hop=samples // 64)
    clip = sweep(samples, settings.sample_rate)
    clips = jnp.asarray(np.tile(clip, (BATCH, 1)))
    one = clips[0]
    spectrograms = jax.block_until_ready(log_mel(clips, settings))
    theirs = librosa_log_mel(clip, settings)

    def ours_back(log_mels: Any) -> Any:
        return jax.block_until_ready(clips_from_log_mel(log_mels, settings, ITERATIONS))

    milliseconds = {
        "log-mel, l1jax": processor_milliseconds(
            lambda: jax.block_until_ready(log_mel(one, settings)), rounds
        ),
        "log-mel, librosa": processor_milliseconds(lambda: librosa_log_mel(clip, settings), rounds),
        "to sound, l1jax": processor_milliseconds(lambda: ours_back(spectrograms[0]), rounds),
        f"to sound in batches of {BATCH}, l1jax": processor_milliseconds(
            lambda: ours_back(spectrograms), rounds, BATCH
        ),
        "to sound, librosa": processor_milliseconds(
            lambda: librosa_sound(theirs, settings, samples), max(1, rounds // 10)
        ),
    }
    again = log_mel(ours_back(spectrograms[0]), settings)
    theirs_again = librosa_log_mel(librosa_sound(theirs, settings, samples), settings)
    return {
        "milliseconds a clip": milliseconds,
        "error, l1jax": float(jnp.abs(again - spectrograms[0]).mean()),
        "error, librosa": float(np.abs(theirs_again - theirs).mean()),
    }


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args(arguments)
    samples, rounds = 8000, 100
    if options.smoke:
        samples, rounds = 1280, 1
    result = run(samples, rounds)
    for name, quartiles in result["milliseconds a clip"].items():
        print(f"{name:36} {quartiles['median']:8.2f} ms", flush=True)
    print(f"error: l1jax {result['error, l1jax']:.3f}, librosa {result['error, librosa']:.3f}")
    if options.output is not None and not options.smoke:
        command = "taskset -c 0 python benchmarks/audio.py"
        print(f"written to {measure.write_result(options.output, command, result)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
