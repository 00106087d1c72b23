"""Every recursion against its transcription in NumPy, step by step in float64."""

import itertools
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import l1jax
from l1jax.penalties import base
from l1jax.penalties.leafwise import tree_prox
from l1jax.transforms.dual_averaging import _cube_root

pytestmark = pytest.mark.usefixtures("x64")

STEPS = 60
SIZE = 12
STRENGTH = 0.3
ETA = 0.05
RNG = np.random.default_rng(0)
START = RNG.normal(size=SIZE)
CURVATURE = np.exp(RNG.normal(size=SIZE))
# A noisy quadratic: the gradient at update k is h·(w − target_k).
TARGETS = RNG.normal(size=(STEPS, SIZE)) + 0.5


def rate(count):
    return ETA / (1 + 0.1 * count)


def soft(x, threshold):
    return np.sign(x) * np.maximum(np.abs(x) - threshold, 0)


def iterates(
    tx: optax.GradientTransformation, of: Any = lambda state, params: params
) -> np.ndarray:
    """The parameters, or what `of` takes from state and parameters, after each update."""

    @jax.jit
    def run():
        def step(carry, target):
            params, state = carry
            updates, state = tx.update(CURVATURE * (params - target), state, params)
            params = optax.apply_updates(params, updates)
            return (params, state), of(state, params)

        start = jnp.asarray(START)
        return jax.lax.scan(step, (start, tx.init(start)), jnp.asarray(TARGETS))[1]

    return np.asarray(run())


def assert_close(actual: np.ndarray, expected: list[np.ndarray], tolerance: float = 1e-12):
    np.testing.assert_allclose(actual, np.asarray(expected), rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(actual == 0, np.asarray(expected) == 0)
    assert 0.02 < np.mean(actual == 0) < 0.98
    assert not np.any(np.signbit(actual[actual == 0]))


def test_proximal_adam():
    b1 = 0.8
    b2 = 0.95
    eps = 1e-6
    eps_root = 1e-5
    w = START
    m = 0.0
    v = 0.0
    expected = []
    for k, target in enumerate(TARGETS):
        g = CURVATURE * (w - target)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        d = np.sqrt(v / (1 - b2 ** (k + 1)) + eps_root) + eps
        w = soft(w - rate(k) * m / (1 - b1 ** (k + 1)) / d, rate(k) * STRENGTH / d)
        expected.append(w)
    assert_close(
        iterates(l1jax.proximal_adam(rate, l1jax.l1(STRENGTH), b1, b2, eps, eps_root)), expected
    )


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [None, 0.0, 0.7])
def test_proximal_sgd(momentum, nesterov):
    mu = momentum or 0.0
    w = START
    m = 0.0
    weight = 0.0
    expected = []
    for k, target in enumerate(TARGETS):
        g = CURVATURE * (w - target)
        m = g + mu * m
        weight = 1 + mu * weight  # the weight that g's have in m
        direction, total = (g + mu * m, 1 + mu * weight) if nesterov else (m, weight)
        w = soft(w - rate(k) * direction, rate(k) * total * STRENGTH)
        expected.append(w)
    assert_close(
        iterates(l1jax.proximal_sgd(rate, l1jax.l1(STRENGTH), momentum, nesterov)), expected
    )


@pytest.mark.parametrize("nesterov", [False, True])
# In the form that is left out the first deviation is 0 up to rounding, and its root is noise.
@pytest.mark.parametrize(
    ("bias_correction", "eps_in_sqrt", "centered"),
    [form for form in itertools.product([False, True], repeat=3) if form != (True, False, True)],
)
def test_proximal_rmsprop(bias_correction, eps_in_sqrt, centered, nesterov):
    decay = 0.9
    mu = 0.5
    eps = 1e-3
    w = START
    v = 0.0
    a = 0.0
    m = 0.0
    weight = 0.0
    expected = []
    for k, target in enumerate(TARGETS):
        g = CURVATURE * (w - target)
        v = decay * v + (1 - decay) * g**2
        a = decay * a + (1 - decay) * g
        share = 1 - decay ** (k + 1) if bias_correction else 1.0
        square = v / share - (a / share) ** 2 * centered
        d = np.sqrt(square + eps) if eps_in_sqrt else np.sqrt(np.maximum(square, 0)) + eps
        m = g / d + mu * m
        weight = 1 + mu * weight
        direction, total = (g / d + mu * m, 1 + mu * weight) if nesterov else (m, weight)
        w = soft(w - rate(k) * direction, rate(k) * total * STRENGTH / d)
        expected.append(w)
    tx = l1jax.proximal_rmsprop(
        rate,
        l1jax.l1(STRENGTH),
        decay,
        eps,
        mu,
        nesterov,
        eps_in_sqrt=eps_in_sqrt,
        centered=centered,
        bias_correction=bias_correction,
    )
    assert_close(iterates(tx), expected, tolerance=1e-10 if bias_correction and centered else 1e-12)


def test_proximal_adagrad():
    w = START
    s = 0.2
    expected = []
    for k, target in enumerate(TARGETS):
        g = CURVATURE * (w - target)
        s = s + g**2
        d = np.sqrt(s + 1e-5)
        w = soft(w - 4 * rate(k) * g / d, 4 * rate(k) * STRENGTH / d)
        expected.append(w)
    tx = l1jax.proximal_adagrad(lambda count: 4 * rate(count), l1jax.l1(STRENGTH), 0.2, 1e-5)
    assert_close(iterates(tx), expected)


