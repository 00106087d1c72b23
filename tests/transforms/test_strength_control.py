"""The controllers of the strength reach their targets, and dual averaging follows them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import l1jax


def run(tx, grad, params, steps, key=None):
    """Parameters, strengths and zeros after each of some updates, and the last state."""

    @jax.jit
    def loop(params):
        def step(carry, k):
            params, state = carry
            updates, state = tx.update(grad(params, k), state, params)
            params = optax.apply_updates(params, updates)
            return (params, state), (
                l1jax.strength(state),
                l1jax.sparsity(params, "kernel|^$").total,
            )

        keys = jax.random.split(jax.random.key(0) if key is None else key, steps)
        return jax.lax.scan(step, (params, tx.init(params)), keys)

    (params, state), (strengths, zeros) = loop(params)
    return params, state, np.asarray(strengths), np.asarray(zeros)


def test_track_sparsity_meets_a_target_exactly_where_the_strength_is_known():
    # ½‖p − t‖² + s‖p‖₁ has the share of |t| ≤ s zero: s must become the quantile.
    targets = jnp.asarray(np.random.default_rng(0).laplace(size=1000), jnp.float32)
    for share in (0.3, 0.95):
        tx = l1jax.proximal_sgd(0.2, l1jax.l1(0.01), scale=l1jax.track_sparsity(share, horizon=300))
        _, _, strengths, zeros = run(tx, lambda p, _: p - targets, targets, 1500)
        assert abs(zeros[-1] - share) < 2e-3
        np.testing.assert_allclose(strengths[-1], np.quantile(np.abs(targets), share), rtol=0.02)
        assert zeros.max() < share + 0.02
        assert np.abs(np.diff(strengths[750:])).sum() < 0.01 * strengths[-1]  # at rest


def test_track_sparsity_counts_the_penalised_leaves_alone():
    targets = jnp.linspace(-1.0, 1.0, 100)
    params = {"kernel": targets, "bias": jnp.zeros(300)}
    penalty = l1jax.by_path({"kernel": l1jax.l1(0.01)})
    tx = l1jax.proximal_sgd(0.2, penalty, scale=l1jax.track_sparsity(0.4, horizon=300))
    grad = lambda p, _: {"kernel": p["kernel"] - targets, "bias": jnp.zeros(300)}  # noqa: E731
    params, *_ = run(tx, grad, params, 1500)
    assert abs(float(jnp.mean(params["kernel"] == 0)) - 0.4) <= 0.01


def test_track_sparsity_follows_a_schedule_down_as_well_as_up():
    targets = jnp.asarray(np.random.default_rng(0).laplace(size=1000), jnp.float32)
    target = optax.piecewise_constant_schedule(0.8, {1500: 0.5})  # 0.8, then 0.4
    tx = l1jax.proximal_sgd(0.2, l1jax.l1(0.01), scale=l1jax.track_sparsity(target, horizon=300))
    _, _, _, zeros = run(tx, lambda p, _: p - targets, targets, 3000)
    assert abs(zeros[1499] - 0.8) < 0.01
    assert abs(zeros[-1] - 0.4) < 0.01
    assert zeros[1600:].min() > 0.38


def test_track_sparsity_that_may_not_raise_the_strength_is_a_limit():
    # For long a little below the limit it leaves the strength alone, and learns nothing that would
    # delay it later.
    wide = jnp.asarray(np.random.default_rng(0).laplace(size=1000), jnp.float32)
    least = float(jnp.quantile(jnp.abs(wide), 0.78))
    tx = l1jax.proximal_sgd(
        0.2, l1jax.l1(least), scale=l1jax.track_sparsity(0.8, 300, bounds=(1e-6, 1.0))
    )

    def step(targets, carry, _):
        params, state = carry
        updates, state = tx.update(params - targets, state, params)
        params = params + updates
        return (params, state), (jnp.mean(params == 0), l1jax.strength(state))

    carry, (zeros, strengths) = jax.lax.scan(
        partial(step, wide), (wide, tx.init(wide)), length=3000
    )
    assert abs(zeros[-1] - 0.78) < 2e-3
    np.testing.assert_allclose(strengths[500:], least, rtol=1e-6)
    narrow = wide * least / jnp.quantile(jnp.abs(wide), 0.82)
    _, (zeros, strengths) = jax.lax.scan(partial(step, narrow), carry, length=900)
    assert zeros[:100].max() > 0.805
    assert np.all(np.abs(zeros[300:] - 0.8) < 0.005)
    np.testing.assert_allclose(strengths[-1], np.quantile(np.abs(narrow), 0.8), rtol=0.02)


def autoencoder():
    """A small network with noisy gradients, and a gradient of its loss at a key's batch."""
    keys = jax.random.split(jax.random.key(1), 4)
    sizes = [32, 64, 8, 64, 32]
    params = [
        {"kernel": jax.random.normal(k, (n, m)) / np.sqrt(n), "bias": jnp.zeros(m)}
        for k, n, m in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]
    mixing = jax.random.normal(jax.random.key(2), (6, 32))

    def loss(params, key):
        x = jnp.tanh(jax.random.normal(key, (32, 6)) @ mixing)
        y = x
        for layer in params[:-1]:
            y = jnp.tanh(y @ layer["kernel"] + layer["bias"])
        return jnp.mean(jnp.sum(jnp.square(y @ params[-1]["kernel"] + params[-1]["bias"] - x), -1))

    return params, jax.grad(loss)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_track_sparsity_holds_a_network_within_a_point_while_it_trains(share):
    # at a constant rate: the strength that keeps half of the entries at zero falls by some e-folds
    # meanwhile
    params, grad = autoencoder()
    penalty = l1jax.by_path({"kernel": l1jax.l1(1e-4)})
    tx = l1jax.proximal_adam(2e-3, penalty, scale=l1jax.track_sparsity(share, horizon=500))
    _, _, strengths, zeros = run(tx, grad, params, 3000)
    assert abs(zeros[1500:].mean() - share) < 0.003
    smooth = np.convolve(zeros, np.ones(100) / 100, "valid")
    assert np.all(np.abs(smooth[1500:] - share) < 0.01)
    assert zeros.max() < share + 0.04
    if share == 0.5:
        assert np.log(strengths[1000] / strengths[-1]) > 0.7


