"""Every method reaches scikit-learn's optimum and its support."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from convex import PROBLEMS, Problem, train

import l1jax
from l1jax import preconditioners

STEPS = 8000


def decayed(learning_rate: float) -> optax.Schedule:
    return optax.exponential_decay(learning_rate, STEPS, 1e-4)


def metric(optimizer, preconditioner, learning_rate=0.1, **kwargs):
    def make(penalty, curvature):
        inner = optimizer(decayed(learning_rate), **kwargs)
        return l1jax.preconditioned_proximal(inner, preconditioner, penalty, decayed(learning_rate))

    return make


# name: (penalty, curvature) → transformation
METHODS = {
    "sgd": lambda penalty, curvature: l1jax.proximal_sgd(1 / curvature, penalty),
    "momentum": lambda penalty, curvature: l1jax.proximal_sgd(0.1 / curvature, penalty, 0.9),
    "nesterov": lambda penalty, curvature: l1jax.proximal_sgd(0.1 / curvature, penalty, 0.9, nesterov=True),
    "chained": lambda penalty, curvature: optax.chain(optax.sgd(1 / curvature), l1jax.proximal(penalty, 1 / curvature)),
    "accelerated": lambda penalty, curvature: l1jax.accelerated(1 / curvature, penalty),
    "proximal_adam": lambda penalty, curvature: l1jax.proximal_adam(decayed(0.1), penalty),
    "proximal_rmsprop": lambda penalty, curvature: l1jax.proximal_rmsprop(decayed(0.03), penalty),
    "rmsprop momentum": lambda penalty, curvature: l1jax.proximal_rmsprop(decayed(0.01), penalty, momentum=0.9),
    "rmsprop nesterov": lambda penalty, curvature: l1jax.proximal_rmsprop(
        decayed(0.01), penalty, momentum=0.9, nesterov=True
    ),
    "rmsprop centered": lambda penalty, curvature: l1jax.proximal_rmsprop(decayed(0.01), penalty, centered=True),
    "proximal_adagrad": lambda penalty, curvature: l1jax.proximal_adagrad(1.0, penalty),
    "adamw": metric(optax.adamw, preconditioners.adamw(), weight_decay=0.0),
    "nadam": metric(optax.nadam, preconditioners.nadam()),
    "amsgrad": metric(optax.amsgrad, preconditioners.amsgrad(), 1.0),
    "rmsprop": metric(optax.rmsprop, preconditioners.rmsprop(eps_in_sqrt=False), 0.03, eps_in_sqrt=False),
    "rmsprop corrected": metric(
        optax.rmsprop, preconditioners.rmsprop(bias_correction=True), 0.03, bias_correction=True
    ),
    "adagrad": metric(optax.adagrad, preconditioners.adagrad(), 10.0),
    "adabelief": metric(optax.adabelief, preconditioners.adabelief()),
    "yogi": metric(optax.yogi, preconditioners.yogi()),
    "rmda": lambda penalty, curvature: l1jax.rmda(3 / curvature, penalty, l1jax.rising_momentum(0.02)),
    "ramda": lambda penalty, curvature: l1jax.ramda(0.03, penalty, l1jax.rising_momentum(0.02)),
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
@pytest.mark.parametrize("method", METHODS)
def test_reaches_the_optimum_and_its_support(method: str, problem: Problem):
    start = jnp.zeros(problem.solution.size)
    averaging = method in ("rmda", "ramda")
    tx = METHODS[method](problem.penalty(), problem.curvature)
    params, state = train(tx, problem.loss, start, 3 * STEPS if averaging else STEPS)
    found = np.asarray(l1jax.solution(state, params))
    excess = problem.objective(found) - problem.objective(problem.solution)
    assert excess < (1e-6 if averaging else 1e-9)
    np.testing.assert_array_equal(found != 0, problem.solution != 0)
    assert 0 < np.count_nonzero(found) < found.size
    if averaging:  # whose momentum has reached 1
        np.testing.assert_allclose(params, found, rtol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
def test_plain_dual_averaging_comes_close(problem: Problem):
    tx = l1jax.regularized_dual_averaging(1.0, problem.penalty())
    found, _ = train(tx, problem.loss, jnp.zeros(problem.solution.size), STEPS)
    assert 0 <= problem.objective(np.asarray(found)) - problem.objective(problem.solution) < 1e-2
    assert jnp.any(found == 0)
