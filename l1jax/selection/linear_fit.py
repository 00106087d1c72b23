"""Fit linear models exactly in NumPy, all strengths and folds in turn.

Nothing is compiled here, so a new shape of the examples costs no more than a known one.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from l1jax.selection.examples import LinearExamples
from l1jax.selection.gram_path import follow_quadratic
from l1jax.selection.least_squares import (
    Grams,
    gram_matrices,
    has_few_columns,
    least_squares,
    least_squares_of_grams,
)
from l1jax.selection.losses import FamilyName, Loss, loss_of
from l1jax.selection.objectives import Objective, Samples, any_loss
from l1jax.selection.terms import Terms
from l1jax.selection.working_set import Solutions, follow_path, refit

# A coefficient of at most this share of the path's largest is zero up to rounding.
NEGLIGIBLE = 1e-8


class FitOptions(NamedTuple):
    """How a linear model is fitted: arguments of `fit_path`."""

    family: FamilyName
    intercept: bool
    debias: bool
    tolerance: float
    standardize: bool = False
    delta: float | None = None

    @property
    def loss(self) -> Loss:
        """ℓ."""
        return loss_of(self.family, self.delta)


class LinearFits(NamedTuple):
    """η = xβ + b for each fold and strength; of several classes each has its own."""

    coefficients: Float64[np.ndarray, "folds strengths features *classes"]
    intercepts: Float64[np.ndarray, "folds strengths *classes"]
    distances: Float64[np.ndarray, "folds strengths"]


class Centred(NamedTuple):
    """Examples whose columns have the mean 0, if the model has an intercept."""

    features: Float64[np.ndarray, "examples features"]
    means: Float64[np.ndarray, " features"]


def centre(features: Float64[np.ndarray, "examples features"], intercept: bool) -> Centred:
    """Subtract the mean of each column, if the model has an intercept to make up for it.

    Args:
        features: x.
        intercept: whether it has.
    """
    if not intercept:
        return Centred(features, np.zeros(features.shape[1]))
    means = features.mean(axis=0)
    centred = features - means
    constant = np.all(features == features[0], axis=0)
    centred[:, constant] = 0  # without their means' rounding
    return Centred(centred, means)


def fit_in_numpy(
    examples: LinearExamples,
    strengths: Float64[np.ndarray, " strengths"],
    terms: Terms,
    weights: Float64[np.ndarray, "folds examples"],
    options: FitOptions,
) -> LinearFits:
    """Minimise Σ wᵢ ℓ(xᵢβ + b, yᵢ)/Σ wᵢ + strength·R(β) for each fold and strength.

    Args:
        examples: x and y.
        strengths: from weak to strong.
        terms: R, of the features × outputs coefficients.
        weights: w, a row for each fold.
        options: as for `fit_path`.
    """
    features, means = centre(examples.features, options.intercept)
    target = outputs_of(examples, options.family)
    outputs = target.shape[1]
    middle = 0.0
    if options.intercept and options.family in ("squared", "huber"):
        middle = float(target.mean())  # of which the intercept takes care
    weights = weights / weights.sum(axis=1, keepdims=True)
    variances, varies = column_variances(features, weights, options.intercept)
    scales = np.ones((len(weights), features.shape[1] + 1))
    if options.standardize:
        scales[:, :-1] = 1 / np.sqrt(variances)
    columns = np.concatenate([features.T, np.ones((1, len(features)))])
    samples = Samples(columns, target - middle, weights, scales)
    by_gram = options.family == "squared" and has_few_columns(samples)
    grams = gram_matrices(samples) if by_gram else None
    objective = _objective(samples, grams, options)
    fold_terms = [_with_intercept(terms, fold, outputs, options.intercept) for fold in varies]
    start = np.zeros((len(weights), columns.shape[0] * outputs))
    at_zero = objective.gradients(range(len(weights)), start, None)
    sizes = np.sqrt(np.square(at_zero).sum(axis=1))
    sizes = np.where(sizes > 0, sizes, 1)
    strong_to_weak = strengths[::-1]
    if grams is not None and not terms.has_groups:
        limits = options.tolerance * sizes
        solved = _follow_quadratics(grams, fold_terms, strong_to_weak, limits)
        solved.distances[:] /= sizes[:, None]
    else:
        if options.intercept and options.family == "poisson":
            start[:, -1] = np.log(weights @ target[:, 0])
        solved = follow_path(objective, fold_terms, strong_to_weak, start, sizes, options.tolerance)
    if options.debias:
        support = np.abs(solved.parameters) * np.repeat(scales, outputs, axis=1)[:, None]
        largest = support[..., :-outputs].max(axis=(1, 2), keepdims=True)
        kept = support > NEGLIGIBLE * largest
        kept[..., -outputs:] = options.intercept
        solved = refit(objective, fold_terms, solved, kept, sizes, options.tolerance)
    kernels = solved.parameters.reshape(*solved.distances.shape, -1, outputs)[:, ::-1]
    kernels = kernels * scales[:, None, :, None]
    slopes = kernels[..., :-1, :]
    constants = kernels[..., -1, :] - np.einsum("fspk,p->fsk", slopes, means) + middle
    if outputs > 1:
        constants -= constants.mean(axis=-1, keepdims=True)
        return LinearFits(slopes, constants, solved.distances[:, ::-1])
    return LinearFits(slopes[..., 0], constants[..., 0], solved.distances[:, ::-1])


def _objective(samples: Samples, grams: Grams | None, options: FitOptions) -> Objective:
    if grams is not None:
        return least_squares_of_grams(grams)
    if options.family == "squared":
        return least_squares(samples)
    return any_loss(samples, options.loss)


def _follow_quadratics(
    grams: Grams,
    terms: list[Terms],
    strengths: Float64[np.ndarray, " strengths"],
    limits: Float64[np.ndarray, " folds"],
) -> Solutions:
    paths = [
        follow_quadratic(hessian, linear, each, strengths, float(limit))
        for hessian, linear, each, limit in zip(*grams, terms, limits, strict=True)
    ]
    return Solutions(np.stack([path[0] for path in paths]), np.stack([path[1] for path in paths]))


def outputs_of(examples: LinearExamples, family: str) -> Float64[np.ndarray, "examples outputs"]:
    """Return the target as one column, or as one column of 0 and 1 for each class.

    Args:
        examples: their target; of classes, their indices.
        family: "multinomial" has a column for each class.
    """
    if family != "multinomial":
        return examples.target[:, None]
    assert examples.classes is not None
    return np.eye(len(examples.classes))[examples.target.astype(int)]


def column_variances(
    features: Float64[np.ndarray, "examples features"],
    weights: Float64[np.ndarray, "folds examples"],
    intercept: bool,
) -> tuple[Float64[np.ndarray, "folds features"], Bool[np.ndarray, "folds features"]]:
    """Return the variance of each column, and whether it is more than rounding.

    Args:
        features: x.
        weights: of sum 1.
        intercept: without one the mean of the squares takes the place of the variance.

    Returns:
        The variances, 1 where a column is constant; and which are not.
    """
    squares = weights @ np.square(features)
    variances = squares
    if intercept:
        variances = squares - np.square(weights @ features)
    largest = variances.max(axis=1, keepdims=True)
    rounding = 64 * np.finfo(np.float64).eps * squares
    varies = variances > np.maximum(1e-12 * largest, rounding)
    return np.where(varies, variances, 1.0), varies


def _with_intercept(
    terms: Terms, varies: Bool[np.ndarray, " features"], outputs: int, intercept: bool
) -> Terms:
    """Add the intercepts, which are free or 0, and let constant columns be 0."""
    constant = np.repeat(~varies, outputs)
    of_intercept = np.full(outputs, 0.0 if intercept else np.inf)
    return terms._replace(
        threshold=np.append(np.where(constant, np.inf, terms.threshold), of_intercept),
        ridge=np.append(terms.ridge, np.zeros(outputs)),
        group=np.append(terms.group, np.full(outputs, -1)),
        nonnegative=np.append(terms.nonnegative, np.zeros(outputs, bool)),
    )
