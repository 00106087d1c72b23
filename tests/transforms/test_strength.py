"""The strength in the state: schedules, paths of strengths, and what reads and sets it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import l1jax

SCHEDULES = {
    "warm-up": (optax.linear_schedule(0.0, 1.0, 4), lambda k: min(k / 4, 1.0)),
    "cosine": (
        optax.cosine_decay_schedule(1.0, 6),
        lambda k: (1 + np.cos(np.pi * min(k / 6, 1.0))) / 2,
    ),
    "number": (0.25, lambda k: 0.25),
    "chain": (
        optax.chain(optax.scale(3.0), optax.scale_by_schedule(lambda k: 1.0 / (1 + k))),
        lambda k: 3.0 / (1 + k),
    ),
}
FACTORIES = {
    "proximal": lambda penalty, scale: optax.chain(
        optax.sgd(0.5), l1jax.proximal(penalty, 0.5, scale=scale)
    ),
    "proximal_sgd": lambda penalty, scale: l1jax.proximal_sgd(0.5, penalty, scale=scale),
    "accelerated": lambda penalty, scale: l1jax.accelerated(0.5, penalty, scale=scale),
    "add_subgradient": lambda penalty, scale: optax.chain(
        l1jax.add_subgradient(penalty, scale=scale), optax.sgd(0.5)
    ),
}


@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedule_moves_the_strength_and_the_step(schedule, factory):
    scale, expected = SCHEDULES[schedule]
    tx = FACTORIES[factory](l1jax.l1(0.2), scale)
    params = jnp.array([10.0, -10.0])
    state = tx.init(params)
    for k in range(8):
        updates, state = tx.update(jnp.zeros(2), state, params)
        np.testing.assert_allclose(l1jax.strength(state), 0.2 * expected(k), rtol=1e-5)
        if factory != "accelerated" or k == 0:  # which then extrapolates
            np.testing.assert_allclose(
                updates, [-0.1 * expected(k), 0.1 * expected(k)], rtol=1e-4, atol=1e-6
            )
        params = optax.apply_updates(params, updates)


@pytest.mark.parametrize(
    "make",
    [
        lambda penalty, scale: l1jax.proximal_adam(0.1, penalty, scale=scale),
        lambda penalty, scale: l1jax.proximal_rmsprop(0.1, penalty, scale=scale),
        lambda penalty, scale: l1jax.proximal_adagrad(0.1, penalty, scale=scale),
        lambda penalty, scale: l1jax.rmda(0.1, penalty, scale=scale),
        lambda penalty, scale: l1jax.ramda(0.1, penalty, scale=scale),
        lambda penalty, scale: l1jax.regularized_dual_averaging(0.1, penalty, scale=scale),
    ],
)
def test_a_scale_equals_a_scaled_strength(make):
    params = jnp.array([1.0, -0.5, 0.01])
    grads = jnp.array([0.3, -0.1, 0.0])
    pairs = [(make(l1jax.l1(0.4), 0.25)), (make(l1jax.l1(0.1), None))]
    moved = [tx.update(grads, tx.init(params), params)[0] for tx in pairs]
    other = make(l1jax.l1(0.4), None)
    np.testing.assert_allclose(moved[0], moved[1], rtol=1e-6)
    assert not np.allclose(moved[0], other.update(grads, other.init(params), params)[0])


@pytest.mark.slow
def test_strength_of_a_path_of_strengths_is_a_vector():
    tx = l1jax.proximal_adam(0.1, l1jax.l1(0.5))
    params = jnp.array([1.0, 0.2])
    scales = jnp.array([0.0, 0.5, 2.0])

    def train(scale):
        return run_short(tx, l1jax.set_scale(tx.init(params), scale), params)

    actual, state = jax.vmap(train)(scales)
    np.testing.assert_allclose(l1jax.strength(state), 0.5 * scales)
    for scale, one in zip(scales, actual, strict=True):
        alone = l1jax.proximal_adam(0.1, l1jax.l1(0.5 * float(scale)))
        np.testing.assert_allclose(
            one, run_short(alone, alone.init(params), params)[0], rtol=1e-5, atol=1e-7
        )
    assert np.any(actual[2] == 0)
    assert np.all(actual[0] != 0)


def run_short(tx, state, params):
    for _ in range(5):
        updates, state = tx.update(params - jnp.array([0.5, 0.1]), state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def test_strength_of_several_penalties_is_a_tuple_in_their_order():
    params = {"a": jnp.ones(2), "b": jnp.ones(3)}
    penalty = l1jax.by_path({"b": l1jax.l1(0.3), "a": l1jax.l1(0.7)})
    state = l1jax.proximal_sgd(0.1, penalty, scale=optax.constant_schedule(0.5)).init(params)
    np.testing.assert_allclose(l1jax.strength(state), (0.3, 0.7))
    labels = {"a": "sgd", "b": "adam"}
    tx = optax.partition(
        {
            "sgd": l1jax.proximal_sgd(0.1, l1jax.l1(0.1)),
            "adam": l1jax.proximal_adam(0.1, l1jax.l1(0.2)),
        },
        labels,
    )
    np.testing.assert_allclose(sorted(l1jax.strength(tx.init(params))), (0.1, 0.2))


def test_set_scale_reaches_every_penalty_and_keeps_the_rest():
    tx = optax.chain(l1jax.add_subgradient(l1jax.l1(1.0)), l1jax.proximal_adam(0.1, l1jax.l1(2.0)))
    state = tx.init(jnp.ones(2))
    params = jnp.ones(2)
    _, state = tx.update(jnp.ones(2), l1jax.set_scale(state, 3.0), params)
    np.testing.assert_allclose(l1jax.strength(state), (3.0, 6.0))
    assert jax.tree.structure(l1jax.set_scale(state, 1.0)) == jax.tree.structure(state)
