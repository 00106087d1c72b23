"""Factorised parameters: the product is exact, and a ridge on factors is the named penalty."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import FEATURES, PROBLEMS, SIZE, train

import l1jax

RNG = np.random.default_rng(0)


def test_float16_and_numbers_of_numpy_and_python_keep_their_entries():
    small = np.array([[2e-4], [-1e-4]], np.float16)  # whose squares are below float16's range
    for pair in (l1jax.hadamard(), l1jax.d_gating(0)):
        factors = pair.split({"w": small, "large": np.full((2, 1), 300, np.float16)})
        assert pair.ridge(factors) < 1300  # 2·300, or the norm √2·300, and little more: finite
        merged = pair.merge(factors)
        assert merged["w"].dtype == jnp.float16
        np.testing.assert_allclose(merged["w"], small, rtol=3e-3)
        np.testing.assert_allclose(merged["large"], 300, rtol=3e-3)
    assert jnp.allclose(l1jax.hadamard().merge(l1jax.hadamard().split({"w": 4.0}))["w"], 4.0)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_split_and_merge_invert_each_other(depth):
    params = {
        "kernel": jnp.asarray(RNG.normal(size=(4, 3)), jnp.float32).at[:, 1].set(0.0),
        "bias": jnp.ones(3),
    }
    for pair in (l1jax.hadamard("kernel", depth), l1jax.d_gating(0, "kernel", depth)):
        factors = pair.split(params)
        assert len(factors["kernel"].gates) == depth - 1
        merged = pair.merge(factors)
        np.testing.assert_allclose(merged["kernel"], params["kernel"], rtol=1e-5)
        assert merged["bias"] is factors["bias"]
        assert jnp.all(merged["kernel"][:, 1] == 0)


@pytest.mark.parametrize("depth", [2, 3])
def test_ridge_of_balanced_factors_is_the_penalty(depth):
    w = RNG.normal(size=(5, 4))
    entries = l1jax.hadamard(depth=depth)
    groups = l1jax.d_gating(0, depth=depth)
    np.testing.assert_allclose(
        entries.ridge(entries.split(jnp.asarray(w))), np.sum(np.abs(w) ** (2 / depth)), rtol=1e-5
    )
    norms = np.linalg.norm(w, axis=0)
    np.testing.assert_allclose(
        groups.ridge(groups.split(jnp.asarray(w))), np.sum(norms ** (2 / depth)), rtol=1e-5
    )


@pytest.mark.parametrize(
    "pair", [l1jax.hadamard(depth=3), l1jax.d_gating(1, depth=3)], ids=["hadamard", "d_gating"]
)
def test_no_other_factors_of_the_same_product_have_less_ridge(pair):
    factors = pair.split(jnp.asarray(RNG.normal(size=(5, 4)), jnp.float32))
    product = pair.merge(factors)
    least = pair.ridge(factors)
    for scale in (0.7, 0.9, 1.1, 1.5):
        first, *others = factors.gates
        other = factors._replace(weight=factors.weight / scale, gates=(first * scale, *others))
        np.testing.assert_allclose(pair.merge(other), product, rtol=1e-5)
        assert pair.ridge(other) > least * 1.001


def agrees(problem, pair, start, strength):
    """Train the factors with Adam; their product, cut off at 1e-6, is the problem's solution."""

    def loss(factors):
        return problem.loss.value(
            pair.merge(factors).ravel(), problem.loss.data
        ) + strength * pair.ridge(factors)

    factors, _ = train(optax.adam(optax.cosine_decay_schedule(0.02, 30_000)), loss, start, 30_000)
    actual = np.asarray(pair.merge(factors, threshold=1e-6)).ravel()
    assert problem.objective(actual) - problem.objective(problem.solution) < 1e-6
    np.testing.assert_array_equal(actual != 0, problem.solution != 0)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "problem", PROBLEMS["lasso"] + PROBLEMS["logistic"], ids=lambda problem: problem.name
)
def test_gradient_descent_on_factors_solves_the_l1_problem(problem):
    start = l1jax.Factors(jnp.full(FEATURES, 0.1), (jnp.full(FEATURES, 0.3),))
    agrees(problem, l1jax.hadamard(), start, problem.penalty.penalty.strength)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("problem", PROBLEMS["group lasso"], ids=lambda problem: problem.name)
def test_gates_solve_the_group_lasso(problem):
    pair = l1jax.d_gating(1)
    start = jax.tree.map(lambda leaf: leaf + 0.1, pair.split(jnp.zeros((FEATURES // SIZE, SIZE))))
    agrees(problem, pair, start, problem.penalty.penalty.strength * SIZE**0.5)
