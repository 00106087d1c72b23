"""The loss of linear models as a function of their coefficients, in all folds at once.

A model has (features + 1) × outputs parameters, flattened in this order; the last row is the
intercept. There is one output, or one for each class.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int

from l1jax.selection.losses import Loss
from l1jax.selection.quadratic import Quadratic, minimise_grouped, minimise_separable
from l1jax.selection.terms import Entries, Terms

MAX_GRAM = 1000  # columns of a Gram matrix that is computed as a whole
SMALL_GRAM = 200  # which is worth while whatever the number of examples
NEWTON_STEPS = 20
MAX_LOSS = 1e3  # by which a sum of squares may exceed that of the examples which stay in it
ROUNDING = 8 * np.finfo(np.float64).eps
Parameters = Float64[np.ndarray, "folds parameters"]
Some = Int[np.ndarray, " some"]
SomeValues = Float64[np.ndarray, " some"]


class Samples(NamedTuple):
    """The examples of all folds.

    Attributes:
        columns: the features and a column of ones, each a row here.
        target: y, with one column for each output.
        weights: of the examples in each fold, of sum 1.
        scales: what each fold multiplies the columns by.
    """

    columns: Float64[np.ndarray, "columns examples"]
    target: Float64[np.ndarray, "examples outputs"]
    weights: Float64[np.ndarray, "folds examples"]
    scales: Float64[np.ndarray, "folds columns"]


class Objective(NamedTuple):
    """What the solver needs to know of a loss.

    Attributes:
        gradients: (folds, their parameters) → the gradients.
        prepare: tells which parameters `minimise` will be asked for next.
        minimise: (fold, parameters, gradient, some, their terms, limit) → the values of some
            parameters that minimise the loss and the penalty while the others stay, to a distance
            to optimality of at most the limit.
    """

    gradients: Callable[[Sequence[int], Parameters], Parameters]
    prepare: Callable[[Some], None]
    minimise: Callable[[int, Entries, Entries, Some, Terms, float], SomeValues]


def minimise_quadratic(
    hessian: Float64[np.ndarray, "some some"],
    gradient: Entries,
    start: Entries,
    terms: Terms,
    limit: float,
) -> Entries:
    """Minimise gᵀ(x − x₀) + ½(x − x₀)ᵀH(x − x₀) + R(x).

    Args:
        hessian: H.
        gradient: g.
        start: x₀.
        terms: R.
        limit: the distance to optimality at which to stop.
    """
    if not start.size:
        return start
    linear = hessian @ start - gradient
    problem = Quadratic(hessian, linear, terms)
    rounding = ROUNDING * np.abs(linear).max(initial=0)
    if terms.has_groups:
        return minimise_grouped(problem, start, max(limit, rounding))
    return minimise_separable(problem, start, max(limit / np.sqrt(len(start)), rounding))


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
    hessians = _grams(columns, columns, weights)
    hessians *= scales[:, :, None] * scales[:, None, :]
    return Grams(hessians, scales * ((weights * target[:, 0]) @ columns.T))


def least_squares_of_grams(grams: Grams) -> Objective:
    """Return Σ wᵢ(xᵢβ − yᵢ)²/2 up to a constant, of few columns."""
    hessians, linear = grams

    def gradients(folds: Sequence[int], params: Parameters) -> Parameters:
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


def _grams(
    left: Float64[np.ndarray, "left examples"],
    right: Float64[np.ndarray, "right examples"],
    weights: Float64[np.ndarray, "folds examples"],
) -> Float64[np.ndarray, "folds left right"]:
    """Return Σ wᵢ xᵢxᵢᵀ of each fold.

    Where most weights are in proportion to the last fold's, as in the folds of a cross-validation
    beside the fit of all, only the other examples are gone through. Not so if the others are so
    much larger that the difference would lose digits.
    """
    left_sizes = weights @ np.square(left).T
    right_sizes = weights @ np.square(right).T
    last = (left * weights[-1]) @ right.T
    result = np.empty((len(weights), len(left), len(right)))
    result[-1] = last
    for fold in range(len(weights) - 1):
        used = weights[fold] > 0
        factor = np.median(weights[fold][used]) / np.median(weights[-1][weights[-1] > 0])
        rest = weights[fold] - factor * weights[-1]
        other = np.flatnonzero(np.abs(rest) > ROUNDING * weights[fold].max())
        lost = max(
            _largest_ratio(factor * left_sizes[-1], left_sizes[fold]),
            _largest_ratio(factor * right_sizes[-1], right_sizes[fold]),
        )
        if len(other) > len(rest) // 2 or lost > MAX_LOSS:
            result[fold] = (left * weights[fold]) @ right.T
        else:
            result[fold] = factor * last + (left[:, other] * rest[other]) @ right[:, other].T
    return result


def _largest_ratio(
    all_sizes: Float64[np.ndarray, " columns"], sizes: Float64[np.ndarray, " columns"]
) -> float:
    """Return the largest ratio of two sizes of a column that is not 0."""
    present = sizes > 0
    return float(np.max(all_sizes[present] / sizes[present], initial=1))


def least_squares(samples: Samples) -> Objective:
    """Return Σ wᵢ(xᵢβ − yᵢ)²/2 of many columns.

    The Gram matrix is computed of those only that have been in a working set.
    """
    columns, target, weights, scales = samples
    position = np.full(len(columns), -1)
    known = np.empty((0, columns.shape[1]))
    grams = np.empty((len(weights), 0, 0))

    def gradients(folds: Sequence[int], params: Parameters) -> Parameters:
        rows = list(folds)
        residuals = np.empty((len(rows), columns.shape[1]))
        for place, fold in enumerate(rows):
            support = np.flatnonzero(params[place])
            coefficients = params[place][support] * scales[fold][support]
            residuals[place] = coefficients @ columns[support] - target[:, 0]
        residuals *= weights[rows]
        return scales[rows] * (columns @ residuals.T).T

    def prepare(some: Some) -> None:
        nonlocal known, grams
        new = some[position[some] < 0]
        if not new.size:
            return
        position[new] = len(known) + np.arange(len(new))
        added = columns[new]
        before = len(known)
        known = np.concatenate([known, added])
        beside = _grams(known, added, weights)
        grown = np.empty((len(weights), len(known), len(known)))
        grown[:, :before, :before] = grams
        grown[:, :, before:] = beside
        grown[:, before:, :before] = beside[:, :before].transpose(0, 2, 1)
        grams = grown

    def minimise(
        fold: int, params: Entries, gradient: Entries, some: Some, terms: Terms, limit: float
    ) -> SomeValues:
        places = position[some]
        scale = scales[fold][some]
        hessian = grams[fold][np.ix_(places, places)] * np.outer(scale, scale)
        return minimise_quadratic(hessian, gradient[some], params[some], terms, limit)

    return Objective(gradients, prepare, minimise)


def any_loss(samples: Samples, loss: Loss) -> Objective:
    """Return Σ wᵢ ℓ(xᵢβ, yᵢ), which `minimise` approaches by proximal Newton steps.

    Source: Lee, Sun, Saunders, SIAM J. Optim. 24 (2014), algorithm 1.
    """
    columns, target, weights, scales = samples
    outputs = target.shape[1]

    def predict(
        fold: int, some: Some, values: SomeValues
    ) -> Float64[np.ndarray, "examples outputs"]:
        """Return what some parameters contribute to η."""
        features = some // outputs
        kernel = np.zeros((len(columns), outputs))
        kernel[features, some % outputs] = values * scales[fold][features]
        rows = np.unique(features)
        return columns[rows].T @ kernel[rows]

    def gradients(folds: Sequence[int], params: Parameters) -> Parameters:
        rows = list(folds)
        slopes = np.empty((columns.shape[1], len(rows), outputs))
        for place, fold in enumerate(rows):
            support = np.flatnonzero(params[place])
            eta = predict(fold, support, params[place][support])
            slopes[:, place] = weights[fold][:, None] * loss.slope(eta, target)
        raw = (columns @ slopes.reshape(len(slopes), -1)).reshape(len(columns), len(rows), outputs)
        scaled = raw.transpose(1, 0, 2) * scales[rows][:, :, None]
        return scaled.reshape(len(rows), -1)

    def minimise(
        fold: int, params: Entries, gradient: Entries, some: Some, terms: Terms, limit: float
    ) -> SomeValues:
        features = some // outputs
        output = some % outputs
        support = np.flatnonzero(params)
        eta = predict(fold, support, params[support])
        rows = columns[features] * scales[fold][features][:, None]
        weight = weights[fold]
        x = params[some]
        slope = gradient[some]
        best = terms.distance(x, slope)
        for _ in range(NEWTON_STEPS):
            curvature = weight[:, None] * loss.curvature(eta, target)
            hessian = second_derivative(rows, curvature, output, weight)
            if outputs > 1:  # of which a common shift of all classes makes it singular
                hessian += 1e-9 * np.diag(hessian.diagonal())
            there = minimise_quadratic(hessian, slope, x, terms, min(limit, best) / 10)
            step = there - x
            change = predict(fold, some, step)
            share = _descend(loss, target, weight, (eta, change), (x, step), slope, terms)
            if not share:
                break
            x = there if share == 1 else x + share * step
            eta = eta + share * change
            slopes = weight[:, None] * loss.slope(eta, target)
            slope = np.einsum("kn,nk->k", rows, slopes[:, output])
            best = terms.distance(x, slope)
            if best <= limit / 10:
                break
        return x

    return Objective(gradients, lambda some: None, minimise)


def second_derivative(
    rows: Float64[np.ndarray, "some examples"],
    curvature: Float64[np.ndarray, "examples outputs"],
    output: Some,
    weight: Float64[np.ndarray, " examples"],
) -> Float64[np.ndarray, "some some"]:
    """Return the second derivative of the loss in some parameters.

    With several outputs it is that of the multinomial loss, Σ wᵢ(diag(pᵢ) − pᵢpᵢᵀ) ⊗ xᵢxᵢᵀ.

    Args:
        rows: the column x of each parameter.
        curvature: of the loss in η, or w p of each class.
        output: which output each parameter belongs to.
        weight: w.
    """
    if curvature.shape[1] == 1:
        return (rows * curvature[:, 0]) @ rows.T
    weighted = rows * curvature.T[output]
    safe = np.where(weight > 0, weight, 1)
    same = output[:, None] == output
    return np.where(same, weighted @ rows.T, 0) - (weighted / safe) @ weighted.T


def _descend(
    loss: Loss,
    target: Float64[np.ndarray, "examples outputs"],
    weight: Float64[np.ndarray, " examples"],
    predictions: tuple[Float64[np.ndarray, "examples outputs"], ...],
    parameters: tuple[Entries, Entries],
    slope: Entries,
    terms: Terms,
) -> float:
    """Return the share of a step that lowers the objective enough, 0 if there is none.

    Args:
        loss: ℓ.
        target: y.
        weight: of the examples.
        predictions: η, and how the step changes it.
        parameters: where the step begins, and the step.
        slope: the gradient of the loss there.
        terms: the penalty.

    Source: Lee, Sun, Saunders, SIAM J. Optim. 24 (2014), equation 2.21.
    """
    eta, change = predictions
    x, step = parameters
    before = terms.value(x)
    expected = slope @ step + terms.value(x + step) - before
    used = weight > 0

    def objective(share: float) -> float:
        losses = loss.value(eta[used] + share * change[used], target[used])
        return float(weight[used] @ losses) + terms.value(x + share * step)

    here = objective(0.0)
    rounding = ROUNDING * (abs(here) + abs(before))
    if not np.any(step) or expected >= rounding:
        return 0.0
    share = 1.0
    while share > 1e-10:
        if objective(share) <= here + 1e-4 * share * expected + rounding:
            return share
        share /= 2
    return 0.0
