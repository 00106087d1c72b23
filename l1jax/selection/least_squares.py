"""The squared loss of linear models, of few columns by their Gram matrices, or of many."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from l1jax.selection.fold_grams import FoldGrams
from l1jax.selection.objectives import (
    ROUNDING,
    Objective,
    Parameters,
    Samples,
    Some,
    SomeValues,
    minimise_quadratic,
)
from l1jax.selection.terms import Entries, Terms

MAX_GRAM = 1000  # columns of a Gram matrix that is computed as a whole
SMALL_GRAM = 200  # which is worth while whatever the number of examples
NEAR = 0.3  # share of the columns from which on the gradients of all are computed
STEPS_AHEAD = 6  # for which the columns are chosen whose gradients are computed


class Grams(NamedTuple):
    """½βᵀHβ − bᵀβ of each fold, which is Σ wᵢ(xᵢβ − yᵢ)²/2 up to a constant."""

    hessians: Float64[np.ndarray, "folds columns columns"]  # H
    linear: Float64[np.ndarray, "folds columns"]  # b


def has_few_columns(samples: Samples) -> bool:
    """Tell whether the whole Gram matrix is worth computing."""
    count, examples = samples.columns.shape
    return count <= SMALL_GRAM or count <= min(MAX_GRAM, examples)


def gram_matrices(samples: Samples) -> Grams:
    """Compute the whole Gram matrix of each fold."""
    columns, target, weights, scales = samples
    grams = FoldGrams(weights)
    sizes = grams.sizes(columns)
    hessians = grams.of(columns, columns, sizes, sizes)
    hessians *= scales[:, :, None] * scales[:, None, :]
    return Grams(hessians, scales * ((weights * target[:, 0]) @ columns.T))


def least_squares_of_grams(grams: Grams) -> Objective:
    """Return Σ wᵢ(xᵢβ − yᵢ)²/2 up to a constant, of few columns."""
    hessians, linear = grams

    def gradients(
        folds: Sequence[int], params: Parameters, ceilings: Parameters | None
    ) -> Parameters:
        pairs = zip(folds, params, strict=True)
        return np.stack([_product(hessians[fold], x) - linear[fold] for fold, x in pairs])

    def minimise(
        fold: int, params: Entries, gradient: Entries, some: Some, terms: Terms, limit: float
    ) -> SomeValues:
        hessian = hessians[fold][np.ix_(some, some)]
        return minimise_quadratic(hessian, gradient[some], params[some], terms, limit)

    return Objective(gradients, lambda some: None, minimise)


def _product(matrix: Float64[np.ndarray, "n n"], x: Entries) -> Entries:
    """Multiply a symmetric matrix by a vector that has many zeros."""
    support = np.flatnonzero(x)
    return x[support] @ matrix[support]


def least_squares(samples: Samples) -> Objective:
    """Return Σ wᵢ(xᵢβ − yᵢ)²/2 of many columns.

    The Gram matrix is computed of those only that have been in a working set, and gradients of
    those only that may reach their ceilings.
    """
    grams = FoldGrams(samples.weights)
    sizes = grams.sizes(samples.columns)
    screen = _Screen(samples, np.sqrt(sizes) * samples.scales)
    known = _KnownGrams(samples, grams, sizes)

    def minimise(
        fold: int, params: Entries, gradient: Entries, some: Some, terms: Terms, limit: float
    ) -> SomeValues:
        hessian = known.of(fold, some)
        return minimise_quadratic(hessian, gradient[some], params[some], terms, limit)

    return Objective(screen.gradients, known.add, minimise)


class _Screen:
    """Computes gradients, but for columns whose gradient cannot have reached its ceiling.

    A gradient differs from one at other coefficients by at most the column's norm times the norm
    of the residuals' difference. The columns that may reach their ceilings soon are kept together,
    since reading them one by one from a large matrix takes as long as a product with all of it.

    Source: El Ghaoui, Viallon, Rabbani, Pacific J. Optim. 8 (2012), section 3, for such safe rules.
    """

    def __init__(self, samples: Samples, norms: Float64[np.ndarray, "folds columns"]) -> None:
        self.samples = samples
        self.norms = norms
        self.gradients_before = np.zeros_like(norms)
        self.residuals_before = np.full_like(samples.weights, np.inf)
        self.is_near = np.zeros(len(samples.columns), bool)
        self.near: Some = np.empty(0, int)
        self.near_columns = samples.columns[:0]

    def gradients(
        self, folds: Sequence[int], params: Parameters, ceilings: Parameters | None
    ) -> Parameters:
        """Return the gradients of some folds, as `Objective` says."""
        columns, _, weights, scales = self.samples
        rows = list(folds)
        residuals = self._residuals(rows, params)
        weighted = residuals * weights[rows]
        if not self._are_enough(rows, residuals, ceilings):
            gradients = scales[rows] * (columns @ weighted.T).T
            self.gradients_before[rows] = gradients
            self.residuals_before[rows] = residuals
            self.is_near[:] = False
            return gradients
        gradients = self.gradients_before[rows]
        near = scales[rows][:, self.near] * (self.near_columns @ weighted.T).T
        gradients[:, self.near] = near
        return gradients

    def _residuals(
        self, rows: list[int], params: Parameters
    ) -> Float64[np.ndarray, "rows examples"]:
        columns, target, _, scales = self.samples
        residuals = np.empty((len(rows), columns.shape[1]))
        for place, fold in enumerate(rows):
            support = np.flatnonzero(params[place])
            coefficients = params[place][support] * scales[fold][support]
            residuals[place] = coefficients @ columns[support] - target[:, 0]
        return residuals

    def _are_enough(
        self,
        rows: list[int],
        residuals: Float64[np.ndarray, "rows examples"],
        ceilings: Parameters | None,
    ) -> bool:
        """Tell whether no gradient of a column that is not near may have reached its ceiling.

        The first time after all gradients were computed, the near columns are chosen.
        """
        before = self.residuals_before[rows]
        if ceilings is None or not np.all(np.isfinite(before)):
            return False
        weights = self.samples.weights[rows]
        moved = np.sqrt(np.sum(weights * np.square(residuals - before), axis=1))
        moved += ROUNDING * np.sqrt(np.sum(weights * np.square(before), axis=1))
        sizes = np.abs(self.gradients_before[rows])
        changes = self.norms[rows] * moved[:, None]
        may_reach = np.any(sizes + changes >= ceilings, axis=0)
        if not self.is_near.any():
            near = np.any(sizes + STEPS_AHEAD * changes >= ceilings, axis=0)
            self._keep_together(near if near.sum() <= NEAR * near.size else may_reach)
        return not np.any(may_reach & ~self.is_near)

    def _keep_together(self, near: Bool[np.ndarray, " columns"]) -> None:
        if near.sum() <= NEAR * near.size:
            self.is_near = near
            self.near = np.flatnonzero(near)
            self.near_columns = self.samples.columns[self.near]


class _KnownGrams:
    """The Gram matrices of the columns that have been asked for."""

    def __init__(self, samples: Samples, grams: FoldGrams, sizes: Parameters) -> None:
        self.samples = samples
        self.grams = grams
        self.sizes = sizes
        self.is_scaled = bool(np.any(samples.scales != 1))
        self.position = np.full(len(samples.columns), -1)
        self.known: Some = np.empty(0, int)
        self.columns = samples.columns[:0]
        self.matrices = np.empty((len(samples.weights), 0, 0))

    def add(self, some: Some) -> None:
        """Compute what is missing of these columns."""
        new = some[self.position[some] < 0]
        if not new.size:
            return
        before = len(self.known)
        self.known = np.concatenate([self.known, new])
        count = len(self.known)
        self.position[new] = np.arange(before, count)
        self._make_room(before, count)
        added = self.samples.columns[new]
        self.columns[before:count] = added
        beside = self.grams.of(
            self.columns[:count], added, self.sizes[:, self.known], self.sizes[:, new]
        )
        self.matrices[:, :count, before:count] = beside
        self.matrices[:, before:count, :before] = beside[:, :before].transpose(0, 2, 1)

    def of(self, fold: int, some: Some) -> Float64[np.ndarray, "some some"]:
        """Return the matrix of some columns that have been added, as the fold scales them."""
        places = self.position[some]
        matrix = self.matrices[fold][places[:, None], places]
        if not self.is_scaled:
            return matrix
        scale = self.samples.scales[fold][some]
        return matrix * np.outer(scale, scale)

    def _make_room(self, before: int, count: int) -> None:
        room = self.matrices.shape[1]
        if count <= room:
            return
        room = min(max(count, 2 * room), len(self.samples.columns))
        larger = np.empty((len(self.matrices), room, room))
        larger[:, :before, :before] = self.matrices[:, :before, :before]
        self.matrices = larger
        columns = np.empty((room, self.samples.columns.shape[1]))
        columns[:before] = self.columns[:before]
        self.columns = columns
