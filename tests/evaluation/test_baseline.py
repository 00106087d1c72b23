"""What real images have against real ones, and how much a score deviates, from one sample."""

import numpy as np
import pytest

from l1jax.evaluation import frechet_by_class, frechet_distance
from l1jax.evaluation.baseline import real_against_real
from l1jax.evaluation.features import Extracted
from l1jax.evaluation.resampling import resampled_deviations
from l1jax.evaluation.scores import feature_scores, reference_of

RNG = np.random.default_rng(0)
FEATURES = 12


def sample(count):
    return Extracted(RNG.normal(size=(count, FEATURES)))


@pytest.mark.parametrize(("num_real", "num_generated"), [(300, 300), (300, 900)])
def test_the_baseline_is_that_of_a_perfect_generator_of_as_many_images(num_real, num_generated):
    perfect = [
        frechet_distance(sample(num_real).features, sample(num_generated).features)
        for _ in range(12)
    ]
    found = real_against_real(sample(num_real), num_generated)
    assert found["frechet_distance"] == pytest.approx(np.mean(perfect), rel=0.4)
    assert found["frechet_distance_measured"] > 1.4 * np.mean(perfect)  # halves alone mislead
    assert (found["num_real"], found["num_others"]) == (150, 150)


def test_the_distance_within_classes_is_that_of_a_perfect_generator_too():
    labels = np.arange(400) % 4

    def of_classes():
        return RNG.normal(size=(400, FEATURES)) + 5 * labels[:, None]

    perfect = [frechet_by_class(of_classes(), labels, of_classes(), labels).mean for _ in range(6)]
    found = real_against_real(Extracted(of_classes()), 400, labels)
    assert found["frechet_by_class"] == pytest.approx(np.mean(perfect), rel=0.4)
    few = np.where(np.arange(400) == 0, 4, labels)  # one image of the class 4
    assert "frechet_by_class" not in real_against_real(Extracted(of_classes()), 400, few)


def test_nothing_is_extrapolated_where_few_are_generated():
    found = real_against_real(sample(300), 20)
    assert (found["num_real"], found["num_others"]) == (280, 20)
    assert "frechet_distance_measured" not in found
    assert real_against_real(sample(16), 16)["num_others"] == 8


def test_the_deviation_of_one_sample_is_that_of_many():
    real = sample(200)
    scores = [feature_scores(real, sample(200)) for _ in range(30)]
    found = [resampled_deviations(reference_of(real), sample(200)) for _ in range(6)]
    # Coverage is nearly full, and half the images deviate more than those near its end would.
    for name, most in (("frechet_distance", 1.8), ("precision", 1.8), ("coverage", 2.4)):
        expected = np.std([of_sample[name] for of_sample in scores], ddof=1)
        mean = np.mean([of_sample[name] for of_sample in found])
        assert 0.7 * expected < mean < most * expected
    assert resampled_deviations(reference_of(real), sample(16)) == {}
