"""The scores that real images have against real images, beside those of generated ones."""

import math

import numpy as np
from jaxtyping import Float

from l1jax.evaluation.features import Extracted
from l1jax.evaluation.frechet import frechet_distance
from l1jax.evaluation.memorisation import memorisation
from l1jax.evaluation.scores import NEIGHBOURS, feature_scores

SAME_SIZE = 1.02  # ratio of sizes up to which the Fréchet distance is not corrected
NUM_SPLITS = 3  # of the real images, whose Fréchet distances are averaged
MAX_COPIES_ROWS = 1_000  # generated images among which copies are looked for
MAX_EXPONENT = 1.2  # of the fall of the Fréchet distance with the size; it is 1 for many rows


def real_against_real(real: Extracted, num_generated: int) -> dict[str, float]:
    """Score some of the real images as if they were generated, against the others.

    As many as were generated are taken, and at most half. Where these sets are smaller than those
    of real and generated images, the Fréchet distance, whose bias falls with the size, is
    extrapolated: its power of the size is that between these sets and their halves.

    Args:
        real: features of the real images in a random order.
        num_generated: number of generated images.

    Returns:
        The scores of `feature_scores`, `near_copies` and `authenticity`; `num_real` and
        `num_others`, the sizes of the two sets; and `frechet_distance_measured`, between these,
        where `frechet_distance` is extrapolated.
    """
    count = len(np.asarray(real.features))
    size = min(num_generated, count // 2)
    others = slice_rows(real, 0, size)
    rest = slice_rows(real, size, count)
    scores = feature_scores(rest, others)
    found = copies(others, rest)
    scores |= found
    sizes = {"num_real": float(count - size), "num_others": float(size)}
    target = _harmonic(count, num_generated)
    own = _harmonic(count - size, size)
    if target <= SAME_SIZE * own or size // 2 <= NEIGHBOURS:
        return scores | sizes
    measured, smaller = _split_distances(np.asarray(real.features), size)
    exponent = 0.0
    if measured > 0 and smaller > 0:
        exponent = min(max(math.log2(smaller / measured), 0.0), MAX_EXPONENT)
    scores["frechet_distance"] = measured * (target / own) ** -exponent
    return scores | sizes | {"frechet_distance_measured": measured}


def _split_distances(rows: Float[np.ndarray, "count features"], size: int) -> tuple[float, float]:
    """Return the mean distances between the parts of random splits, and between their halves.

    Args:
        rows: features of the real images.
        size: rows of the smaller part.
    """
    rng = np.random.default_rng(0)
    of_parts = []
    of_halves = []
    for _ in range(NUM_SPLITS):
        shuffled = rows[rng.permutation(len(rows))]
        others = shuffled[:size]
        rest = shuffled[size:]
        of_parts.append(frechet_distance(others, rest))
        middle = len(others) // 2
        rest_middle = len(rest) // 2
        of_halves.append(frechet_distance(others[:middle], rest[:rest_middle]))
        of_halves.append(frechet_distance(others[middle:], rest[rest_middle:]))
    return float(np.mean(of_parts)), float(np.mean(of_halves))


def copies(
    generated: Extracted, training: Extracted, held_out: Extracted | None = None
) -> dict[str, float]:
    """Return `near_copies` and `authenticity` of up to a thousand generated images.

    Args:
        generated: their features.
        training: those of the training images.
        held_out: those of other real images, or None.
    """
    some = np.asarray(generated.features)[:MAX_COPIES_ROWS]
    others = None
    if held_out is not None:
        others = np.asarray(held_out.features)[:MAX_COPIES_ROWS]
    found = memorisation(some, np.asarray(training.features), others)
    return {"near_copies": found.near_copies, "authenticity": found.authenticity}


def slice_rows(extracted: Extracted, start: int, stop: int) -> Extracted:
    """Return some rows of features, and of logits if there are any.

    Args:
        extracted: the features.
        start: the first row.
        stop: the row after the last.
    """
    logits = extracted.logits
    if logits is not None:
        logits = np.asarray(logits)[start:stop]
    return Extracted(np.asarray(extracted.features)[start:stop], logits)


def _harmonic(a: int, b: int) -> float:
    return 2 * a * b / (a + b)
