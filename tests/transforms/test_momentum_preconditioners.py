"""The denominators of optimisers with other momentum or moments than Adam's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import l1jax
from l1jax import preconditioners

RATE = 0.01
METRICS = {
    "adamax": (optax.adamax(RATE, eps=1e-3), preconditioners.adamax()),
    "radam": (optax.radam(RATE, b2=0.9, eps=1e-3), preconditioners.radam(0.9, 1e-3)),
    "adopt": (optax.contrib.adopt(RATE, b2=0.9), preconditioners.adopt()),
    "adan": (optax.adan(RATE, b3=0.9, eps=1e-3), preconditioners.adan(0.9, 1e-3)),
    "ademamix": (
        optax.contrib.ademamix(RATE, b2=0.9, b3=0.97, alpha=3.0, eps=1e-3),
        preconditioners.ademamix(0.9, 0.97, 3.0, 1e-3),
    ),
    "novograd": (optax.novograd(RATE, b1=0.8, eps=1e-3), preconditioners.novograd(0.8, 1e-3)),
    "prodigy": (
        optax.contrib.prodigy(RATE, betas=(0.9, 0.95), estim_lr0=0.5),
        preconditioners.prodigy(0.95),
    ),
}
GRADIENTS = {"a": jnp.asarray([1e-2, -0.3, 2.0]), "b": jnp.full((2, 2), -0.7)}
ZEROS = jax.tree.map(jnp.zeros_like, GRADIENTS)


def ratios(tx, preconditioner, steps):
    """−u·d/(learning_rate·g) of every entry after each step under steady gradients."""

    def step(state, _):
        updates, state = tx.update(GRADIENTS, state, ZEROS)
        ratio = jax.tree.map(
            lambda u, d, g: (-u * d / (RATE * g)).ravel(),
            updates,
            preconditioner(state),
            GRADIENTS,
        )
        return state, jnp.concatenate(jax.tree.leaves(ratio))

    return np.asarray(jax.lax.scan(step, tx.init(ZEROS), length=steps)[1])


@pytest.mark.parametrize("name", METRICS)
def test_steady_gradients_are_divided_by_the_denominator(name):
    found = ratios(*METRICS[name], 120)
    np.testing.assert_allclose(found[-1], 1, rtol=2e-4)
    if name != "adopt":  # whose average starts at zero and is not corrected
        np.testing.assert_allclose(found, 1, rtol=2e-4)


@pytest.mark.parametrize("name", ["adamax", "radam"])
def test_without_momentum_it_is_exact_for_any_gradients(name):
    make, preconditioner = {
        "adamax": (optax.adamax, preconditioners.adamax()),
        "radam": (lambda rate, b1: optax.radam(rate, b1, b2=0.8), preconditioners.radam(0.8)),
    }[name]
    tx = make(RATE, b1=0.0)
    state = tx.init(jnp.zeros(5))
    for gradient in np.random.default_rng(0).normal(size=(12, 5)):
        updates, state = tx.update(jnp.asarray(gradient), state, jnp.zeros(5))
        expected = -RATE * gradient / np.asarray(updates)
        np.testing.assert_allclose(preconditioner(state), expected, rtol=1e-4)


@pytest.mark.parametrize("name", ["adopt", "ademamix", "novograd"])
def test_the_optimum_is_that_of_loss_and_penalty(name):
    inner, preconditioner = METRICS[name]
    penalty = l1jax.l1(0.1)
    tx = l1jax.preconditioned_proximal(inner, preconditioner, penalty, RATE)
    assert l1jax.diagnose(tx, penalty).findings == ()


def test_another_metric_is_found_by_diagnose():
    penalty = l1jax.l1(0.1)
    inner = optax.adamax(RATE, b2=0.5)
    metric = preconditioners.radam(0.9, 0.1)
    tx = l1jax.preconditioned_proximal(inner, metric, penalty, RATE, probe=False)
    assert "strength in force" in " ".join(l1jax.diagnose(tx, penalty).findings)


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        (optax.lion(1.0), "ScaleByLionState, which has no preconditioner: a step by signs"),
        (optax.contrib.muon(1.0), "MuonState, which has no preconditioner: an orthogonalised"),
        (optax.adafactor(1.0), "FactoredState, which has no preconditioner: Adafactor's state"),
        (optax.contrib.sophia(1.0), "SophiaState, which has no preconditioner: Sophia needs"),
    ],
)
def test_optimisers_without_a_diagonal_metric_are_refused_with_what_to_take(inner, message):
    if "Sophia" not in message:  # which does not run without the loss
        with pytest.raises(ValueError, match=message):
            l1jax.preconditioned_proximal(inner, preconditioners.adam(), l1jax.l1(0.1), 1.0)
    wrapped = l1jax.preconditioned_proximal(
        inner, preconditioners.adam(), l1jax.l1(0.1), 1.0, probe=False
    )
    with pytest.raises(ValueError, match=message):
        wrapped.init(jnp.zeros((2, 2)))


def test_a_schedule_of_ademamix_is_refused():
    with pytest.raises(ValueError, match=r"`alpha` .* must be a number"):
        preconditioners.ademamix(alpha=optax.linear_schedule(0.0, 5.0, 10))
