"""Copies of training images are seen, and new images are not taken for copies."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from l1jax.config import InputError
from l1jax.evaluation import memorisation

RNG = np.random.default_rng(0)
TRAINING = RNG.normal(size=(400, 5))
OTHERS = RNG.normal(size=(300, 5))


def nearest(points, among, k=1):
    return NearestNeighbors(n_neighbors=k).fit(among).kneighbors(points)


def test_the_numbers_are_those_of_their_definitions():
    own = nearest(TRAINING, TRAINING, 2)[0][:, 1]
    distances, indices = nearest(OTHERS, TRAINING)
    held_out = RNG.normal(size=(200, 5))
    threshold = np.quantile(nearest(held_out, TRAINING)[0], 0.01)
    found = memorisation(OTHERS, TRAINING, held_out)
    np.testing.assert_allclose(found.threshold, threshold, rtol=1e-9)
    assert found.near_copies == np.mean(distances < threshold)
    assert found.authenticity == np.mean(distances[:, 0] > own[indices[:, 0]])
    without = memorisation(OTHERS, TRAINING)
    np.testing.assert_allclose(without.threshold, np.quantile(own, 0.01), rtol=1e-9)


def test_copies_and_new_points_are_told_apart():
    exact = memorisation(TRAINING[:100], TRAINING, OTHERS)
    assert exact[:2] == (1, 0)
    near = memorisation(TRAINING[:100] + 1e-3, TRAINING, OTHERS)
    assert near[:2] == (1, 0)
    new = memorisation(RNG.normal(size=(300, 5)), TRAINING, OTHERS)
    assert new.near_copies < 0.05
    assert 0.3 < new.authenticity < 0.7
    repeated = np.repeat(TRAINING, 2, axis=0)  # the threshold is 0 where training images repeat
    assert memorisation(TRAINING[:50], repeated).near_copies == 1
    assert memorisation(OTHERS[:50], repeated).near_copies == 0


def test_one_training_image_is_refused():
    with pytest.raises(InputError, match="`training`"):
        memorisation(OTHERS, TRAINING[:1])
