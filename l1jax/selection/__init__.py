"""Which strength: paths, cross-validation, information criteria and stability, for linear models and for any other.

`cross_validate` and `information_criterion` choose for linear models, which `fit_path` solves exactly; `train_path`
trains any model that an l1jax transformation updates, at all strengths and in all folds at once; the rules choose from
its table of scores.
"""

from l1jax.selection.criteria import (
    aic,
    aicc,
    bic,
    degrees_of_freedom,
    ebic,
    exact_degrees_of_freedom,
    gaussian_log_likelihood,
    noise_variance,
)
from l1jax.selection.folds import Fold, make_folds, row_hashes, stratified_folds
from l1jax.selection.linear import LinearSelection, cross_validate, information_criterion
from l1jax.selection.linear_path import LinearPath, fit_path, predict
from l1jax.selection.path import Path, train_path
from l1jax.selection.rules import (
    Choice,
    Summary,
    bisect_strength,
    enough_zeros,
    little_worse,
    minimum,
    one_standard_error,
    summarise,
    survivors,
)
from l1jax.selection.solver import solve_path
from l1jax.selection.stability import false_selections, stability_selection
from l1jax.selection.strengths import (
    check_strengths,
    linear_strengths,
    parse_strengths,
    strength_grid,
)

__all__ = [
    "Choice",
    "Fold",
    "LinearPath",
    "LinearSelection",
    "Path",
    "Summary",
    "aic",
    "aicc",
    "bic",
    "bisect_strength",
    "check_strengths",
    "cross_validate",
    "degrees_of_freedom",
    "ebic",
    "enough_zeros",
    "exact_degrees_of_freedom",
    "false_selections",
    "fit_path",
    "gaussian_log_likelihood",
    "information_criterion",
    "linear_strengths",
    "little_worse",
    "make_folds",
    "minimum",
    "noise_variance",
    "one_standard_error",
    "parse_strengths",
    "predict",
    "row_hashes",
    "solve_path",
    "stability_selection",
    "stratified_folds",
    "strength_grid",
    "summarise",
    "survivors",
    "train_path",
]
