"""Every recursion against its transcription in NumPy, step by step in float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from noisy_quadratic import (
    CURVATURE,
    ETA,
    START,
    STRENGTH,
    TARGETS,
    assert_close,
    iterates,
    rate,
    soft,
)

import l1jax
from l1jax.transforms.dual_averaging import _cube_root

pytestmark = pytest.mark.usefixtures("x64")


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
