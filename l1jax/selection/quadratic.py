"""Minimise small quadratics with a penalty exactly, by Newton steps on the entries not zero."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int
from scipy.linalg import get_lapack_funcs

from l1jax.selection.terms import Entries, Terms

(DPOSV,) = get_lapack_funcs(("posv",), dtype=np.float64)  # without the checks of SciPy's `solve`
SINGULAR = 1e-13  # a pivot of at most this share of the largest is zero up to rounding
Matrix = Float64[np.ndarray, "entries entries"]


class Quadratic(NamedTuple):
    """½xᵀHx − bᵀx + R(x)."""

    hessian: Matrix  # H, positive semidefinite
    linear: Entries  # b
    terms: Terms  # R


def minimise_separable(problem: Quadratic, start: Entries, slack: float) -> Entries:
    """Minimise a quadratic whose penalty has no groups.

    The entries that are not zero, and their signs, are guessed. With the guess the minimum solves
    a linear system. Where it does not have the guessed signs, the objective is minimised on the way
    there, which is piecewise quadratic; the entries that end at zero leave the guess. Where it
    has, the entries whose gradient is too large to stay zero join. Every step lowers the objective.

    Args:
        problem: H, b and R.
        start: where to start.
        slack: by how much a gradient may be too large.

    Source: Lee, Battle, Raina, Ng, NIPS 19 (2006), section 3, with several entries at a time.
    """
    hessian, linear, terms = problem
    if terms.ridge.any():
        hessian = hessian + np.diag(terms.ridge)
    thresholds = terms.threshold
    signed = (thresholds > 0) | terms.nonnegative
    bounded = bool(terms.nonnegative.any())
    x = start.copy()
    signs = np.sign(x)
    guess = (x != 0) | ~signed
    for _ in range(20 * len(x) + 100):
        entries = guess.nonzero()[0]
        rows = hessian.take(entries, axis=0)
        within = rows.take(entries, axis=1)
        here = x[entries]
        pull = linear[entries] - thresholds[entries] * signs[entries]
        direction = _direction(within, pull, here)
        enters = signed[entries] & (here == 0)
        against = enters & (direction * signs[entries] <= 0)
        if against.any():
            entering = entries[enters]
            guess[entries[against]] = False
            if against[enters].all() and len(entering) > 1:
                gradient = linear[entering] - hessian[entering] @ x
                guess[entering[np.argmax(np.abs(gradient) - thresholds[entering])]] = True
            elif len(entering) == 1:  # which only rounding can turn
                return x
            continue
        crosses = signed[entries] & ((here + direction) * here < 0)
        if crosses.any():
            x[entries] = _along(
                within, pull, here, direction, crosses, thresholds[entries], bounded
            )
            signs = np.sign(x)
            guess = (x != 0) | ~signed
            continue
        there = here + direction
        x[entries] = there
        gradient = there @ rows - linear
        excess = np.where(guess, 0, terms.entry_excess(gradient))
        joins = excess > slack
        if not joins.any():
            return x
        guess |= joins
        signs[joins] = -np.sign(gradient[joins])
    return x


def solve_positive(matrix: Matrix, linear: Entries) -> Entries | None:
    """Solve a system with a positive definite matrix; return None if it is singular.

    Args:
        matrix: A.
        linear: b.
    """
    if not linear.size:
        return linear
    factor, solution, failed = DPOSV(matrix, linear, lower=1)
    pivots = np.square(factor.diagonal())
    if failed or pivots.min() <= SINGULAR * pivots.max():
        return None
    return solution


def _direction(matrix: Matrix, linear: Entries, here: Entries) -> Entries:
    """Return the way to the minimum of ½xᵀAx − bᵀx, or along which it falls without end."""
    solution = solve_positive(matrix, linear)
    if solution is not None:
        return solution - here
    values, vectors = np.linalg.eigh(matrix)
    residual = vectors.T @ (linear - matrix @ here)
    flat = values <= SINGULAR * values[-1]
    if np.linalg.norm(residual[flat]) > 1e-9 * np.linalg.norm(linear):
        downhill = vectors[:, flat] @ residual[flat]
        farthest = np.abs(here).max() + 1
        return downhill * (1e8 * farthest / np.abs(downhill).max())
    return vectors[:, ~flat] @ (residual[~flat] / values[~flat])


def _along(
    matrix: Matrix,
    linear: Entries,
    here: Entries,
    direction: Entries,
    crosses: Bool[np.ndarray, " entries"],
    thresholds: Entries,
    bounded: bool,
) -> Entries:
    """Minimise ½xᵀAx − bᵀx + Σ tᵢ(|xᵢ| − xᵢ sign hereᵢ) from here in a direction, up to its end.

    The slope along the way rises by 2tᵢ|dᵢ| where the entry i crosses zero, where it stops if the
    entries are bounded.
    """
    crossing = np.flatnonzero(crosses)
    shares = -here[crossing] / direction[crossing]
    order = np.argsort(shares)
    crossing = crossing[order]
    shares = shares[order]
    slope = direction @ (matrix @ here - linear)
    curvature = max(direction @ matrix @ direction, 0.0)
    kinks = np.cumsum(2 * thresholds[crossing] * np.abs(direction[crossing]))
    after = slope + curvature * shares + kinks
    stops = np.flatnonzero(after >= 0)
    first = int(stops[0]) if stops.size else len(shares)
    if bounded:
        first = 0
    passed = kinks[first - 1] if first else 0.0
    share = min(-(slope + passed) / curvature, 1.0) if curvature > 0 else 1.0
    at_kink = first < len(shares) and (bounded or share >= shares[first])
    if at_kink:
        share = shares[first]
    there = here + share * direction
    if at_kink:
        there[crossing[shares == share]] = 0
    return there


def minimise_grouped(problem: Quadratic, start: Entries, tolerance: float) -> Entries:
    """Minimise a quadratic whose penalty has groups.

    Sweeps of proximal steps over the groups find what is zero; between them Newton steps on what
    is not, where the penalty is smooth, converge fast.

    Args:
        problem: H, b and R.
        start: where to start.
        tolerance: the distance to optimality at which to stop.

    Source: Yuan, Lin, J. R. Stat. Soc. B 68 (2006), section 2, for the sweeps.
    """
    hessian, linear, terms = problem
    x = start.copy()
    blocks = _blocks(terms)
    steps = [1 / max(float(np.linalg.norm(hessian[np.ix_(b, b)], 2)), 1e-300) for b in blocks]
    for _ in range(1000):
        gradient = hessian @ x - linear
        if terms.distance(x, gradient) <= tolerance:
            return x
        for _ in range(3):
            for block, step in zip(blocks, steps, strict=True):
                moved = _prox(x[block] - step * gradient[block], step, terms, block)
                change = moved - x[block]
                if np.any(change):
                    gradient += hessian[:, block] @ change
                    x[block] = moved
        x = _newton(problem, x)
    return x


def _blocks(terms: Terms) -> list[Int[np.ndarray, " some"]]:
    """Return the entries of each group, and each entry without a group by itself."""
    blocks = [np.flatnonzero(terms.group == g) for g in range(len(terms.group_threshold))]
    return blocks + [np.array([entry]) for entry in np.flatnonzero(terms.group < 0)]


def _prox(x: Entries, step: float, terms: Terms, block: Int[np.ndarray, " some"]) -> Entries:
    shrink = 1 + step * terms.ridge[block]
    size = (
        np.maximum(
            np.where(terms.nonnegative[block], x, np.abs(x)) - step * terms.threshold[block], 0
        )
        / shrink
    )
    shrunk = np.where(size > 0, np.sign(x) * size, 0.0)
    group = terms.group[block[0]]
    norm = np.sqrt(shrunk @ shrunk)
    if group < 0 or not norm:
        return shrunk
    # The ridge of a group's entries is the same, so the two proxes compose.
    limit = step * terms.group_threshold[group] / shrink[0]
    return shrunk * max(1 - limit / norm, 0.0)


def _newton(problem: Quadratic, x: Entries) -> Entries:
    """Step on the entries that are not zero, as far as none changes its sign, if that is lower."""
    hessian, linear, terms = problem
    support = np.flatnonzero(x)
    if not support.size:
        return x
    matrix = hessian[np.ix_(support, support)] + terms.hessian(x, support)
    slope = hessian[support] @ x - linear[support] + _slope(terms, x)[support]
    direction = _direction(matrix, -slope, np.zeros(len(support)))
    objective = _objective(problem, x)
    share = 1.0
    while share > 1e-3:
        there = x.copy()
        there[support] += share * direction
        keeps_signs = np.all(there[support] * x[support] > 0)
        if keeps_signs and _objective(problem, there) <= objective:
            return there
        share /= 2
    return x


def _slope(terms: Terms, x: Entries) -> Entries:
    """Return ∇R where x is not zero."""
    norms = np.append(np.sqrt(terms.group_sums(np.square(x))), 0.0)[terms.group]
    pull = np.append(terms.group_threshold, 0.0)[terms.group]
    signs = np.where(x != 0, terms.threshold, 0) * np.sign(x)
    return signs + terms.ridge * x + pull * x / np.where(norms > 0, norms, 1)


def _objective(problem: Quadratic, x: Entries) -> float:
    return float(x @ (problem.hessian @ x / 2 - problem.linear)) + problem.terms.value(x)
