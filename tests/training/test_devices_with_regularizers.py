"""1, 2 and 8 devices train the same model with all regularisers, in parts of the batch too."""

import dataclasses
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l1jax.compilation import jit_once
from l1jax.config import (
    L1,
    Ada,
    Adversarial,
    Balance,
    Config,
    DiffAugment,
    DigitsData,
    MlpGan,
    Optimizer,
    Schedule,
)
from l1jax.data.batches import resident_feed
from l1jax.training.keys import named_seed_key
from l1jax.training.parallel import make_runner
from l1jax.training.task import make_task

SPARSE = Optimizer(
    b2=0.99, penalty=L1(1e-2), learning_rate_schedule=Schedule("cosine", warmup=2, steps=8)
)
FULL = Config(
    data=DigitsData(),
    model=MlpGan(latent_size=4, generator_hidden=(8,), discriminator_hidden=(8,)),
    objective=Adversarial(
        "relativistic_average",
        r1=0.3,
        r2=0.2,
        wgan_gp=1.0,
        dragan=1.0,
        penalty_every=2,
        consistency=1.0,
        lecam=0.1,
        augment=Ada(target=0.0, images=64),
        balance=Balance(every=2, horizon=10),
    ),
    generator=SPARSE,
    discriminator=SPARSE,
    batch_size=16,
    flip=True,
)
EXPERIMENTS = {
    "full": FULL,
    "in parts": dataclasses.replace(
        FULL,
        accumulate=2,
        model=dataclasses.replace(
            FULL.model,
            norm="batch",
            dropout=0.1,
            generator_dropout=0.1,
            discriminator_hidden=(8, 8),
        ),
        objective=Adversarial("hinge", r1=0.3, r2=0.2, augment=DiffAugment()),
    ),
}
STEPS = 5


def images():
    return np.random.default_rng(0).integers(0, 256, (48, 8, 8, 1), np.uint8)


@lru_cache
def trained(name, devices, parallel="shard_map"):
    """The state after a few steps in float64, and the metrics."""
    experiment = EXPERIMENTS[name]
    task = make_task(experiment, (8, 8, 1))
    feed = resident_feed(images(), 0, task.batches_per_step, experiment.batch_size)
    runner = make_runner(task, feed, jax.devices()[:devices], parallel)
    with jax.enable_x64(False):
        start = jax.tree.map(np.asarray, jit_once(task.init)(jax.random.key(1)))

    def wide(leaf):
        return np.asarray(leaf, float if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf.dtype)

    state = runner.replicate(jax.tree.map(wide, start))
    state, metrics = runner.run(
        state, runner.replicate(feed.resident), feed.chunk(0, STEPS), named_seed_key(0, "training")
    )
    return jax.tree.map(np.asarray, (state, metrics))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "devices", "parallel"),
    [("full", 8, "shard_map"), ("in parts", 2, "pmap")],
)
@pytest.mark.usefixtures("x64", "unoptimised")
def test_every_layout_gives_the_same_state(name, devices, parallel):
    alone, metrics = trained(name, 1)
    spread, _ = trained(name, devices, parallel)
    assert metrics["skipped"] == 0
    for a, b in zip(jax.tree.leaves(spread), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    if name == "full":
        moved = alone.controllers
        assert moved.balance.ratio != 0.5
        assert moved.anchors.real != 0
        assert 0 < moved.probability <= 1
