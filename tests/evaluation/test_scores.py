import numpy as np
import pytest

from l1jax.evaluation import frechet_distance, kernel_distance, precision_recall_density_coverage
from l1jax.evaluation.features import Extracted
from l1jax.evaluation.scores import feature_scores, novelty

RNG = np.random.default_rng(0)


def test_scores_are_those_of_their_functions():
    a, b = RNG.normal(size=(60, 4)), RNG.normal(size=(50, 4)) + 0.5
    logits = RNG.normal(size=(50, 3))
    scores = feature_scores(Extracted(a), Extracted(b, logits))
    assert scores["frechet_distance"] == frechet_distance(a, b)
    assert scores["kernel_distance"] == float(kernel_distance(a, b))
    assert scores["recall"] == float(precision_recall_density_coverage(a, b, 5).recall)
    assert 1 < scores["inception_score"] < 3
    assert "inception_score" not in feature_scores(Extracted(a), Extracted(b))


def test_large_sets_are_compared_by_subsets():
    a, b = RNG.normal(size=(2_100, 2)), RNG.normal(size=(2_100, 2)) + 0.5
    scores = feature_scores(Extracted(a), Extracted(b), seed=3)
    assert scores["kernel_distance"] == kernel_distance(a, b, 100, 1_000, 3).mean
    np.testing.assert_allclose(scores["kernel_distance"], float(kernel_distance(a, b)), rtol=0.1)


def test_novelty_tells_copies_from_new_images():
    real = RNG.normal(size=(400, 6))
    assert novelty(real, real[:100]) == 0
    assert novelty(real, real[:100] + 1e-3) < 0.01
    assert novelty(real, RNG.normal(size=(100, 6))) == pytest.approx(1, abs=0.1)
