"""Gather the scores of a trained path in a table: strengths × folds, lower is better."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from l1jax.config import InputError
from l1jax.selection.criteria import aic, aicc, bic, ebic
from l1jax.selection.fold_scores import SIGNS, FoldResult

INFORMATION_CRITERIA = ("aic", "aicc", "bic", "ebic")
LIKELIHOOD_CRITERIA = ("log_likelihood", *INFORMATION_CRITERIA)


class PathPoint(NamedTuple):
    """One strength of the path."""

    strength: float
    trained: int  # steps that it was trained for
    folds: list[FoldResult]

    @property
    def zeros(self) -> float:
        """Share of the penalised entries that are zero, mean over the folds."""
        return float(np.mean([result.zeros for result in self.folds]))


class ModelSize(NamedTuple):
    """The counts that information criteria need."""

    examples: int
    parameters: int


def score_table(
    points: Sequence[PathPoint], criterion: str, size: ModelSize
) -> Float[np.ndarray, "strengths folds"]:
    """Return the scores of a path, lower being better; NaN where a strength has none.

    Args:
        points: of the path.
        criterion: a score of `SIGNS`, whose sign is changed if higher is better; or an information
            criterion, computed from the bound on the likelihood of the training images and the
            number of parameters that are not zero.
        size: how many examples and parameters there are.

    Raises:
        InputError: if the path was trained without this score.
    """
    is_information = criterion in INFORMATION_CRITERIA
    score = "log_likelihood" if is_information else criterion
    if not has_score(points, score):
        raise InputError(
            f"`--criterion` (={criterion}) needs the {score}, which this path was scored without, "
            "as a flow's takes long and its criterion did not ask for it: give that criterion "
            "again, or this one with another --workdir."
        )
    if not is_information:
        return SIGNS[criterion] * _table_of(points, criterion)
    log_likelihood = size.examples * _table_of(points, "log_likelihood")
    nonzeros = np.array([[result.nonzeros for result in point.folds] for point in points])
    if criterion == "aic":
        table = aic(log_likelihood, nonzeros)
    elif criterion == "aicc":
        table = aicc(log_likelihood, nonzeros, size.examples)
    elif criterion == "bic":
        table = bic(log_likelihood, nonzeros, size.examples)
    else:
        table = ebic(log_likelihood, nonzeros, size.examples, size.parameters)
    return np.asarray(table)


def has_score(points: Sequence[PathPoint], name: str) -> bool:
    """Whether all points of a path have this score.

    Args:
        points: of the path.
        name: of `SIGNS`.
    """
    return all(name in result.scores for point in points for result in point.folds)


def _table_of(points: Sequence[PathPoint], name: str) -> Float[np.ndarray, "strengths folds"]:
    return np.array([[result.scores[name] for result in point.folds] for point in points])
