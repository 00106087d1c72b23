"""Schedule-free and lookahead steps that keep zeros: their recursions, and where they end."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.linear_model import Lasso

import l1jax

RNG = np.random.default_rng(0)
PENALTY = l1jax.l1(0.1)
RATE = 0.05


def soft_threshold(x, threshold):
    return np.sign(x) * np.maximum(np.abs(x) - threshold, 0)


def average(old, new, share):
    """`sparse_average` in NumPy."""
    return np.where((new == 0) | (old == 0), new, old + share * (new - old))


def run(tx, params, gradients):
    """The parameters after each update, and the states."""
    found = []
    state = tx.init(params)
    for grads in gradients:
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        found.append((params, state))
    return found


GRADIENTS = RNG.normal(size=(7, 5)).astype(np.float32)
START = RNG.normal(size=5).astype(np.float32) * 0.3


def test_lookahead_in_numpy():
    tx = l1jax.sparse_lookahead(l1jax.proximal_sgd(0.2, PENALTY), 3, 0.4)
    fast = slow = START
    for count, (grads, (params, state)) in enumerate(
        zip(GRADIENTS, run(tx, jnp.asarray(START), GRADIENTS), strict=True), start=1
    ):
        fast = soft_threshold(fast - 0.2 * grads, 0.02)
        if count % 3 == 0:
            fast = slow = average(slow, fast, 0.4)
        np.testing.assert_allclose(params, fast, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(l1jax.solution(state, params), slow, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(params == 0, fast == 0)


def test_without_zeros_lookahead_is_optax():
    inner = optax.adam(0.1)
    ours = l1jax.sparse_lookahead(inner, 2, 0.5)
    theirs = optax.lookahead(inner, 2, 0.5)
    expected = optax.LookaheadParams.init_synced(jnp.asarray(START))
    state = theirs.init(expected)
    for grads, (params, our_state) in zip(
        GRADIENTS, run(ours, jnp.asarray(START), GRADIENTS), strict=True
    ):
        updates, state = theirs.update(jnp.asarray(grads), state, expected)
        expected = optax.apply_updates(expected, updates)
        np.testing.assert_allclose(params, expected.fast, rtol=1e-5)
        np.testing.assert_allclose(our_state.solution, expected.slow, rtol=1e-5)


def test_schedule_free_in_numpy():
    warm_up = optax.linear_schedule(0.0, 0.2, 3)
    tx = l1jax.sparse_schedule_free(l1jax.proximal_sgd(warm_up, PENALTY), warm_up, b1=0.8)
    z = x = START
    largest = total = 0.0
    for count, (grads, (params, state)) in enumerate(
        zip(GRADIENTS, run(tx, jnp.asarray(START), GRADIENTS), strict=True)
    ):
        rate = 0.2 * min(count / 3, 1)
        largest = max(largest, rate)
        total += largest**2
        z = soft_threshold(z - rate * grads, 0.1 * rate)
        x = average(x, z, largest**2 / total if total else 0)
        np.testing.assert_allclose(params, 0.2 * z + 0.8 * x, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(l1jax.solution(state, params), x, rtol=1e-5, atol=1e-6)
        for leaf in (params, state.solution):
            np.testing.assert_array_equal(np.asarray(leaf)[z == 0], 0)


def test_without_zeros_schedule_free_is_optax():
    inner = optax.sgd(0.1)
    ours = l1jax.sparse_schedule_free(inner, 0.1)
    theirs = optax.contrib.schedule_free(inner, 0.1)
    expected = run(theirs, jnp.asarray(START), GRADIENTS)
    actual = run(ours, jnp.asarray(START), GRADIENTS)
    for (y, their_state), (params, state) in zip(expected, actual, strict=True):
        np.testing.assert_allclose(params, y, rtol=1e-4, atol=1e-6)
        x = optax.contrib.schedule_free_eval_params(their_state, y)
        np.testing.assert_allclose(l1jax.solution(state, params), x, rtol=1e-4, atol=1e-6)


FEATURES = RNG.normal(size=(200, 20))
TARGET = FEATURES[:, :4] @ np.array([3.0, -2.0, 1.0, 0.5]) + RNG.normal(size=200)
LASSO = Lasso(alpha=0.1, fit_intercept=False, tol=1e-10).fit(FEATURES, TARGET).coef_

METHODS = {
    "lookahead": lambda rate: l1jax.sparse_lookahead(
        l1jax.proximal_adam(optax.cosine_decay_schedule(rate, 1500), PENALTY), 5, 0.5
    ),
    "schedule-free": lambda rate: l1jax.sparse_schedule_free(
        l1jax.proximal_sgd(rate, PENALTY), rate
    ),
    "schedule-free adam": lambda rate: l1jax.sparse_schedule_free(
        l1jax.proximal_adam(rate, PENALTY, b1=0.0), rate
    ),
}


def train(tx, batch, steps=1500):
    """The solution after steps with random batches of the rows."""

    features = jnp.asarray(FEATURES, jnp.float32)
    target = jnp.asarray(TARGET, jnp.float32)

    def step(carry, key):
        params, state = carry
        rows = jax.random.permutation(key, 200)[:batch]
        grads = features[rows].T @ (features[rows] @ params - target[rows]) / batch
        updates, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), None

    @jax.jit
    def run_all():
        start = jnp.zeros(20)
        keys = jax.random.split(jax.random.key(0), steps)
        (params, state), _ = jax.lax.scan(step, (start, tx.init(start)), keys)
        return l1jax.solution(state, params)

    return np.asarray(run_all())


def objective(x):
    return np.square(FEATURES @ x - TARGET).mean() / 2 + 0.1 * np.abs(x).sum()


@pytest.mark.parametrize("name", METHODS)
def test_the_end_is_the_lasso(name):
    found = train(METHODS[name](RATE), 200)
    np.testing.assert_array_equal(found == 0, LASSO == 0)
    np.testing.assert_allclose(found, LASSO, atol=2e-3)


def test_under_noise_the_average_is_closer_than_the_iterate():
    free = train(METHODS["schedule-free"](RATE), 8)
    last = train(l1jax.proximal_sgd(RATE, PENALTY), 8)
    excess = [objective(x) - objective(LASSO) for x in (free, last)]
    assert 0 <= excess[0] < 0.6 * excess[1]
    assert (free == 0).any()


@pytest.mark.parametrize("name", ["lookahead", "schedule-free"])
def test_diagnose_finds_nothing(name):
    tx = {
        "lookahead": l1jax.sparse_lookahead(l1jax.proximal_sgd(0.1, PENALTY), 5, 0.5),
        "schedule-free": l1jax.sparse_schedule_free(l1jax.proximal_sgd(0.1, PENALTY), 0.1),
    }[name]
    assert l1jax.diagnose(tx, PENALTY).findings == ()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: l1jax.sparse_lookahead(optax.sgd(0.1), 0, 0.5), r"`sync_period` \(=0\)"),
        (lambda: l1jax.sparse_lookahead(optax.sgd(0.1), 5, 0.0), r"`slow_step_size` \(=0.0\)"),
        (lambda: l1jax.sparse_lookahead(optax.sgd(0.1), 5, 1.5), r"`slow_step_size` \(=1.5\)"),
        (lambda: l1jax.sparse_schedule_free(optax.sgd(0.1), -0.1), r"`learning_rate` \(=-0.1\)"),
        (lambda: l1jax.sparse_schedule_free(optax.sgd(0.1), 0.1, 1.0), r"`b1` \(=1.0\)"),
        (
            lambda: l1jax.sparse_schedule_free(optax.sgd(0.1), 0.1, weight_power=-1.0),
            r"`weight_power` \(=-1.0\)",
        ),
    ],
)
def test_bad_numbers_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
