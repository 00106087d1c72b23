"""The metric of each optimiser is what its own update divides by."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import l1jax
from l1jax import preconditioners

GRADIENTS = np.random.default_rng(1).normal(size=(7, 9)) * np.logspace(-3, 1, 9)
RATE = 0.25

# Momentum is off, so that each update is −learning_rate·g/d and d = −learning_rate·g/u;
# AdaBelief needs b1 > 0.
OPTIMIZERS = {
    "adam": (
        optax.adam(RATE, b1=0.0, b2=0.9, eps=1e-3, eps_root=1e-4),
        preconditioners.adam(0.9, 1e-3, 1e-4),
    ),
    "adamw": (optax.adamw(RATE, b1=0.0, b2=0.9, weight_decay=0.0), preconditioners.adamw(0.9)),
    "nadam": (optax.nadam(RATE, b1=0.0, b2=0.9, eps=1e-3), preconditioners.nadam(0.9, 1e-3)),
    "yogi": (optax.yogi(RATE, b1=0.0, b2=0.9), preconditioners.yogi(0.9)),
    "amsgrad": (
        optax.amsgrad(RATE, b1=0.0, b2=0.3, eps=1e-3, eps_root=1e-4),
        preconditioners.amsgrad(1e-3, 1e-4),
    ),
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
        np.testing.assert_allclose(
            preconditioner(state), -RATE * gradient / np.asarray(update), rtol=1e-10
        )


@pytest.mark.usefixtures("x64")
def test_adabelief_divides_by_the_deviation():
    b1 = 0.5
    b2 = 0.9
    eps = 1e-3
    eps_root = 1e-4
    tx = optax.adabelief(RATE, b1, b2, eps, eps_root)
    m = 0.0
    v = 0.0
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


WRAPPED = {
    "inject_hyperparams": optax.inject_hyperparams(optax.adam)(learning_rate=RATE),
    "masked": optax.masked(optax.adam(RATE), {"kernel": True}),
    "partition": optax.partition({"all": optax.adam(RATE)}, "all"),
    "MultiSteps": optax.MultiSteps(optax.adam(RATE), 1).gradient_transformation(),
    "apply_if_finite": optax.apply_if_finite(optax.chain(optax.clip(9.0), optax.adam(RATE)), 2),
    "conditionally_mask": optax.conditionally_mask(optax.adam(RATE), lambda step: step < 9),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_metric_is_found_inside_wrappers(name):
    tx = WRAPPED[name]
    params = {"kernel": jnp.zeros(2)}
    _, state = tx.update({"kernel": jnp.full(2, 0.5)}, tx.init(params), params)
    np.testing.assert_allclose(preconditioners.adam()(state)["kernel"], 0.5, rtol=1e-4)
    l1jax.preconditioned_proximal(tx, preconditioners.adam(), l1jax.l1(0.1), RATE).init(params)


@pytest.mark.parametrize(
    ("tx", "preconditioner", "message"),
    [
        (
            optax.contrib.ademamix(1.0),
            preconditioners.adam(),
            r"holds ScaleByAdemamixState, .* give `preconditioners.ademamix\(\)`",
        ),
        (
            optax.novograd(1.0),
            preconditioners.adam(),
            r"holds ScaleByNovogradState, .* give `preconditioners.novograd\(\)`",
        ),
        (
            optax.sm3(1.0),
            preconditioners.rmsprop(),
            "holds ScaleBySM3State, .* there is none for it",
        ),
        (
            optax.adabelief(1.0),
            preconditioners.adam(),
            r"holds ScaleByBeliefState, .* `preconditioners.adabelief\(\)`",
        ),
        (
            optax.adam(1.0),
            preconditioners.adabelief(),
            r"holds ScaleByAdamState, .* give `preconditioners.adam\(\)`",
        ),
        (
            optax.amsgrad(1.0),
            preconditioners.adam(),
            r"holds ScaleByAmsgradState, .* `preconditioners.amsgrad\(\)`",
        ),
        (
            optax.adam(1.0),
            preconditioners.rmsprop(),
            r"holds ScaleByAdamState, .* give `preconditioners.adam\(\)`",
        ),
        (
            optax.rmsprop(1.0, centered=True),
            preconditioners.rmsprop(),
            r"holds ScaleByRStdDevState, .* give `preconditioners.rmsprop\(centered=True\)`",
        ),
        (
            optax.rmsprop(1.0, bias_correction=True),
            preconditioners.rmsprop(),
            r"ScaleByRmsWithCountState, .* give `preconditioners.rmsprop\(bias_correction=True\)`",
        ),
        (
            optax.contrib.schedule_free_adamw(1.0),
            preconditioners.adam(),
            "holds ScaleByRmsWithCountState inside ScheduleFreeState, which makes another update",
        ),
        (
            optax.contrib.schedule_free(optax.adam(1.0), 1.0),
            preconditioners.adam(),
            "holds ScaleByAdamState inside ScheduleFreeState, which makes another update",
        ),
        (
            optax.contrib.mechanize(optax.adam(1.0)),
            preconditioners.adam(),
            "holds ScaleByAdamState inside MechanicState, which makes another update",
        ),
    ],
)
def test_the_type_of_another_optimisers_state_is_named_with_the_preconditioner_for_it(
    tx, preconditioner, message
):
    with pytest.raises(ValueError, match=message):
        l1jax.preconditioned_proximal(tx, preconditioner, l1jax.l1(0.1), 1.0).init(jnp.zeros(2))


def test_leaves_that_another_optimiser_moves_are_named():
    params = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}
    inner = optax.masked(optax.adam(0.1), {"kernel": False, "bias": True})
    tx = l1jax.preconditioned_proximal(inner, preconditioners.adam(), l1jax.l1(0.1), 0.1)
    with pytest.raises(
        ValueError, match=r"no denominator for each entry of \['kernel'\]: `inner` moves "
    ):
        tx.init(params)


@pytest.mark.parametrize(
    ("tx", "preconditioner", "message"),
    [
        (optax.sgd(1.0), preconditioners.adam(), "not 0"),
        (
            optax.rmsprop(1.0),
            preconditioners.adam(),
            r"not 0.* `preconditioners.rmsprop\(\)` for ScaleByRmsState",
        ),
        (optax.adam(1.0), preconditioners.amsgrad(), r"not 0.* such as `preconditioners.adam\(\)"),
        (optax.adam(1.0), preconditioners.adagrad(), "not 0"),
        (optax.chain(optax.adam(1.0), optax.adam(1.0)), preconditioners.adam(), "not 2"),
    ],
)
def test_another_optimisers_state_is_refused(tx, preconditioner, message):
    with pytest.raises(ValueError, match=f"exactly one part with the fields .*{message}"):
        preconditioner(tx.init(jnp.zeros(2)))
