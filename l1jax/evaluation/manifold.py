"""Where generated features lie among real ones, by balls around nearest neighbours."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int

from l1jax.evaluation.pairwise import (
    Features,
    Rows,
    check_integer,
    feature_matrix,
    require_same_features,
    row_slices,
    squared_distances,
    squared_norms,
)

ROUNDING = 1e-12  # of |x|² + |y|² − 2x·y, beside |x|²


class ManifoldScores(NamedTuple):
    """Fidelity (precision, density) and diversity (recall, coverage)."""

    precision: float  # share of generated points within some real point's ball
    recall: float  # share of real points within some generated point's ball
    density: (
        float  # real balls around a generated point, mean over these, divided by k; may exceed 1
    )
    coverage: float  # share of real points with a generated point in their ball


class Neighbours(NamedTuple):
    """The nearest training points of every generated one, nearest first."""

    distances: Float64[np.ndarray, "n k"]  # Euclidean; exactly 0 for a copy
    indices: Int[np.ndarray, "n k"]  # rows of the training points


def precision_recall_density_coverage(
    real: Features, generated: Features, k: int = 5
) -> ManifoldScores:
    """Compare two samples by the balls that reach from each point to its k-th neighbour of the same sample.

    Distances are float64 whatever the features are, for a rounding may move a point across a ball's edge; points
    on the edge are outside. Memory is that of tiles; the cost is 2 (n²/2 + m²/2 + nm)·features operations.

    Args:
        real: features of the real sample, a row each; more than k rows.
        generated: features of the generated sample; more than k rows.
        k: which neighbour a ball reaches to.

    Raises:
        InputError: if a sample has not more than k rows or is not finite.

    Source: Kynkäänniemi et al., NeurIPS 2019, section 3 (precision, recall); Naeem et al., ICML 2020, section 3
    (density, coverage).
    """
    return manifold_and_novelty(real, generated, k)[0]


def manifold_and_novelty(
    real: Features, generated: Features, k: int = 5
) -> tuple[ManifoldScores, float]:
    """The same scores, and from the same distances how new the generated points are.

    Novelty is the median distance from a generated point to the nearest real one over that from a real one to the
    nearest other: near 1 for new points, 0 for copies. Distances below a millionth of a point's norm count as 0.
    """
    check_integer(k, "k", least=1)
    real, generated = (
        feature_matrix(real, "real", least=k + 1),
        feature_matrix(generated, "generated", least=k + 1),
    )
    require_same_features(real.shape[1], generated.shape[1], "`real` and `generated`")
    real_nearest, generated_nearest = _nearest_squared(real, k), _nearest_squared(generated, k)
    real_radii, generated_radii = real_nearest.max(axis=1), generated_nearest.max(axis=1)
    to_real = np.full(len(generated), np.inf)
    precise, balls = np.zeros(len(generated), bool), 0
    recalled, covered = np.zeros((2, len(real)), bool)
    for rows, columns, squared in squared_distances(real, generated):
        in_real = squared < real_radii[rows, None]
        precise[columns] |= in_real.any(axis=0)
        covered[rows] |= in_real.any(axis=1)
        balls += np.count_nonzero(in_real)
        recalled[rows] |= (squared < generated_radii[columns]).any(axis=1)
        to_real[columns] = np.minimum(to_real[columns], squared.min(axis=0))
    density = balls / (k * len(generated))
    scores = ManifoldScores(
        float(precise.mean()), float(recalled.mean()), float(density), float(covered.mean())
    )
    among_real = np.partition(real_nearest, 1, axis=1)[
        :, 1
    ]  # the nearest of all is the point itself
    new, usual = _median_distance(to_real, generated), _median_distance(among_real, real)
    return scores, new / max(usual, 1e-12)


def nearest_neighbours(generated: Features, training: Features, k: int = 1) -> Neighbours:
    """Find the k training points nearest to each generated one, to see what was memorised.

    Memory is that of tiles. Of training points that are equally far, any may be named.

    Args:
        generated: features of the generated sample, a row each.
        training: features of the training set; at least k rows.
        k: how many.

    Raises:
        InputError: if there are fewer than k training points, or some features are not finite.
    """
    check_integer(k, "k", least=1)
    generated, training = (
        feature_matrix(generated, "generated", least=1),
        feature_matrix(training, "training", least=k),
    )
    require_same_features(generated.shape[1], training.shape[1], "`generated` and `training`")
    nearest = np.full((len(generated), k), np.inf)
    indices = np.zeros((len(generated), k), int)
    for rows, columns, squared in squared_distances(generated, training):
        candidates = np.concatenate([nearest[rows], squared], axis=1)
        kept = np.argpartition(candidates, k - 1, axis=1)[:, :k]
        nearest[rows] = np.take_along_axis(candidates, kept, axis=1)
        before = np.take_along_axis(indices[rows], np.minimum(kept, k - 1), axis=1)
        indices[rows] = np.where(kept < k, before, kept - k + columns.start)
    for j in range(k):  # again, as differences: without the cancellation of |x|² + |y|² − 2x·y
        nearest[:, j] = _distances(generated, training, indices[:, j])
    order = np.argsort(nearest, axis=1, kind="stable")
    return Neighbours(
        np.take_along_axis(nearest, order, axis=1), np.take_along_axis(indices, order, axis=1)
    )


def _nearest_squared(x: Rows, k: int) -> Float64[np.ndarray, "n neighbours"]:
    """Squared distances of every point to the k + 1 nearest, itself among them, in any order."""
    nearest = np.full((len(x), k + 1), np.inf)

    def keep(rows: slice, squared: Float64[np.ndarray, "rows columns"]) -> None:
        candidates = np.concatenate([nearest[rows], squared], axis=1)
        nearest[rows] = np.partition(candidates, k, axis=1)[:, : k + 1]

    for rows, columns, squared in squared_distances(x):
        keep(rows, squared)
        if rows != columns:
            keep(columns, squared.T)
    return nearest


def _median_distance(squared: Float64[np.ndarray, " n"], x: Rows) -> float:
    """Of the points x, which lie as far as this from others; what may be a rounding counts as 0."""
    return float(np.median(np.sqrt(np.where(squared < ROUNDING * squared_norms(x), 0, squared))))


def _distances(x: Rows, y: Rows, indices: Int[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Of every row of x from the row of y that its index names."""
    found = np.empty(len(x))
    for piece in row_slices(*x.shape):
        found[piece] = np.linalg.norm(x[piece].astype(np.float64) - y[indices[piece]], axis=1)
    return found
