"""Weight decay, Nesterov's moment and the moment's type in `proximal_adam`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import brentq
from transformations import run_updates, tree

import l1jax

RATE = optax.linear_schedule(0.1, 0.02, 5)
DECAY = optax.linear_schedule(0.5, 0.1, 5)


def kernels(params):
    return {"dense": {"kernel": True, "bias": False}, "norm": {"scale": False}}


OPTAX = {
    "adamw": (optax.adamw(RATE, weight_decay=0.3), {"weight_decay": 0.3}),
    "a schedule": (optax.adamw(RATE, weight_decay=DECAY), {"weight_decay": DECAY}),
    "a mask": (
        optax.adamw(RATE, weight_decay=0.3, mask=kernels),
        {"weight_decay": 0.3, "decay_pattern": "kernel"},
    ),
    "nadam": (optax.nadam(RATE), {"nesterov": True}),
    "nadamw": (optax.nadamw(RATE, weight_decay=0.3), {"weight_decay": 0.3, "nesterov": True}),
    "bfloat16": (optax.adam(RATE, mu_dtype=jnp.bfloat16), {"mu_dtype": jnp.bfloat16}),
    "all": (
        optax.nadamw(RATE, weight_decay=0.3, mu_dtype=jnp.bfloat16),
        {"weight_decay": 0.3, "nesterov": True, "mu_dtype": jnp.bfloat16},
    ),
}


@pytest.mark.parametrize("name", OPTAX)
def test_without_strength_it_is_optax(name):
    theirs, options = OPTAX[name]
    ours = l1jax.proximal_adam(RATE, l1jax.l1(0.0), **options)
    gradients = [tree(seed) for seed in (1, 2, 3, 4)]
    expected, expected_state = run_updates(theirs, tree(0), gradients)
    actual, state = run_updates(ours, tree(0), gradients)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), actual, expected
    )
    moment = state.inner[0].mu["dense"]["kernel"]
    assert moment.dtype == expected_state[0].mu["dense"]["kernel"].dtype
    np.testing.assert_array_equal(moment, expected_state[0].mu["dense"]["kernel"])


CENTER = np.array([2.0, -1.5, 0.8, 0.25, -0.1, 0.0])
CURVATURE = np.array([1.0, 0.5, 2.0, 1.0, 3.0, 1.0])
STRENGTH = 0.4
WEIGHT_DECAY = 0.3


def optimum():
    """Where g + w|g|x + λ sign x = 0, or x = 0 and |g| ≤ λ: Adam's root is |g| in the end."""
    found = []
    for center, curvature in zip(np.abs(CENTER), CURVATURE, strict=True):

        def slope(x, center=center, curvature=curvature):
            gradient = curvature * (x - center)
            return gradient + WEIGHT_DECAY * abs(gradient) * x + STRENGTH

        found.append(brentq(slope, 0, center) if slope(0.0) < 0 else 0.0)
    return np.sign(CENTER) * found


def run_to_the_end(tx):
    rate_of_change = jnp.asarray(CURVATURE).reshape(-1, 1)
    center = jnp.asarray(CENTER).reshape(-1, 1)

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(rate_of_change * (params - center), state, params)
        return (optax.apply_updates(params, updates), state), None

    start = jnp.ones_like(center)
    (params, _), _ = jax.lax.scan(step, (start, tx.init(start)), length=2000)
    return np.ravel(params)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "options", [{}, {"nesterov": True}, {"per_group": True}], ids=["plain", "nesterov", "per group"]
)
def test_decay_stands_beside_the_penalty_in_adams_metric(options):
    penalty = l1jax.group_l1(STRENGTH, 1) if "per_group" in options else l1jax.l1(STRENGTH)
    rate = optax.exponential_decay(0.05, 100, 0.5)
    tx = l1jax.proximal_adam(rate, penalty, b2=0.9, weight_decay=WEIGHT_DECAY, **options)
    expected = optimum()
    assert (expected == 0).sum() == 3
    actual = run_to_the_end(tx)
    np.testing.assert_array_equal(actual == 0, expected == 0)
    np.testing.assert_allclose(actual, expected, atol=1e-4)


@pytest.mark.usefixtures("x64")
def test_an_l2_penalty_is_another_thing():
    rate = optax.exponential_decay(0.05, 100, 0.5)
    tx = l1jax.proximal_adam(rate, l1jax.elastic_net(STRENGTH, WEIGHT_DECAY), b2=0.9)
    shrunk = np.maximum(CURVATURE * np.abs(CENTER) - STRENGTH, 0) / (CURVATURE + WEIGHT_DECAY)
    np.testing.assert_allclose(run_to_the_end(tx), np.sign(CENTER) * shrunk, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_decay": -0.1}, r"`weight_decay` \(=-0.1\)"),
        ({"weight_decay": float("nan")}, r"`weight_decay` \(=nan\)"),
        ({"decay_pattern": "("}, r"`decay_pattern` \(='\('\) must be a regular expression"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        l1jax.proximal_adam(0.1, l1jax.l1(0.1), **options)


def test_a_pattern_without_a_leaf_is_refused():
    tx = l1jax.proximal_adam(0.1, l1jax.l1(0.1), weight_decay=0.1, decay_pattern="kernal")
    with pytest.raises(ValueError, match=r"`decay_pattern` \(='kernal'\) must match"):
        tx.init(tree(0))
