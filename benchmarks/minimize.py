"""Solve penalised problems to a tolerance with `minimize`, scikit-learn and jaxopt.

PYTHONPATH=.:FOLDER_OF_JAXOPT python benchmarks/minimize.py   # some minutes on 2 cores
python benchmarks/minimize.py --smoke                          # small, once; keeps nothing

All solve the same float64 problem; what each reached is measured in NumPy: the distance of minus
the gradient to the subdifferential, as a share of the gradient's norm at zero. jaxopt is optional.
The result is benchmarks/results/minimize-cpu.json.
"""

import argparse
import importlib.util
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from measure import RESULTS, alternate, quartiles, write_result
from sklearn.linear_model import Lasso, LogisticRegression

import l1jax

RESULT = RESULTS / "minimize-cpu.json"
COMMAND = "PYTHONPATH=.:FOLDER_OF_JAXOPT python benchmarks/minimize.py"
MAX_STEPS = 20_000  # of jaxopt


class Problem(NamedTuple):
    """A linear model with the L1 penalty at a share of the largest strength."""

    x: np.ndarray
    y: np.ndarray
    loss: Callable[[Any, Any, Any], Any]
    gradient: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    strength: float


def squares(w: Any, x: Any, y: Any) -> Any:
    return 0.5 * jnp.mean((x @ w - y) ** 2)


def squares_gradient(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return x.T @ (x @ w - y) / len(y)


def logistic(w: Any, x: Any, y: Any) -> Any:
    return jnp.mean(jnp.logaddexp(0, -y * (x @ w)))


def logistic_gradient(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return -x.T @ (y / (1 + np.exp(y * (x @ w)))) / len(y)


def problem(kind: str, rows: int, columns: int, share: float, decades: float = 0.0) -> Problem:
    """Correlated columns, ten of which matter.

    Args:
        kind: "lasso" or "logistic".
        rows: of the design.
        columns: of the design.
        share: of the largest strength.
        decades: over how many powers of ten the columns' scales go.
    """
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, columns))
    for column in range(1, columns):
        x[:, column] = 0.5 * x[:, column - 1] + 0.75**0.5 * x[:, column]
    w = np.zeros(columns)
    w[rng.permutation(columns)[:10]] = rng.normal(size=10)
    y = x @ w + 0.3 * rng.normal(size=rows)
    x *= 10 ** rng.uniform(-decades / 2, decades / 2, columns)
    loss, gradient = squares, squares_gradient
    if kind == "logistic":
        y = np.sign(y)
        loss, gradient = logistic, logistic_gradient
    strength = share * np.abs(gradient(np.zeros(columns), x, y)).max()
    return Problem(x, y, loss, gradient, float(strength))


def distance(case: Problem, w: np.ndarray) -> float:
    """How far a solution is from optimality."""
    w = np.asarray(w)
    gradient = case.gradient(w, case.x, case.y)
    away = np.abs(gradient + case.strength * np.sign(w))
    at_zero = np.maximum(np.abs(gradient) - case.strength, 0)
    scale = np.linalg.norm(case.gradient(np.zeros_like(w), case.x, case.y))
    return float(np.linalg.norm(np.where(w != 0, away, at_zero)) / scale)


def solvers(case: Problem) -> dict[str, Callable[[], np.ndarray]]:
    """Return what solves the problem, by name; each returns the coefficients."""
    x = jnp.asarray(case.x)
    y = jnp.asarray(case.y)
    start = jnp.zeros(x.shape[1])

    @jax.jit
    def own(strength: Any, x: Any, y: Any) -> Any:
        return l1jax.minimize(case.loss, start, l1jax.l1(strength), args=(x, y)).params

    found = {"l1jax": lambda: np.asarray(own(case.strength, x, y))}
    options = {"tol": 1e-10, "max_iter": 100_000, "fit_intercept": False}
    if case.loss is squares:
        lasso = Lasso(case.strength, **options)
        found["scikit-learn"] = lambda: lasso.fit(case.x, case.y).coef_
    else:
        c = 1 / (case.strength * len(case.y))
        model = LogisticRegression(C=c, l1_ratio=1.0, solver="saga", **options)
        found["scikit-learn"] = lambda: model.fit(case.x, case.y).coef_[0]
    if importlib.util.find_spec("jaxopt"):
        import jaxopt  # an optional peer

        def run(strength: Any, x: Any, y: Any) -> Any:
            peer = jaxopt.ProximalGradient(
                case.loss, jaxopt.prox.prox_lasso, tol=1e-9, maxiter=MAX_STEPS
            )
            return peer.run(start, strength, x, y).params

        compiled = jax.jit(run)
        found["jaxopt"] = lambda: np.asarray(compiled(case.strength, x, y))
    return found


def measure(case: Problem, turns: int) -> dict[str, Any]:
    """Return the seconds and the distances of all solvers, and the first call's seconds."""
    table: dict[str, Any] = {}
    functions = solvers(case)
    for name, solve in functions.items():
        begin = time.perf_counter()
        solution = solve()
        first = time.perf_counter() - begin
        table[name] = {"distance to optimality": distance(case, solution), "first call, s": first}
    for name, seconds in alternate(functions, turns, warmup=0).items():
        table[name]["s"] = quartiles(seconds)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="small problems, once; keep nothing")
    smoke = parser.parse_args().smoke
    jax.config.update("jax_enable_x64", True)
    warnings.filterwarnings("ignore")
    size = 10 if smoke else 1
    cases = {
        "lasso 1000x200": problem("lasso", 1000 // size, 200 // size, 0.05),
        "lasso 200x2000": problem("lasso", 200 // size, 2000 // size, 0.1),
        "lasso 1000x200, scales over 4 decades": problem(
            "lasso", 1000 // size, 200 // size, 0.01, decades=4.0
        ),
        "logistic 500x200": problem("logistic", 500 // size, 200 // size, 0.05),
    }
    tables = {}
    for name, case in cases.items():
        tables[name] = measure(case, 1 if smoke else 5)
        print(name)
        for solver, row in tables[name].items():
            print(
                f"  {solver:13} {row['s']['median']:8.4f} s, first {row['first call, s']:6.2f} s, "
                f"distance {row['distance to optimality']:.1e}"
            )
    if not smoke:
        write_result(RESULT, COMMAND, tables)


if __name__ == "__main__":
    main()