def noisy_lasso():
    """The start and the gradient of a lasso's loss on 64 rows that the key draws."""
    rng = np.random.default_rng(0)
    mixing = np.linalg.cholesky(0.6 ** np.abs(np.subtract.outer(np.arange(300), np.arange(300))))
    x = rng.normal(size=(1000, 300)) @ mixing.T
    y = x[:, ::5] @ rng.normal(size=60) + 0.5 * rng.normal(size=1000)
    x = jnp.asarray(x, jnp.float32)
    y = jnp.asarray(y, jnp.float32)

    def grad(w, key):
        rows = jax.random.randint(key, (64,), 0, 1000)
        return x[rows].T @ (x[rows] @ w - y[rows]) / 64

    return jnp.zeros(300), grad


@pytest.mark.slow
def test_track_sparsity_adds_nothing_to_what_noise_does_at_a_constant_strength():
    start, grad = noisy_lasso()
    tx = l1jax.proximal_sgd(0.02, l1jax.l1(0.1), scale=l1jax.track_sparsity(0.8, horizon=500))
    _, _, strengths, zeros = run(tx, grad, start, 3000)
    tracked = zeros[1500:]
    steady = float(np.exp(np.log(strengths[1500:]).mean()))
    constant = run(l1jax.proximal_sgd(0.02, l1jax.l1(steady)), grad, start, 3000)[3][1500:]
    assert abs(tracked.mean() - 0.8) < 0.001
    assert constant.std() > 0.02  # the problem's own flicker
    assert tracked.std() < 1.1 * constant.std()
    averages = [np.convolve(z, np.ones(100) / 100, "valid") for z in (tracked, constant)]
    assert averages[0].std() < averages[1].std()  # slow wandering, oscillation among it, is less
    assert np.abs(averages[0] - 0.8).max() < 0.01
    assert np.log(strengths[1500:]).std() < 0.1


@pytest.mark.parametrize(
    "make",
    [
        lambda penalty, scale: l1jax.accelerated(0.5, penalty, scale=scale),
        lambda penalty, scale: l1jax.rmda(0.5, penalty, 0.2, scale=scale),
        lambda penalty, scale: l1jax.ramda(0.5, penalty, 0.2, scale=scale),
    ],
)
def test_track_sparsity_counts_the_zeros_of_the_solution(make):
    targets = jnp.asarray(np.random.default_rng(0).laplace(size=1000), jnp.float32)
    tx = make(l1jax.l1(0.01), l1jax.track_sparsity(0.6, horizon=300))
    params, state, strengths, _ = run(tx, lambda p, _: p - targets, targets, 2000)
    assert abs(l1jax.sparsity(l1jax.solution(state, params)).total - 0.6) < 0.005
    np.testing.assert_allclose(strengths[-1], np.quantile(np.abs(targets), 0.6), rtol=0.03)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("adaptive", [False, True])
