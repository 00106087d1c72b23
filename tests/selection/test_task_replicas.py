"""A replica of the path is the run that trains alone."""

from dataclasses import replace
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fast_cases import slow_except
from small_paths import GAN, VAE, digits

from l1jax.build import image_shape
from l1jax.config import L1, ElasticNet
from l1jax.data.batches import resident_feed
from l1jax.selection.experiments import with_strength
from l1jax.selection.task_replicas import (
    ImageExamples,
    image_fold_feed,
    select_replica,
    select_strengths,
    vectorize_task,
)
from l1jax.training.keys import named_seed_key
from l1jax.training.parallel import make_runner
from l1jax.training.state import NO_WEIGHTS, Average, GeneratorState, NetworkState
from l1jax.training.task import make_task

STRENGTHS = (0.0, 1e-3, 1e-2, 1e-1)
STEPS = 20
TRAINING = [np.arange(0, 300), np.arange(100, 500)]
ELASTIC = replace(GAN, generator=replace(GAN.generator, penalty=ElasticNet(1e-2, 5e-3)))


def in_double_precision(task):
    def init(key, weights=NO_WEIGHTS):
        return jax.tree.map(
            lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x,
            task.init(key, weights),
        )

    return task._replace(init=init)


@lru_cache
def alone(experiment, fold):
    """What the training loop makes of a fold's images, on one device."""
    images, labels = (values[TRAINING[fold]] for values in digits()[:2])
    task = in_double_precision(make_task(experiment, image_shape(experiment.data)))
    feed = resident_feed(
        images, experiment.seed, task.batches_per_step, experiment.batch_size, labels
    )
    runner = make_runner(task, feed, jax.devices()[:1])
    state = runner.replicate(jax.jit(task.init)(named_seed_key(experiment.seed, "parameters")))
    chunk = runner.put(feed.chunk(0, STEPS))
    return jax.device_get(
        runner.run(
            state,
            runner.replicate(feed.resident),
            chunk,
            named_seed_key(experiment.seed, "training"),
        )[0]
    )


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("experiment", "devices"), [(GAN, 8), (VAE, 1), (ELASTIC, 1)])
def test_every_replica_ends_as_training_alone_does(experiment, devices):
    images, labels, _ = digits()
    unit = with_strength(experiment, "generator", 1.0)
    task = in_double_precision(make_task(unit, image_shape(unit.data)))
    feed = image_fold_feed(
        ImageExamples(images, labels),
        TRAINING,
        seed=unit.seed,
        batches_per_step=task.batches_per_step,
        batch_size=unit.batch_size,
    )
    replicas = vectorize_task(
        task,
        len(STRENGTHS),
        feed,
        network="generator",
        start=named_seed_key(unit.seed, "parameters"),
        devices=jax.devices()[:devices],  # eight: four along the strengths, two along the batch
    )
    states, metrics = replicas.run(
        replicas.init(np.asarray(STRENGTHS)),
        feed.resident,
        replicas.put(feed.chunk(0, STEPS)),
        named_seed_key(unit.seed, "training"),
    )
    states = jax.device_get(states)
    assert metrics["skipped"].shape == (2, len(STRENGTHS))
    for fold, strength in [(0, 1), (1, 3)]:
        wanted = with_strength(experiment, "generator", STRENGTHS[strength])
        expected = alone(wanted, fold)
        replica = select_replica(states, fold, strength)
        for a, b in zip(
            jax.tree.leaves(replica.generator.params),
            jax.tree.leaves(expected.generator.params),
            strict=True,
        ):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)
            np.testing.assert_array_equal(a == 0, b == 0)
        for a, b in zip(
            jax.tree.leaves(replica.average), jax.tree.leaves(expected.average), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)
    zeros = np.mean(states.generator.params["hidden_0"]["kernel"] == 0, axis=(0, 2, 3))
    assert zeros[0] == 0 < zeros[-1], (
        "the strengths must do something for this test to say anything"
    )


def test_the_selected_strengths_are_those_asked_for():
    rows = jnp.arange(6.0).reshape(2, 3)  # folds, strengths
    states = GeneratorState(
        jnp.asarray(5), NetworkState({"kernel": rows}, {}, ()), Average({"kernel": rows}, {})
    )
    selected = select_strengths(states, [0, 2])
    np.testing.assert_array_equal(selected.generator.params["kernel"], [[0, 2], [3, 5]])
    assert select_replica(selected, 1, 1).average.params["kernel"] == 5
    assert select_replica(selected, 1, 1).step == 5


def test_further_strengths_keep_their_ratio():
    changed = with_strength(ELASTIC, "generator", 0.2).generator.penalty
    assert changed == ElasticNet(0.2, 0.1)
    assert with_strength(GAN, "generator", 0.2).generator.penalty == L1(0.2)


@pytest.mark.parametrize("method", slow_except(["metric", "magnitude"], "metric"))
def test_without_a_network_the_tasks_own_strength_stays(method):
    """As a grid of another number needs it; magnitude pruning has no strength at all."""
    generator = replace(GAN.generator, method=method, penalty=L1(0.25))
    if method == "magnitude":
        generator = replace(generator, penalty=L1(), sparsity_target=0.5)
    task = make_task(replace(GAN, generator=generator), image_shape(GAN.data))
    images, labels, _ = digits()
    feed = image_fold_feed(
        ImageExamples(images, labels),
        [np.arange(9)],
        seed=0,
        batches_per_step=task.batches_per_step,
        batch_size=8,
    )
    start = jax.random.key(3)
    replicas = vectorize_task(task, 1, feed, network=None, start=start, devices=jax.devices()[:1])
    state = select_replica(replicas.init(np.ones(1)), 0, 0)
    jax.tree.map(np.testing.assert_array_equal, state, jax.jit(task.init)(start))
