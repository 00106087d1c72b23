"""The scores that real images have against real images, beside those of generated ones."""

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from jaxtyping import Int

from l1jax.evaluation.by_class import within_classes
from l1jax.evaluation.features import Extracted
from l1jax.evaluation.frechet import frechet_distance
from l1jax.evaluation.manifold import Neighbourhood
from l1jax.evaluation.memorisation import memorisation_of
from l1jax.evaluation.scores import NEIGHBOURS, feature_scores, reference_of

SAME_SIZE = 1.02  # ratio of sizes up to which the Fréchet distance is not corrected
NUM_SPLITS = 3  # of the real images, whose Fréchet distances are averaged
MAX_COPIES_ROWS = 1_000  # generated images among which copies are looked for
MAX_EXPONENT = 1.2  # of the fall of the Fréchet distance with the size; it is 1 for many rows

Labels: TypeAlias = Int[np.ndarray, " count"]
Index: TypeAlias = Int[np.ndarray, " _rows"]


def real_against_real(
    real: Extracted,
    num_generated: int,
    labels: Labels | None = None,
    *,
    is_clip: bool = False,
) -> dict[str, float]:
    """Score some of the real images as if they were generated, against the others.

    As many as were generated are taken, and at most half. Where these sets are smaller than those
    of real and generated images, the Fréchet distance, whose bias falls with the size, is
    extrapolated: its power of the size is that between these sets and their halves.

    Args:
        real: features of the real images in a random order.
        num_generated: number of generated images.
        labels: class of each real image, for the distance within classes; None without any.
        is_clip: as of `feature_scores`.

    Returns:
        The scores of `feature_scores`, `near_copies` and `authenticity`; `frechet_by_class`,
        extrapolated likewise, if each class has enough images; `num_real` and `num_others`, the
        sizes of the two sets; and `frechet_distance_measured`, between these, where
        `frechet_distance` is extrapolated.
    """
    count = len(np.asarray(real.features))
    size = min(num_generated, count // 2)
    others = slice_rows(real, 0, size)
    rest = reference_of(slice_rows(real, size, count))
    scores = feature_scores(rest, others, is_clip=is_clip)
    scores |= copies(others, rest.neighbourhood)
    sizes = {"num_real": float(count - size), "num_others": float(size)}
    target = _harmonic(count, num_generated)
    own = _harmonic(count - size, size)
    rows = np.asarray(real.features)
    is_small = target > SAME_SIZE * own and size // 2 > NEIGHBOURS
    ratio = target / own

    def of_all(a: Index, b: Index) -> float:
        return frechet_distance(rows[a], rows[b])

    def within(a: Index, b: Index) -> float:
        assert labels is not None
        found = within_classes(rows[a], labels[a], rows[b], labels[b])
        return found.get("frechet_by_class", math.nan)

    if is_small:
        measured, smaller = _split_distances(count, size, of_all)
        scores["frechet_distance"] = _extrapolated(measured, smaller, ratio)
        scores["frechet_distance_measured"] = measured
    if labels is not None:
        measured, smaller = _split_distances(count, size, within)
        by_class = _extrapolated(measured, smaller, ratio if is_small else 1.0)
        if math.isfinite(by_class):
            scores["frechet_by_class"] = by_class
    return scores | sizes


def _extrapolated(measured: float, smaller: float, ratio: float) -> float:
    """Return a Fréchet distance at another size, by the power of the size that it falls with.

    Args:
        measured: the distance between two sets.
        smaller: that between their halves.
        ratio: size wanted ÷ size of the two sets.
    """
    exponent = 0.0
    if measured > 0 and smaller > 0:
        exponent = min(max(math.log2(smaller / measured), 0.0), MAX_EXPONENT)
    return measured * ratio**-exponent


def _split_distances(
    count: int, size: int, between: Callable[[Index, Index], float]
) -> tuple[float, float]:
    """Return the mean distances between the parts of random splits, and between their halves.

    Args:
        count: rows of all.
        size: rows of the smaller part.
        between: distance of the rows at some indices and those at others.
    """
    rng = np.random.default_rng(0)
    of_parts = []
    of_halves = []
    for _ in range(NUM_SPLITS):
        shuffled = rng.permutation(count)
        others = shuffled[:size]
        rest = shuffled[size:]
        of_parts.append(between(others, rest))
        middle = len(others) // 2
        rest_middle = len(rest) // 2
        of_halves.append(between(others[:middle], rest[:rest_middle]))
        of_halves.append(between(others[middle:], rest[rest_middle:]))
    return float(np.mean(of_parts)), float(np.mean(of_halves))


def copies(
    generated: Extracted, training: Neighbourhood, held_out: Extracted | None = None
) -> dict[str, float]:
    """Return `near_copies` and `authenticity` of up to a thousand generated images.

    Args:
        generated: their features.
        training: those of the training images, with the distances between them.
        held_out: those of other real images, or None.
    """
    some = np.asarray(generated.features)[:MAX_COPIES_ROWS]
    others = None
    if held_out is not None:
        others = np.asarray(held_out.features)[:MAX_COPIES_ROWS]
    found = memorisation_of(some, training, others)
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
