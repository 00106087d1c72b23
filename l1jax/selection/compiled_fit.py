"""Fit linear models with any convex penalty, all strengths and folds in one compiled program."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float64

from l1jax.config import InputError
from l1jax.penalties import Penalty, l1
from l1jax.selection.examples import LinearExamples
from l1jax.selection.linear_fit import NEGLIGIBLE, FitOptions, LinearFits, centre
from l1jax.selection.solver import FAMILIES, CompiledFamily, Fit, solve_path


def fit_compiled(
    examples: LinearExamples,
    strengths: Float64[np.ndarray, " strengths"],
    penalty: Penalty,
    weights: Float64[np.ndarray, "folds examples"],
    options: FitOptions,
) -> LinearFits:
    """Do what `fit_in_numpy` does, for a penalty that is known by its four functions only.

    Args:
        examples: x and y.
        strengths: from weak to strong.
        penalty: R.
        weights: w, a row for each fold.
        options: as for `fit_path`.

    Raises:
        InputError: if the family is none of `solve_path`, or `standardize` is asked for.
    """
    if options.family not in FAMILIES or options.standardize:
        given = f"`family` (={options.family!r})"
        required = f"must be one of {', '.join(FAMILIES)}"
        if options.standardize:
            given = "`standardize` (=True)"
            required = "must be False"
        raise InputError(
            f"{given} {required} with the penalty {type(penalty).__name__}; sums of l1, "
            "weighted_l1, nonnegative_l1, l2, elastic_net and group lassos are free of this limit."
        )
    features, means = centre(examples.features, options.intercept)
    with jax.enable_x64(True):
        fit = _compiled(options)
        solved = fit(features, examples.target, weights, strengths[::-1].copy(), penalty)
        solved = jax.tree.map(np.asarray, solved)
    slopes, constants = (part[:, ::-1] for part in solved.coefficients)
    return LinearFits(slopes, constants - slopes @ means, solved.distance[:, ::-1])


@functools.cache
def _compiled(options: FitOptions) -> Callable[..., Fit]:
    family: CompiledFamily = "squared" if options.family == "squared" else "logistic"

    def fit(x: Array, y: Array, weights: Array, strengths: Array, penalty: Penalty) -> Fit:
        def solve(x: Array, strengths: Array, penalty: Penalty) -> Fit:
            return solve_path(
                x,
                y,
                weights,
                strengths,
                penalty,
                family,
                options.intercept,
                options.tolerance,
            )

        fits = solve(x, strengths, penalty)
        if not options.debias:
            return fits
        size = jnp.abs(fits.coefficients.slopes)

        def refit(support: Array) -> Fit:
            relaxed = solve(x * support, jnp.zeros(1), l1(1.0))
            return jax.tree.map(lambda leaf: leaf[0], relaxed)

        return jax.lax.map(refit, size > NEGLIGIBLE * jnp.max(size))

    return jax.jit(jax.vmap(fit, in_axes=(None, None, 0, None, None)))
