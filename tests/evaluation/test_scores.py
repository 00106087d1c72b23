import numpy as np
import pytest
from scipy.spatial.distance import cdist

from l1jax.evaluation import frechet_distance, kernel_distance, precision_recall_density_coverage
from l1jax.evaluation import scores as scores_module
from l1jax.evaluation.features import Extracted
from l1jax.evaluation.scores import feature_scores, reference_of

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
    reference = reference_of(Extracted(a))
    assert feature_scores(reference, Extracted(b, logits)) == scores
    again = feature_scores(reference, Extracted(a[:30]))
    assert again["novelty"] == 0  # what is kept has not changed


@pytest.mark.slow
def test_large_sets_are_compared_by_subsets(monkeypatch):
    monkeypatch.setattr(scores_module, "MAX_ALL_PAIRS", 2_000)
    a, b = RNG.normal(size=(2_100, 2)), RNG.normal(size=(2_100, 2)) + 0.5
    scores = feature_scores(Extracted(a), Extracted(b), seed=3)
    assert scores["kernel_distance"] == kernel_distance(a, b, 100, 1_000, 3).mean
    np.testing.assert_allclose(scores["kernel_distance"], float(kernel_distance(a, b)), rtol=0.1)


@pytest.mark.parametrize(
    "offset", [0, 1e3]
)  # far from 0 copies are told from new images all the same
def test_novelty_tells_copies_from_new_images(offset):
    real = offset + RNG.normal(size=(400, 6))
    new = offset + RNG.normal(size=(100, 6))
    found = [
        feature_scores(Extracted(real), Extracted(x))["novelty"]
        for x in (real[:100], real[:100] + 5e-3, new)
    ]
    to_real, among_real = cdist(new, real).min(axis=1), np.sort(cdist(real, real), axis=1)[:, 1]
    assert found[0] == 0
    assert 0 < found[1] < 0.02
    np.testing.assert_allclose(found[2], np.median(to_real) / np.median(among_real), rtol=1e-6)
