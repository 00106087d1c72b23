"""Choose the strength of linear models as scikit-learn does, in turn with it.

Supports that are known must be found.

python benchmarks/selection_linear.py           # some minutes on 2 cores
python benchmarks/selection_linear.py --smoke   # small problems, once each; keeps nothing

The result is benchmarks/results/selection_linear-cpu.json.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from measure import RESULTS, alternate, quartiles, ratio, write_result
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import LassoCV, LogisticRegressionCV

from l1jax import selection

RESULT = RESULTS / "selection_linear-cpu.json"
COMMAND = "python benchmarks/selection_linear.py"
FOLDS = 5


def wide(rows: int, features: int) -> tuple[np.ndarray, np.ndarray]:
    """More features than examples, five of which matter."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(rows, features))
    return x, 3 * x[:, :5].sum(axis=1) + rng.normal(size=rows)


def threes_and_eights(count: int = 355) -> tuple[np.ndarray, np.ndarray]:
    """Some of scikit-learn's digits, a number which five folds divide."""
    x, y = load_digits(return_X_y=True)
    rows = np.flatnonzero((y == 3) | (y == 8))[:count]
    return x[rows] / 16, (y[rows] == 8).astype(int)


def splits(fold: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(FOLDS)]


def compare(
    own: Callable[[], Any], peer: Callable[[], Any], scores: Callable[[Any], Any], turns: int
) -> dict[str, Any]:
    """Compare the scores and choices of both, and the seconds that they took in turn.

    Returned is the largest relative difference of a score, whether the choice agrees, and the
    seconds.
    """
    begin = time.perf_counter()
    chosen = own()
    first = time.perf_counter() - begin
    found: dict[str, Any] = {}
    seconds = alternate(
        {"l1jax": own, "scikit-learn": lambda: found.__setitem__("scikit-learn", peer())},
        turns,
        warmup=0,
    )
    table, strength = scores(found["scikit-learn"])
    return {
        "largest relative difference of a score": float(np.abs(chosen.scores / table - 1).max()),
        "same choice": bool(np.isclose(chosen.choice.strength, strength, rtol=1e-6)),
        "largest distance to optimality": float(chosen.path.distances.max()),
        "first call with compilation, s": first,
        "l1jax, s": quartiles(seconds["l1jax"]),
        "scikit-learn, s": quartiles(seconds["scikit-learn"]),
        "l1jax / scikit-learn": ratio(seconds["l1jax"], seconds["scikit-learn"]),
    }


def lasso(x: np.ndarray, y: np.ndarray, turns: int, eps: float = 1e-3) -> dict[str, Any]:
    """100 strengths, five folds, against `LassoCV` at the tolerance 1e-10."""
    fold = selection.stratified_folds(None, selection.row_hashes(x), FOLDS)
    strengths = selection.linear_strengths(x, y, eps=eps)
    model = LassoCV(alphas=strengths[::-1], cv=splits(fold), tol=1e-10, max_iter=1_000_000)
    return compare(
        lambda: selection.cross_validate(x, y, strengths, fold),
        lambda: model.fit(x, y),
        lambda fitted: (fitted.mse_path_[::-1], fitted.alpha_),
        turns,
    )


def logistic(x: np.ndarray, y: np.ndarray, turns: int) -> dict[str, Any]:
    """Compare with `LogisticRegressionCV` on eight strengths and five equal folds.

    It uses saga at the tolerance 1e-8.
    """
    fold = np.random.default_rng(0).permutation(len(x)) % FOLDS
    c = np.geomspace(0.1, 10, 8)
    strengths = 1 / (c[::-1] * len(x) * (FOLDS - 1) / FOLDS)
    model = LogisticRegressionCV(
        Cs=c,
        cv=splits(fold),
        l1_ratios=(1.0,),
        solver="saga",
        tol=1e-8,
        max_iter=1_000_000,
        scoring="neg_log_loss",
        use_legacy_attributes=False,
    )
    return compare(
        lambda: selection.cross_validate(x, y, strengths, fold, family="logistic"),
        lambda: model.fit(x, y),
        lambda fitted: (
            -fitted.scores_[:, 0].T[::-1],
            1 / (fitted.C_ * len(x) * (FOLDS - 1) / FOLDS),
        ),
        turns,
    )


def supports(draws: int = 100) -> dict[str, int]:
    """Count the draws in which each criterion finds the variables that matter.

    Three of six variables matter; a draw has 300 examples.
    """
    rng, found = (
        np.random.default_rng(0),
        dict.fromkeys(("bic", "bic, debiased", "ebic, debiased", "aic, debiased"), 0),
    )
    for _ in range(draws):
        x, beta = rng.normal(size=(300, 6)), np.zeros(6)
        beta[rng.permutation(6)[:3]] = 2 * rng.choice([-1, 1], 3)
        y = x @ beta + rng.normal(size=300)
        for name in found:
            criterion, _, debias = name.partition(", ")
            strengths = selection.strength_grid(0.05, 2.0, 10)
            own = selection.information_criterion(x, y, strengths, criterion, debias=bool(debias))
            found[name] += np.array_equal(own.coefficients != 0, beta != 0)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument(
        "--smoke", action="store_true", help="small problems, once each; keeps nothing"
    )
    options = parser.parse_args()
    turns = options.turns
    warnings.simplefilter("error")
    if options.smoke:
        print(
            lasso(*wide(20, 30), 1, eps=1e-1),
            logistic(*threes_and_eights(50), 1),
            supports(draws=1),
        )
        return
    result = {
        "diabetes, 442 × 10": lasso(*load_diabetes(return_X_y=True), turns),
        "normal, 60 × 200": lasso(*wide(60, 200), turns),
        "normal, 400 × 2000": lasso(*wide(400, 2000), 1, eps=1e-2),
        "digits 3 and 8, logistic, 355 × 64": logistic(*threes_and_eights(), 1),
        "true supports found in 100 draws": supports(),
    }
    print(write_result(RESULT, COMMAND, result).read_text())


if __name__ == "__main__":
    main()
