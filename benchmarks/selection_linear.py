"""Choose the strength of linear models as scikit-learn, celer and skglm do, in turn with them.

Supports that are known must be found. The seconds are those of the processor, which other work on
the machine changes less than those of the clock, and BLAS has one thread in all libraries, because
threads that wait for each other would count.

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
from celer import celer_path
from measure import RESULTS, quartiles, ratio, write_result
from skglm.datafits import Quadratic
from skglm.penalties import L1
from skglm.solvers import AndersonCD
from sklearn.datasets import load_diabetes, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LassoCV, LogisticRegressionCV
from threadpoolctl import threadpool_limits

from l1jax import selection

RESULT = RESULTS / "selection_linear-cpu.json"
COMMAND = "python benchmarks/selection_linear.py"
FOLDS = 5
TOLERANCE = 1e-10


def problem(rows: int, features: int, correlation: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return normal features, all correlated with each other, of which up to 20 matter."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(rows, features))
    x += np.sqrt(correlation / (1 - correlation)) * rng.normal(size=(rows, 1))
    matter = min(features, 20)
    return x, 3 * x[:, :matter] @ np.linspace(1, 0.1, matter) + 2 * rng.normal(size=rows)


def threes_and_eights(count: int = 355) -> tuple[np.ndarray, np.ndarray]:
    """Some of scikit-learn's digits, a number which five folds divide."""
    x, y = load_digits(return_X_y=True)
    rows = np.flatnonzero((y == 3) | (y == 8))[:count]
    return x[rows] / 16, (y[rows] == 8).astype(int)


def splits(fold: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(FOLDS)]


