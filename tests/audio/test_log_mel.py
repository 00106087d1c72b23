"""Log-mel spectrograms against NumPy and librosa, their inverse, and their form as images."""

import dataclasses
import math

import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from l1jax.audio import (
    MelSettings,
    clips_from_log_mel,
    image_from_log_mel,
    invert_mel,
    log_mel,
    log_mel_from_image,
    normalise_peak,
)

SMALL = MelSettings(n_fft=256, hop=64, mels=20)
TIME = np.arange(64 * 20) / 8000


def tone(hertz, loudness=1.0):
    return (loudness * np.sin(2 * np.pi * hertz * TIME)).astype(np.float32)


def test_spectrograms_are_those_of_librosa():
    clip = np.random.default_rng(0).uniform(-1, 1, 64 * 20).astype(np.float32)
    padded = np.pad(clip, (256 - 64) // 2)
    magnitudes = np.abs(librosa.stft(padded, n_fft=256, hop_length=64, center=False))
    theirs = librosa.filters.mel(sr=8000, n_fft=256, n_mels=20, fmin=40.0, norm=1) @ magnitudes
    expected = np.log(np.maximum(theirs.T, math.exp(-4.6)))
    np.testing.assert_allclose(log_mel(jnp.asarray(clip), SMALL), expected, atol=1e-4)


def test_a_tone_of_full_scale_lies_below_the_ceiling_and_in_its_band():
    spectrogram = np.asarray(log_mel(jnp.asarray(tone(1000.0)), SMALL))
    centres = librosa.mel_frequencies(22, fmin=40.0, fmax=4000.0)[1:-1]
    band = np.abs(centres - 1000).argmin()
    assert (spectrogram[2:-2].argmax(axis=1) == band).all()
    assert spectrogram.max() <= SMALL.ceiling
    assert spectrogram.max() > SMALL.ceiling - 1.5  # the band is wider than the tone


def test_silence_is_the_floor():
    silent = log_mel(jnp.zeros(64 * 20), SMALL)
    np.testing.assert_allclose(silent, np.full((20, 20), -4.6), rtol=1e-6)


def test_inverted_bands_are_non_negative_and_have_the_bands():
    filters = SMALL.filters()
    spectra = np.random.default_rng(0).uniform(0.01, 5, (3, 129))
    mel = jnp.asarray(spectra @ filters.T, jnp.float32)
    magnitudes = invert_mel(mel, filters, 300)
    assert float(magnitudes.min()) >= 0
    np.testing.assert_allclose(magnitudes @ filters.T, mel, rtol=2e-3)
    outside = filters.sum(axis=0) == 0
    assert outside.any()
    np.testing.assert_array_equal(np.asarray(magnitudes)[:, outside], 0)


def test_each_update_decreases_the_divergence():
    filters = SMALL.filters()
    mel = np.random.default_rng(0).uniform(0.01, 5, (1, 20)).astype(np.float32)

    def divergence(iterations):
        fitted = np.asarray(invert_mel(jnp.asarray(mel), filters, iterations)) @ filters.T
        return np.sum(mel * np.log(mel / fitted) - mel + fitted)

    values = [divergence(iterations) for iterations in range(5)]
    assert np.all(np.diff(values) < 0)


def test_a_chord_survives_the_way_back_to_sound():
    clips = jnp.asarray(np.stack([tone(400.0, 0.5) + tone(1700.0, 0.3), tone(2500.0, 0.8)]))
    spectrograms = log_mel(clips, SMALL)
    sounds = clips_from_log_mel(spectrograms, SMALL)
    assert sounds.shape == clips.shape
    error = np.abs(log_mel(sounds, SMALL) - spectrograms)
    assert np.asarray(error)[np.asarray(spectrograms) > 0].mean() < 0.2
    loudest = np.abs(np.fft.rfft(np.asarray(sounds[1]))).argmax() * 8000 / len(TIME)
    assert abs(loudest - 2500) < 60  # the band is 100 Hz wide


def test_what_is_at_the_floor_comes_back_as_silence():
    silent = log_mel(jnp.zeros((2, 1280)), SMALL).at[0, 5, 5].set(1.0)
    sounds = np.asarray(clips_from_log_mel(silent, SMALL, 2))
    assert np.abs(sounds[0]).max() > 1e-3
    np.testing.assert_array_equal(sounds[1], 0)


def test_peaks_are_normalised_and_silence_is_left():
    clips = jnp.asarray(np.stack([tone(400.0, 0.1), np.zeros(1280, np.float32)]))
    np.testing.assert_allclose(jnp.abs(normalise_peak(clips, 0.9)).max(axis=1), [0.9, 0])


def test_images_have_high_frequencies_at_the_top_and_time_to_the_right():
    late_and_high = np.concatenate([np.zeros(640, np.float32), tone(3500.0)[:640]])
    image = np.asarray(image_from_log_mel(log_mel(jnp.asarray(late_and_high), SMALL), SMALL))
    assert image.shape == (20, 20, 1)
    assert image.dtype == np.uint8
    assert image[:, :8].max() == 0
    assert (image[:, 11:19, 0].argmax(axis=0) < 3).all()


def test_images_and_spectrograms_convert_into_each_other():
    values = np.random.default_rng(0).uniform(SMALL.floor, SMALL.ceiling, (2, 7, 20))
    spectrograms = jnp.asarray(values, jnp.float32)
    image = image_from_log_mel(spectrograms, SMALL)
    step = (SMALL.ceiling - SMALL.floor) / 255
    recovered = log_mel_from_image(image, SMALL)
    np.testing.assert_allclose(recovered, spectrograms, atol=step / 2 + 1e-5)
    np.testing.assert_array_equal(image_from_log_mel(recovered, SMALL), image)


def test_contradicting_settings_are_refused():
    wrong = dataclasses.replace(SMALL, lowest=5000.0)
    with pytest.raises(ValueError, match="`lowest`"):
        log_mel(jnp.zeros(1280), wrong)
    with pytest.raises(ValueError, match=r"`log_mels` .* and 20 bands"):
        clips_from_log_mel(jnp.zeros((20, 19)), SMALL)
