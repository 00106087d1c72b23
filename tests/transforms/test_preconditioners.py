"""The metric of each optimiser is what its own update divides by."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from l1jax import preconditioners

GRADIENTS = np.random.default_rng(1).normal(size=(7, 9)) * np.logspace(-3, 1, 9)
RATE = 0.25

# Momentum off, so that each update is −learning_rate·g/d and d = −learning_rate·g/u; AdaBelief needs b1 > 0.
OPTIMIZERS = {
    "adam": (optax.adam(RATE, b1=0.0, b2=0.9, eps=1e-3, eps_root=1e-4), preconditioners.adam(0.9, 1e-3, 1e-4)),
    "adamw": (optax.adamw(RATE, b1=0.0, b2=0.9, weight_decay=0.0), preconditioners.adamw(0.9)),
    "nadam": (optax.nadam(RATE, b1=0.0, b2=0.9, eps=1e-3), preconditioners.nadam(0.9, 1e-3)),
    "yogi": (optax.yogi(RATE, b1=0.0, b2=0.9), preconditioners.yogi(0.9)),
    "amsgrad": (optax.amsgrad(RATE, b1=0.0, b2=0.3, eps=1e-3, eps_root=1e-4), preconditioners.amsgrad(1e-3, 1e-4)),
    "rmsprop": (optax.rmsprop(RATE, 0.8, 1e-3), preconditioners.rmsprop(0.8, 1e-3)),
    "rmsprop, eps outside": (
        optax.rmsprop(RATE, 0.8, 1e-3, eps_in_sqrt=False),
        preconditioners.rmsprop(0.8, 1e-3, eps_in_sqrt=False),
    ),
    "rmsprop, corrected": (
        optax.rmsprop(RATE, 0.8, 1e-3, bias_correction=True),
        preconditioners.rmsprop(0.8, 1e-3, bias_correction=True),
    ),
    "rmsprop, centred": (
        optax.rmsprop(RATE, 0.8, 1e-3, centered=True),
        preconditioners.rmsprop(0.8, 1e-3, centered=True),
    ),
    "rmsprop, all": (
        optax.rmsprop(RATE, 0.8, 1e-3, centered=True, bias_correction=True),
        preconditioners.rmsprop(0.8, 1e-3, centered=True, bias_correction=True),
    ),
    "adagrad": (optax.adagrad(RATE, 0.1, 1e-3), preconditioners.adagrad(1e-3)),
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_metric_is_what_the_update_divides_by(name):
    tx, preconditioner = OPTIMIZERS[name]
    params = jnp.zeros(9)
    state = tx.init(params)
    for step, gradient in enumerate(GRADIENTS):
        update, state = tx.update(jnp.asarray(gradient), state, params)
        if name == "yogi" and step == 0:
            continue  # its first moment does not start at zero
        np.testing.assert_allclose(preconditioner(state), -RATE * gradient / np.asarray(update), rtol=1e-10)


@pytest.mark.usefixtures("x64")
def test_adabelief_divides_by_the_deviation():
    b1, b2, eps, eps_root = 0.5, 0.9, 1e-3, 1e-4
    tx, m, v = optax.adabelief(RATE, b1, b2, eps, eps_root), 0.0, 0.0
    state = tx.init(jnp.zeros(9))
    for k, g in enumerate(GRADIENTS, start=1):
        _, state = tx.update(jnp.asarray(g), state)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * (g - m) ** 2 + eps_root
        np.testing.assert_allclose(
            preconditioners.adabelief(b2, eps)(state), np.sqrt(v / (1 - b2**k)) + eps, rtol=1e-12
        )


def test_metric_is_found_in_a_chain():
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(RATE), optax.trace(0.9))
    _, state = tx.update(jnp.full(2, 0.5), tx.init(jnp.zeros(2)))
    np.testing.assert_allclose(preconditioners.adam()(state), 0.5, rtol=1e-4)


@pytest.mark.parametrize(
    ("tx", "preconditioner", "found"),
    [
        (optax.sgd(1.0), preconditioners.adam(), "not 0"),
        (optax.rmsprop(1.0), preconditioners.adam(), "not 0"),
        (optax.adam(1.0), preconditioners.amsgrad(), "not 0"),
        (optax.adam(1.0), preconditioners.adagrad(), "not 0"),
        (optax.chain(optax.adam(1.0), optax.adam(1.0)), preconditioners.adam(), "not 2"),
    ],
)
def test_another_optimisers_state_is_refused(tx, preconditioner, found):
    with pytest.raises(ValueError, match=f"exactly one part with the fields .*{found}"):
        preconditioner(tx.init(jnp.zeros(2)))
