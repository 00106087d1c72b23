import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import entropy

from l1jax.evaluation import class_coverage, mode_coverage

MEANS = jnp.asarray([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])


def test_counts_by_hand():
    points = jnp.asarray(
        [[0.29, 0.0], [0.0, -0.31], [9.9, 0.1], [10.0, 0.0], [6.0, 0.0], [0.0, 9.0]]
    )
    found = mode_coverage(points, MEANS, 0.1)
    assert found.modes == 2  # the third is met, but from too far
    np.testing.assert_allclose(found.high_quality, 3 / 6)
    np.testing.assert_allclose(found.reverse_kl, entropy([2, 3, 1], [1, 1, 1]), rtol=1e-6)


def test_the_mixture_itself_covers_it():
    rng = np.random.default_rng(0)
    modes = rng.choice(3, size=20_000, p=[0.5, 0.3, 0.2])
    points = np.asarray(MEANS)[modes] + 0.1 * rng.normal(size=(20_000, 2))
    found = jax.jit(mode_coverage)(jnp.asarray(points), MEANS, 0.1)
    assert found.modes == 3
    inside = 1 - np.exp(-9 / 2)  # of a Gaussian in the plane, within three deviations
    assert abs(found.high_quality - inside) < 4 * np.sqrt(inside * (1 - inside) / 20_000)
    np.testing.assert_allclose(found.reverse_kl, entropy(np.bincount(modes), [1, 1, 1]), rtol=1e-3)


def test_a_collapsed_generator_has_one_mode_and_log_n():
    found = mode_coverage(jnp.zeros((50, 2)), MEANS, 0.1)
    assert found.modes == 1
    assert found.high_quality == 1
    np.testing.assert_allclose(found.reverse_kl, np.log(3), rtol=1e-6)


def test_classes_by_hand():
    classes, counts = np.asarray([0, 0, 0, 1, 3, 3]), np.asarray([10, 20, 30, 40])
    found = class_coverage(classes, counts)
    assert found.modes == 3
    assert found.high_quality == 1
    np.testing.assert_allclose(found.reverse_kl, entropy([3, 1, 0, 2], counts), rtol=1e-6)


def test_an_unsure_image_has_a_class_but_reaches_no_mode():
    classes = jnp.asarray([0, 1, 1, 2])
    found = jax.jit(class_coverage)(classes, jnp.ones(3), jnp.asarray([0.9, 0.1, 0.95, 0.89]), 0.9)
    assert found.modes == 2
    assert found.high_quality == 0.5
    np.testing.assert_allclose(found.reverse_kl, entropy([1, 2, 1], [1, 1, 1]), rtol=1e-6)


def test_as_many_images_of_each_of_1000_classes_as_the_data_has():
    counts = np.random.default_rng(0).integers(1, 50, size=1000)
    found = class_coverage(
        np.random.default_rng(1).permutation(np.repeat(np.arange(1000), counts)), counts
    )
    assert found.modes == 1000
    assert abs(found.reverse_kl) < 1e-6


def test_a_class_that_the_data_lacks_is_infinitely_wrong_unless_no_image_has_it():
    assert class_coverage(np.asarray([0, 1]), np.asarray([5, 0, 0])).reverse_kl == np.inf
    np.testing.assert_allclose(
        class_coverage(np.asarray([0, 2]), np.asarray([5, 0, 5])).reverse_kl, 0, atol=1e-6
    )


@pytest.mark.parametrize("classes", [[0, 3], [-1, 0]])
def test_a_class_that_does_not_exist_is_refused(classes):
    required = r"`classes` \(from .* must be whole numbers between 0 and 2"
    with pytest.raises(ValueError, match=required):
        class_coverage(np.asarray(classes), np.ones(3))
