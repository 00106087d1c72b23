"""The numbers that a set of generated images is judged by, on any features."""

import numpy as np

from l1jax.evaluation.features import Extracted
from l1jax.evaluation.frechet import frechet_distance
from l1jax.evaluation.inception_score import inception_score
from l1jax.evaluation.kernel import kernel_distance
from l1jax.evaluation.manifold import manifold_and_novelty
from l1jax.evaluation.pairwise import feature_matrix

NEIGHBOURS = 5  # k of precision, recall, density and coverage
ALL_PAIRS = 2_000  # rows up to which the kernel distance is taken over all pairs


def feature_scores(real: Extracted, generated: Extracted, seed: int = 0) -> dict[str, float]:
    """Compare generated images with real ones by what a function sees in them.

    Returns:
        frechet_distance and kernel_distance (over all pairs, or the mean over 100 subsets of 1,000 where there are
        more than 2,000 rows), precision, recall, density and coverage among 5 neighbours, novelty, and where there are
        logits the inception_score over all images. Novelty is the median distance from a generated image to the
        nearest real one over that from a real one to the nearest other: far below 1 where real images are repeated.

    Raises:
        InputError: if there are too few rows, or some are not finite; see the functions of those names.
    """
    a, b = feature_matrix(real.features, "real"), feature_matrix(generated.features, "generated")
    few = max(len(a), len(b)) <= ALL_PAIRS
    kernel = (
        kernel_distance(a, b)
        if few
        else kernel_distance(a, b, 100, min(1_000, len(a), len(b)), seed).mean
    )
    scores = {"frechet_distance": frechet_distance(a, b), "kernel_distance": float(kernel)}
    manifold, novelty = manifold_and_novelty(a, b, NEIGHBOURS)
    scores |= {**manifold._asdict(), "novelty": novelty}
    if generated.logits is not None:
        scores["inception_score"] = inception_score(np.asarray(generated.logits), splits=1).mean
    return {name: float(value) for name, value in scores.items()}