def in_turn(functions: dict[str, Callable[[], Any]], turns: int) -> dict[str, np.ndarray]:
    """Return the processor seconds of each function in each turn, in alternating order."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(turns):
        names = list(functions)
        for name in names if turn % 2 == 0 else reversed(names):
            begin = time.process_time()
            functions[name]()
            seconds[name].append(time.process_time() - begin)
    return {name: np.array(times) for name, times in seconds.items()}


def timings(seconds: dict[str, np.ndarray]) -> dict[str, Any]:
    """Quartiles of each library, and of the ratio of l1jax to it in the same turn."""
    result: dict[str, Any] = {f"{name}, s": quartiles(times) for name, times in seconds.items()}
    for name, times in seconds.items():
        if name != "l1jax":
            result[f"l1jax / {name}"] = ratio(seconds["l1jax"], times)
    return result


def compare(
    own: Callable[[], Any],
    peers: dict[str, Callable[[], Any]],
    scores: Callable[[Any], Any],
    turns: int,
) -> dict[str, Any]:
    """Compare the scores and choices with scikit-learn's, and the seconds with all peers'.

    Returned is the largest relative difference of a score, whether the choice agrees, and the
    seconds.
    """
    begin = time.process_time()
    chosen = own()
    first = time.process_time() - begin
    table, strength = scores(peers["scikit-learn"]())
    return {
        "largest relative difference of a score": float(np.abs(chosen.scores / table - 1).max()),
        "same choice": bool(np.isclose(chosen.choice.strength, strength, rtol=1e-6)),
        "largest distance to optimality": float(chosen.path.distances.max()),
        "first call, s": first,
        **timings(in_turn({"l1jax": own, **peers}, turns)),
    }


def lasso(x: np.ndarray, y: np.ndarray, turns: int, eps: float = 1e-3) -> dict[str, Any]:
    """100 strengths, five folds, against `LassoCV` at the tolerance 1e-10."""
    fold = selection.stratified_folds(None, selection.row_hashes(x), FOLDS)
    strengths = selection.linear_strengths(x, y, eps=eps)
    model = LassoCV(alphas=strengths[::-1], cv=splits(fold), tol=TOLERANCE, max_iter=1_000_000)
    ordered = np.asfortranarray(x)  # as it prefers them
    return compare(
        lambda: selection.cross_validate(x, y, strengths, fold, tolerance=TOLERANCE),
        {"scikit-learn": lambda: model.fit(ordered, y)},
        lambda fitted: (fitted.mse_path_[::-1], fitted.alpha_),
        turns,
    )


def path(x: np.ndarray, y: np.ndarray, turns: int, eps: float) -> dict[str, Any]:
    """100 strengths on all examples, against celer and skglm; without an intercept."""
    x = x - x.mean(axis=0)
    y = y - y.mean()
    strengths = selection.linear_strengths(x, y, eps=eps, intercept=False)
    solver = AndersonCD(tol=TOLERANCE * strengths[-1], fit_intercept=False, max_iter=1_000)
    ordered = np.asfortranarray(x)

    def own() -> selection.LinearPath:
        return selection.fit_path(x, y, strengths, intercept=False, tolerance=TOLERANCE)

    def by_celer() -> np.ndarray:
        return celer_path(ordered, y, "lasso", alphas=strengths[::-1].copy(), tol=TOLERANCE)[1]

    def by_skglm() -> np.ndarray:
        datafit = Quadratic()
        penalty = L1(1.0)
        return solver.path(ordered, y, datafit, penalty, strengths[::-1].copy())[1]

    found = own().coefficients
    peers = {"celer": by_celer, "skglm": by_skglm}
    return {  # the first calls compile
        **{
            f"largest difference of a coefficient, {name}": float(
                np.abs(found - peer().T[::-1]).max()
            )
            for name, peer in peers.items()
        },
        **timings(in_turn({"l1jax": own, **peers}, turns)),
    }


def logistic(x: np.ndarray, y: np.ndarray, turns: int) -> dict[str, Any]:
    """Compare with `LogisticRegressionCV` on five strengths and five equal folds.

    It uses saga at the tolerance 1e-6.
    """
    fold = np.random.default_rng(0).permutation(len(x)) % FOLDS
    c = np.geomspace(0.1, 1, 5)
    strengths = 1 / (c[::-1] * len(x) * (FOLDS - 1) / FOLDS)
    model = LogisticRegressionCV(
        Cs=c,
        cv=splits(fold),
        l1_ratios=(1.0,),
        solver="saga",
        tol=1e-6,
        max_iter=1_000_000,
        scoring="neg_log_loss",
        use_legacy_attributes=False,
    )
    return compare(
        lambda: selection.cross_validate(x, y, strengths, fold, family="logistic"),
        {"scikit-learn": lambda: model.fit(x, y)},
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
    threadpool_limits(1)
    # celer ends some fits a little above its tolerance, which rounding does not let it reach.
    warnings.filterwarnings("ignore", category=ConvergenceWarning)
    if options.smoke:
        x, y = problem(20, 30)
        print(
            lasso(x, y, 1, eps=1e-1),
            path(x, y, 1, eps=1e-1),
            logistic(*threes_and_eights(50), 1),
            supports(draws=1),
        )
        return
    tall = problem(20_000, 100, 0.2)
    square = problem(1_000, 2_000)
    wide = problem(200, 5_000)
    result = {
        "diabetes, 442 × 10": lasso(*load_diabetes(return_X_y=True), turns),
        "tall, 20000 × 100": lasso(*tall, turns),
        "square, 1000 × 2000, down to 0.1": lasso(*square, turns, eps=1e-1),
        "wide, 200 × 5000, down to 0.1": lasso(*wide, turns, eps=1e-1),
        "tall, path of all examples": path(*tall, turns, eps=1e-3),
        "square, path of all examples": path(*square, turns, eps=1e-1),
        "wide, path of all examples": path(*wide, turns, eps=1e-1),
        "digits 3 and 8, logistic, 355 × 64": logistic(*threes_and_eights(), 1),
        "true supports found in 100 draws": supports(),
    }
    print(write_result(RESULT, COMMAND, result).read_text())


if __name__ == "__main__":
    main()
