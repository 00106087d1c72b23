"""One step size per group, against its transcription in NumPy, step by step in float64."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from noisy_quadratic import (
    CURVATURE,
    ETA,
    SIZE,
    START,
    STRENGTH,
    TARGETS,
    assert_close,
    iterates,
    rate,
    soft,
)

import l1jax
from l1jax.penalties import base
from l1jax.penalties.leafwise import tree_prox

pytestmark = pytest.mark.usefixtures("x64")


@base.register
@dataclass(frozen=True)
class RowLasso:
    """λ Σ ‖x_row‖ for one step per row: the least that `per_group` asks of a penalty."""

    strength: Any = field(metadata=base.STRENGTH)
    axis: int = field(metadata=base.STATIC)

    def value(self, x):
        raise NotImplementedError

    subgradient = distance = value

    @tree_prox
    def prox(self, x, step):
        assert step.shape == (3, 1)
        size = jnp.sqrt(jnp.sum(x**2, self.axis, keepdims=True))
        return jnp.maximum(1 - step * self.strength / size, 0) * x


def test_one_step_size_per_group():
    b1 = 0.9
    b2 = 0.99
    eps = 1e-8
    w = START.reshape(3, 4)
    m = 0.0
    v = 0.0
    expected = []
    for k, target in enumerate(TARGETS):
        g = (CURVATURE * (w.ravel() - target)).reshape(3, 4)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        d = np.sqrt(np.mean(v, axis=1, keepdims=True) / (1 - b2 ** (k + 1))) + eps
        z = w - rate(k) * m / (1 - b1 ** (k + 1)) / d
        w = np.maximum(1 - rate(k) * 2.0 / d / np.linalg.norm(z, axis=1, keepdims=True), 0) * z
        expected.append(w)
    tx = l1jax.proximal_adam(rate, RowLasso(2.0, 1), b1, b2, eps, per_group=True)
    assert_close(iterates(in_rows(tx)).reshape(-1, 3, 4), expected)


def group_prox(z, step, strength, weights=0.0, l2=0.0):
    """Return the prox of ½·l2·‖x‖² + Σ wᵢ|xᵢ| + strength·√n·‖x‖ for one group and one step.

    Part after part, as Yu (2013) proves.
    """
    shrink = 1 + l2 * step
    z = soft(z / shrink, step / shrink * weights)
    step = step / shrink
    return max(1 - step * strength * np.sqrt(z.size) / max(np.linalg.norm(z), 1e-300), 0) * z


WEIGHTS = np.linspace(0.0, 2.0, SIZE).reshape(3, 4)
SUMS = {
    "rows": (
        l1jax.sum_of(l1jax.l1(0.3), l1jax.group_l1(0.5, 1)),
        [np.s_[i] for i in range(3)],
        0.3,
        0.0,
    ),
    "ridge": (
        l1jax.sum_of(l1jax.group_l1(0.5, 1), l1jax.l2(2.0)),
        [np.s_[i] for i in range(3)],
        0.0,
        2.0,
    ),
    "blocks": (
        l1jax.sum_of(
            l1jax.weighted_l1(1.0, WEIGHTS), l1jax.group_l1(0.5, l1jax.kernel_blocks((3, 2)))
        ),
        [np.s_[:, :2], np.s_[:, 2:]],
        WEIGHTS,
        0.0,
    ),
}


@pytest.mark.parametrize("name", SUMS)
def test_one_step_size_per_group_of_a_sum_and_of_blocks(name):
    penalty, groups, weights, l2 = SUMS[name]
    b1 = 0.9
    b2 = 0.99
    eps = 1e-8
    w = START.reshape(3, 4)
    m = 0.0
    v = 0.0
    expected = []
    for k, target in enumerate(TARGETS):
        g = (CURVATURE * (w.ravel() - target)).reshape(3, 4)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        new = np.zeros((3, 4))
        for group in groups:
            step = rate(k) / (np.sqrt(np.mean(v[group]) / (1 - b2 ** (k + 1))) + eps)
            weights_of_group = np.broadcast_to(weights, (3, 4))[group]
            new[group] = group_prox(
                w[group] - step * m[group] / (1 - b1 ** (k + 1)), step, 0.5, weights_of_group, l2
            )
        w = new
        expected.append(w.ravel())
    tx = l1jax.proximal_adam(rate, penalty, b1, b2, eps, per_group=True)
    assert_close(iterates(in_rows(tx)), expected)


GROUPED = {
    "rmsprop": lambda penalty: l1jax.proximal_rmsprop(rate, penalty, 0.8, 1e-6, per_group=True),
    "adagrad": lambda penalty: l1jax.proximal_adagrad(rate, penalty, 0.2, 1e-6, per_group=True),
    "amsgrad": lambda penalty: l1jax.preconditioned_proximal(
        optax.amsgrad(rate, 0.8, 0.9, 1e-6),
        l1jax.preconditioners.amsgrad(1e-6),
        penalty,
        rate,
        per_group=True,
    ),
}


@pytest.mark.parametrize("name", GROUPED)
def test_one_step_size_per_group_behind_other_optimisers(name):
    w = START.reshape(3, 4)
    m = 0.0
    v = 0.0
    largest = 0.0
    expected = []
    total = 0.2
    for k, target in enumerate(TARGETS):
        g = (CURVATURE * (w.ravel() - target)).reshape(3, 4)
        if name == "rmsprop":
            v = 0.8 * v + 0.2 * g**2
            direction = g
            d = np.sqrt(v + 1e-6)
        elif name == "adagrad":
            total = total + g**2
            direction = g
            d = np.sqrt(total + 1e-6)
        else:
            m = 0.8 * m + 0.2 * g
            v = 0.9 * v + 0.1 * g**2
            largest = np.maximum(largest, v / (1 - 0.9 ** (k + 1)))
            direction = m / (1 - 0.8 ** (k + 1))
            d = np.sqrt(largest) + 1e-6
        step = rate(k) / np.sqrt(np.mean(d**2, axis=1, keepdims=True))
        z = w - step * direction
        w = np.stack([group_prox(z[i], step[i], 1.5) for i in range(3)])
        expected.append(w.ravel())
    assert_close(iterates(in_rows(GROUPED[name](l1jax.group_l1(1.5, 1)))), expected)


def test_one_step_size_per_block_needs_no_inner_iteration():
    def sums(axis):
        tx = l1jax.proximal_adam(0.1, l1jax.group_l1(1.0, axis), per_group=True)
        params = jnp.ones((4, 6))
        return str(jax.make_jaxpr(tx.update)(params, tx.init(params), params)).count("reduce_sum")

    assert sums(l1jax.kernel_blocks((2, 3))) == sums(0) < 4


def test_group_mcp_with_one_step_per_group_ends_at_a_stationary_point():
    penalty = l1jax.group_mcp(0.4, 3.0, 1)
    target = jnp.asarray(TARGETS[0])
    curvature = jnp.asarray(CURVATURE)
    tx = in_rows(
        l1jax.proximal_adam(optax.exponential_decay(0.1, 3000, 1e-4), penalty, per_group=True)
    )

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(curvature * (params - target), state, params)
        return (optax.apply_updates(params, updates), state), None

    start = jnp.asarray(START)
    params = jax.jit(lambda: jax.lax.scan(step, (start, tx.init(start)), length=3000)[0][0])()
    actual = params.reshape(3, 4)
    assert penalty.distance(actual, (curvature * (params - target)).reshape(3, 4)) < 1e-8
    assert 0 < np.sum(~np.any(actual, 1)) < 3


def in_rows(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """For vectors of 12, which it sees as 3 × 4."""

    def update(grads, state, params):
        updates, state = tx.update(grads.reshape(3, 4), state, params.reshape(3, 4))
        return updates.ravel(), state

    return optax.GradientTransformation(lambda params: tx.init(params.reshape(3, 4)), update)


def test_one_step_size_per_group_leaves_single_entries_alone():
    penalty = l1jax.l1(STRENGTH)
    np.testing.assert_allclose(
        iterates(l1jax.proximal_adam(ETA, penalty, per_group=True)),
        iterates(l1jax.proximal_adam(ETA, penalty)),
        rtol=1e-12,
        atol=1e-14,
    )
