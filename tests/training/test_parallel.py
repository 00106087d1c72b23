"""1, 2 and 8 devices, shard_map and pmap, train the same model."""

import dataclasses
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from l1jax.build import example_shape
from l1jax.compilation import jit_once
from l1jax.config import (
    L1,
    Adversarial,
    Config,
    Dcgan,
    DenseGenerator,
    DigitsData,
    FlowMatching,
    FlowMlp,
    MeanFlow,
    MlpGan,
    NextToken,
    Optimizer,
    Reconstruction,
    TonesData,
    TopicsData,
    Transformer,
)
from l1jax.data.batches import Batch, load_all, resident_feed
from l1jax.data.opening import open_source
from l1jax.data.text_batches import text_feed
from l1jax.data.text_source import open_corpus
from l1jax.training.keys import named_seed_key
from l1jax.training.parallel import make_runner, mean_metrics, network_metrics
from l1jax.training.task import make_task

SPARSE = Optimizer(learning_rate=2e-4, b2=0.99, penalty=L1(1e-2))
SMOOTH = dataclasses.replace(SPARSE, eps=1e-4)
EXPERIMENTS = {
    # Batch norm in both networks, and under a gradient penalty: statistics and their derivatives
    # cross devices.
    "dcgan": Config(
        data=DigitsData(image_size=16),
        model=Dcgan(latent_size=8, channels=4),
        objective=Adversarial("non_saturating", r1=0.1),
        generator=SPARSE,
        discriminator=SPARSE,
        batch_size=16,
    ),
    # For float32: without the kinks that a gradient penalty differentiates twice, and with an eps
    # that keeps Adam from making a full step of a gradient that is rounding error.
    "dcgan_plain": Config(
        data=DigitsData(image_size=16),
        model=Dcgan(latent_size=8, channels=4),
        objective=Adversarial("non_saturating"),
        generator=SMOOTH,
        discriminator=SMOOTH,
        batch_size=16,
    ),
    "mlp": Config(
        data=DigitsData(image_size=16),
        model=MlpGan(latent_size=8, generator_hidden=(16,), discriminator_hidden=(16,)),
        objective=Adversarial("relativistic_pairing", r1=0.3, r2=0.3, n_critic=2),
        generator=SPARSE,
        discriminator=SPARSE,
        batch_size=16,
    ),
    "dense_generator": Config(
        data=DigitsData(image_size=16),
        model=DenseGenerator(latent_size=8, hidden=(16,), generator_dropout=0.2),
        objective=Reconstruction(activity_strength=0.01),
        generator=SPARSE,
        discriminator=None,
        batch_size=16,
    ),
    "flow": Config(
        data=DigitsData(image_size=16),
        model=FlowMlp(hidden=(16,), time_features=4, classes=10, generator_dropout=0.2),
        objective=FlowMatching(label_dropout=0.3),
        generator=SPARSE,
        discriminator=None,
        batch_size=16,
    ),
    "mean flow": Config(
        data=DigitsData(image_size=16),
        model=FlowMlp(hidden=(16,), time_features=4, classes=10, average_velocity=True),
        objective=MeanFlow(label_dropout=0.3, guidance=0.5),
        generator=SPARSE,
        discriminator=None,
        batch_size=16,
    ),
    "sound": Config(
        data=TonesData(count=48, mels=8, frames=12),
        model=MlpGan(latent_size=4, generator_hidden=(8,), discriminator_hidden=(8,), classes=8),
        objective=Adversarial("non_saturating"),
        generator=SPARSE,
        discriminator=SPARSE,
        batch_size=16,
    ),
    "transformer": Config(
        data=TopicsData(window=6),
        model=Transformer(width=8, layers=1, heads=2, context=5, dropout=0.2, drop_path=0.2),
        objective=NextToken(),
        generator=SPARSE,
        discriminator=None,
        batch_size=16,
    ),
}


