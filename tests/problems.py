"""Sparse regression problems solved by scikit-learn, celer and skglm, and a training loop.

Sixty correlated features in groups of five, of which every fourth group matters, seen in 200 rows
(p < n) and in 40 (p > n). Seeds and strengths were searched for problems whose support is not in
doubt: no zero is about to leave zero, no other entry is close to it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import celer
import jax
import jax.numpy as jnp
import numba
import numpy as np
import optax
from sklearn.linear_model import ElasticNet, Lasso

import l1jax


@contextmanager
def uncompiled() -> Iterator[None]:
    """Let skglm run as plain Python: these take it 0.05 s, and compiling it 20 s.

    Other users of numba in the same process need its compiler, so it is off only here.
    """
    numba.config.DISABLE_JIT = True
    try:
        yield
    finally:
        numba.config.DISABLE_JIT = False


with uncompiled():
    from skglm import datafits, penalties, solvers

penalties.separable.bool_ = np.bool_  # numba's own is a dtype in compiled code only

FEATURES = 60
SIZE = 5
GROUPS = l1jax.kernel_blocks((SIZE,))
EXACT = {"fit_intercept": False, "tol": 1e-14, "max_iter": 1_000_000}


def design(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw autocorrelated features, and a target of nine large coefficients in three groups."""
    rng = np.random.default_rng(seed)
    lag = np.abs(np.subtract.outer(np.arange(FEATURES), np.arange(FEATURES)))
    x = rng.normal(size=(rows, FEATURES)) @ np.linalg.cholesky(0.6**lag).T
    w = np.zeros((FEATURES // SIZE, SIZE))
    w[1::4] = 2 * rng.normal(size=w[1::4].shape)
    w[:, 1::2] = 0
    return np.asfortranarray(x), x @ w.ravel() + 0.3 * rng.normal(size=rows)


DESIGNS = {200: design(200, 16), 40: design(40, 3)}


class Loss(NamedTuple):
    """A mean over the rows; `data` has one shape for all designs, so that a vmap goes over them."""

    data: Any
    value: Callable[[Any, Any], Any]  # of (w, data), in JAX or NumPy
    gradient: Callable[[np.ndarray], np.ndarray]
    curvature: float  # at least the largest eigenvalue of the Hessian


def squares(x: np.ndarray, y: np.ndarray) -> Loss:
    """‖xw − y‖²/2n up to a constant, from the matrix xᵀx/n."""
    gram = x.T @ x / len(x)
    target = x.T @ y / len(x)

    def value(w: Any, data: Any) -> Any:
        return 0.5 * w @ (data[0] @ w) - data[1] @ w

    return Loss((gram, target), value, lambda w: gram @ w - target, float(np.linalg.norm(gram, 2)))


def logistic(x: np.ndarray, y: np.ndarray) -> Loss:
    """The mean of log(1 + exp(−xw·sign y)), of rows repeated until they are 200."""
    rows = np.tile(x * np.sign(y)[:, None], (200 // len(x), 1))

    def value(w: Any, data: Any) -> Any:
        return jnp.mean(jnp.logaddexp(0, -(data @ w)))

    curvature = float(np.linalg.norm(rows, 2) ** 2 / (4 * len(rows)))
    return Loss(
        rows, value, lambda w: -rows.T @ (1 / (1 + np.exp(rows @ w))) / len(rows), curvature
    )


class Penalty(NamedTuple):
    """A penalty of l1jax, and the same in NumPy."""

    penalty: Any
    value: Callable[[np.ndarray], float]
    # (w, g) ↦ the distance of −g to the subdifferential at w, per entry or group.
    distances: Callable[[np.ndarray, np.ndarray], np.ndarray]
    # (w, g) ↦ how much the gradient may still grow at each zero, as a share.
    margins: Callable[[np.ndarray, np.ndarray], np.ndarray]


def by_entry(penalty: Any, value: Callable[[Any], Any], slope: Callable[[Any], Any]) -> Penalty:
    """Σ value(|wᵢ|), whose derivative is `slope`."""

    def distances(w: np.ndarray, g: np.ndarray) -> np.ndarray:
        away = np.abs(g + slope(np.abs(w)) * np.sign(w))
        return np.where(w != 0, away, np.maximum(np.abs(g) - slope(0.0), 0))

    return Penalty(
        penalty,
        lambda w: float(np.sum(value(np.abs(w)))),
        distances,
        lambda w, g: (1 - np.abs(g) / slope(0.0))[w == 0],
    )


def by_group(penalty: Any, strength: float, group_strength: float) -> Penalty:
    """λ₁ Σ |wᵢ| + λ₂ Σ √5 ‖w_g‖."""
    entries = by_entry(None, lambda size: strength * size, lambda size: strength)
    weight = group_strength * SIZE**0.5

    def norms(w: np.ndarray) -> np.ndarray:
        return np.linalg.norm(w.reshape(-1, SIZE), axis=1)

    def alive(w: np.ndarray) -> np.ndarray:
        return np.repeat(norms(w) > 0, SIZE)

    def left(w: np.ndarray, g: np.ndarray) -> np.ndarray:
        size = np.repeat(norms(w), SIZE)
        return norms(entries.distances(w, g + weight * w / np.where(size > 0, size, 1)))

    def margins(w: np.ndarray, g: np.ndarray) -> np.ndarray:
        groups = (1 - left(w, g) / weight)[norms(w) == 0]
        return np.append(groups, entries.margins(w[alive(w)], g[alive(w)])) if strength else groups

    return Penalty(
        penalty,
        lambda w: entries.value(w) + weight * float(np.sum(norms(w))),
        lambda w, g: np.where(norms(w) > 0, left(w, g), np.maximum(left(w, g) - weight, 0)),
        margins,
    )


class Family(NamedTuple):
    """What `problem` makes a problem of: all strengths of a penalty are one number."""

    loss: Callable[[np.ndarray, np.ndarray], Loss]
    penalty: Callable[[float], Penalty]
    # (x, y, strength, start) ↦ w.
    solve: Callable[[np.ndarray, np.ndarray, float, np.ndarray], np.ndarray]
    concavity: float = 0.0  # the largest −R″ of the penalty R away from 0


def l1(strength: float) -> Penalty:
    return by_entry(l1jax.l1(strength), lambda size: strength * size, lambda size: strength)


def elastic_net(strength: float) -> Penalty:
    penalty = l1jax.elastic_net(strength, strength)
    return by_entry(
        penalty, lambda size: strength * (size + size**2 / 2), lambda size: strength * (1 + size)
    )


def solve_lasso(x: np.ndarray, y: np.ndarray, strength: float, start: np.ndarray) -> np.ndarray:
    return Lasso(strength, **EXACT).fit(x, y).coef_


def solve_group_lasso(
    x: np.ndarray, y: np.ndarray, strength: float, start: np.ndarray
) -> np.ndarray:
    weights = np.full(FEATURES // SIZE, SIZE**0.5)
    return celer.GroupLasso(SIZE, strength, weights=weights, **EXACT).fit(x, y).coef_


def solve_sparse_group_lasso(
    x: np.ndarray, y: np.ndarray, strength: float, start: np.ndarray
) -> np.ndarray:
    groups = np.arange(0, FEATURES + 1, SIZE, dtype=np.int32), np.arange(FEATURES, dtype=np.int32)
    weights = np.full(FEATURES // SIZE, SIZE**0.5), np.ones(FEATURES)
    solver = solvers.GroupBCD(tol=1e-12, ws_strategy="fixpoint")
    datafit = datafits.QuadraticGroup(*groups)
    penalty = penalties.WeightedL1GroupL2(strength, *weights, *groups)
    with uncompiled():
        return solver.solve(x, y, datafit, penalty)[0]


LASSO = Family(squares, l1, solve_lasso)
ELASTIC_NET = Family(
    squares,
    elastic_net,
    lambda x, y, strength, start: ElasticNet(2 * strength, **EXACT).fit(x, y).coef_,
)
GROUP_LASSO = Family(
    squares, lambda s: by_group(l1jax.group_l1(s, GROUPS), 0.0, s), solve_group_lasso
)
SPARSE_GROUP_LASSO = Family(
    squares, lambda s: by_group(l1jax.sparse_group_l1(s, s, GROUPS), s, s), solve_sparse_group_lasso
)
LOGISTIC = Family(
    logistic,
    l1,
    lambda x, y, strength, start: (
        celer.LogisticRegression(1 / (len(x) * strength), **EXACT).fit(x, np.sign(y)).coef_[0]
    ),
)


def mcp(gamma: float) -> Family:
    def penalty(strength: float) -> Penalty:
        def value(size: Any) -> Any:
            size = np.minimum(size, gamma * strength)
            return strength * size - size**2 / (2 * gamma)

        return by_entry(
            l1jax.mcp(strength, gamma), value, lambda size: np.maximum(strength - size / gamma, 0)
        )

    return Family(squares, penalty, _descend(penalties.MCPenalty, gamma), 1 / gamma)


def scad(a: float) -> Family:
    def penalty(strength: float) -> Penalty:
        def value(size: Any) -> Any:
            size = np.minimum(size, a * strength)
            return strength * size - np.maximum(size - strength, 0) ** 2 / (2 * (a - 1))

        return by_entry(
            l1jax.scad(strength, a),
            value,
            lambda size: np.clip((a * strength - size) / (a - 1), 0, strength),
        )

    return Family(squares, penalty, _descend(penalties.SCAD, a), 1 / (a - 1))


def _descend(penalty: Any, shape: float) -> Any:
    """skglm's coordinate descent from a start."""
    solver = solvers.AndersonCD(tol=1e-12, fit_intercept=False)

    def solve(x: np.ndarray, y: np.ndarray, strength: float, start: np.ndarray) -> np.ndarray:
        problem = x, y, datafits.Quadratic(), penalty(strength, shape)
        with uncompiled():
            return solver.solve(*problem, start.copy(), x @ start)[0]

    return solve


class Problem(NamedTuple):
    name: str
    loss: Loss
    penalty: Penalty
    start: np.ndarray
    solution: np.ndarray
    concavity: float

    def objective(self, w: np.ndarray) -> float:
        return float(self.loss.value(w, self.loss.data)) + self.penalty.value(w)


def problem(name: str, family: Family, rows: int, share: float) -> Problem:
    """Started from 0, or from the lasso if p > n and the penalty is not convex.

    The strength is a share of the gradient's largest entry at 0, from which on the lasso is 0.
    """
    x, y = DESIGNS[rows]
    loss = family.loss(x, y)
    start = np.zeros(FEATURES)
    strength = share * float(np.abs(loss.gradient(start)).max())
    if family.concavity and rows < FEATURES:
        start = solve_lasso(x, y, strength, start)
    solution = family.solve(x, y, strength, start)
    return Problem(
        f"{name} {rows}x{FEATURES}",
        loss,
        family.penalty(strength),
        start,
        solution,
        family.concavity,
    )


# name: family and share of the strength, for 200 rows and for 40
SETTINGS = {
    "lasso": [(LASSO, 0.1), (LASSO, 0.1)],
    "elastic net": [(ELASTIC_NET, 0.05), (ELASTIC_NET, 0.02)],
    "group lasso": [(GROUP_LASSO, 0.1), (GROUP_LASSO, 0.05)],
    "sparse group lasso": [(SPARSE_GROUP_LASSO, 0.05), (SPARSE_GROUP_LASSO, 0.025)],
    "mcp": [(mcp(13.0), 0.05), (mcp(3.0), 0.1)],
    "scad": [(scad(14.0), 0.05), (scad(3.7), 0.1)],
    "logistic": [(LOGISTIC, 0.2), (LOGISTIC, 0.2)],
}
PROBLEMS = {
    name: [
        problem(name, family, rows, share)
        for rows, (family, share) in zip(DESIGNS, pair, strict=True)
    ]
    for name, pair in SETTINGS.items()
}


def train(
    tx: optax.GradientTransformation, loss: Callable[[Any], Any], params: Any, steps: int
) -> tuple[Any, Any]:
    """Run full-batch steps from `params`; returns the parameters and the optimiser's state."""

    @jax.jit
    def run(params: Any) -> Any:
        def step(carry: Any, _: None) -> Any:
            params, state = carry
            updates, state = tx.update(jax.grad(loss)(params), state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, tx.init(params)), length=steps)[0]

    return run(params)
