"""A flow step whose images are paired with noise, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from scipy.optimize import linear_sum_assignment

from l1jax.config import Config, DigitsData, FlowMatching, FlowMlp, InputError
from l1jax.data.batches import Batch
from l1jax.models import flow_mlp
from l1jax.models.network import AXIS
from l1jax.objectives.flow_matching import Pairing
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


@pytest.mark.parametrize(
    ("model", "objective", "words"),
    [
        ({"classes": 10}, {"pairing": "optimal"}, "`objective.pairing` .*must be independent"),
        ({}, {"label_dropout": 0.1}, "`objective.label_dropout` .*must be 0"),
        ({"classes": 10, "guidance": 1.0}, {}, "`model.guidance` .*--objective.label-dropout"),
    ],
)
def test_what_does_not_fit_is_refused(model, objective, words):
    experiment = Config(
        data=DigitsData(),
        model=FlowMlp((4,), **model),
        objective=FlowMatching(**objective),
        discriminator=None,
    )
    with pytest.raises(InputError, match=words):
        make_task(experiment, (8, 8, 1))
