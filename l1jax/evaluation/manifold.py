"""Scores of where generated features lie among real ones, by balls around nearest neighbours."""

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
    density: float  # mean number of real balls around a generated point, divided by k; may exceed 1
    coverage: float  # share of real points with a generated point in their ball


class Neighbours(NamedTuple):
    """The nearest training points of every generated point, nearest first."""

    distances: Float64[np.ndarray, "n k"]  # Euclidean; exactly 0 for a copy
    indices: Int[np.ndarray, "n k"]  # rows of the training points


def precision_recall_density_coverage(
    real: Features, generated: Features, k: int = 5
) -> ManifoldScores:
    """Compare two samples by the balls from each point to its k-th neighbour of the same sample.

    Distances are float64 whatever the features are, because a rounding error could move a point
    across a ball's edge. Points on the edge are outside. The distances are computed in tiles, so
    that little memory is needed, and cost 2 (n²/2 + m²/2 + nm)·features operations.

    Args:
        real: features of the real sample, a row each; more than k rows.
        generated: features of the generated sample; more than k rows.
        k: which neighbour a ball reaches to.

    Raises:
        InputError: if a sample has not more than k rows or is not finite.

    Source: Kynkäänniemi et al., NeurIPS 2019, section 3 (precision, recall); Naeem et al., ICML
    2020, section 3 (density, coverage).
    """
    return manifold_and_novelty(real, generated, k).scores


class ManifoldAndNovelty(NamedTuple):
    """Scores that come from the same distances."""

    scores: ManifoldScores
    novelty: float
    """Median distance from a generated point to the nearest real one, divided by the median
    distance from a real one to the nearest other: near 1 for new points, 0 for copies."""


class Neighbourhood(NamedTuple):
    """Points, and how far the nearest others of the same sample are from each."""

    points: Rows
    nearest_squared: Float64[np.ndarray, "n neighbours"]
    """Squared distances to the k + 1 nearest, the point itself included, unsorted."""
    to_other: Float64[np.ndarray, " n"]
    """Distance to the nearest other point; exactly 0 for a copy."""


def manifold_and_novelty(
    real: Features | Neighbourhood, generated: Features, k: int = 5
) -> ManifoldAndNovelty:
    """Compute `precision_recall_density_coverage`, and how new the generated points are.

    Args:
        real: features of the real sample, a row each, more than k rows; or their `neighbourhood`
            of k, which saves its computation.
        generated: features of the generated sample; more than k rows.
        k: which neighbour a ball reaches to.

    Returns:
        The scores and the novelty, for which distances below a millionth of a point's norm count as
        0.

    Raises:
        InputError: if a sample has not more than k rows or is not finite.
    """
    check_integer(k, "k", least=1)
    of_real = real if isinstance(real, Neighbourhood) else None
    points = feature_matrix(real, "real", least=k + 1) if of_real is None else of_real.points
    generated = feature_matrix(generated, "generated", least=k + 1)
    require_same_features(points.shape[1], generated.shape[1], "`real` and `generated`")
    if of_real is None:
        of_real = neighbourhood(points, k, "real")
    real_radii = of_real.nearest_squared.max(axis=1)
    generated_radii = neighbourhood(generated, k, "generated").nearest_squared.max(axis=1)
    squared_to_real = np.full(len(generated), np.inf)
    is_precise = np.zeros(len(generated), bool)
    is_recalled = np.zeros(len(points), bool)
    is_covered = np.zeros(len(points), bool)
    num_in_balls = 0
    for rows, columns, squared in squared_distances(points, generated):
        in_real_ball = squared < real_radii[rows, None]
        is_precise[columns] |= in_real_ball.any(axis=0)
        is_covered[rows] |= in_real_ball.any(axis=1)
        num_in_balls += np.count_nonzero(in_real_ball)
        is_recalled[rows] |= (squared < generated_radii[columns]).any(axis=1)
        squared_to_real[columns] = np.minimum(squared_to_real[columns], squared.min(axis=0))
    scores = ManifoldScores(
        precision=float(is_precise.mean()),
        recall=float(is_recalled.mean()),
        density=float(num_in_balls / (k * len(generated))),
        coverage=float(is_covered.mean()),
    )
    # The nearest point of all is the point itself.
    squared_among_real = np.partition(of_real.nearest_squared, 1, axis=1)[:, 1]
    among_real = _median_distance(squared_among_real, points)
    to_real = _median_distance(squared_to_real, generated)
    return ManifoldAndNovelty(scores, to_real / max(among_real, 1e-12))


