"""Every method reaches the optimum of scikit-learn, celer or skglm, and its support.

MCP and SCAD are not convex, and a stationary point need not be the one that skglm finds. With 200
rows their objective is strictly convex all the same, because the loss curves more than the penalty:
there is one stationary point, and the methods start from 0. With 40 rows it is strictly convex over
the entries that are not zero at the end, and everybody, skglm included, starts from the lasso's
solution.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fast_cases import slow_except
from problems import FEATURES, GROUPS, PROBLEMS, Problem, train

import l1jax
from l1jax import preconditioners

pytestmark = pytest.mark.usefixtures("x64")
STEPS = 5000
RESTARTS = (STEPS // 3, 2 * STEPS // 3)


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
    "nesterov": lambda penalty, curvature: l1jax.proximal_sgd(
        0.1 / curvature, penalty, 0.9, nesterov=True
    ),
    "chained": lambda penalty, curvature: optax.chain(
        optax.sgd(1 / curvature), l1jax.proximal(penalty, 1 / curvature)
    ),
    "accelerated": lambda penalty, curvature: l1jax.accelerated(1 / curvature, penalty),
    "proximal_adam": lambda penalty, curvature: l1jax.proximal_adam(decayed(0.1), penalty),
    "proximal_rmsprop": lambda penalty, curvature: l1jax.proximal_rmsprop(decayed(0.1), penalty),
    "rmsprop momentum": lambda penalty, curvature: l1jax.proximal_rmsprop(
        decayed(0.01), penalty, momentum=0.9
    ),
    "rmsprop nesterov": lambda penalty, curvature: l1jax.proximal_rmsprop(
        decayed(0.01), penalty, momentum=0.9, nesterov=True
    ),
    "rmsprop centered": lambda penalty, curvature: l1jax.proximal_rmsprop(
        decayed(0.01), penalty, centered=True
    ),
    "proximal_adagrad": lambda penalty, curvature: l1jax.proximal_adagrad(1.0, penalty),
    "adamw": metric(optax.adamw, preconditioners.adamw(), weight_decay=0.0),
    "nadam": metric(optax.nadam, preconditioners.nadam()),
    "amsgrad": metric(optax.amsgrad, preconditioners.amsgrad(), 1.0),
    "rmsprop": metric(
        optax.rmsprop, preconditioners.rmsprop(eps_in_sqrt=False), 0.1, eps_in_sqrt=False
    ),
    "rmsprop corrected": metric(
        optax.rmsprop, preconditioners.rmsprop(bias_correction=True), bias_correction=True
    ),
    "adagrad": metric(optax.adagrad, preconditioners.adagrad(), 3.0),
    "adabelief": metric(optax.adabelief, preconditioners.adabelief()),
    "yogi": metric(optax.yogi, preconditioners.yogi()),
    "rmda": lambda penalty, curvature: l1jax.rmda(
        3 / curvature, penalty, l1jax.rising_momentum(0.05, RESTARTS[-1]), restarts=RESTARTS
    ),
    "ramda": lambda penalty, curvature: l1jax.ramda(
        0.03, penalty, l1jax.rising_momentum(0.05, RESTARTS[-1]), restarts=RESTARTS
    ),
    "regularized_dual_averaging": lambda penalty, curvature: l1jax.regularized_dual_averaging(
        1.0, penalty
    ),
}


def solve(method: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The parameters and the solution of both problems of every family."""

    def run(loss, penalty, curvature, start, data):
        tx = METHODS[method](penalty, curvature)
        params, state = train(tx, lambda w: loss(w, data), start, STEPS)
        return params, l1jax.solution(state, params)

    def numbers(problem: Problem):
        return jax.tree.map(
            jnp.asarray,
            (problem.penalty.penalty, problem.loss.curvature, problem.start, problem.loss.data),
        )

    programs = {
        family: jax.vmap(functools.partial(run, pair[0].loss.value))
        for family, pair in PROBLEMS.items()
    }
    inputs = {
        family: jax.tree.map(lambda *pair: jnp.stack(pair), *map(numbers, pair))
        for family, pair in PROBLEMS.items()
    }
    # one program, hardly optimised: compiling costs more than running
    whole = jax.jit(
        lambda inputs: {family: program(*inputs[family]) for family, program in programs.items()},
        compiler_options={"xla_backend_optimization_level": 0},
    )
    return jax.tree.map(np.asarray, whole(inputs))


# One of each kind; `test_recursions` compares the steps of all of them with their formulas.
KINDS = ("sgd", "proximal_adam", "regularized_dual_averaging")


@pytest.mark.parametrize("method", slow_except(METHODS, *KINDS))
def test_reaches_the_optimum_and_its_support(method: str):
    for family, (parameters, solutions) in solve(method).items():
        for problem, params, actual in zip(PROBLEMS[family], parameters, solutions, strict=True):
            excess = problem.objective(actual) - problem.objective(problem.solution)
            if method == "regularized_dual_averaging":  # of the rate 1/√k
                assert 0 <= excess < 1e-2, problem.name
                assert np.any(actual == 0), problem.name
                continue
            assert abs(excess) < 1e-9, problem.name
            np.testing.assert_array_equal(actual != 0, problem.solution != 0, problem.name)
            if method != "accelerated":  # momentum c has reached 1 in RMDA and RAMDA
                np.testing.assert_allclose(params, actual, rtol=1e-12, err_msg=problem.name)


@pytest.mark.parametrize(
    "problem", [*itertools.chain(*PROBLEMS.values())], ids=lambda problem: problem.name
)
def test_the_references_are_stationary_with_a_support_beyond_doubt(problem: Problem):
    w = problem.solution
    gradient = problem.loss.gradient(w)
    slope = jax.grad(problem.loss.value)(jnp.asarray(w), problem.loss.data)
    np.testing.assert_allclose(slope, gradient, atol=1e-13)
    assert problem.penalty.distances(w, gradient).max() < 1e-9
    assert problem.penalty.margins(w, gradient).min() > 0.03
    assert np.abs(w[w != 0]).min() > 0.015
    assert 3 <= np.count_nonzero(w) <= FEATURES // 2


@pytest.mark.parametrize(
    "problem", PROBLEMS["mcp"] + PROBLEMS["scad"], ids=lambda problem: problem.name
)
def test_the_objective_is_convex_where_the_penalty_is_not(problem: Problem):
    gram = problem.loss.data[0]
    entries = problem.solution != 0 if np.any(problem.start) else np.full(FEATURES, True)
    assert np.linalg.eigvalsh(gram[np.ix_(entries, entries)])[0] > 1.05 * problem.concavity
    flat = np.abs(problem.loss.gradient(problem.solution)[problem.solution != 0]) < 1e-9
    assert 0 < np.count_nonzero(flat) < flat.size


@pytest.mark.parametrize("method", ["proximal_adam", "ramda"])
@pytest.mark.parametrize(
    "penalty", [l1jax.log_sum(0.02, 0.1), l1jax.group_mcp(0.2, 0.5, GROUPS)], ids=type
)
def test_the_other_concave_penalties_end_at_a_stationary_point(penalty, method: str):
    """Steps are beyond γ here, with which the prox of group MCP itself is NaN in Adam's metric."""
    loss = PROBLEMS["lasso"][0].loss
    tx = METHODS[method](penalty, loss.curvature)
    actual, _ = train(tx, lambda w: loss.value(w, loss.data), jnp.zeros(FEATURES), STEPS)
    assert penalty.distance(actual, loss.gradient(np.asarray(actual))) < 1e-4
    assert 3 <= jnp.count_nonzero(actual) <= FEATURES // 2