TOLERANCE = {"transformer": 1e-6}  # JAX computes the softmax of attention in float32 always
LAYOUTS = [(2, "shard_map"), (8, "shard_map"), (1, "pmap"), (2, "pmap"), (8, "pmap")]
CASES = [
    ("mlp", 8, "shard_map"),
    ("dense_generator", 2, "pmap"),
    pytest.param("flow", 8, "shard_map", marks=pytest.mark.slow),
    pytest.param("mean flow", 8, "shard_map", marks=pytest.mark.slow),
    pytest.param("transformer", 2, "shard_map", marks=pytest.mark.slow),
    pytest.param("sound", 8, "shard_map", marks=pytest.mark.slow),
]  # what is theirs alone, not every layout again


def images():
    return np.random.default_rng(0).integers(0, 256, (48, 16, 16, 1), np.uint8)


def feed_of(name):
    experiment = EXPERIMENTS[name]
    if isinstance(experiment.data, TopicsData):
        return text_feed(
            open_corpus(experiment.data), experiment.data.window, 0, experiment.batch_size, 2**30
        )
    if isinstance(experiment.data, TonesData):
        source = open_source(experiment.data)
        return resident_feed(load_all(source), 0, 1, experiment.batch_size, source.labels)
    draws = getattr(experiment.objective, "n_critic", 1)
    return resident_feed(images(), experiment.seed, draws, experiment.batch_size)


@lru_cache
def trained(name, devices, parallel, dtype):
    """State after 1 and after 20 steps, computed in `dtype` from the same start."""
    experiment = EXPERIMENTS[name]
    task = make_task(experiment, example_shape(experiment.data))
    feed = feed_of(name)
    runner = make_runner(task, feed, jax.devices()[:devices], parallel)

    def cast(leaf):
        return np.asarray(leaf, dtype if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf.dtype)

    state, resident = (
        runner.replicate(jax.tree.map(cast, start(name))),
        runner.replicate(feed.resident),
    )
    states = []
    for step in range(20):
        state, _ = runner.run(
            state, resident, feed.chunk(step, 1), named_seed_key(experiment.seed, "training")
        )
        states.append(jax.tree.map(np.asarray, state))
    return states[0], states[-1]


@lru_cache
def start(name):
    """Start from a key with which rounding decides the side of no ReLU's kink."""
    with jax.enable_x64(False):
        task = make_task(EXPERIMENTS[name], example_shape(EXPERIMENTS[name].data))
        return jax.tree.map(np.asarray, jit_once(task.init)(jax.random.key(3)))


def relative_error(a, b):
    def norm(tree):
        squares = [float(np.sum(np.square(leaf, dtype=float))) for leaf in jax.tree.leaves(tree)]
        return np.sqrt(sum(squares))

    return norm(jax.tree.map(lambda x, y: np.asarray(x, float) - y, a, b)) / max(norm(b), 1e-300)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "devices", "parallel"),
    [
        *(pytest.param("dcgan", *layout, marks=pytest.mark.slow) for layout in LAYOUTS),
        *CASES,
    ],
)
@pytest.mark.usefixtures("x64", "unoptimised")
def test_in_float64_every_layout_gives_the_same_state_and_the_same_zeros(name, devices, parallel):
    """All layouts of the network that synchronises most, and one of each other network."""
    _, alone = trained(name, 1, "shard_map", "float64")
    _, spread = trained(name, devices, parallel, "float64")
    for a, b in zip(jax.tree.leaves(spread), jax.tree.leaves(alone), strict=True):
        assert a.dtype == b.dtype
    for field in alone._fields:  # parameters, moments, statistics and average, each by itself
        for part, expected in zip(
            _parts(getattr(spread, field)), _parts(getattr(alone, field)), strict=True
        ):
            assert relative_error(part, expected) <= TOLERANCE.get(name, 1e-12)
    zeros = [leaf == 0 for leaf in jax.tree.leaves(alone.generator.params)]
    assert 0 < sum(z.sum() for z in zeros) < sum(z.size for z in zeros), (
        "the penalty must leave some zeros here"
    )
    for a, b in zip(jax.tree.leaves(spread), jax.tree.leaves(alone), strict=True):
        np.testing.assert_array_equal(a == 0, b == 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "devices", "parallel"),
    [("dcgan_plain", 2, "shard_map"), ("dcgan_plain", 8, "pmap"), CASES[0]],
)
@pytest.mark.usefixtures("optimised")
def test_in_float32_one_step_gradients_and_twenty_steps_agree(name, devices, parallel):
    """Both numbers of devices and both mappings; the test in float64 has all pairs."""
    # After one step Adam's first moment is (1 − b1)·gradient, which is more than its sign.
    first, alone = trained(name, 1, "shard_map", "float32")
    first_spread, spread = trained(name, devices, parallel, "float32")
    for network in ("generator", "discriminator"):
        if hasattr(first, network):
            moments = [
                optax.tree.get(getattr(s, network).opt_state, "mu") for s in (first_spread, first)
            ]
            assert relative_error(*moments) <= 1e-5
    assert relative_error(spread.generator.params, alone.generator.params) <= 1e-4


