"""Convex problems with a solution from scikit-learn, and a training loop."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.linear_model import Lasso, LogisticRegression

import l1jax


class Problem(NamedTuple):
    name: str
    penalty: Callable[[], Any]
    loss: Callable[[Any], Any]  # in JAX, differentiated by the tests
    objective: Callable[[np.ndarray], float]  # loss and penalty in NumPy
    curvature: float  # largest eigenvalue of the loss's Hessian
    solution: np.ndarray


def design(n: int, p: int, correlation: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Rows of autocorrelated Gaussians, and their product with five large coefficients."""
    rng = np.random.default_rng(n)
    root = np.linalg.cholesky(correlation ** np.abs(np.subtract.outer(np.arange(p), np.arange(p))))
    x, w = rng.normal(size=(n, p)) @ root.T, np.zeros(p)
    w[:: p // 5] = 2 * rng.normal(size=w[:: p // 5].size)
    return x, x @ w + 0.3 * rng.normal(size=n)


def lasso(n: int, p: int, share: float) -> Problem:
    x, y = design(n, p)
    strength = share * np.abs(x.T @ y).max() / n
    reference = Lasso(strength, fit_intercept=False, tol=1e-14, max_iter=1_000_000).fit(x, y).coef_
    return Problem(
        f"lasso {n}x{p}",
        lambda: l1jax.l1(strength),
        lambda w: 0.5 * jnp.mean(jnp.square(x @ w - y)),
        lambda w: 0.5 * np.mean((x @ w - y) ** 2) + strength * np.abs(w).sum(),
        float(np.linalg.norm(x, 2) ** 2 / n),
        reference,
    )


def logistic(n: int, p: int, share: float) -> Problem:
    x, y = design(n, p)
    y = np.where(y > 0, 1.0, -1.0)
    strength = share * np.abs(x.T @ y).max() / (2 * n)
    model = LogisticRegression(
        l1_ratio=1.0, C=1 / (n * strength), solver="liblinear", fit_intercept=False, tol=1e-12, max_iter=100_000
    )
    return Problem(
        f"logistic {n}x{p}",
        lambda: l1jax.l1(strength),
        lambda w: jnp.mean(jnp.logaddexp(0, -y * (x @ w))),
        lambda w: np.mean(np.logaddexp(0, -y * (x @ w))) + strength * np.abs(w).sum(),
        float(np.linalg.norm(x, 2) ** 2 / (4 * n)),
        model.fit(x, y).coef_[0],
    )


# Another penalty is one more line.
PROBLEMS = [lasso(100, 30, 0.02), lasso(40, 80, 0.05), logistic(40, 60, 0.1)]


def train(tx: optax.GradientTransformation, loss: Callable[[Any], Any], params: Any, steps: int) -> tuple[Any, Any]:
    """Run full-batch steps from `params`; returns the parameters and the optimiser's state."""

    @jax.jit
    def run(params: Any) -> Any:
        def step(carry: Any, _: None) -> Any:
            params, state = carry
            updates, state = tx.update(jax.grad(loss)(params), state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, tx.init(params)), length=steps)[0]

    return run(params)
