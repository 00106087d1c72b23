"""Pixels that are floats: which range is recognized, and which is refused."""

import numpy as np
import pytest
from image_files import input_error

from l1jax.config import ArrayData
from l1jax.data.float_pixels import floats_to_uint8
from l1jax.data.opening import open_source
from l1jax.data.source import take

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 6, 6, 3)).astype(np.uint8)
UNIT = IMAGES / 255
FORMS = {"unit": UNIT, "symmetric": 2 * UNIT - 1, "bytes": IMAGES.astype(np.float64)}


@pytest.mark.parametrize("floats", list(FORMS))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_range_that_pixels_fill_is_recognized(tmp_path, floats, dtype):
    images = FORMS[floats].astype(dtype)
    np.testing.assert_array_equal(floats_to_uint8(images, "auto", "x"), IMAGES)
    np.savez(tmp_path / "a.npz", images=images)
    np.save(tmp_path / "uint8.npy", IMAGES)
    source = open_source(ArrayData(str(tmp_path / "a.npz"), 6))
    np.testing.assert_array_equal(take(source, np.arange(5)), IMAGES)
    of_integers = open_source(ArrayData(str(tmp_path / "uint8.npy"), 6))
    assert source.fingerprint == of_integers.fingerprint


@pytest.mark.parametrize(
    ("low", "high"),
    [(0, 0.7), (0.3, 1), (-0.5, 0.5), (-2.1, 2.6), (0, 16), (0, 1.01), (-1.01, 1), (0, 300)],
)
def test_a_range_that_is_not_certain_is_refused(low, high):
    images = np.linspace(low, high, 48).reshape(3, 4, 4)
    input_error(lambda: floats_to_uint8(images, "auto", "`x`"), "`x`", "not certain", f"{high:.4g}")


def test_a_range_that_is_told_is_taken_unless_pixels_are_outside():
    dark = np.linspace(0, 0.1, 48).reshape(3, 4, 4)
    expected = np.array([int(255 * value + 0.5) for value in dark.flat]).reshape(dark.shape)
    np.testing.assert_array_equal(floats_to_uint8(dark, "unit", "x"), expected)
    words = ("`data.floats` (=unit)", "from 0 to 1", "from -0.5 to")
    input_error(lambda: floats_to_uint8(dark - 0.5, "unit", "x"), *words)
    assert floats_to_uint8(dark[:0], "auto", "x").shape == (0, 4, 4)
