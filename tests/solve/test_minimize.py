"""`minimize` against other solvers, optimality conditions, finite differences and bad input."""

import doctest
import importlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import PROBLEMS

import l1jax
from l1jax.solve.minimize import _minimum

CONVEX = ["lasso", "group lasso", "logistic"]
RNG = np.random.default_rng(3)
X = RNG.normal(size=(40, 12))
Y = X[:, :3] @ np.array([2.0, -1.5, 1.0]) + 0.2 * RNG.normal(size=40)
LARGEST = float(np.abs(X.T @ Y / 40).max())


def squares(w: Any, x: Any, y: Any) -> Any:
    return 0.5 * jnp.mean((x @ w - y) ** 2)


def lasso_distance(w: np.ndarray, strength: Any, x: np.ndarray = X, y: np.ndarray = Y) -> float:
    """The distance to optimality in NumPy, as a share of the gradient's norm at zero."""
    gradient = x.T @ (x @ w - y) / len(y)
    away = np.abs(gradient + strength * np.sign(w))
    parts = np.where(w != 0, away, np.maximum(np.abs(gradient) - strength, 0))
    return float(np.linalg.norm(parts) / np.linalg.norm(x.T @ y / len(y)))


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", CONVEX)
@pytest.mark.parametrize("index", [0, 1])
def test_solutions_are_those_of_other_solvers(name, index):
    problem = PROBLEMS[name][index]
    data = jax.tree.map(jnp.asarray, problem.loss.data)
    result = l1jax.minimize(
        problem.loss.value, jnp.asarray(problem.start), problem.penalty.penalty, args=(data,)
    )
    assert result.converged
    np.testing.assert_allclose(result.params, problem.solution, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(result.params) == 0, problem.solution == 0)
    np.testing.assert_allclose(result.objective, problem.objective(problem.solution), rtol=1e-9)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_nonconvex_results_are_stationary_and_no_worse_than_the_start():
    problem = PROBLEMS["mcp"][1]
    data = jax.tree.map(jnp.asarray, problem.loss.data)
    start = jnp.asarray(problem.start)
    result = l1jax.minimize(problem.loss.value, start, problem.penalty.penalty, args=(data,))
    w = np.asarray(result.params)
    gradient = problem.loss.gradient(w)
    scale = np.linalg.norm(problem.loss.gradient(np.zeros(60)))
    assert np.linalg.norm(problem.penalty.distances(w, gradient)) <= 1e-6 * scale
    assert problem.objective(w) <= problem.objective(problem.start)


@pytest.mark.usefixtures("x64")
def test_factors_of_a_matrix_have_no_gradient_at_zero_to_compare_with():
    """λ(‖u‖₁ + ‖v‖₁) + ½(uv − 4)² has its minima at u = v with u(4 − u²) = λ."""

    def loss(p):
        return 0.5 * jnp.sum((p["u"] * p["v"] - 4.0) ** 2)

    start = {"u": jnp.ones(1), "v": jnp.full(1, 3.0)}
    result = l1jax.minimize(loss, start, l1jax.l1(0.5))
    assert result.converged
    for factor in result.params.values():
        np.testing.assert_allclose(factor, np.roots([1, 0, -4, 0.5]).max(), rtol=1e-8)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_columns_of_any_scale_strengths_of_any_size_and_vmap():
    """Two designs, one badly scaled, and strengths from 0 to beyond the largest in one program."""
    bad = X * np.logspace(-4, 4, 12)
    designs = jnp.asarray(np.stack([X, bad]))
    largest = np.array([LARGEST, np.abs(bad.T @ Y / 40).max()])
    shares = np.array([0.0, 1e-4, 0.1, 1.1])

    def solve(x, strength):
        return l1jax.minimize(
            squares, jnp.zeros(12), l1jax.l1(strength), args=(x, jnp.asarray(Y)), tolerance=1e-10
        )

    over_strengths = jax.vmap(solve, (None, 0))
    result = jax.jit(jax.vmap(over_strengths))(designs, jnp.asarray(largest[:, None] * shares))
    assert np.all(result.converged)
    for design, x in enumerate([X, bad]):
        for index, share in enumerate(shares):
            w = np.asarray(result.params[design, index])
            distance = lasso_distance(w, share * largest[design], x)
            assert distance <= 1e-9
            np.testing.assert_allclose(result.distance[design, index], distance, atol=1e-12)
    exact = np.linalg.lstsq(X, Y, rcond=None)[0]
    np.testing.assert_allclose(result.params[0, 0], exact, rtol=1e-7)
    np.testing.assert_array_equal(result.params[:, 3], 0)
    alone = solve(designs[0], largest[0] * 0.1)
    np.testing.assert_allclose(result.params[0, 2], alone.params, rtol=1e-8, atol=1e-12)
    again = l1jax.minimize(
        squares, alone.params, l1jax.l1(largest[0] * 0.1), args=(designs[0], jnp.asarray(Y))
    )
    assert int(again.steps) == 0  # a warm start