@pytest.mark.slow
def test_a_chunk_of_steps_equals_its_steps_one_by_one():
    experiment = EXPERIMENTS["mlp"]
    task = make_task(experiment, (16, 16, 1))
    feed = resident_feed(images(), 0, task.batches_per_step, experiment.batch_size)
    runner = make_runner(task, feed, jax.devices()[:1])
    ends = []
    for lengths in ([4], [1] * 4):
        state, first = runner.replicate(start("mlp")), 0
        for length in lengths:
            state, _ = runner.run(
                state,
                runner.replicate(feed.resident),
                feed.chunk(first, length),
                named_seed_key(0, "t"),
            )
            first += length
        ends.append(jax.tree.map(np.asarray, state))
    jax.tree.map(np.testing.assert_array_equal, *ends)


@pytest.mark.slow
def test_the_second_call_does_not_compile_again():
    experiment = EXPERIMENTS["mlp"]
    task = make_task(experiment, (16, 16, 1))
    traced = []
    step = task.step

    def counting(state, batch: Batch, key):
        traced.append(1)
        return step(state, batch, key)

    task = task._replace(step=counting)
    feed = resident_feed(images(), 0, task.batches_per_step, experiment.batch_size)
    runner = make_runner(task, feed, jax.devices()[:2])
    state = runner.replicate(start("mlp"))
    resident = runner.replicate(feed.resident)
    state, _ = runner.run(state, resident, feed.chunk(0, 3), named_seed_key(0, "t"))
    first = len(traced)
    for i in (3, 6):
        state, _ = runner.run(state, resident, feed.chunk(i, 3), named_seed_key(0, "t"))
    assert len(traced) == first


def test_metrics_are_means_over_the_steps_that_were_taken():
    metrics = {"loss": jnp.asarray([1.0, np.nan, 3.0]), "step_taken": jnp.asarray([1.0, 0.0, 1.0])}
    assert {k: float(v) for k, v in mean_metrics(metrics).items()} == {"loss": 2.0, "skipped": 1.0}


@pytest.mark.parametrize("method", ["metric", "plain", "subgradient"])
def test_the_strength_in_force_is_read_from_the_state(method):
    sparse = dataclasses.replace(SPARSE, method=method, penalty=L1(0.5))
    task = make_task(dataclasses.replace(EXPERIMENTS["mlp"], generator=sparse), (16, 16, 1))
    assert (
        float(network_metrics(task, jax.jit(task.init)(jax.random.key(0)))["generator/strength"])
        == 0.5
    )


def test_a_network_without_a_penalty_has_no_strength():
    task = make_task(EXPERIMENTS["mlp"], (16, 16, 1))
    state = jax.jit(task.init)(jax.random.key(0))
    network = state.discriminator._replace(
        opt_state=optax.adam(1e-3).init(state.discriminator.params)
    )
    metrics = network_metrics(task, state._replace(discriminator=network))
    names = [name for name in metrics if "/strength" in name]
    assert names == ["generator/strength"]
    assert "discriminator/sparsity" in metrics


def _parts(field):
    return list(field) if isinstance(field, tuple) else [field]