def test_dual_averaging_meets_each_gradient_with_the_strength_of_its_own_update(adaptive):
    rng = np.random.default_rng(0)
    start = rng.normal(size=8)
    targets = rng.normal(size=(20, 8))
    w = None
    v = 0.0
    u = 0.0
    total = 0.0
    method, strength, eps = (l1jax.ramda, 0.1, {"eps": 0.1}) if adaptive else (l1jax.rmda, 0.4, {})
    warm_up = lambda count: jnp.minimum(jnp.asarray(count, float) / 10, 1.0)  # noqa: E731
    tx = method(0.1, l1jax.l1(strength), 0.5, scale=warm_up, **eps)
    params = jnp.asarray(start)
    w = start
    state = tx.init(params)
    for k, target in enumerate(targets, start=1):
        updates, state = tx.update(params - target, state, params)
        params = params + updates
        s = 0.1 * np.sqrt(k)
        g = w - target
        v = v + s * g
        u = u + s * g**2
        total = total + s * strength * min((k - 1) / 10, 1)
        metric = np.cbrt(u) + 0.1 if adaptive else np.sqrt(k)
        z = start - v / metric
        # The minimum of Σ sₖλₖ|w| + ⟨V, w⟩ + ½‖w − w⁰‖².
        best = np.sign(z) * np.maximum(np.abs(z) - total / metric, 0)
        w = 0.5 * w + 0.5 * best
        np.testing.assert_allclose(l1jax.solution(state, params), best, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(params, w, rtol=1e-12, atol=1e-14)
    assert 0 < np.sum(best == 0) < 8


@pytest.mark.usefixtures("x64")
def test_reweight_reaches_a_stationary_point_of_the_logarithmic_sum():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 20))
    w = np.zeros(20)
    w[:4] = [2.0, -1.5, 1.0, 0.5]
    y = x @ w + 0.1 * rng.normal(size=60)
    strength = 0.3
    eps = 0.1
    grad = lambda v, _: x.T @ (x @ v - y) / 60  # noqa: E731
    step = 60 / np.linalg.norm(x, 2) ** 2
    tx = l1jax.proximal_sgd(step, l1jax.l1(strength), scale=l1jax.reweight(50, eps=eps))
    actual = np.asarray(run(tx, grad, jnp.zeros(20), 4000)[0])
    g = x.T @ (x @ actual - y) / 60
    slope = strength * eps / (np.abs(actual) + eps)  # of λε log(1 + |x|/ε)
    np.testing.assert_allclose(
        g[actual != 0], -slope[actual != 0] * np.sign(actual[actual != 0]), atol=1e-9
    )
    assert np.all(np.abs(g[actual == 0]) <= strength)
    np.testing.assert_array_equal(actual != 0, w != 0)
    plain = np.asarray(
        run(l1jax.proximal_sgd(step, l1jax.l1(strength)), grad, jnp.zeros(20), 4000)[0]
    )
    assert np.abs(actual - w).max() < 0.2 * np.abs(plain - w).max()  # the bias is gone


def test_reweight_renews_every_so_many_updates():
    tx = l1jax.proximal_sgd(1.0, l1jax.l1(1.0), scale=l1jax.reweight(3, eps=1.0))
    params = jnp.array([9.0])
    moves = []
    mean = []
    state = tx.init(params)
    for _ in range(7):
        updates, state = tx.update(jnp.zeros(1), state, params)
        moves.append(float(updates[0]))
        mean.append(float(l1jax.strength(state)))
        params = params + updates
    first = 1 / 7
    second = 1 / (1 + 6 - 3 / 7)
    np.testing.assert_allclose(moves, [-1.0] * 3 + [-first] * 3 + [-second], rtol=1e-5)
    np.testing.assert_allclose(mean, [-move for move in moves], rtol=1e-5)


def test_controllers_chain():
    scale = optax.chain(optax.scale(2.0), l1jax.reweight(1, eps=1.0), l1jax.track_sparsity(0.5))
    tx = l1jax.proximal_sgd(0.1, l1jax.l1(0.5), scale=scale)
    params = jnp.array([3.0, 1.0])
    _, state = tx.update(jnp.zeros(2), tx.init(params), params)
    # 2·½, and a little more because zeros are missing.
    assert 1.0 < float(l1jax.strength(state)) < 1.1