@pytest.mark.usefixtures("x64")
def test_more_features_than_examples_some_of_them_twice():
    x = np.random.default_rng(0).normal(size=(20, 50))
    x[:, 25:] = x[:, :25]
    y = x[:, 0] - 2 * x[:, 1]
    strength = 0.05 * np.abs(x.T @ y / 20).max()
    result = l1jax.minimize(
        squares, jnp.zeros(50), l1jax.l1(strength), args=(jnp.asarray(x), jnp.asarray(y))
    )
    assert lasso_distance(np.asarray(result.params), strength, x, y) <= 1e-9


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_constraints_in_a_tree_of_matrices_and_other_leaves():
    """An L1 ball, a nonnegative matrix, a free bias, an integer, None and a Python float."""
    x = jnp.asarray(X)
    y = jnp.asarray(np.stack([Y, np.abs(Y)], axis=1))
    params = {
        "ball": jnp.zeros((12, 2)),
        "positive": jnp.zeros((12, 2)),
        "bias": 0.5,
        "count": 3,
        "nothing": None,
    }

    def loss(p):
        assert p["count"] == 3
        prediction = x @ (p["ball"] + p["positive"]) + p["bias"]
        return 0.5 * jnp.mean((prediction - y) ** 2)

    penalty = l1jax.by_path({"ball": l1jax.l1_ball(1.0), "positive": l1jax.nonnegative_l1(0.02)})
    result = l1jax.minimize(loss, params, penalty)
    assert result.converged
    solved = result.params
    assert solved["count"] == 3
    assert solved["nothing"] is None
    np.testing.assert_allclose(np.abs(solved["ball"]).sum(), 1.0, rtol=1e-12)
    assert np.all(np.asarray(solved["positive"]) >= 0)
    assert np.any(np.asarray(solved["positive"]) == 0)
    prediction = X @ np.asarray(solved["ball"] + solved["positive"]) + float(solved["bias"])
    slope = (prediction - np.asarray(y)) / y.size
    np.testing.assert_allclose(slope.sum(), 0, atol=1e-8)  # the bias is free
    gradient = X.T @ slope
    positive = np.asarray(solved["positive"]) > 0
    np.testing.assert_allclose(gradient[positive], -0.02, atol=1e-8)
    assert gradient[~positive].min() >= -0.02 - 1e-8
    used = np.asarray(solved["ball"]) != 0
    multiplier = np.abs(gradient).max()
    np.testing.assert_allclose(
        gradient[used], -multiplier * np.sign(np.asarray(solved["ball"])[used]), atol=1e-8
    )


