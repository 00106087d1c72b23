"""Spectra of images whose frequencies are known."""

import numpy as np
import pytest

from l1jax.config import InputError
from l1jax.evaluation import radial_spectrum, spectrum_distance

RNG = np.random.default_rng(0)


def wave(cycles_down, cycles_across, height=32, width=32):
    rows, columns = np.mgrid[:height, :width]
    angle = 2 * np.pi * (cycles_down * rows / height + cycles_across * columns / width)
    return np.cos(angle)[None, ..., None]


@pytest.mark.parametrize(("down", "across"), [(0, 5), (5, 0), (3, 4), (-3, 4), (4, -3)])
def test_a_wave_has_one_frequency(down, across):
    found = radial_spectrum(wave(down, across))
    assert len(found) == 16
    assert np.flatnonzero(found > 1e-9).tolist() == [4]


def test_it_is_the_mean_over_a_ring_of_the_full_transform():
    x = RNG.normal(size=(3, 12, 10, 2))
    power = np.abs(np.fft.fft2(x, axes=(1, 2))) ** 2 / 120
    distance = np.hypot(*np.meshgrid(np.fft.fftfreq(12), np.fft.fftfreq(10), indexing="ij")) * 10
    expected = [power[:, np.rint(distance) == k].mean() for k in range(1, 6)]
    np.testing.assert_allclose(radial_spectrum(x, batch=2), expected, rtol=1e-12)


def test_noise_has_its_variance_at_every_frequency():
    found = radial_spectrum(RNG.normal(0, 3, size=(400, 16, 16, 1)))
    np.testing.assert_allclose(found, 9, rtol=0.1)


def test_the_distance_is_in_decibels():
    x = RNG.normal(size=(20, 16, 16, 3))
    assert spectrum_distance(x, x[::-1]) == pytest.approx(0, abs=1e-9)
    assert spectrum_distance(x, 2 * x) == pytest.approx(20 * np.log10(2))
    flat = np.zeros_like(x)
    assert spectrum_distance(x, flat) > 100  # images without any detail


def test_what_is_no_image_is_refused():
    x = RNG.normal(size=(2, 8, 8, 1))
    with pytest.raises(InputError, match="same height and width"):
        spectrum_distance(x, x[:, :7])
    for wrong in (x[0], x[:0], x[:, :3]):
        with pytest.raises(InputError, match="at least one image of at least 4×4"):
            radial_spectrum(wrong)
