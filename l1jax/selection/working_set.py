"""Follow the solutions of penalised linear models along a path of strengths.

Each strength starts from the solution of the stronger one before it. It is solved over a working
set, the parameters that may be other than zero; the gradient of all then tells whether more join.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from l1jax.selection.objectives import Objective, Parameters, Some
from l1jax.selection.terms import Entries, Terms, zero_groups_of

MAX_ROUNDS = 100
PATIENCE = 5  # rounds without progress, after which rounding must be the reason
NEWCOMERS = 100  # of a round, at least


class Solutions(NamedTuple):
    """The parameters of each fold at each strength, and their distances to optimality."""

    parameters: Float64[np.ndarray, "folds strengths parameters"]
    distances: Float64[np.ndarray, "folds strengths"]


def follow_path(
    objective: Objective,
    terms: list[Terms],
    strengths: Float64[np.ndarray, " strengths"],
    start: Parameters,
    sizes: Float64[np.ndarray, " folds"],
    tolerance: float,
) -> Solutions:
    """Minimise the objective and strength·R in every fold, for each strength.

    Args:
        objective: the loss.
        terms: R of each fold.
        strengths: from strong to weak.
        start: the parameters to start from.
        sizes: of the gradients at 0, which the distances are shares of.
        tolerance: the largest distance.

    Source: Tibshirani, Bien, Friedman, Hastie, Simon, Taylor, Tibshirani, J. R. Stat. Soc. B 74
    (2012), section 7, for the working sets.
    """
    folds = len(terms)
    params = start.copy()
    gradients = objective.gradients(range(folds), params, None)
    solutions = np.empty((folds, len(strengths), params.shape[1]))
    distances = np.empty((folds, len(strengths)))
    before = float(strengths[0])
    for index, strength in enumerate(strengths):
        at_strength = [each.scaled(float(strength)) for each in terms]
        fall = max(before / strength - 1, 0.0) if strength > 0 else np.inf
        limits = tolerance * sizes
        distances[:, index] = _solve(objective, at_strength, params, gradients, limits, fall)
        distances[:, index] /= sizes
        solutions[:, index] = params
        before = float(strength)
    return Solutions(solutions, distances)


def _solve(
    objective: Objective,
    terms: list[Terms],
    params: Parameters,
    gradients: Parameters,
    limits: Float64[np.ndarray, " folds"],
    fall: float,
) -> Float64[np.ndarray, " folds"]:
    """Solve one strength in every fold, in place, and return the distances to optimality.

    Args:
        objective: the loss.
        terms: the penalty of each fold.
        params: of each fold.
        gradients: of the loss there.
        limits: the distance of each fold to reach.
        fall: how much weaker the strength is than the one before, as a share of it.
    """
    folds = len(terms)
    working = [np.zeros(params.shape[1], bool) for _ in range(folds)]
    distances = np.full(folds, np.inf)
    best = params.copy()
    stalled = np.zeros(folds, int)
    unfinished = list(range(folds))
    for number in range(MAX_ROUNDS):
        slack = np.maximum(limits / (10 * np.sqrt(params.shape[1])), 0)
        chosen = {}
        for fold in unfinished:
            excess = _excess(terms[fold], params[fold], gradients[fold], fall * (number == 0))
            working[fold] |= _members(terms[fold], params[fold], excess, slack[fold])
            chosen[fold] = np.flatnonzero(working[fold])
        objective.prepare(np.unique(np.concatenate(list(chosen.values()))))
        for fold, some in chosen.items():
            limit = float(limits[fold]) / 10
            params[fold, some] = objective.minimise(
                fold, params[fold], gradients[fold], some, terms[fold].of(some), limit
            )
        ceilings = _ceilings([terms[fold] for fold in unfinished], params[unfinished])
        gradients[unfinished] = objective.gradients(unfinished, params[unfinished], ceilings)
        left = []
        for fold in unfinished:
            distance = terms[fold].distance(params[fold], gradients[fold])
            stalled[fold] = 0 if distance < distances[fold] / 2 else stalled[fold] + 1
            if distance < distances[fold]:
                distances[fold] = distance
                best[fold] = params[fold]
            if distance > limits[fold] and stalled[fold] < PATIENCE:
                left.append(fold)
        unfinished = left
        if not unfinished:
            break
    moved = np.flatnonzero(np.any(best != params, axis=1))
    if moved.size:
        params[moved] = best[moved]
        rows = moved.tolist()
        ceilings = _ceilings([terms[fold] for fold in rows], params[rows])
        gradients[rows] = objective.gradients(rows, params[rows], ceilings)
    return distances


def _ceilings(terms: list[Terms], params: Parameters) -> Parameters | None:
    """Return below which size a gradient makes no difference; None where all do."""
    if any(each.has_groups for each in terms):
        return None
    rows = zip(terms, params, strict=True)
    return np.stack([np.where(x == 0, each.threshold, 0) for each, x in rows])


def _excess(terms: Terms, x: Entries, gradient: Entries, fall: float) -> Entries:
    """Return how far each gradient exceeds what keeps its parameter, or group, at zero.

    The gradient may change as much as the threshold on the way from one strength to the next, so
    each threshold is lowered by its fall.
    """
    size = terms.pressure(gradient)
    if not terms.has_groups and fall < 1:
        return size - terms.threshold * (1 - fall)  # −∞ where the threshold is ∞
    kept = np.isfinite(terms.threshold)
    thresholds = np.where(kept, terms.threshold, 0)
    if not terms.has_groups:
        return np.where(kept, size - thresholds * (1 - fall), -np.inf)
    soft = np.where(kept, np.maximum(size - thresholds * (1 - fall), 0), 0)
    norms = np.sqrt(terms.group_sums(np.square(soft))) - terms.group_threshold * (1 - fall)
    group_excess = np.append(norms, 0.0)[terms.group]
    in_zero_group = zero_groups_of(x, terms)
    # All entries of a group that joins do, and so do those of a group that is not zero.
    excess = np.where(in_zero_group, group_excess, np.inf)
    alone = size - thresholds * (1 - fall)
    return np.where(kept, np.where(terms.group < 0, alone, excess), -np.inf)


def _members(terms: Terms, x: Entries, excess: Entries, slack: float) -> Bool[np.ndarray, " n"]:
    """Return what is not zero, what is not penalised, and the largest excesses of the rest."""
    members = (x != 0) | ((terms.threshold == 0) & (terms.group < 0))
    if terms.has_groups:
        members |= np.isposinf(excess)
    joins = (excess > slack) & ~members
    count = max(NEWCOMERS, 2 * int(members.sum()))
    if joins.sum() > count:
        threshold = np.partition(excess[joins], -count)[-count]
        joins &= excess >= threshold
    return members | joins


def refit(
    objective: Objective,
    terms: list[Terms],
    solutions: Solutions,
    support: Bool[np.ndarray, "folds strengths parameters"],
    sizes: Float64[np.ndarray, " folds"],
    tolerance: float,
) -> Solutions:
    """Minimise the objective alone over the entries of the support.

    Args:
        objective: the loss.
        terms: of the penalty, to know what must be zero.
        solutions: to start from.
        support: what may be other than zero.
        sizes: as for `follow_path`.
        tolerance: as for `follow_path`.
    """
    params = np.where(support, solutions.parameters, 0.0)
    distances = np.empty(params.shape[:2])
    for fold, index in np.ndindex(*distances.shape):
        some: Some = np.flatnonzero(support[fold, index])
        objective.prepare(some)
        free = _free(len(some), terms[fold].nonnegative[some])
        limit = tolerance * float(sizes[fold])
        distance = np.inf
        for _ in range(PATIENCE):
            x = params[fold, index]
            gradient = objective.gradients([fold], x[None], None)[0]
            now = free.distance(x[some], gradient[some])
            if now <= limit or now >= distance:
                distance = min(now, distance)
                break
            distance = now
            x[some] = objective.minimise(fold, x, gradient, some, free, limit / 10)
        distances[fold, index] = distance / sizes[fold]
    return Solutions(params, distances)


def _free(count: int, nonnegative: Bool[np.ndarray, " some"]) -> Terms:
    nothing = np.zeros(count)
    return Terms(nothing, nothing, np.zeros(0), np.full(count, -1), nonnegative)