def logistic(w: Any, x: Any, y: Any) -> Any:
    return jnp.mean(jnp.logaddexp(0, -(x @ w) * jnp.sign(y)))


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("loss", "make"),
    [
        pytest.param(squares, lambda s: l1jax.elastic_net(s, 0.3 * s), marks=pytest.mark.slow),
        pytest.param(logistic, l1jax.l1, marks=pytest.mark.slow),
        pytest.param(
            squares,
            lambda s: l1jax.group_l1(s, l1jax.kernel_blocks((3,))),
            marks=pytest.mark.slow,
        ),
        (squares, lambda s: l1jax.l1_ball(5 * s)),
    ],
    ids=["elastic net", "logistic", "group lasso", "l1 ball"],
)
def test_derivatives_are_those_of_finite_differences(loss, make):
    x = jnp.asarray(X)
    y = jnp.asarray(Y)
    direction = jnp.asarray(np.random.default_rng(1).normal(size=X.shape))
    weights = jnp.asarray(np.random.default_rng(2).normal(size=12))

    def outcome(strength, shift):
        result = l1jax.minimize(
            loss,
            jnp.zeros(12),
            make(strength),
            args=(x + shift * direction, y),
            tolerance=1e-13,
        )
        return jnp.stack([weights @ result.params, result.objective])

    at = (0.1 * LARGEST, 0.0)
    _, backward = jax.vjp(outcome, *at)
    backward = np.stack([backward(row) for row in jnp.eye(2)], axis=1)
    _, forward = jax.linearize(outcome, *at)
    forward = np.stack([forward(*row) for row in jnp.eye(2)])
    step = 1e-5
    expected = np.stack(
        [
            (outcome(at[0] + step, 0.0) - outcome(at[0] - step, 0.0)) / (2 * step),
            (outcome(at[0], step) - outcome(at[0], -step)) / (2 * step),
        ]
    )
    np.testing.assert_allclose(forward, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(backward, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_float32_and_what_it_cannot_reach():
    x = jnp.asarray(X, jnp.float32)
    y = jnp.asarray(Y, jnp.float32)
    start = jnp.zeros(12)
    result = l1jax.minimize(squares, start, l1jax.l1(0.1 * LARGEST), args=(x, y))
    assert result.converged
    assert result.params.dtype == jnp.float32
    assert lasso_distance(np.asarray(result.params, float), 0.1 * LARGEST) <= 2e-5
    with pytest.warns(UserWarning, match=r"`tolerance` \(=0.0\) must be at least 1.2e-07"):
        best = l1jax.minimize(squares, start, l1jax.l1(0.1 * LARGEST), args=(x, y), tolerance=0.0)
    assert float(best.distance) <= 2e-6
    assert bool(best.converged) == (float(best.distance) == 0)
    short = l1jax.minimize(squares, start, l1jax.l1(1e-3), args=(x, y), tolerance=1e-6, max_steps=0)
    assert not short.converged
    np.testing.assert_array_equal(short.params, 0)

    def undefined(w):
        return jnp.sum(jnp.log(w)) + jnp.sum(w**2)

    under_jit = jax.jit(lambda w: l1jax.minimize(undefined, w, l1jax.l1(0.1)))(jnp.zeros(2))
    assert not under_jit.converged
    np.testing.assert_array_equal(under_jit.params, 0)
    with pytest.raises(ValueError, match=r"`loss` \(=-inf\) must be finite at `params`"):
        l1jax.minimize(undefined, jnp.zeros(2), l1jax.l1(0.1))


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_momentum_that_leaves_the_domain_is_dropped():
    """−log x ends at 0: from 30, momentum leads there again and again. The minimum is 1/(c + λ)."""
    slope = jnp.array([1.0, 2.0, 50.0])

    def barrier(x):
        return jnp.sum(slope * x - jnp.log(x))

    result = l1jax.minimize(barrier, jnp.full(3, 30.0), l1jax.l1(0.5), max_steps=2000)
    assert result.converged
    np.testing.assert_allclose(result.params, [1 / 1.5, 1 / 2.5, 1 / 50.5], rtol=1e-8)


@pytest.mark.slow
def test_a_loss_is_traced_anew_and_compiled_once():
    """New values of what the loss closes over count, and need no new program."""
    data = {"y": jnp.ones(2)}

    def loss(w):
        return 0.5 * jnp.sum((w - data["y"]) ** 2)

    first = l1jax.minimize(loss, jnp.zeros(2), l1jax.l1(0.25))
    np.testing.assert_allclose(first.params, 0.75, rtol=1e-4)
    data["y"] = 3 * jnp.ones(2)
    programs = _minimum._cache_size()
    again = l1jax.minimize(loss, jnp.zeros(2), l1jax.l1(0.25))
    np.testing.assert_allclose(again.params, 2.75, rtol=1e-4)
    assert _minimum._cache_size() == programs
    other = l1jax.minimize(lambda w: loss(w) + jnp.sum(w), jnp.zeros(2), l1jax.l1(0.25))
    np.testing.assert_allclose(other.params, 1.75, rtol=1e-4)
    assert _minimum._cache_size() == programs + 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((lambda w: w, jnp.ones(2), l1jax.l1(1.0)), r"`loss` must return one real number .*\(2,\)"),
        ((lambda w: (w.sum(), w), jnp.ones(2), l1jax.l1(1.0)), "`loss` must return one number"),
        ((jnp.sum, jnp.ones(2, int), l1jax.l1(1.0)), "at least one leaf of floating point"),
        ((jnp.sum, jnp.array([1.0, jnp.nan]), l1jax.l1(1.0)), "`params` must be finite"),
        ((jnp.sum, jnp.ones(2, complex), l1jax.l1(1.0)), "must be real"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        l1jax.minimize(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": -1.0}, r"`tolerance` \(=-1.0\)"),
        ({"max_steps": -1}, r"`max_steps` \(=-1\)"),
        ({"args": [1.0]}, "`args` .* must be a tuple"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        l1jax.minimize(jnp.sum, jnp.ones(2), l1jax.l1(1.0), **options)


def test_the_example_of_the_docstring_runs():
    module = importlib.import_module("l1jax.solve.minimize")
    names = {"l1jax": l1jax, "jnp": jnp}
    assert doctest.testmod(module, extraglobs=names) == (0, 5)
