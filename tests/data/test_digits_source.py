"""scikit-learn's digits."""

import numpy as np
from PIL import Image

from l1jax.config import DigitsData
from l1jax.data import digits_source
from l1jax.data.opening import open_source


def test_digits_are_scikit_learns_in_bytes():
    from sklearn.datasets import load_digits

    source = open_source(DigitsData())
    rows = load_digits().images[5].tolist()
    expected = [[round(value * 255 / 16) for value in row] for row in rows]
    assert source.length == 1797
    assert source.image_shape == (8, 8, 1)
    assert source.example(5).dtype == np.uint8
    np.testing.assert_array_equal(source.example(5)[..., 0], expected)
    images = np.stack([source.example(i) for i in range(source.length)])
    assert images.min() == 0
    assert images.max() == 255
    np.testing.assert_array_equal(source.labels, load_digits().target)


def test_without_their_file_they_are_read_by_scikit_learn(monkeypatch):
    expected = open_source(DigitsData())
    monkeypatch.setattr(digits_source, "find_spec", lambda _: None)
    found = open_source(DigitsData())
    assert found.fingerprint == expected.fingerprint
    np.testing.assert_array_equal(found.labels, expected.labels)


def test_digits_are_enlarged_smoothly():
    small = open_source(DigitsData())
    large = open_source(DigitsData(image_size=32))
    assert large.image_shape == (32, 32, 1)
    assert small.fingerprint != large.fingerprint
    expected = Image.fromarray(small.example(3)[..., 0]).resize((32, 32), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(large.example(3)[..., 0], np.asarray(expected))
