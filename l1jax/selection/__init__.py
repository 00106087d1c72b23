"""Choose the strength of a penalty, for linear models and for any other model.

`cross_validate` and `information_criterion` choose the strength of a linear model, which `fit_path`
fits exactly. `train_path` trains any model that an l1jax transformation updates, at all strengths
and in all folds at once. Rules such as `one_standard_error` choose from its table of scores, and
`stability_selection` tells which entries do not depend on chance.
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
from l1jax.selection.path import StrengthPath, train_path
from l1jax.selection.rules import (
    Choice,
    ScoreSummary,
    bisect_strength,
    halving_survivors,
    minimum,
    one_standard_error,
    summarize_scores,
    target_sparsity,
    within_tolerance,
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
    "ScoreSummary",
    "StrengthPath",
    "aic",
    "aicc",
    "bic",
    "bisect_strength",
    "check_strengths",
    "cross_validate",
    "degrees_of_freedom",
    "ebic",
    "exact_degrees_of_freedom",
    "false_selections",
    "fit_path",
    "gaussian_log_likelihood",
    "halving_survivors",
    "information_criterion",
    "linear_strengths",
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
    "summarize_scores",
    "target_sparsity",
    "train_path",
    "within_tolerance",
]