def test_the_concave_part_of_a_penalty_counts_as_loss():
    gamma = 2.0
    w = START
    s = 0.2
    expected = []
    for k, target in enumerate(TARGETS):
        g = CURVATURE * (w - target) - np.sign(w) * np.minimum(np.abs(w) / gamma, STRENGTH)
        s = s + g**2
        d = np.sqrt(s + 1e-5)
        w = soft(w - 4 * rate(k) * g / d, 4 * rate(k) * STRENGTH / d)
        expected.append(w)
    tx = l1jax.proximal_adagrad(
        lambda count: 4 * rate(count), l1jax.mcp(STRENGTH, gamma), 0.2, 1e-5
    )
    assert_close(iterates(tx), expected)

    w = START
    v = 0.0
    expected = []
    for k, target in enumerate(TARGETS, 1):
        v = v + CURVATURE * (w - target) - np.sign(w) * np.minimum(np.abs(w) / gamma, STRENGTH)
        w = soft(START - ETA * v / np.sqrt(k), ETA * k * STRENGTH / np.sqrt(k))
        expected.append(w)
    assert_close(
        iterates(l1jax.regularized_dual_averaging(ETA, l1jax.mcp(STRENGTH, gamma))), expected
    )


def test_accelerated():
    y = START
    x = START
    t = 1.0
    expected = []
    restarts = 0
    for target in TARGETS:
        new = soft(y - 0.2 * CURVATURE * (y - target), 0.2 * STRENGTH)
        if (y - new) @ (new - x) > 0:
            t = 1.0
            restarts = restarts + 1
        following = (1 + np.sqrt(1 + 4 * t**2)) / 2
        y = new + (t - 1) / following * (new - x)
        x = new
        t = following
        expected.append(np.stack([y, x]))
    assert restarts > 1
    tx = l1jax.accelerated(0.2, l1jax.l1(STRENGTH))
    assert_close(
        iterates(tx, lambda state, params: jnp.stack([params, l1jax.solution(state, params)])),
        expected,
    )


def test_regularized_dual_averaging():
    w = START
    total = 0.0
    expected = []
    for k, target in enumerate(TARGETS, start=1):
        total = total + CURVATURE * (w - target)
        step = 0.5 / np.sqrt(k)
        w = soft(START - step * total, step * k * STRENGTH)
        expected.append(w)
    assert_close(iterates(l1jax.regularized_dual_averaging(0.5, l1jax.l1(STRENGTH))), expected)


@pytest.mark.parametrize("restarts", [(), (20, 45)])
@pytest.mark.parametrize("adaptive", [False, True])
def test_dual_averaging_with_momentum(adaptive, restarts):
    def c(count):
        return 0.3 + 0.7 * (count > 30)

    def eps(count):
        return 0.1 * 0.5 ** (0.1 * count)

    w = START
    expected = []
    for count, target in enumerate(TARGETS):
        if count in (0, *restarts):
            start = w
            v = 0.0
            u = 0.0
            alpha = 0.0
            k = 0
        k += 1
        g = CURVATURE * (w - target)
        s = rate(count) * np.sqrt(k)
        v = v + s * g
        u = u + s * g**2
        alpha = alpha + s
        metric = np.cbrt(u) + eps(count) if adaptive else np.sqrt(k)
        best = soft(start - v / metric, alpha / metric * STRENGTH)
        w = (1 - c(count)) * w + c(count) * best
        expected.append(np.stack([w, best]))
    kwargs = {"eps": eps} if adaptive else {}
    method = l1jax.ramda if adaptive else l1jax.rmda
    tx = method(rate, l1jax.l1(STRENGTH), c, restarts=restarts, **kwargs)
    actual = iterates(tx, lambda state, params: jnp.stack([params, l1jax.solution(state, params)]))
    np.testing.assert_allclose(actual, np.asarray(expected), rtol=1e-11, atol=1e-12)
    np.testing.assert_array_equal(actual[:, 1] == 0, np.asarray(expected)[:, 1] == 0)
    assert np.mean(actual[:, 1] == 0) > 0.02


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


def test_subgradient_is_the_loss_term():
    w = START
    expected = []
    for k, target in enumerate(TARGETS):
        w = w - rate(k) * (CURVATURE * (w - target) + STRENGTH * np.sign(w))
        expected.append(w)
    actual = iterates(optax.chain(l1jax.add_subgradient(l1jax.l1(STRENGTH)), optax.sgd(rate)))
    np.testing.assert_allclose(actual, expected, rtol=1e-12)
    assert not np.any(actual == 0)


def test_plain_prox_after_adam_thresholds_by_the_learning_rate():
    steps = iterates(optax.chain(optax.adam(ETA), l1jax.proximal(l1jax.l1(STRENGTH), ETA)))
    adam = optax.adam(ETA)
    state = optax.adam(ETA).init(jnp.asarray(START))
    w = START
    for target, actual in zip(TARGETS, steps, strict=True):
        u, state = adam.update(jnp.asarray(CURVATURE * (w - target)), state)
        w = soft(w + np.asarray(u), ETA * STRENGTH)
        np.testing.assert_allclose(actual, w, rtol=1e-12, atol=1e-12)


def test_cube_roots_are_exact_to_the_last_digits():
    u = np.concatenate(
        [[0, np.inf, np.nan], 10 ** np.random.default_rng(0).uniform(-37, 38, 1000)]
    ).astype(np.float32)
    exact = np.cbrt(u.astype(np.float64))
    np.testing.assert_allclose(jax.jit(_cube_root)(jnp.asarray(u)), exact, rtol=2e-7)
    np.testing.assert_allclose(jax.jit(_cube_root)(jnp.asarray(u, float)), exact, rtol=1e-15)
