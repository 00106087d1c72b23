"""The nuclear norm: NumPy, brute force, and the condition of optimality."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from brute_force import objective, steepest_descent
from catalogue import DISTANCE, PROX, SLOPE, SUBGRADIENT, VALUE
from jax.test_util import check_grads

import l1jax

pytestmark = pytest.mark.usefixtures("x64")
RNG = np.random.default_rng(0)
PENALTY = l1jax.nuclear_norm(0.7)
KERNEL = RNG.normal(size=(5, 3)) @ np.diag([3.0, 1.0, 0.1])
LOW_RANK = RNG.normal(size=(4, 1)) @ RNG.normal(size=(1, 3))


def soft_threshold(x, threshold):
    u, sizes, vt = np.linalg.svd(x, full_matrices=False)
    return (u * np.maximum(sizes - threshold, 0)) @ vt


def nuclear(x):
    """0.7 Σ σᵢ of the last axis, which is a 2 × 2 matrix."""
    return 0.7 * np.linalg.svd(x.reshape(*x.shape[:-1], 2, 2), compute_uv=False).sum(-1)


def distance(x, grad, strength=0.7):
    """Watson's subdifferential, with orthonormal bases of all four spaces."""
    u, sizes, vt = np.linalg.svd(x)
    rank = int((sizes > 1e-10).sum())
    blocks = u.T @ -grad @ vt.T
    blocks[:rank, :rank] -= strength * np.eye(rank)
    off = np.linalg.svd(blocks[rank:, rank:], compute_uv=False)
    blocks[rank:, rank:] = 0
    return np.sqrt((blocks**2).sum() + (np.maximum(off - strength, 0) ** 2).sum())


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4)])
@pytest.mark.parametrize("step", [0.1, 1.0, 5.0])
def test_singular_values_are_thresholded(shape, step):
    x = RNG.normal(size=shape)
    np.testing.assert_allclose(VALUE(PENALTY, x), 0.7 * np.linalg.norm(x, "nuc"), rtol=1e-12)
    np.testing.assert_allclose(PROX(PENALTY, x, step), soft_threshold(x, 0.7 * step), atol=1e-12)


def test_small_matrices_become_exactly_zero():
    largest = np.linalg.norm(KERNEL, 2)
    assert not np.any(PROX(PENALTY, KERNEL, 1.0001 * largest / 0.7))
    assert np.any(PROX(PENALTY, KERNEL, 0.9999 * largest / 0.7))
    one_step = np.full(KERNEL.shape, 1.0001 * largest / 0.7)
    assert not np.any(PROX(PENALTY, KERNEL, one_step))


@pytest.mark.parametrize("spread", [0.0, 0.5, 1.5])
@pytest.mark.parametrize("shape", [(5, 3), (3, 5)])
def test_in_a_diagonal_metric_the_condition_of_optimality_holds(shape, spread):
    for scale in (0.3, 3.0):
        x = scale * RNG.normal(size=shape)
        step = 10 ** RNG.uniform(-spread, spread, size=shape)
        y = np.asarray(PROX(PENALTY, x, step))
        np.testing.assert_allclose(distance(y, (y - x) / step), 0, atol=1e-8)


def test_no_point_is_better_in_a_diagonal_metric():
    for scale in (0.5, 2.0):
        x = scale * RNG.normal(size=4)
        step = 10 ** RNG.uniform(-1, 1, size=4)
        y = np.asarray(PROX(PENALTY, x.reshape(2, 2), step.reshape(2, 2))).ravel()
        best = objective(nuclear, y, x, step)
        for size in (1.0, 1e-2, 1e-4):
            others = y + size * RNG.normal(size=(2000, 4))
            assert (objective(nuclear, others, x, step) >= best - 1e-12).all()


@pytest.mark.parametrize("x", [np.zeros((2, 2)), np.outer([1.0, 2.0], [3.0, -1.0]), KERNEL[:2, :2]])
def test_distance_is_the_steepest_descent(x):
    for size in (0.1, 1.0, 3.0):
        grad = size * RNG.normal(size=(2, 2))
        steepest = steepest_descent(nuclear, x.ravel(), grad.ravel(), RNG, 400)
        np.testing.assert_allclose(DISTANCE(PENALTY, x, grad), steepest, atol=5e-3)
        np.testing.assert_allclose(DISTANCE(PENALTY, x, grad), distance(x, grad), atol=1e-10)


@pytest.mark.parametrize("x", [np.zeros((4, 3)), LOW_RANK, KERNEL])
def test_the_subgradient_is_the_shortest_and_the_derivative_of_the_value(x):
    found = np.asarray(SUBGRADIENT(PENALTY, x))
    u, sizes, vt = np.linalg.svd(x, full_matrices=False)
    expected = 0.7 * (u * (sizes > 1e-10)) @ vt
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(SLOPE(PENALTY, x), expected, atol=1e-12)
    np.testing.assert_allclose(DISTANCE(PENALTY, x, -found), 0, atol=1e-12)


