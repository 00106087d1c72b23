"""Sounds that are made here: determinism, classes, and what they are."""

import numpy as np
import pytest

from l1jax.config import TonesData
from l1jax.data.opening import open_source
from l1jax.data.source import take
from l1jax.data.tones_source import MAKERS, make_sound

DATA = TonesData(count=64)


def spectrum(sound):
    return np.abs(np.fft.rfft(sound)) ** 2


def share_of_peaks(sound):
    """The share of energy in the strongest hundredth of the frequencies."""
    powers = np.sort(spectrum(sound))
    return powers[-len(powers) // 100 :].sum() / powers.sum()


def test_sounds_are_functions_of_seed_and_index():
    np.testing.assert_array_equal(make_sound(DATA, 5), make_sound(DATA, 5))
    other = TonesData(count=64, draw_seed=1)
    assert np.abs(make_sound(DATA, 5) - make_sound(other, 5)).max() > 0.1
    longer = open_source(TonesData(count=80))
    np.testing.assert_array_equal(
        take(longer, np.arange(64)), take(open_source(DATA), np.arange(64))
    )


def test_every_sound_has_its_peak_and_is_heard():
    for index in range(64):
        sound = make_sound(DATA, index)
        assert sound.shape == (32 * 128,)
        assert np.abs(sound).max() == pytest.approx(1)
    images = take(open_source(DATA), np.arange(64))
    assert images.reshape(64, -1).max(axis=1).min() > 100


def test_classes_take_turns_and_sound_as_their_names_say():
    source = open_source(DATA)
    assert source.classes == tuple(MAKERS)
    np.testing.assert_array_equal(source.labels[:9], [0, 1, 2, 3, 4, 5, 6, 7, 0])
    sounds = {name: [make_sound(DATA, i) for i in range(k, 64, 8)]
              for k, name in enumerate(MAKERS)}  # fmt: skip
    assert min(map(share_of_peaks, sounds["tone"])) > 0.9
    assert max(map(share_of_peaks, sounds["noise"])) < 0.3

    def movement(sound):
        """The mean frequency of the last third less that of the first, of what is heard."""
        heard = sound[np.flatnonzero(sound)[0] : np.flatnonzero(sound)[-1]]
        third = len(heard) // 3
        means = []
        for part in (heard[:third], heard[-third:]):
            powers = spectrum(part)
            means.append((powers * np.linspace(0, 4000, len(powers))).sum() / powers.sum())
        return means[1] - means[0]

    assert min(map(movement, sounds["rising"])) > 20
    assert max(map(movement, sounds["falling"])) < -20
