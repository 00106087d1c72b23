"""The penalties of linear models as arrays of NumPy: one threshold per entry and per group."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int

from l1jax.penalties import (
    L1,
    L2,
    ElasticNet,
    GroupL1,
    NonnegativeL1,
    Penalty,
    SparseGroupL1,
    SumOf,
    WeightedL1,
)
from l1jax.penalties.groups import Groups, group_layout

Entries = Float64[np.ndarray, " entries"]


class Terms(NamedTuple):
    """Σ tᵢ|xᵢ| + ½ Σ rᵢxᵢ² + Σ_g τ_g‖x_g‖, perhaps over x ≥ 0 only.

    Attributes:
        threshold: t, infinite where an entry must be 0.
        ridge: r.
        group_threshold: τ, the √n_g included; empty without groups.
        group: the index of each entry's group, −1 for an entry without one.
        nonnegative: of each entry, whether it must be at least 0.
    """

    threshold: Entries
    ridge: Entries
    group_threshold: Float64[np.ndarray, " groups"]
    group: Int[np.ndarray, " entries"]
    nonnegative: Bool[np.ndarray, " entries"]

    @property
    def has_groups(self) -> bool:
        """Whether any group is penalised."""
        return self.group_threshold.size > 0

    def scaled(self, strength: float) -> "Terms":
        """Multiply all by a strength."""
        return self._replace(
            threshold=self.threshold * strength if strength else self._without(),
            ridge=self.ridge * strength,
            group_threshold=self.group_threshold * strength,
        )

    def _without(self) -> Entries:
        """Return the thresholds at strength 0, where ∞ stays ∞."""
        return np.where(np.isinf(self.threshold), np.inf, 0.0)

    def of(self, entries: Int[np.ndarray, " some"]) -> "Terms":
        """Return the terms of some entries, with whole groups."""
        if not self.has_groups:
            return self._replace(
                threshold=self.threshold[entries],
                ridge=self.ridge[entries],
                group=self.group[entries],
                nonnegative=self.nonnegative[entries],
            )
        group = self.group[entries]
        kept, renumbered = np.unique(group, return_inverse=True)
        if kept.size and kept[0] == -1:
            kept = kept[1:]
            renumbered = renumbered - 1
        return Terms(
            self.threshold[entries],
            self.ridge[entries],
            self.group_threshold[kept],
            renumbered,
            self.nonnegative[entries],
        )

    def group_sums(self, squares: Entries) -> Float64[np.ndarray, " groups"]:
        """Sum the entries of each group."""
        inside = self.group >= 0
        count = len(self.group_threshold)
        return np.bincount(self.group[inside], squares[inside], minlength=count)

    def value(self, x: Entries) -> float:
        """Return the penalty of x, which has no entry that must be 0."""
        if np.any(self.nonnegative & (x < 0)):
            return np.inf
        moved = x != 0
        value = self.threshold[moved] @ np.abs(x[moved]) + self.ridge @ np.square(x) / 2
        if self.has_groups:
            value += self.group_threshold @ np.sqrt(self.group_sums(np.square(x)))
        return float(value)

    def entry_excess(self, grad: Entries) -> Entries:
        """Return how far the gradient of an entry that is 0 exceeds what keeps it there."""
        return np.maximum(self.pressure(grad) - self.threshold, 0)

    def pressure(self, grad: Entries) -> Entries:
        """Return how strongly the gradient moves entries away from 0, where they may go."""
        size = np.abs(grad)
        return np.where(self.nonnegative, -grad, size) if self.nonnegative.any() else size

    def distance(self, x: Entries, grad: Entries) -> float:
        """Return the distance of −grad to the subdifferential."""
        slope = grad + self.ridge * x
        if not self.has_groups:
            apart = self.entry_excess(slope)
            support = np.flatnonzero(x)
            apart[support] = slope[support] + self.threshold[support] * np.sign(x[support])
            return float(np.sqrt(apart @ apart))
        nonzero = x != 0
        signed = np.where(nonzero, self.threshold, 0) * np.sign(x)
        norms = np.append(np.sqrt(self.group_sums(np.square(x))), 0.0)
        thresholds = np.append(self.group_threshold, 0.0)
        size = norms[self.group]
        pull = thresholds[self.group] * x / np.where(size > 0, size, 1)
        apart = np.where(nonzero, slope + signed + pull, self.entry_excess(slope))
        of_zero = (size == 0) & (self.group >= 0)
        zero_norms = np.sqrt(self.group_sums(np.where(of_zero, np.square(apart), 0)))
        outside = np.maximum(zero_norms - self.group_threshold, 0)
        rest = np.where(of_zero, 0, apart)
        return float(np.sqrt(rest @ rest + outside @ outside))

    def hessian(self, x: Entries, support: Int[np.ndarray, " some"]) -> Float64[np.ndarray, "k k"]:
        """Return ∇²R over the entries that are not 0."""
        matrix = np.diag(self.ridge[support])
        if self.has_groups:
            group = self.group[support]
            norms = np.append(np.sqrt(self.group_sums(np.square(x))), 1.0)
            pull = np.append(self.group_threshold, 0.0)[group] / norms[group]
            unit = x[support] / norms[group]
            same = (group[:, None] == group) & (group >= 0)
            matrix = matrix + np.diag(pull) - np.where(same, np.outer(pull * unit, unit), 0)
        return matrix


def read_terms(penalty: Penalty, shape: tuple[int, ...]) -> Terms | None:
    """Return the terms of a penalty of an array, or None if it has others.

    Args:
        penalty: of one array.
        shape: of that array; entries are in its order.
    """
    size = int(np.prod(shape))
    none = Terms(
        np.zeros(size), np.zeros(size), np.zeros(0), np.full(size, -1), np.zeros(size, bool)
    )
    if isinstance(penalty, L1):
        return none._replace(threshold=np.full(size, float(penalty.strength)))
    if isinstance(penalty, WeightedL1):
        weights = np.broadcast_to(np.asarray(penalty.weights, np.float64), shape).reshape(-1)
        return none._replace(threshold=float(penalty.strength) * weights)
    if isinstance(penalty, NonnegativeL1):
        threshold = np.full(size, float(penalty.strength))
        return none._replace(threshold=threshold, nonnegative=np.ones(size, bool))
    if isinstance(penalty, ElasticNet):
        return none._replace(
            threshold=np.full(size, float(penalty.strength)),
            ridge=np.full(size, float(penalty.l2_strength)),
        )
    if isinstance(penalty, L2):
        return none._replace(ridge=np.full(size, float(penalty.strength)))
    if isinstance(penalty, GroupL1):
        group, thresholds = _groups(penalty.axis, float(penalty.strength), shape)
        return none._replace(group=group, group_threshold=thresholds)
    if isinstance(penalty, SparseGroupL1):
        group, thresholds = _groups(penalty.axis, float(penalty.group_strength), shape)
        entries = np.full(size, float(penalty.strength))
        return none._replace(threshold=entries, group=group, group_threshold=thresholds)
    if isinstance(penalty, SumOf):
        total = none._replace(ridge=np.full(size, float(penalty.l2_strength)))
        for part in penalty.parts:
            terms = read_terms(part, shape)
            if terms is None or (terms.has_groups and total.has_groups):
                return None
            total = _add(total, terms)
        return total
    return None


def _add(first: Terms, second: Terms) -> Terms:
    grouped = second if second.has_groups else first
    return Terms(
        first.threshold + second.threshold,
        first.ridge + second.ridge,
        grouped.group_threshold,
        grouped.group,
        first.nonnegative | second.nonnegative,
    )


def _groups(
    groups: Groups, strength: float, shape: tuple[int, ...]
) -> tuple[Int[np.ndarray, " entries"], Float64[np.ndarray, " groups"]]:
    """Return the group of each entry, and λ√n_g of each group."""
    laid_out, axes = group_layout(groups, shape)
    kept = tuple(1 if axis in axes else length for axis, length in enumerate(laid_out))
    count = int(np.prod(kept))
    numbers = np.broadcast_to(np.arange(count).reshape(kept), laid_out).reshape(-1)
    size = int(np.prod(shape)) // count
    return np.ascontiguousarray(numbers), np.full(count, strength * np.sqrt(size))


def zero_groups_of(x: Entries, terms: Terms) -> Bool[np.ndarray, " entries"]:
    """Tell of each entry whether its whole group is 0."""
    norms = np.append(terms.group_sums(np.square(x)), 1.0)
    return norms[terms.group] == 0
