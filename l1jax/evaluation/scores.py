"""The scores of a set of generated images on any features."""

import numpy as np

from l1jax.evaluation.features import Extracted
from l1jax.evaluation.frechet import frechet_distance
from l1jax.evaluation.inception_score import inception_score
from l1jax.evaluation.kernel import clip_distance, kernel_distance
from l1jax.evaluation.manifold import manifold_and_novelty
from l1jax.evaluation.pairwise import feature_matrix

NEIGHBOURS = 5  # k of precision, recall, density and coverage
MAX_ALL_PAIRS = 2_000  # rows up to which the kernel distance is taken over all pairs
NUM_SUBSETS = 100  # of the kernel distance beyond that
SUBSET_SIZE = 1_000


def feature_scores(
    real: Extracted, generated: Extracted, seed: int = 0, *, is_clip: bool = False
) -> dict[str, float]:
    """Compare generated images with real ones by their features.

    The kernel distance is taken over all pairs, or as the mean over 100 subsets of 1,000 rows where
    there are more than 2,000 rows.

    Args:
        real: features of the real images.
        generated: features, and logits if there are any, of the generated images.
        seed: of the subsets.
        is_clip: whether the features are CLIP's image embeddings, for the CMMD.

    Returns:
        `frechet_distance`, `kernel_distance`, `precision`, `recall`, `density` and `coverage` among
        5 neighbours, `novelty`, with logits the `inception_score` over all images, and of CLIP's
        features the `clip_distance`. Novelty is
        the median distance from a generated image to the nearest real one, divided by that from a
        real one to the nearest other. It is far below 1 where real images are repeated.

    Raises:
        InputError: if there are too few rows, or some are not finite; see the functions of those
            names.
    """
    a = feature_matrix(real.features, "real")
    b = feature_matrix(generated.features, "generated")
    if max(len(a), len(b)) <= MAX_ALL_PAIRS:
        kernel = float(kernel_distance(a, b))
    else:
        subset_size = min(SUBSET_SIZE, len(a), len(b))
        kernel = kernel_distance(a, b, NUM_SUBSETS, subset_size, seed).mean
    manifold, novelty = manifold_and_novelty(a, b, NEIGHBOURS)
    scores = {
        "frechet_distance": frechet_distance(a, b),
        "kernel_distance": kernel,
        **manifold._asdict(),
        "novelty": novelty,
    }
    if is_clip:
        scores["clip_distance"] = clip_distance(a, b)
    if generated.logits is not None:
        scores["inception_score"] = inception_score(np.asarray(generated.logits), splits=1).mean
    return {name: float(value) for name, value in scores.items()}
