"""Measure every figure of docs/which.md.

What does each way of using a penalty converge to, with and without noise?

python benchmarks/which.py           # measures, some minutes on 2 cores, and fills the page
python benchmarks/which.py --page    # fills the page's tables alone
python benchmarks/which.py --smoke   # a few steps of each; keeps nothing

The result is benchmarks/results/which-cpu.json; the page also shows those of
benchmarks/transforms.py.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from measure import RESULTS, write_result
from sklearn.datasets import load_digits
from sklearn.linear_model import Lasso

import l1jax
from l1jax.penalties import scaled

RESULT = RESULTS / "which-cpu.json"
COSTS = [RESULTS / f"transforms-cpu-{tree}.json" for tree in ("dcgan64", "dense100m")]
PAGE = Path(__file__).parent.parent / "docs" / "which.md"


class Steps(NamedTuple):
    """How long and how often the problems are solved."""

    full: int = 20_000  # steps of the deterministic problems
    noisy: int = 10_000
    seeds: int = 3  # of the noisy ones, of which the median is kept
    bisections: int = (
        10  # for the strength with which the plain prox has the optimum's number of zeros
    )


def descend(
    tx: optax.GradientTransformation, loss: Callable[..., Any], params: Any, keys: Any
) -> tuple[Any, Any, Any]:
    """Train with `loss(params, key)`.

    Returned are parameters, state, and for each step the share of entries whose zero came or went.
    """

    @jax.jit
    def run(params: Any, keys: Any) -> Any:
        def step(carry: Any, key: Any) -> Any:
            params, state = carry
            updates, state = tx.update(jax.grad(loss)(params, key), state, params)
            new = optax.apply_updates(params, updates)
            pairs = zip(jax.tree.leaves(new), jax.tree.leaves(params), strict=True)
            return (new, state), jnp.mean(
                jnp.concatenate([jnp.ravel((a == 0) != (b == 0)) for a, b in pairs])
            )

        (params, state), flips = jax.lax.scan(step, (params, tx.init(params)), keys)
        return params, state, flips

    return run(params, keys)


def ill_conditioned_lasso() -> tuple[Any, Any, float, float, np.ndarray]:
    """Make 200 × 100 correlated features whose scales spread over a factor 100.

    Returned are loss, objective, λ, curvature and optimum.
    """
    rng = np.random.default_rng(0)
    root = np.linalg.cholesky(0.5 ** np.abs(np.subtract.outer(np.arange(100), np.arange(100))))
    x = rng.normal(size=(200, 100)) @ root.T * np.logspace(-1, 1, 100)[rng.permutation(100)]
    truth = np.zeros(100)
    truth[::5] = rng.normal(size=20) / np.linalg.norm(x[:, ::5], axis=0) * np.sqrt(200)
    y = x @ truth + 0.1 * rng.normal(size=200)
    strength = 0.003 * np.abs(x.T @ y).max() / 200
    optimum = Lasso(strength, fit_intercept=False, tol=1e-14, max_iter=1_000_000).fit(x, y).coef_

    def loss(w: Any, key: Any = None) -> Any:
        return 0.5 * jnp.mean(jnp.square(x @ w - y))

    def objective(w: np.ndarray, scale: float = 1.0) -> float:
        return float(0.5 * np.mean((x @ w - y) ** 2) + scale * strength * np.abs(w).sum())

    return loss, objective, strength, float(np.linalg.norm(x, 2) ** 2 / 200), optimum


def fixed_points(steps: Steps) -> list[dict[str, Any]]:
    """Report where each method ends on the ill-conditioned lasso.

    Gradients are full and learning rates decay.
    """
    loss, objective, strength, curvature, optimum = ill_conditioned_lasso()
    penalty, rate = l1jax.l1(strength), optax.exponential_decay(0.1, steps.full, 1e-5)
    methods = {
        "`chain(add_subgradient, adam)`": optax.chain(
            l1jax.add_subgradient(penalty), optax.adam(rate)
        ),
        "`chain(adam, proximal)`": optax.chain(optax.adam(rate), l1jax.proximal(penalty, rate)),
        "`proximal_adam`": l1jax.proximal_adam(rate, penalty),
        "`proximal_sgd`": l1jax.proximal_sgd(1 / curvature, penalty),
        "`accelerated`": l1jax.accelerated(1 / curvature, penalty),
        "`rmda`": l1jax.rmda(3 / curvature, penalty, l1jax.rising_momentum(0.02)),
        "`ramda`": l1jax.ramda(3.0, penalty, l1jax.rising_momentum(0.005)),
    }
    rows = []
    for name, tx in methods.items():
        params, state, _ = descend(tx, loss, jnp.zeros(100), jnp.zeros(steps.full))
        found = np.asarray(l1jax.solution(state, params))
        rows.append(
            {
                "method": name,
                "zeros": int(np.sum(found == 0)),
                "wrong": int(np.sum((found != 0) != (optimum != 0))),
                "excess": (objective(found) - objective(optimum)) / objective(optimum),
                "optimum_zeros": int(np.sum(optimum == 0)),
                "largest_of_zeros": float(
                    np.max(np.abs(found[optimum == 0])) / np.max(np.abs(optimum))
                ),
            }
        )
    return rows


def momentum(steps: Steps) -> list[dict[str, Any]]:
    """Which strength is in force at the end, read off the gradient: |g| = λ where w ≠ 0."""
    loss, _, strength, curvature, _ = ill_conditioned_lasso()
    penalty, rate = l1jax.l1(strength), 0.1 / curvature
    sgd = optax.sgd(rate, momentum=0.9)
    methods = {
        "chain(sgd(η, momentum=0.9), proximal(penalty, η))": optax.chain(
            sgd, l1jax.proximal(penalty, rate)
        ),
        "proximal_sgd(η, penalty, momentum=0.9)": l1jax.proximal_sgd(rate, penalty, momentum=0.9),
    }
    rows = []
    for name, tx in methods.items():
        found, *_ = descend(tx, loss, jnp.zeros(100), jnp.zeros(10 * steps.full))
        gradient = np.abs(np.asarray(jax.grad(loss)(found)))[np.asarray(found) != 0]
        rows.append(
            {
                "method": name,
                "in_force": float(np.median(gradient)) / strength,
                "zeros": int(jnp.sum(found == 0)),
            }
        )
    return rows


def digits() -> tuple[Any, Any]:
    """Set up softmax regression on scikit-learn's digits.

    Returned are the loss of a batch drawn by the key (of all digits without one), and the start.
    """
    data = load_digits()
    x, y = jnp.asarray(data.data / 16), jnp.asarray(data.target)
    x = x - x.mean(0)

    def loss(params: Any, key: Any = None) -> Any:
        rows = slice(None) if key is None else jax.random.randint(key, (32,), 0, x.shape[0])
        logits = (x[rows] @ params["kernel"] + params["bias"]).astype(x.dtype)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, y[rows]))

    return loss, {"kernel": jnp.zeros((64, 10)), "bias": jnp.zeros(10)}


def noise(steps: Steps) -> list[dict[str, Any]]:
    """Report which zeros each method ends with, and how often they flip.

    Gradients are those of 32 examples.
    """
    loss, start = digits()
    strength = 3e-3
    penalty = l1jax.by_path({"kernel": l1jax.l1(strength)})
    best, state, _ = descend(
        l1jax.accelerated(0.3, penalty), lambda p, _: loss(p), start, jnp.zeros(steps.full)
    )
    best = l1jax.solution(state, best)
    least = float(loss(best) + penalty.value(best))
    zeros = np.asarray(best["kernel"] == 0)

    def measure(tx: optax.GradientTransformation, seed: int) -> dict[str, float]:
        params, state, flips = descend(
            tx, loss, start, jax.random.split(jax.random.key(seed), steps.noisy)
        )
        found = l1jax.solution(state, params)
        return {
            "zeros": float(jnp.mean(found["kernel"] == 0)),
            "wrong": float(np.mean((np.asarray(found["kernel"]) == 0) != zeros)),
            "flips": float(1000 * jnp.mean(flips[-1000:])),
            "excess": (float(loss(found) + penalty.value(found)) - least) / least,
        }

    rate, rising = optax.cosine_decay_schedule(1e-2, steps.noisy), l1jax.rising_momentum

    def plain(factor: float) -> optax.GradientTransformation:
        return optax.chain(optax.adam(rate), l1jax.proximal(scaled(penalty, factor), rate))

    low, high = 1.0, 1e3  # the strength with which the plain prox has the optimum's number of zeros
    for _ in range(steps.bisections):
        factor = float(np.sqrt(low * high))
        low, high = (
            (factor, high) if measure(plain(factor), 0)["zeros"] < zeros.mean() else (low, factor)
        )
    methods = {
        "`chain(adam, proximal)`": plain(1.0),
        f"`chain(adam, proximal)`, {factor:.0f} λ": plain(factor),
        "`proximal_sgd`, constant rate": l1jax.proximal_sgd(0.3, penalty),
        "`proximal_sgd`": l1jax.proximal_sgd(
            optax.cosine_decay_schedule(0.3, steps.noisy), penalty
        ),
        "`proximal_adam`, constant rate": l1jax.proximal_adam(1e-2, penalty),
        "`proximal_adam`": l1jax.proximal_adam(rate, penalty),
        "`regularized_dual_averaging`": l1jax.regularized_dual_averaging(10.0, penalty),
        "`rmda`": l1jax.rmda(0.3, penalty, rising(0.1)),
        "`ramda`": l1jax.ramda(0.03, penalty, rising(0.03)),
    }
    rows = [
        {
            "method": "the optimum",
            "zeros": float(zeros.mean()),
            "wrong": 0.0,
            "flips": 0.0,
            "excess": 0.0,
        }
    ]
    for name, tx in methods.items():
        runs = [measure(tx, seed) for seed in range(steps.seeds)]
        rows.append(
            {"method": name}
            | {key: float(np.median([run[key] for run in runs])) for key in runs[0]}
        )
    return rows


def half_precision(steps: Steps) -> list[dict[str, Any]]:
    """Zeros after the same training with parameters in float32 and in bfloat16."""
    loss, start = digits()
    penalty, keys = (
        l1jax.by_path({"kernel": l1jax.l1(3e-3)}),
        jax.random.split(jax.random.key(0), steps.noisy),
    )
    tx = l1jax.proximal_adam(optax.cosine_decay_schedule(1e-2, steps.noisy), penalty)
    rows = []
    for name in ("float32", "bfloat16"):
        params, *_ = descend(tx, loss, optax.tree.cast(start, name), keys)
        rows.append(
            {
                "parameters": name,
                "zeros": float(jnp.mean(params["kernel"] == 0)),
                "objective": float(loss(params) + penalty.value(params)),
            }
        )
    return rows


def measured(steps: Steps) -> dict[str, Any]:
    """All of the page's figures but the costs."""
    with jax.enable_x64(True):
        exact = {"fixed points": fixed_points(steps), "momentum": momentum(steps)}
    return exact | {"noise": noise(steps), "half precision": half_precision(steps)}


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def tables(record: dict[str, Any]) -> dict[str, str]:
    """The tables of docs/which.md."""

    def excess(x: float) -> str:
        return "below 1e-9" if abs(x) < 1e-9 else f"{x:.1e}"

    def percent(x: float) -> str:
        return f"{100 * x:.1f} %"

    return {
        "fixed points": table(
            [
                "method",
                "exact zeros",
                "wrong entries",
                "largest entry that should be 0",
                "above the optimum",
            ],
            [
                [
                    r["method"],
                    f"{r['zeros']} of {r['optimum_zeros']}",
                    f"{r['wrong']} of 100",
                    f"{r['largest_of_zeros']:.0e}" if r["largest_of_zeros"] else "0",
                    excess(r["excess"]),
                ]
                for r in record["fixed points"]
            ],
        ),
        "momentum": table(
            ["", "strength in force", "exact zeros"],
            [
                [f"`{r['method']}`", f"{r['in_force']:.2f} λ", f"{r['zeros']} of 100"]
                for r in record["momentum"]
            ],
        ),
        "noise": table(
            [
                "method",
                "zeros",
                "wrong entries",
                "flips per entry in 1,000 updates",
                "above the optimum",
            ],
            [
                [
                    r["method"],
                    percent(r["zeros"]),
                    percent(r["wrong"]),
                    f"{r['flips']:.1f}",
                    percent(r["excess"]),
                ]
                for r in record["noise"]
            ],
        ),
        "half precision": table(
            ["parameters kept in", "zeros", "objective"],
            [
                [r["parameters"], percent(r["zeros"]), f"{r['objective']:.3f}"]
                for r in record["half precision"]
            ],
        ),
    }


