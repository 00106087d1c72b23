"""Numbers that change over the steps: γ, b2, the average's half-life, the augmentation."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from l1jax.build import example_shape
from l1jax.build_optimizer import build_optimizer, build_ramp
from l1jax.compilation import jit_once
from l1jax.config import (
    L1,
    Adversarial,
    Config,
    DigitsData,
    InputError,
    MlpGan,
    Optimizer,
    Ramp,
    RampedAda,
)
from l1jax.data.batches import resident_feed
from l1jax.training.parallel import make_runner
from l1jax.training.task import make_task

RNG = np.random.default_rng(0)
IMAGES = np.random.default_rng(1).integers(0, 256, (32, 8, 8, 1)).astype(np.uint8)


def published(step, start, end, steps):
    """The cosine of the R3GAN paper, in its authors' form."""
    decay = 0.5 * (1 + math.cos(math.pi * step / steps))
    return end if step > steps else start + (1 - decay) * (end - start)


@pytest.mark.parametrize(("start", "end"), [(0.05, 0.005), (0.9, 0.99), (0.0, 5e6)])
def test_a_ramp_is_the_published_cosine(start, end):
    ramp = build_ramp(start, Ramp(80, end), updates_per_step=2)
    for step in (0, 1, 20, 40, 79, 80, 200):
        expected = published(step, start, end, 80)
        tolerance = 1e-6 * abs(end - start)
        np.testing.assert_allclose(ramp(2 * step), expected, rtol=2e-6, atol=tolerance)
        np.testing.assert_allclose(ramp(2 * step + 1), expected, rtol=2e-6, atol=tolerance)
    assert build_ramp(start, Ramp(0, end)) == start
    np.testing.assert_allclose(build_ramp(1.0, Ramp(10, 3.0, "linear"))(4), 1.8, rtol=1e-6)


@pytest.mark.parametrize("strength", [0.0, 0.3])
@pytest.mark.parametrize("algorithm", ["adam", "rmsprop"])
def test_b2_is_that_of_the_step(algorithm, strength):
    optimizer = Optimizer(
        learning_rate=0.1, algorithm=algorithm, b1=0.4, b2=0.5, b2_ramp=Ramp(3, 0.9),
        penalty=L1(strength), penalised=".",
    )  # fmt: skip
    tx = build_optimizer(optimizer)
    x = np.array([2.0, -1.0, 0.01])
    params = {"kernel": jnp.asarray(x)}
    state = tx.init(params)
    mean = np.zeros(3)
    square = np.zeros(3)
    for step in range(5):
        grads = RNG.normal(size=3)
        b2 = published(step, 0.5, 0.9, 3)
        square = b2 * square + (1 - b2) * grads**2
        if algorithm == "adam":
            mean = 0.4 * mean + 0.6 * grads
            denominator = np.sqrt(square / (1 - b2 ** (step + 1))) + 1e-8
            direction = mean / (1 - 0.4 ** (step + 1)) / denominator
        else:
            denominator = np.sqrt(square) + 1e-8
            direction = grads / denominator
        moved = x - 0.1 * direction
        x = np.sign(moved) * np.maximum(np.abs(moved) - 0.1 * strength / denominator, 0)
        updates, state = tx.update({"kernel": jnp.asarray(grads, jnp.float32)}, state, params)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(params["kernel"], x, rtol=1e-4, atol=1e-5)


PLAIN = Optimizer(learning_rate=1.0, algorithm="sgd")  # whose first step has the gradient's size
EXPERIMENT = Config(
    data=DigitsData(),
    model=MlpGan(latent_size=3, generator_hidden=(6,), discriminator_hidden=(6,)),
    generator=PLAIN,
    discriminator=PLAIN,
    batch_size=8,
    ema_half_life=16.0,
)


def step_from(experiment, first):
    """The state after one step that begins at this step, from weights that are no start."""
    task = make_task(experiment, example_shape(experiment.data))
    feed = resident_feed(IMAGES, seed=0, draws=1, batch_size=8)
    runner = make_runner(task, feed, jax.devices()[:1])
    state = jit_once(task.init)(jax.random.key(0))._replace(step=jnp.asarray(first, jnp.int32))
    average = jax.tree.map(lambda leaf: leaf + 1, state.average)
    state = runner.replicate(state._replace(average=average))
    state, _ = runner.run(
        state, runner.replicate(feed.resident), feed.chunk(first, 1), jax.random.key(1)
    )
    return jax.device_get((state.generator.params, state.discriminator.params, state.average))


@pytest.mark.slow
@pytest.mark.usefixtures("one_device")
def test_a_step_has_the_numbers_of_its_step():
    first = 30
    objective = Adversarial("relativistic_pairing", r1=0.4, r2=0.8)
    ramped = replace(
        EXPERIMENT,
        objective=replace(
            objective,
            gamma_ramp=Ramp(80, 0.1),
            augment=RampedAda(0.2, Ramp(80, 0.9)),
        ),
        ema_ramp=Ramp(80, 24.0),
    )
    gamma = published(first, 0.4, 0.1, 80)
    constant = replace(
        EXPERIMENT,
        objective=replace(
            objective,
            r1=gamma,
            r2=2 * gamma,
            augment=RampedAda(published(first, 0.2, 0.9, 80)),
        ),
        ema_half_life=published(first, 16.0, 24.0, 80),
    )
    found = step_from(ramped, first)
    expected = step_from(constant, first)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    other = replace(constant, objective=replace(constant.objective, r1=0.4), ema_half_life=16.0)
    for part, changed in zip(found[1:], step_from(other, first)[1:], strict=True):
        leaves = zip(jax.tree.leaves(part), jax.tree.leaves(changed), strict=True)
        assert max(np.abs(a - b).max() for a, b in leaves) > 1e-3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"objective": Adversarial(gamma_ramp=Ramp(9, 1.0))}, "changes γ, which is 0"),
        ({"objective": Adversarial(augment=RampedAda(0.1, Ramp(9, 1.5)))}, "at most 1"),
        ({"generator": Optimizer(b2_ramp=Ramp(9, 1.0))}, "below 1"),
        ({"generator": Optimizer(algorithm="sgd", b2_ramp=Ramp(9, 0.9))}, "adam or rmsprop"),
    ],
)
def test_a_ramp_that_leads_nowhere_is_refused(change, words):
    experiment = replace(EXPERIMENT, **change)
    with pytest.raises(InputError, match=r"`[\w.]+` \(=[\w.]+\)") as caught:
        make_task(experiment, example_shape(experiment.data))
    assert words in str(caught.value)
