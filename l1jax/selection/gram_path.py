"""Follow the path of a quadratic loss whose whole matrix is known, fold by fold.

The solutions of the lasso are straight lines in the strength as long as the same entries are not
zero. So one linear system solves all strengths up to the next that changes which those are.
"""

import numpy as np
from jaxtyping import Float64, Int

from l1jax.selection.quadratic import Matrix, Quadratic, minimise_separable, solve_positive
from l1jax.selection.terms import Entries, Terms

ROUNDING = 8 * np.finfo(np.float64).eps
Path = Float64[np.ndarray, "strengths entries"]


def follow_quadratic(
    hessian: Matrix,
    linear: Entries,
    terms: Terms,
    strengths: Float64[np.ndarray, " strengths"],
    limit: float,
) -> tuple[Path, Float64[np.ndarray, " strengths"]]:
    """Minimise ½xᵀHx − bᵀx + strength·R(x) for each strength.

    Args:
        hessian: H.
        linear: b.
        terms: R, without groups.
        strengths: from strong to weak.
        limit: the distance to optimality that is wanted.

    Returns:
        The solutions, and their distances to optimality.

    Source: Efron, Hastie, Johnstone, Tibshirani, Ann. Stat. 32 (2004), section 3.1.
    """
    kept = np.flatnonzero(np.isfinite(terms.threshold))
    solutions = np.zeros((len(strengths), len(linear)))
    distances = np.zeros(len(strengths))
    if not kept.size:
        return solutions, distances
    matrix = np.ascontiguousarray(hessian[np.ix_(kept, kept)])
    pull = linear[kept]
    terms = terms.of(kept)
    slack = max(limit / (10 * np.sqrt(len(kept))), ROUNDING * np.abs(pull).max())
    x = np.zeros(len(kept))
    index = 0
    while index < len(strengths):
        strength = float(strengths[index])
        here = terms.scaled(strength)
        x = minimise_separable(Quadratic(matrix, pull, here), x, slack)
        gradient = _product(matrix, x) - pull
        distances[index] = here.distance(x, gradient)
        solutions[index, kept] = x
        index += 1
        if index == len(strengths) or np.any(terms.ridge):
            continue
        change, last = _straight_line(matrix, x, gradient, terms, strength)
        same = index + np.flatnonzero(strengths[index:] > last)
        if same.size:
            steps = strength - strengths[same]
            solutions[np.ix_(same, kept)] = x + steps[:, None] * change
            x = solutions[same[-1], kept]
            # The line keeps the distance of its first point, up to the rounding of the system.
            distances[same] = terms.scaled(float(strengths[same[-1]])).distance(
                x, _product(matrix, x) - pull
            )
            index = same[-1] + 1
    return solutions, distances


def _straight_line(
    matrix: Matrix, x: Entries, gradient: Entries, terms: Terms, strength: float
) -> tuple[Entries, float]:
    """Return by how much x changes per unit of strength less, and until which strength it does."""
    thresholds = terms.threshold
    signed = (thresholds > 0) | terms.nonnegative
    support: Int[np.ndarray, " some"] = np.flatnonzero((x != 0) | ~signed)
    change = np.zeros_like(x)
    slope_change = np.zeros_like(x)
    if support.size:
        pull = thresholds[support] * np.sign(x[support])
        moved = solve_positive(matrix[np.ix_(support, support)], pull)
        if moved is None:
            return change, strength
        change[support] = moved
        slope_change = moved @ matrix[support]
    falls = signed & (x != 0) & (change * x < 0)
    steps = [np.inf]
    if np.any(falls):  # an entry that becomes zero
        steps.append(float(np.min(-x[falls] / change[falls])))
    zero = signed & (x == 0)
    # Where |g| meets the threshold, which falls as the strength does: t(λ − s) = ±(g + s g').
    for sign in (1, -1):
        if sign < 0:  # which moves nothing that may not be negative
            zero = zero & ~terms.nonnegative
        room = strength * thresholds[zero] + sign * gradient[zero]
        speed = thresholds[zero] + -sign * slope_change[zero]
        meets = speed > 0
        if np.any(meets):
            steps.append(float(np.min(np.maximum(room[meets], 0) / speed[meets])))
    return change, strength - min(steps)


def _product(matrix: Matrix, x: Entries) -> Entries:
    support = np.flatnonzero(x)
    return x[support] @ matrix[support]
