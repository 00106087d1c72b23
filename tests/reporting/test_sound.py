"""Sound of drawn spectrograms, and WAV files as other programs read them."""

import dataclasses
import io

import jax.numpy as jnp
import numpy as np
import pytest
import soundfile

from l1jax.audio import log_mel
from l1jax.config import TonesData
from l1jax.data.opening import open_source
from l1jax.data.source import take
from l1jax.data.spectrograms import SpectrogramMaker, mel_settings
from l1jax.reporting.sound import (
    PEAK,
    Sounds,
    join_clips,
    make_sample_clip,
    make_sounds,
    spectrograms_through_sound,
    wav_bytes,
    write_wav,
)

DATA = TonesData(count=40, mels=24, frames=24, n_fft=256, hop=80)


@pytest.fixture(scope="module")
def images():
    return take(open_source(DATA), np.arange(40))


def test_spectrograms_of_the_sound_are_those_that_were_drawn(images):
    sounds = make_sounds(images, DATA)
    assert sounds.clips.shape == (40, 24 * 80)
    assert sounds.sample_rate == 8000
    np.testing.assert_allclose(np.abs(sounds.clips).max(axis=1), PEAK, rtol=1e-5)
    make = SpectrogramMaker(mel_settings(DATA))
    again = np.stack([make(clip / PEAK) for clip in sounds.clips]).astype(float)
    np.testing.assert_array_equal(again, spectrograms_through_sound(images, DATA))
    both = np.stack([again.ravel(), images.ravel()])
    assert np.corrcoef(both)[0, 1] > 0.95


def test_a_clip_does_not_depend_on_the_others(images):
    np.testing.assert_allclose(
        make_sounds(images[:33], DATA).clips[:33], make_sounds(images, DATA).clips[:33], atol=1e-4
    )


def test_a_black_image_is_silent(images):
    black = np.zeros_like(images[:1])
    np.testing.assert_array_equal(make_sounds(black, DATA).clips, 0)
    assert float(log_mel(jnp.zeros(1920), mel_settings(DATA)).max()) == pytest.approx(-4.6)


def test_other_programs_read_the_files(tmp_path):
    clip = np.linspace(-1.2, 1, 500, dtype=np.float32)
    write_wav(clip, 11_025, tmp_path / "x.wav")
    read, rate = soundfile.read(tmp_path / "x.wav", dtype="float32")
    assert rate == 11_025
    np.testing.assert_allclose(read, np.clip(clip, -1, 1), atol=1e-4)
    assert soundfile.info(io.BytesIO(wav_bytes(clip, 8000))).subtype == "PCM_16"


def test_samples_in_training_are_joined_up_to_fifteen_seconds(images):
    seconds = 24 * 80 / 8000  # 33 such clips with their pauses are within 15 seconds
    assert len(make_sample_clip(images[:3], DATA)) == 3 * 24 * 80 + 2 * 2000
    joined = make_sample_clip(images, DATA)
    assert 15 - seconds - 0.5 < len(joined) / 8000 <= 15
    np.testing.assert_allclose(joined[:1920], make_sounds(images[:1], DATA).clips[0], atol=1e-4)
    long = dataclasses.replace(DATA, sample_rate=1000, n_fft=1024, hop=1024)
    assert len(make_sample_clip(images, long)) == 24 * 1024


def test_joined_clips_have_a_quarter_of_a_second_between_them():
    joined = join_clips(Sounds(np.ones((3, 10), np.float32), 8))
    np.testing.assert_array_equal(joined, [1] * 10 + [0, 0] + [1] * 10 + [0, 0] + [1] * 10)