def nearest_neighbours(generated: Features, training: Features, k: int = 1) -> Neighbours:
    """Find the k training points nearest to each generated one, to see what was memorised.

    The distances are computed in tiles, so that little memory is needed. Of training points that
    are equally far, any may be returned.

    Args:
        generated: features of the generated sample, a row each.
        training: features of the training set; at least k rows.
        k: number of neighbours.

    Raises:
        InputError: if there are fewer than k training points, or some features are not finite.
    """
    check_integer(k, "k", least=1)
    generated = feature_matrix(generated, "generated", least=1)
    training = feature_matrix(training, "training", least=k)
    require_same_features(generated.shape[1], training.shape[1], "`generated` and `training`")
    nearest = np.full((len(generated), k), np.inf)
    indices = np.zeros((len(generated), k), int)
    for rows, columns, squared in squared_distances(generated, training):
        candidates = np.concatenate([nearest[rows], squared], axis=1)
        best = np.argpartition(candidates, k - 1, axis=1)[:, :k]
        nearest[rows] = np.take_along_axis(candidates, best, axis=1)
        previous = np.take_along_axis(indices[rows], np.minimum(best, k - 1), axis=1)
        indices[rows] = np.where(best < k, previous, best - k + columns.start)
    for j in range(k):  # once more, without the cancellation in |x|² + |y|² − 2x·y
        nearest[:, j] = _distances(generated, training, indices[:, j])
    order = np.argsort(nearest, axis=1, kind="stable")
    return Neighbours(
        np.take_along_axis(nearest, order, axis=1), np.take_along_axis(indices, order, axis=1)
    )


def neighbourhood(x: Features, k: int, name: str) -> Neighbourhood:
    """Compute the distances between the points of a sample, one tile at a time.

    Args:
        x: features, a row each; more than k rows.
        k: number of neighbours.
        name: the argument's name, for messages.

    Raises:
        InputError: if there are too few rows, or some are not finite.
    """
    points = feature_matrix(x, name, least=k + 1)
    nearest = np.full((len(points), k + 1), np.inf)
    squared_to_other = np.full(len(points), np.inf)
    others = np.zeros(len(points), int)

    def keep_nearest(
        rows: slice, columns: slice, squared: Float64[np.ndarray, "rows columns"]
    ) -> None:
        candidates = np.concatenate([nearest[rows], squared], axis=1)
        nearest[rows] = np.partition(candidates, k, axis=1)[:, : k + 1]
        if rows == columns:
            np.fill_diagonal(squared, np.inf)
        closest = squared.argmin(axis=1)
        to_closest = np.take_along_axis(squared, closest[:, None], axis=1)[:, 0]
        is_closer = to_closest < squared_to_other[rows]
        squared_to_other[rows] = np.where(is_closer, to_closest, squared_to_other[rows])
        others[rows] = np.where(is_closer, closest + columns.start, others[rows])

    for rows, columns, squared in squared_distances(points):
        keep_nearest(rows, columns, squared)
        if rows != columns:
            keep_nearest(columns, rows, squared.T)
    return Neighbourhood(points, nearest, _distances(points, points, others))


def _median_distance(squared: Float64[np.ndarray, " n"], x: Rows) -> float:
    """Return the median of the points' distances, of which mere rounding errors count as 0."""
    is_rounding = squared < ROUNDING * squared_norms(x)
    return float(np.median(np.sqrt(np.where(is_rounding, 0, squared))))


def _distances(x: Rows, y: Rows, indices: Int[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Compute the distance of every row of x to the row of y with its index."""
    distances = np.empty(len(x))
    for piece in row_slices(*x.shape):
        differences = x[piece].astype(np.float64) - y[indices[piece]]
        distances[piece] = np.linalg.norm(differences, axis=1)
    return distances