def test_leading_axes_count_matrices():
    stack = RNG.normal(size=(2, 3, 4, 5))
    step = RNG.uniform(0.1, 1.0, size=(2, 3, 1, 1))
    new = np.asarray(PROX(PENALTY, stack, step))
    total = 0.0
    for i in np.ndindex(2, 3):
        np.testing.assert_allclose(new[i], soft_threshold(stack[i], 0.7 * step[i]), atol=1e-12)
        total += 0.7 * np.linalg.norm(stack[i], "nuc")
    np.testing.assert_allclose(VALUE(PENALTY, stack), total, rtol=1e-12)
    each = [distance(stack[i], stack[i] - 1) for i in np.ndindex(2, 3)]
    np.testing.assert_allclose(DISTANCE(PENALTY, stack, stack - 1), np.linalg.norm(each))


def test_the_row_axes_of_a_conv_kernel_are_joined():
    kernels = RNG.normal(size=(2, 3, 3, 4, 6))  # a stack of two
    penalty = l1jax.nuclear_norm(0.7, row_axes=3)
    new = np.asarray(PROX(penalty, kernels, 1.0))
    for kernel, found in zip(kernels, new, strict=True):
        expected = soft_threshold(kernel.reshape(36, 6), 0.7)
        np.testing.assert_allclose(found.reshape(36, 6), expected, atol=1e-12)
    dense = np.asarray(PROX(penalty, KERNEL, 1.0))  # fewer axes: one matrix as it is
    np.testing.assert_allclose(dense, soft_threshold(KERNEL, 0.7), atol=1e-12)


@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (3, 3)])
def test_derivatives_of_the_prox(shape):
    x = RNG.normal(size=shape) * 3

    def prox(x, step, strength):
        return l1jax.nuclear_norm(strength).prox(x, step)

    check_grads(jax.jit(prox), (x, 0.6, 0.7), order=1, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("x", [np.zeros((3, 3)), np.eye(3), LOW_RANK])
def test_derivatives_are_finite_where_singular_values_are_equal(x):
    slope = jax.grad(lambda x: jnp.sum(jnp.square(PENALTY.prox(x, 1.0))))(jnp.asarray(x))
    assert np.isfinite(slope).all()


CENTER = RNG.normal(size=(4, 3))
OPTIMUM = soft_threshold(CENTER, 0.7)


@pytest.mark.parametrize(
    "make",
    [
        lambda rate: l1jax.proximal_sgd(rate, PENALTY),
        lambda rate: l1jax.proximal_adam(rate, PENALTY, b2=0.9, per_group=True),
        pytest.param(
            lambda rate: l1jax.proximal_adam(rate, PENALTY, b2=0.9), marks=pytest.mark.slow
        ),
    ],
    ids=["sgd", "adam, one step per matrix", "adam"],
)
def test_the_optimum_is_that_of_loss_and_penalty(make):
    tx = make(optax.exponential_decay(0.2, 20, 0.7))

    @jax.jit
    def run():
        def step(carry, _):
            x, state = carry
            updates, state = tx.update(x - CENTER, state, x)
            return (optax.apply_updates(x, updates), state), None

        start = jnp.asarray(CENTER)
        return jax.lax.scan(step, (start, tx.init(start)), length=300)[0][0]

    x = np.asarray(run())
    np.testing.assert_allclose(x, OPTIMUM, atol=3e-3)
    assert np.linalg.matrix_rank(x, rtol=1e-8) == np.linalg.matrix_rank(OPTIMUM) == 2


@pytest.mark.slow
def test_minimize_reaches_the_optimum():
    result = l1jax.minimize(
        lambda x: 0.5 * jnp.sum(jnp.square(x - CENTER)), jnp.zeros((4, 3)), PENALTY, tolerance=1e-10
    )
    assert result.converged
    np.testing.assert_allclose(result.params, OPTIMUM, atol=1e-9)


def test_the_largest_strength_is_the_spectral_norm_of_the_gradient():
    def loss(x):
        return 0.5 * jnp.sum(jnp.square(x - CENTER))

    found = l1jax.largest_strength(loss, jnp.zeros((4, 3)), PENALTY)
    np.testing.assert_allclose(found, np.linalg.norm(CENTER, 2), rtol=1e-10)


@pytest.mark.parametrize("row_axes", [0, -1])
def test_bad_row_axes_are_refused(row_axes):
    with pytest.raises(ValueError, match=r"`row_axes` \(="):
        l1jax.nuclear_norm(0.1, row_axes)
