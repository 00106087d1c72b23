"""The Gram matrices of all folds, each from that of all examples where this is less work."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int

MAX_LOSS = 1e3  # by which a sum of squares may exceed that of the examples which stay in it
ROUNDING = 8 * np.finfo(np.float64).eps


class Difference(NamedTuple):
    """A fold's weights as a multiple of the last fold's, and what is left of a few examples."""

    factor: float
    others: Int[np.ndarray, " others"]
    """The examples whose weights are no such multiple."""
    rest: Float64[np.ndarray, " others"]
    """What their weights have beyond it."""


class FoldGrams:
    """Computes Σ wᵢ xᵢzᵢᵀ of each fold.

    Where most weights are in proportion to the last fold's, as in the folds of a cross-validation
    beside the fit of all, only the other examples are gone through. Not so if the others are so
    much larger that the difference would lose digits.

    Args:
        weights: w, a row for each fold.
    """

    def __init__(self, weights: Float64[np.ndarray, "folds examples"]) -> None:
        self.weights = weights
        self.differences = [_difference(own, weights[-1]) for own in weights[:-1]]

    def sizes(
        self, rows: Float64[np.ndarray, "rows examples"]
    ) -> Float64[np.ndarray, "folds rows"]:
        """Return Σ wᵢ xᵢ² of each fold and row."""
        return self.weights @ np.square(rows).T

    def of(
        self,
        left: Float64[np.ndarray, "left examples"],
        right: Float64[np.ndarray, "right examples"],
        left_sizes: Float64[np.ndarray, "folds left"],
        right_sizes: Float64[np.ndarray, "folds right"],
    ) -> Float64[np.ndarray, "folds left right"]:
        """Return the products of two sets of rows.

        Args:
            left: x, each variable a row.
            right: z.
            left_sizes: those of x, as `sizes` returns them.
            right_sizes: those of z.
        """
        last = (left * self.weights[-1]) @ right.T
        result = np.empty((len(self.weights), len(left), len(right)))
        result[-1] = last
        for fold, (factor, others, rest) in enumerate(self.differences):
            lost = max(
                _largest_ratio(factor * left_sizes[-1], left_sizes[fold]),
                _largest_ratio(factor * right_sizes[-1], right_sizes[fold]),
            )
            if 2 * len(others) > left.shape[1] or lost > MAX_LOSS:
                result[fold] = (left * self.weights[fold]) @ right.T
            else:
                result[fold] = factor * last + (left[:, others] * rest) @ right[:, others].T
        return result


def _difference(
    weights: Float64[np.ndarray, " examples"], last: Float64[np.ndarray, " examples"]
) -> Difference:
    factor = float(np.median(weights[weights > 0]) / np.median(last[last > 0]))
    rest = weights - factor * last
    others = np.flatnonzero(np.abs(rest) > ROUNDING * weights.max())
    return Difference(factor, others, rest[others])


def _largest_ratio(
    all_sizes: Float64[np.ndarray, " rows"], sizes: Float64[np.ndarray, " rows"]
) -> float:
    """Return the largest ratio of two sizes of a variable that is not 0."""
    present = sizes > 0
    return float(np.max(all_sizes[present] / sizes[present], initial=1))
