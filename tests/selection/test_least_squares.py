"""The squared loss of many columns: Gram matrices of folds, and gradients that are not needed."""

import numpy as np
import pytest

from l1jax.selection.fold_grams import FoldGrams
from l1jax.selection.least_squares import least_squares
from l1jax.selection.objectives import Samples

RNG = np.random.default_rng(0)
FOLDS = np.arange(30) % 3


def samples(scaled=True):
    weights = np.stack([(fold != FOLDS) * 1.0 for fold in range(3)] + [np.ones(30)])
    weights /= weights.sum(axis=1, keepdims=True)
    columns = RNG.normal(size=(200, 30)) * RNG.uniform(0.1, 3, size=(200, 1))
    scales = RNG.uniform(0.5, 2, size=(4, 200)) if scaled else np.ones((4, 200))
    return Samples(columns, RNG.normal(size=(30, 1)), weights, scales)


def by_numpy(problem, fold, x):
    """The gradient, by its formula."""
    columns = problem.columns * problem.scales[fold][:, None]
    return columns @ (problem.weights[fold] * (x @ columns - problem.target[:, 0]))


@pytest.mark.parametrize("scaled", [False, True])
def test_gradients_are_exact_where_they_may_reach_their_ceilings(scaled):
    problem = samples(scaled)
    objective = least_squares(problem)
    x = np.zeros((4, 200))
    ceilings = None
    estimated = 0
    for step in range(12):
        exact = np.stack([by_numpy(problem, fold, x[fold]) for fold in range(4)])
        actual = objective.gradients(range(4), x, ceilings)
        if ceilings is None:
            np.testing.assert_allclose(actual, exact, atol=1e-13)
        else:
            is_exact = np.isclose(actual, exact, rtol=1e-11, atol=1e-13)
            estimated += np.sum(~is_exact)
            assert np.all(is_exact | ((np.abs(actual) < ceilings) & (np.abs(exact) < ceilings)))
        moved = (step + np.arange(4)) % 200
        x[np.arange(4), moved] += (-1) ** step * 0.02 * (1 + step)
        ceilings = np.where(x == 0, 0.7 * np.abs(exact).max(), 0)
        ceilings[0, 5] = np.inf
    assert estimated > 1000  # or nothing is spared


def test_gradients_of_some_folds_are_theirs():
    problem = samples()
    objective = least_squares(problem)
    x = RNG.normal(size=(4, 200)) * (RNG.random((4, 200)) < 0.05)
    objective.gradients([0, 1, 2, 3], np.zeros((4, 200)), None)
    exact = np.stack([by_numpy(problem, fold, x[fold]) for fold in (2, 0)])
    actual = objective.gradients([2, 0], x[[2, 0]], np.full((2, 200), 0.5))
    above = np.abs(exact) >= 0.5
    assert above.any()
    np.testing.assert_allclose(actual[above], exact[above], rtol=1e-12)


@pytest.mark.parametrize("large", [1.0, 1e6])
def test_gram_matrices_of_folds(large):
    # One example that is much larger than the others: their sums have no digits in its difference.
    weights = samples().weights
    x = RNG.normal(size=(6, 30))
    z = RNG.normal(size=(4, 30))
    x[:, 0] *= large
    z[:, 0] *= large
    grams = FoldGrams(weights)
    actual = grams.of(x, z, grams.sizes(x), grams.sizes(z))
    expected = np.einsum("fn,kn,ln->fkl", weights, x, z)
    np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-13)
