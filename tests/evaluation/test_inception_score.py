from itertools import pairwise

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import entropy

from l1jax.evaluation import inception_score

RNG = np.random.default_rng(0)


def reference(probabilities):
    """Salimans et al., section 4, image by image."""
    return np.exp(np.mean([entropy(p, probabilities.mean(0)) for p in probabilities]))


@pytest.mark.parametrize(("images", "classes", "splits"), [(40, 10, 1), (40, 3, 10), (103, 7, 4)])
def test_it_is_the_mean_and_deviation_over_consecutive_splits(images, classes, splits):
    logits = 3 * RNG.normal(size=(images, classes))
    edges = [i * images // splits for i in range(splits + 1)]
    parts = [softmax(logits, axis=1)[start:end] for start, end in pairwise(edges)]
    scores = [reference(part) for part in parts]
    found = inception_score(logits, splits)
    np.testing.assert_allclose(found, (np.mean(scores), np.std(scores)), rtol=1e-10, atol=1e-12)


def test_sure_and_evenly_spread_images_score_the_number_of_classes():
    with np.errstate(divide="ignore"):
        sure = np.log(np.tile(np.eye(10, 12), (20, 1)))  # two classes have no image
    np.testing.assert_allclose(inception_score(sure), (10, 0), atol=1e-12)


def test_images_that_all_look_the_same_score_one():
    np.testing.assert_allclose(
        inception_score(np.tile(RNG.normal(size=5), (20, 1)), splits=2), (1, 0), atol=1e-12
    )


def test_logits_of_any_size_and_probabilities_agree():
    logits = RNG.normal(size=(30, 6)).astype(np.float32)
    expected = inception_score(np.log(softmax(logits.astype(np.float64), axis=1)), 3)
    np.testing.assert_allclose(inception_score(logits, 3), expected, rtol=1e-12)
    np.testing.assert_allclose(inception_score(jnp.asarray(logits), 3), expected, rtol=1e-12)
    shifts = np.float64(10.0 ** np.arange(-2, 4)).repeat(5)[:, None]
    np.testing.assert_allclose(inception_score(logits - shifts, 3), expected, rtol=1e-10)
    np.testing.assert_allclose(inception_score(logits + shifts, 3), expected, rtol=1e-10)


@pytest.mark.parametrize("row", [[np.nan, 0.0], [np.inf, 0.0], [-np.inf, -np.inf]])
def test_a_row_without_a_softmax_is_refused(row):
    with pytest.raises(ValueError, match=r"`logits` \(1 images"):
        inception_score(np.asarray([[0.0, 1.0], row]), splits=1)


@pytest.mark.parametrize("splits", [0, 6])
def test_splits_need_an_image_each(splits):
    with pytest.raises(
        ValueError, match=rf"`splits` \(={splits}\) must be between 1 and the number of images \(=5"
    ):
        inception_score(np.zeros((5, 2)), splits)