def cost_table() -> str:
    """Time and bytes of an update, relative to its plain optimiser's, on each tree."""
    small, large = (json.loads(path.read_text())["rows"] for path in COSTS)
    headings = ["update + `apply_updates`", "over", "× its time", "× its bytes"]
    rows = []
    for name, row in small.items():
        if "leaf by leaf" not in name:
            bytes_ratio = row.get("bytes_ratio")
            size = f"{bytes_ratio:.2f}" if bytes_ratio else ""
            times = [f"{tree[name]['ratio']['median']:.2f}" for tree in (small, large)]
            rows.append([name, row.get("baseline", "optax.adam"), times[0], size, times[1]])
    return table([*headings, "100 million parameters"], rows)


def fill(page: str, record: dict[str, Any]) -> str:
    """The page with the record's tables between `<!-- name -->` and `<!-- end -->`."""
    for name, text in {**tables(record), "cost": cost_table()}.items():
        begin, end = f"<!-- {name} -->\n", "<!-- end -->"
        before, rest = page.split(begin)
        page = before + begin + f"\n{text}\n\n" + rest[rest.index(end) :]
    return page


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--page", action="store_true", help="fill the page's tables from the kept result"
    )
    parser.add_argument("--smoke", action="store_true", help="a few steps of each; keeps nothing")
    options = parser.parse_args()
    if options.smoke:
        record = measured(Steps(4, 4, seeds=1, bisections=1))
        print(fill(PAGE.read_text(), record))
        return
    if not options.page:
        record = measured(Steps())
        write_result(RESULT, "python benchmarks/which.py", record)
    PAGE.write_text(fill(PAGE.read_text(), json.loads(RESULT.read_text())))


if __name__ == "__main__":
    main()
