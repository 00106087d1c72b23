"""The balance ratio, and the controller on a simple model of how a GAN responds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l1jax.config import L1, Adversarial, Balance, Config, MixtureData, MlpGan, Optimizer
from l1jax.data.batches import resident_feed
from l1jax.training.controllers import (
    MIN_SCALE,
    Balancer,
    balance_ratio,
    init_controllers,
    update_balance_state,
)
from l1jax.training.keys import named_seed_key
from l1jax.training.parallel import make_runner
from l1jax.training.task import make_task


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
    # A stronger penalty weakens the discriminator, so an update of the generator closes more of
    # the gap: s/(s + middle).
    balancer = Balancer(low=0.45, high=0.55, every=10, horizon=200)
    state, scales = init_controllers(balancer=balancer).balance, []
    noise = np.random.default_rng(0).normal(0, 0.02, 400)
    for disturbance in noise:
        scale = float(jnp.exp(state.log_scale))
        state = update_balance_state(
            balancer, state, jnp.asarray(scale / (scale + middle) + disturbance)
        )
        scales.append(scale)
    settled = np.array(scales[-100:])
    assert np.all((settled / (settled + middle) > 0.42) & (settled / (settled + middle) < 0.58))


def test_the_scale_changes_tenfold_in_a_horizon_and_stays_within_bounds():
    balancer = Balancer(every=10, horizon=200)
    state = init_controllers(balancer=balancer).balance
    for _ in range(20):
        state = update_balance_state(balancer, state, jnp.asarray(0.0))
    np.testing.assert_allclose(state.log_scale, np.log(10), rtol=1e-5)
    for _ in range(200):
        state = update_balance_state(balancer, state, jnp.asarray(1.0))
    np.testing.assert_allclose(state.log_scale, np.log(MIN_SCALE), rtol=1e-5)


def test_the_scale_does_not_rise_where_it_is_limited_but_falls():
    state = init_controllers(balancer=(balancer := Balancer(every=10, horizon=200))).balance
    for ratio, moved in ((0.0, 0.0), (1.0, -np.log(10) / 20)):
        state = update_balance_state(balancer, state, jnp.asarray(ratio), jnp.asarray(True))
        state = update_balance_state(
            balancer, state._replace(log_scale=jnp.zeros(())), jnp.asarray(ratio), jnp.asarray(True)
        )
        np.testing.assert_allclose(state.log_scale, moved, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("max_sparsity", "least", "most"),
    [(0.5, 0.4, 0.6), pytest.param(1.0, 0.99, 1.0, marks=pytest.mark.slow)],
)
def test_a_discriminator_that_is_always_too_strong_keeps_its_share_of_entries(
    max_sparsity, least, most
):
    # Without a limit it ends as nothing but zeros, and no gradient reaches anything any more.
    adversary = Optimizer(1e-3, penalty=L1(1e-4), sparsity_horizon=200)
    balance = Balance(low=1.0, high=1.0, every=5, horizon=200, max_sparsity=max_sparsity)
    experiment = Config(
        data=MixtureData("ring"),
        model=MlpGan(
            latent_size=2, generator_hidden=(16,), discriminator_hidden=(16, 16), output="linear"
        ),
        objective=Adversarial(balance=balance),
        generator=Optimizer(1e-5),
        discriminator=adversary,
        batch_size=32,
    )
    points = np.random.default_rng(0).normal(size=(256, 1, 1, 2)).astype(np.float32) + 1
    task = make_task(experiment, points.shape[1:])
    feed = resident_feed(points, 0, task.batches_per_step, experiment.batch_size)
    runner = make_runner(task, feed, jax.devices()[:1])
    state = runner.replicate(jax.jit(task.init)(jax.random.key(0)))
    shares = []
    for begin in range(0, 3_000, 100):
        state, _ = runner.run(
            state,
            runner.replicate(feed.resident),
            feed.chunk(begin, 100),
            named_seed_key(0, "training"),
        )
        kernels = [leaf for leaf in jax.tree.leaves(state.discriminator.params) if leaf.ndim > 1]
        shares.append(
            sum(int(jnp.sum(leaf == 0)) for leaf in kernels) / sum(leaf.size for leaf in kernels)
        )
    assert least <= np.mean(shares[-10:]) <= most, shares


def test_what_is_not_used_has_no_state():
    assert init_controllers() == (None, None, None)
