"""The scores of a set of generated images on any features."""

from typing import NamedTuple

import numpy as np

from l1jax.evaluation.features import Extracted
from l1jax.evaluation.frechet import Factored, factored, frechet_distance
from l1jax.evaluation.inception_score import inception_score
from l1jax.evaluation.kernel import clip_distance, kernel_distance
from l1jax.evaluation.manifold import Neighbourhood, manifold_and_novelty, neighbourhood
from l1jax.evaluation.pairwise import Rows, feature_matrix

NEIGHBOURS = 5  # k of precision, recall, density and coverage
MAX_ALL_PAIRS = 10_000  # rows up to which the kernel distance is taken over all pairs
NUM_SUBSETS = 100  # of the kernel distance beyond that, where all pairs would cost more
SUBSET_SIZE = 1_000


class Reference(NamedTuple):
    """Real features, and what every comparison with them needs of them alone."""

    rows: Rows
    fitted: Factored
    neighbourhood: Neighbourhood


def reference_of(real: Extracted) -> Reference:
    """Compute once what several comparisons with the same real images need.

    Args:
        real: features of the real images; more rows than neighbours.

    Raises:
        InputError: if there are too few rows, or some are not finite.
    """
    rows = feature_matrix(real.features, "real", least=NEIGHBOURS + 1)
    return Reference(rows, factored(rows, "real"), neighbourhood(rows, NEIGHBOURS, "real"))


def feature_scores(
    real: Extracted | Reference,
    generated: Extracted,
    seed: int = 0,
    *,
    is_clip: bool = False,
    max_real_rows: int | None = None,
) -> dict[str, float]:
    """Compare generated images with real ones by their features.

    The kernel distance is taken over all pairs, or as the mean over 100 subsets of 1,000 rows where
    there are more than 10,000 rows.

    Args:
        real: features of the real images, or what `reference_of` made of them.
        generated: features, and logits if there are any, of the generated images.
        seed: of the subsets.
        is_clip: whether the features are CLIP's image embeddings, for the CMMD.
        max_real_rows: most real rows that the kernel distance is taken with; None for all.

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
    if not isinstance(real, Reference):
        real = reference_of(real)
    a = real.rows
    b = feature_matrix(generated.features, "generated")
    manifold, novelty = manifold_and_novelty(real.neighbourhood, b, NEIGHBOURS)
    scores = {
        "frechet_distance": frechet_distance(real.fitted, b),
        "kernel_distance": _kernel_distance(a[:max_real_rows], b, seed),
        **manifold._asdict(),
        "novelty": novelty,
    }
    if is_clip:
        scores["clip_distance"] = clip_distance(a, b)
    if generated.logits is not None:
        scores["inception_score"] = inception_score(np.asarray(generated.logits), splits=1).mean
    return {name: float(value) for name, value in scores.items()}


def _kernel_distance(a: Rows, b: Rows, seed: int) -> float:
    if max(len(a), len(b)) <= MAX_ALL_PAIRS:
        return float(kernel_distance(a, b))
    subset_size = min(SUBSET_SIZE, len(a), len(b))
    return kernel_distance(a, b, NUM_SUBSETS, subset_size, seed).mean
