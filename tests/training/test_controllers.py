"""The balance ratio, and the controller on a plant that answers as a game would."""

import jax.numpy as jnp
import numpy as np
import pytest

from l1jax.training.controllers import BOUNDS, Balancer, balance_ratio, init_controllers, move_balance


@pytest.mark.parametrize(
    ("before", "after", "real", "ratio"),
    [
        (-1.0, 0.5, 2.0, 0.5),
        (-1.0, -1.5, 2.0, 0.0),  # a step back closes nothing
        (-1.0, 3.0, 2.0, 1.0),
        (2.0, 2.5, 1.0, 1.0),  # no gap is left
        (1.0, 1.0, 1.0, 1.0),
    ],
)
def test_the_ratio_is_the_part_of_the_gap_that_an_update_closes(before, after, real, ratio):
    assert balance_ratio(*map(jnp.asarray, (before, after, real))) == ratio


@pytest.mark.parametrize("middle", [0.01, 1.0, 100.0])
def test_the_scale_comes_to_where_the_ratio_is_within_bounds_and_rests(middle):
    # A stronger penalty weakens the discriminator, so an update of the generator closes more: s/(s + middle).
    balancer = Balancer(low=0.45, high=0.55, every=10, horizon=200)
    state, scales = init_controllers(balance=balancer).balance, []
    noise = np.random.default_rng(0).normal(0, 0.02, 400)
    for disturbance in noise:
        scale = float(jnp.exp(state.log_scale))
        state = move_balance(balancer, state, jnp.asarray(scale / (scale + middle) + disturbance))
        scales.append(scale)
    settled = np.array(scales[-100:])
    assert np.all((settled / (settled + middle) > 0.42) & (settled / (settled + middle) < 0.58))


def test_the_scale_changes_tenfold_in_a_horizon_and_stays_within_bounds():
    balancer = Balancer(every=10, horizon=200)
    state = init_controllers(balance=balancer).balance
    for _ in range(20):
        state = move_balance(balancer, state, jnp.asarray(0.0))
    np.testing.assert_allclose(state.log_scale, np.log(10), rtol=1e-5)
    for _ in range(200):
        state = move_balance(balancer, state, jnp.asarray(1.0))
    np.testing.assert_allclose(state.log_scale, np.log(BOUNDS[0]), rtol=1e-5)


def test_what_is_not_used_has_no_state():
    assert init_controllers() == (None, None, None)
