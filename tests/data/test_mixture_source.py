"""Points drawn from mixtures of Gaussians."""

import numpy as np
import pytest

from l1jax.config import MixtureData
from l1jax.data.batches import load_all
from l1jax.data.opening import open_source


@pytest.mark.parametrize(("shape", "modes", "deviation"), [("ring", 8, 0.01), ("grid", 25, 0.05)])
def test_points_come_equally_from_all_modes_with_the_papers_moments(shape, modes, deviation):
    source = open_source(MixtureData(shape, count=20_500))
    points = load_all(source).reshape(-1, 2)
    labels = source.labels
    assert points.dtype == np.float32
    counts = np.bincount(labels, minlength=modes)
    assert len(counts) == modes
    expected = 20_500 / modes
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 52.6  # with 24 degrees of freedom p = 0.0007
    if shape == "ring":
        angle = 2 * np.pi * np.arange(8) / 8
        means = np.stack([np.cos(angle), np.sin(angle)], 1)
    else:
        means = np.array([(x, y) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)])
    spread = (points - means[labels]) / deviation
    np.testing.assert_allclose(spread.mean(0), 0, atol=4 / np.sqrt(20_500))
    np.testing.assert_allclose(np.cov(spread.T), np.eye(2), atol=0.05)


def test_a_draw_is_a_function_of_its_seed_alone():
    few = open_source(MixtureData("grid", 1500, 3))
    many = open_source(MixtureData("grid", 2500, 3))
    other = open_source(MixtureData("grid", 1500, 4))
    np.testing.assert_array_equal(load_all(few), load_all(many)[:1500])
    assert not np.array_equal(load_all(few), load_all(other))
    assert len({few.fingerprint, many.fingerprint, other.fingerprint}) == 3
    assert len(np.unique(load_all(many).reshape(-1, 2), axis=0)) == 2500  # the blocks differ
