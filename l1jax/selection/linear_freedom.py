"""Count the degrees of freedom of linear models along their path."""

import numpy as np
from jaxtyping import Float64

from l1jax.penalties import L1, NonnegativeL1, Penalty, WeightedL1, scaled
from l1jax.selection import criteria
from l1jax.selection.examples import LinearExamples
from l1jax.selection.linear_fit import NEGLIGIBLE, FitOptions, column_variances, outputs_of
from l1jax.selection.linear_path import LinearPath, predict
from l1jax.selection.losses import FLAT
from l1jax.selection.objectives import second_derivative
from l1jax.selection.terms import Terms, read_terms


def degrees_along_path(
    examples: LinearExamples,
    weights: Float64[np.ndarray, " examples"],
    path: LinearPath,
    penalty: Penalty | None,
    options: FitOptions,
) -> Float64[np.ndarray, " strengths"]:
    """Return the number of non-zeros if the penalty is piecewise linear, else the exact trace.

    Args:
        examples: that the path was fitted to.
        weights: of the examples.
        path: of one fold.
        penalty: R, which the strengths multiply.
        options: of the fit.
    """
    count = len(path.strengths)
    if penalty is None or isinstance(penalty, L1 | WeightedL1 | NonnegativeL1) or options.debias:
        flat = path.coefficients.reshape(count, -1)
        return np.asarray(criteria.degrees_of_freedom(flat, NEGLIGIBLE))
    weights = weights / weights.sum()
    x = examples.features
    scales = np.ones(x.shape[1])
    if options.standardize:
        variances, _ = column_variances(x, weights[None], options.intercept)
        scales = np.sqrt(variances[0])
    target = outputs_of(examples, options.family)
    eta = predict(path, x).reshape(count, *target.shape)
    curvatures = options.loss.curvature(eta, target)
    if options.family == "huber":
        curvatures = np.where(curvatures == FLAT, 0.0, curvatures)
    curvatures = curvatures * weights[:, None]
    terms = read_terms(penalty, path.coefficients.shape[1:])
    negligible = NEGLIGIBLE * np.abs(path.coefficients).max()
    degrees = []
    for strength, kernel, curvature in zip(
        path.strengths, path.coefficients, curvatures, strict=True
    ):
        kept = np.where(np.abs(kernel) > negligible, kernel, 0)
        if terms is None:
            weight = curvature[:, 0]
            middle = weight @ x / weight.sum() if options.intercept else 0.0
            rows = (x - middle) * np.sqrt(len(x) * weight)[:, None]
            at_strength = scaled(penalty, strength)
            degrees.append(criteria.exact_degrees_of_freedom(rows, kept, at_strength))
        else:
            slopes = (kept.reshape(len(scales), -1) * scales[:, None]).reshape(-1)
            at_strength = terms.scaled(float(strength))
            degrees.append(
                _trace(x / scales, weights, curvature, slopes, at_strength, options.intercept)
            )
    return np.asarray(degrees)


def _trace(
    x: Float64[np.ndarray, "examples features"],
    weights: Float64[np.ndarray, " examples"],
    curvature: Float64[np.ndarray, "examples outputs"],
    slopes: Float64[np.ndarray, " entries"],
    terms: Terms,
    intercept: bool,
) -> float:
    """Return tr (H + ∇²R)⁻¹H over the support and the intercepts, less that of the intercepts."""
    outputs = curvature.shape[1]
    support = np.flatnonzero(slopes)
    rows = x.T[support // outputs]
    output = support % outputs
    penalty = terms.hessian(slopes, support)
    if intercept:
        rows = np.concatenate([rows, np.ones((outputs, len(x)))])
        output = np.append(output, np.arange(outputs))
        penalty = np.pad(penalty, (0, outputs))
    hessian = second_derivative(rows, curvature, output, weights)
    both = np.linalg.pinv(hessian + penalty, rcond=1e-12, hermitian=True)
    free = 0
    if intercept:
        free = max(outputs - 1, 1)  # a common shift of all classes changes nothing
    return float(np.trace(both @ hessian)) - free
