"""Every metric takes what is plainly a matrix of numbers, and names what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from frames import DataFrame

from l1jax.config import InputError
from l1jax.evaluation import (
    class_coverage,
    frechet_distance,
    frechet_infinity,
    inception_score,
    kernel_distance,
    mode_coverage,
    moments,
    multiscale_ssim,
    nearest_neighbours,
    pair_similarity,
    precision_recall_density_coverage,
)
from l1jax.evaluation.features import Extracted
from l1jax.evaluation.scores import feature_scores

RNG = np.random.default_rng(0)
X = RNG.integers(-2, 3, size=(40, 3)).astype(np.float32)
GOOD = RNG.normal(size=(40, 3)).astype(np.float32)
METRICS = {  # the argument's name → the metric of it
    "features": moments,
    "a of frechet": lambda x: frechet_distance(x, GOOD),
    "b of frechet": lambda x: frechet_distance(GOOD, x),
    "real of infinity": lambda x: frechet_infinity(x, GOOD),
    "generated of infinity": lambda x: frechet_infinity(GOOD, x),
    "a of kernel": lambda x: kernel_distance(x, GOOD),
    "b of kernel": lambda x: kernel_distance(GOOD, x),
    "b of subsets": lambda x: kernel_distance(GOOD, x, 3, 10),
    "real of manifold": lambda x: precision_recall_density_coverage(x, GOOD),
    "generated of manifold": lambda x: precision_recall_density_coverage(GOOD, x),
    "generated of neighbours": lambda x: nearest_neighbours(x, GOOD),
    "training of neighbours": lambda x: nearest_neighbours(GOOD, x),
    "points of modes": lambda x: mode_coverage(x, GOOD, 0.5),
    "means of modes": lambda x: mode_coverage(GOOD, x, 0.5),
    "logits of inception": lambda x: inception_score(x, 4),
}
SCORES = {
    "real of scores": lambda x: feature_scores(Extracted(x), Extracted(GOOD)),
    "generated of scores": lambda x: feature_scores(Extracted(GOOD), Extracted(x)),
}


@pytest.mark.parametrize("name", METRICS)
def test_whatever_is_plainly_a_matrix_has_the_matrixs_number(name):
    expected = METRICS[name](X)
    for given in (
        X.tolist(),
        DataFrame(X),
        X.astype(object),
        X.astype(np.int8),
        X.astype(np.float16),
        jnp.asarray(X),
    ):
        for own, other in zip(
            jax.tree.leaves(METRICS[name](given)), jax.tree.leaves(expected), strict=True
        ):
            np.testing.assert_allclose(own, other, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (X.reshape(40, 3, 1, 1), r"of shape \(40, 3, 1, 1\)\) must be a matrix.*reshape\(40, -1\)"),
        (X[:, 0], r"of shape \(40,\)\) must be a matrix.*reshape\(-1, 1\)"),
        (X[:, :0], r"of shape \(40, 0\)"),
        (X + 0j, "complex64"),
        (X.astype(str), "must hold real numbers"),
        (scipy.sparse.csr_array(X), "a sparse csr_array"),
        ([[1.0, 2.0, 3.0], [1.0]], "lists of one length"),
        (np.ma.masked_greater(X, 1), "masked entries"),
    ],
    ids=["images", "vector", "no columns", "complex", "text", "sparse", "ragged", "masked"],
)
def test_whatever_is_none_is_refused_by_name(name, bad, says):
    with pytest.raises(InputError, match=rf"^`{name.split(' ')[0]}` \(.*{says}"):
        METRICS[name](bad)


@pytest.mark.parametrize("name", [*METRICS, *SCORES])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_by_all(name, value):
    if "inception" in name and value < 0:
        return  # the logarithm of a probability of 0
    bad = np.where((np.arange(40) == 7)[:, None], np.float32(value), X)
    with pytest.raises(
        InputError,
        match=rf"^`{name.split(' ')[0]}` \((of 40 rows, 1 of them with NaN|1 images with NaN)",
    ):
        (METRICS | SCORES)[name](bad)


@pytest.mark.parametrize("name", [name for name in METRICS if "inception" not in name])
def test_what_has_no_finite_square_is_refused_by_all(name):
    with pytest.raises(
        InputError, match=rf"^`{name.split(' ')[0]}` \(with entries up to 2.0e\+200"
    ):
        METRICS[name](X.astype(np.float64) * 1e200)


@pytest.mark.parametrize(
    "name", [name for name in METRICS if name.split(" ")[0] not in ("features", "logits")]
)
def test_features_of_two_functions_are_refused_by_all(name):
    with pytest.raises(InputError, match=r"of (2 and 3|3 and 2) features"):
        METRICS[name](X[:, :2])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: frechet_distance(X[:1], X), r"`a` \(of 1 rows\) must have at least 2"),
        (lambda: kernel_distance(X, X[:1]), r"`b` \(of 1 rows\) must have at least 2"),
        (lambda: jax.jit(kernel_distance)(X, X[:1]), r"`b` \(of 1 rows\) must have at least 2"),
        (lambda: kernel_distance(X, X[:4], 2, 5), r"`subset_size` \(=5\) must be at most .*\(=4\)"),
        (lambda: kernel_distance(X.astype(float) * 1e75, X), "sixth powers"),
        (
            lambda: precision_recall_density_coverage(X[:5], X),
            r"`real` \(of 5 rows\) must have at least 6",
        ),
        (lambda: nearest_neighbours(X, X[:2], 3), r"`training` \(of 2 rows\) must have at least 3"),
        (lambda: nearest_neighbours(X[:0], X), r"`generated` \(of 0 rows\) must have at least 1"),
        (lambda: mode_coverage(X[:0], X, 1.0), r"`points` \(of 0 rows\) must have at least 1"),
        (lambda: mode_coverage(X, X[:0], 1.0), r"`means` \(of 0 rows\) must have at least 1"),
        (
            lambda: inception_score(X[:3]),
            r"`splits` \(=10\) must be between 1 and the number of images \(=3\)",
        ),
        (
            lambda: jax.jit(mode_coverage)(X[:, 0], X, 1.0),
            r"`points` \(of shape \(40,\)\) must be a matrix",
        ),
        (lambda: jax.jit(kernel_distance)(X, X[:, :2]), "of 3 and 2 features"),
        (lambda: jax.jit(frechet_distance)(X, X), r"`a` .*traced by JAX.*outside of `jit`"),
        (lambda: mode_coverage(X, X, 0.0), r"`deviation` \(=0.0\) must be greater than 0"),
        (lambda: mode_coverage(X, X, np.nan), r"`deviation` \(=nan\)"),
    ],
)
def test_too_little_and_too_much_is_refused(call, says):
    with pytest.raises(InputError, match=says):
        call()


@pytest.mark.parametrize(
    ("classes", "counts", "confidence", "says"),
    [
        ([0, 1.5], [1, 1], None, "`classes` .*whole numbers"),
        ([0, np.nan], [1, 1], None, "`classes` .*NaN"),
        ([], [1, 1], None, r"`classes` \(of shape \(0,\)\).*at least one"),
        ([[0, 1], [1, 0]], [1, 1], None, "`classes` .*must be a vector"),
        (["cat"], [1, 1], None, "`classes` .*must hold real numbers"),
        ([0, 1], [0, 0], None, "`counts` .*not all 0"),
        ([0, 1], [2, -1], None, "`counts` .*at least 0"),
        ([0, 1], [1, 1], [0.5], r"`confidence` \(of 1 images\).*each of the 2"),
        ([0, 1], [1, 1], [0.5, np.nan], "`confidence` .*NaN"),
    ],
)
def test_classes_that_are_none_are_refused(classes, counts, confidence, says):
    with pytest.raises(InputError, match=says):
        class_coverage(classes, counts, confidence)


def test_classes_may_be_lists_and_whole_floats():
    found = class_coverage([0.0, 1.0, 1.0, 3.0], [1, 2, 0, 1], [0.95, 0.95, 0.1, 0.95])
    assert (float(found.modes), float(found.high_quality)) == (3, 0.75)
    np.testing.assert_allclose(found.reverse_kl, 0, atol=1e-6)


IMAGES = RNG.uniform(0, 1, size=(4, 8, 8, 1)).astype(np.float32)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda: pair_similarity(IMAGES[..., 0], peak=1.0),
            r"`images` \(of shape \(4, 8, 8\)\).*\[..., None\]",
        ),
        (
            lambda: pair_similarity(2 * IMAGES - 1, peak=1.0),
            r"`images` \(from -.* must be from 0 to `peak` \(=1.0\)",
        ),
        (
            lambda: pair_similarity(np.where(IMAGES > 0.9, np.nan, IMAGES), peak=1.0),
            "`images` .*NaN",
        ),
        (
            lambda: pair_similarity(IMAGES, labels=[0, 0, 0], peak=1.0),
            r"`labels` \(of 3 images\).*each of the 4",
        ),
        (lambda: multiscale_ssim(IMAGES, IMAGES[:2], peak=1.0), "must have one shape"),
        (lambda: multiscale_ssim(IMAGES, IMAGES, peak=0.0), r"`peak` \(=0.0\)"),
        (lambda: jax.jit(multiscale_ssim)(IMAGES[0], IMAGES[0]), r"`a` \(of shape \(8, 8, 1\)\)"),
    ],
)
def test_images_that_are_none_are_refused(call, says):
    with pytest.raises(InputError, match=says):
        call()


def test_images_may_be_lists_and_their_classes_words():
    expected = pair_similarity(IMAGES, 5, [0, 0, 1, 1], peak=1.0)
    found = pair_similarity(IMAGES.tolist(), 5, ["a", "a", "b", "b"], peak=1.0)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
