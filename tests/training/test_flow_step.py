"""A flow step whose images are paired with noise, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from scipy.optimize import linear_sum_assignment

from l1jax.config import (
    Config,
    DenseGenerator,
    DigitsData,
    FlowMatching,
    FlowMlp,
    InputError,
    MeanFlow,
    MixtureData,
)
from l1jax.data.batches import Batch
from l1jax.models import flow_mlp
from l1jax.models.network import AXIS
from l1jax.objectives.flow_matching import Pairing, draw_times
from l1jax.objectives.mean_flow import draw_intervals
from l1jax.training.flow_step import make_flow_step
from l1jax.training.keys import named_key
from l1jax.training.reconstruction_step import init_generator
from l1jax.training.task import make_task

BATCH, KEY, TX = 16, jax.random.key(7), optax.sgd(0.0)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 1])
def test_paired_ways_are_as_short_as_they_can_be(devices):
    """A network that predicts no velocity has the mean squared way as its loss."""
    flow = flow_mlp((1, 1, 3), (4,), 2, "velocity", "linear")
    state = init_generator(flow.generator, TX, jax.random.key(1))
    zeros = jax.tree.map(jnp.zeros_like, state.generator.params)
    state = state._replace(generator=state.generator._replace(params=zeros))
    image = np.random.default_rng(0).normal(size=(BATCH, 1, 1, 3)).astype(np.float32)
    nothing = jnp.zeros((1, BATCH), jnp.int32)
    batch = Batch(jnp.asarray(image[None]), nothing, nothing)
    mesh = Mesh(np.asarray(jax.devices()[:devices]), (AXIS,))
    noise = np.asarray(jax.random.normal(named_key(KEY, "noise"), image.shape))
    ways = ((image[:, None] - noise) ** 2).mean((2, 3, 4))
    expected: dict[Pairing, float] = {
        "independent": np.trace(ways) / BATCH,
        "optimal": ways[linear_sum_assignment(ways)].mean(),
    }
    for pairing, shortest in expected.items():
        step = make_flow_step(flow, TX, pairing=pairing)
        specs = (P(), P(None, AXIS), P())
        run = jax.jit(jax.shard_map(step, mesh=mesh, in_specs=specs, out_specs=P()))
        _, metrics = run(state, batch, KEY)
        assert metrics["generator/loss"] == pytest.approx(shortest, rel=1e-3)


@pytest.mark.slow
def test_velocities_are_learned_at_times_with_guidance_and_averages_from_their_parts():
    """A network that predicts none is right about the averages, and wrong about the velocities."""
    flow = flow_mlp((1, 1, 3), (4,), 2, "velocity", "linear", 2, average_velocity=True)
    state = init_generator(flow.generator, TX, jax.random.key(1))
    zeros = jax.tree.map(jnp.zeros_like, state.generator.params)
    state = state._replace(generator=state.generator._replace(params=zeros))
    image = np.random.default_rng(0).normal(size=(BATCH, 1, 1, 3)).astype(np.float32)
    label = jnp.zeros((1, BATCH), jnp.int32)
    batch = Batch(jnp.asarray(image[None]), label, label)
    step = make_flow_step(flow, TX, label_dropout=0.4, instants=0.5, whole=0.2, guidance=2.0)
    mesh = Mesh(np.asarray(jax.devices()[:1]), (AXIS,))
    run = jax.jit(jax.shard_map(step, mesh=mesh, in_specs=(P(), P(None, AXIS), P()), out_specs=P()))
    _, metrics = run(state, batch, KEY)

    noise = np.asarray(jax.random.normal(named_key(KEY, "noise"), image.shape))
    dropped = jax.random.bernoulli(named_key(KEY, "labels"), 0.4, (BATCH,))
    times = draw_times(named_key(KEY, "times"), BATCH)
    _, length, _ = draw_intervals(named_key(KEY, "intervals"), times, 0.5, 0.2)
    assert 0 < np.sum(length == 0) < BATCH
    factor = np.where(dropped, 1.0, 3.0) * (length == 0)
    errors = ((image - noise) ** 2).mean((1, 2, 3)) * factor**2
    assert metrics["generator/loss"] == pytest.approx(float(errors.mean()), rel=1e-5)


@pytest.mark.slow
def test_bytes_get_uniform_noise_where_they_are_dequantized():
    """A network that predicts no velocity has the mean squared way from the noise to the bytes."""
    shape = (2, 2, 1)
    flow = flow_mlp(shape, (4,), 2, "velocity")
    state = init_generator(flow.generator, TX, jax.random.key(1))
    zeros = jax.tree.map(jnp.zeros_like, state.generator.params)
    state = state._replace(generator=state.generator._replace(params=zeros))
    images = np.random.default_rng(0).integers(0, 256, (BATCH, *shape), np.uint8)
    nothing = jnp.zeros((1, BATCH), jnp.int32)
    batch = Batch(jnp.asarray(images[None]), nothing, nothing)
    noise = np.asarray(jax.random.normal(named_key(KEY, "noise"), images.shape))
    uniform = np.asarray(jax.random.uniform(named_key(KEY, "bytes"), images.shape))
    mesh = Mesh(np.asarray(jax.devices()[:2]), (AXIS,))
    for dequantize, levels in ((False, images), (True, images + uniform - 0.5)):
        step = make_flow_step(flow, TX, dequantize=dequantize)
        specs = (P(), P(None, AXIS), P())
        run = jax.jit(jax.shard_map(step, mesh=mesh, in_specs=specs, out_specs=P()))
        _, metrics = run(state, batch, KEY)
        expected = np.mean((2 * levels.astype(np.float64) / 255 - 1 - noise) ** 2)
        assert metrics["generator/loss"] == pytest.approx(expected, rel=1e-6)


AVERAGE = {"average_velocity": True}


@pytest.mark.parametrize(
    ("model", "objective", "words"),
    [
        (
            {"classes": 10},
            FlowMatching(pairing="optimal"),
            "`objective.pairing` .*must be independent",
        ),
        ({}, FlowMatching(label_dropout=0.1), "`objective.label_dropout` .*must be 0"),
        (
            {"classes": 10, "guidance": 1.0},
            FlowMatching(),
            "`model.guidance` .*--objective.label-dropout",
        ),
        ({}, MeanFlow(), r"`objective` \(=MeanFlow\) needs .*--model.average-velocity"),
        (AVERAGE, FlowMatching(), "`model.average_velocity` .*--objective mean-flow"),
        ({"method": "average"}, FlowMatching(), r"`method` \(=average\) must be euler"),
        (
            {"classes": 10, "guidance": 1.0, "method": "average"} | AVERAGE,
            MeanFlow(label_dropout=0.1),
            "`guidance` .*must be 0 for `method` .*`objective.guidance`",
        ),
        (
            {"classes": 10, "guidance": 1.0} | AVERAGE,
            MeanFlow(label_dropout=0.1, guidance=1.0),
            "`model.guidance` .*leave one of them out",
        ),
        (
            {"classes": 10} | AVERAGE,
            MeanFlow(guidance=1.0),
            "`objective.guidance` .*--objective.label-dropout",
        ),
        (AVERAGE, MeanFlow(instants=0.5, whole=0.6), "`objective.whole` .*at most 0.5"),
    ],
)
def test_what_does_not_fit_is_refused(model, objective, words):
    experiment = Config(
        data=DigitsData(), model=FlowMlp((4,), **model), objective=objective, discriminator=None
    )
    with pytest.raises(InputError, match=words):
        make_task(experiment, (8, 8, 1))


def test_points_have_no_bytes_to_dequantize():
    experiment = Config(
        data=MixtureData(),
        model=FlowMlp((4,), output="linear"),
        objective=FlowMatching(dequantize=True),
        discriminator=None,
    )
    with pytest.raises(InputError, match=r"`objective.dequantize` \(=True\) .* points"):
        make_task(experiment, (1, 1, 2))


def test_mean_flow_is_refused_without_a_flow():
    experiment = Config(data=DigitsData(), model=DenseGenerator(), objective=MeanFlow())
    with pytest.raises(InputError, match=r"`objective` \(=MeanFlow\) does not go with .*FlowMlp"):
        make_task(experiment, (8, 8, 1))
