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

NEWTON_STEPS = 20
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
        gradients: (folds, their parameters, ceilings) → the gradients. Where the size of one is
            below its ceiling, it may be any number below it; None for exact ones everywhere.
        prepare: tells which parameters `minimise` will be asked for next.
        minimise: (fold, parameters, gradient, some, their terms, limit) → the values of some
            parameters that minimise the loss and the penalty while the others stay, to a distance
            to optimality of at most the limit.
    """

    gradients: Callable[[Sequence[int], Parameters, Parameters | None], Parameters]
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

    def gradients(
        folds: Sequence[int], params: Parameters, ceilings: Parameters | None
    ) -> Parameters:
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
