"""Targets of zeros are met as the zeros are frozen, or a sentence says that they are not."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import l1jax
from l1jax import config
from l1jax.build_optimizer import build_optimizer, build_penalty, counted_groups
from l1jax.config import Config, InputError, Optimizer, Schedule
from l1jax.models import transformer
from l1jax.penalties import path_name, select_leaves
from l1jax.training.network_channels import channel_finders, penalised_pattern
from l1jax.training.state import Average, GeneratorState, NetworkState, Task
from l1jax.training.task import make_task
from l1jax.training.zero_target import make_target_report

TARGETS = {
    f"layer_{i}": {"kernel": scale * np.random.default_rng(i).normal(size=(20, 20))}
    for i, scale in enumerate((1.0, 0.2))
}
TARGETS = jax.tree.map(lambda x: x.astype(np.float32), TARGETS)
CHANNELS = {"layer_0/kernel": l1jax.Slices(-1), "layer_1/kernel": l1jax.Slices(-2)}
START = jax.tree.map(jnp.asarray, TARGETS)


class Trained(NamedTuple):
    """A network whose gradients are noisy, and what its run says."""

    params: dict
    zeros_at_freeze: float
    sentences: list


def train(optimizer, steps):
    """Minimise ½‖p − t‖² with noisy gradients."""
    tx = build_optimizer(optimizer, channels=lambda: CHANNELS)

    @partial(jax.jit, static_argnums=2)
    def run(params, state, length, key):
        def step(carry, key):
            params, state = carry
            noise = jax.random.normal(key, (2, 20, 20))
            grads = {
                name: {"kernel": params[name]["kernel"] - t["kernel"] + 0.3 * own}
                for (name, t), own in zip(TARGETS.items(), noise, strict=True)
            }
            updates, state = tx.update(grads, state, params)
            params = optax.apply_updates(params, updates)
            return (params, state), l1jax.sparsity(params).total

        return jax.lax.scan(step, (params, state), jax.random.split(key, length))

    (params, state), zeros = run(START, tx.init(START), steps, jax.random.key(0))
    sentences = []
    experiment = Config(generator=optimizer, steps=steps, discriminator=None)
    groups = counted_groups(optimizer.penalty, build_penalty(optimizer.penalty, lambda: CHANNELS))
    task = Task(None, None, None, 1, {"generator": optimizer.penalised}, {"generator": groups})
    report = make_target_report(experiment, task, lambda *said: sentences.append(said))
    state = GeneratorState(jnp.asarray(steps), NetworkState(params, {}, state), Average(params, {}))
    report(0, steps, state)
    report(steps, steps + 10, state)  # says it once
    freeze = min(optimizer.debias_after, steps - 1)
    return Trained(params, float(zeros[freeze]), sentences)


def slowly(steps, penalty, **more):
    return Optimizer(
        **{
            "learning_rate": 0.02,
            "b1": 0.9,
            "b2": 0.99,
            "penalty": penalty,
            "sparsity_target": 0.8,
            "strength_schedule": Schedule(warmup=steps // 2),
            "debias_after": 2 * steps // 3,
        }
        | more
    )


PENALTIES = [
    config.L1(1e-3),
    config.ReweightedL1(1e-3, every=50),
    config.L0(1e-5),
    config.LHalf(1e-3),
    config.Mcp(1e-3),
    config.GroupL1(1e-3, "blocks", (4, 5)),
    config.GroupL1(1e-3, "channels"),
    *(
        pytest.param(penalty, marks=pytest.mark.slow)
        for penalty in (
            config.ElasticNet(1e-3, 1e-4),
            config.NonnegativeL1(1e-3),
            config.LogSum(1e-3),
            config.Scad(1e-3),
            config.GroupL1(1e-3),
            config.SparseGroupL1(1e-3, 1e-3),
            config.GroupMcp(1e-3),
            config.GroupL0(1e-5),
            config.GroupL0(1e-5, groups="channels"),
            config.GroupMcp(1e-3, groups="channels"),
        )
    ),
]


@pytest.mark.parametrize("penalty", PENALTIES, ids=lambda p: f"{type(p).__name__}")
def test_every_penalty_arrives_in_200_steps(penalty):
    trained = train(slowly(200, penalty), 200)
    assert trained.zeros_at_freeze == pytest.approx(0.8, abs=0.01)
    assert float(l1jax.sparsity(trained.params).total) == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize(
    ("steps", "penalty", "target", "scope"),
    [
        (1_000, config.L0(1e-5), 0.8, "global"),
        pytest.param(5_000, config.L1(1e-3), 0.95, "leaf", marks=pytest.mark.slow),
    ],
)
def test_longer_runs_arrive_without_a_word(steps, penalty, target, scope):
    trained = train(slowly(steps, penalty, sparsity_target=target, sparsity_scope=scope), steps)
    assert trained.zeros_at_freeze == pytest.approx(target, abs=0.01)
    assert trained.sentences == []
    shares = [float(x) for x in l1jax.sparsity(trained.params).by_path.values()]
    if scope == "leaf":
        np.testing.assert_allclose(shares, target, atol=0.01)
    else:
        assert shares[1] > 0.99  # the layer of small entries is empty
        assert shares[0] < 0.7


def test_a_target_that_the_penalty_did_not_reach_is_told():
    trained = train(slowly(40, config.L1(1e-7)), 40)
    (step, name, sentence), *others = trained.sentences
    assert not others
    assert (step, name) == (40, "generator/sparsity_target")
    assert sentence.startswith("the generator's zeros are frozen at the target of 80.0%, but the")
    assert "--generator.debias-after" in sentence
    assert "\n" not in sentence


def test_groups_too_coarse_for_the_target_are_told():
    blocks = config.GroupL1(1e-3, "blocks", (20, 10))
    trained = train(slowly(200, blocks, sparsity_target=0.6), 200)
    assert float(l1jax.sparsity(trained.params).total) == 0.5
    ((_, _, sentence),) = trained.sentences
    assert sentence.startswith("the generator's zeros are frozen at 50.0%, and the target is 60.0%")


@pytest.mark.slow
def test_a_run_that_freezes_nothing_says_at_its_end_where_it_is():
    steady = {"strength_schedule": Schedule(), "debias_after": 0, "sparsity_scope": "leaf"}
    short = train(slowly(60, config.L1(1e-7), **steady), 60)
    ((step, _, sentence),) = short.sentences
    assert step == 60
    assert sentence.startswith(
        "the generator ends with 0.0% zeros in layer_0/kernel, and the target"
    )
    long = train(slowly(2_000, config.L1(1e-3), **steady, sparsity_horizon=200), 2_000)
    assert long.sentences == []


def chosen_paths(selected):
    leaves = jax.tree_util.tree_leaves_with_path(selected)
    return sorted(path_name(path) for path, is_chosen in leaves if is_chosen)


def test_the_paths_that_count_are_those_with_channels():
    model = transformer(257, width=16, layers=1, heads=2, context=8)
    find = channel_finders(model)["generator"]
    channels = Optimizer(penalty=config.GroupL1(1e-3, groups="channels"), penalised="kernel$")
    shapes, _ = jax.eval_shape(model.network.init, jax.random.key(0))
    selected = select_leaves(shapes, penalised_pattern(channels, find))
    layers = {
        "attention": ("query", "key", "value", "output"),
        "feed_forward": ("up", "gate", "down"),
    }
    expected = [f"block_0/{part}/{name}/kernel" for part, names in layers.items() for name in names]
    assert chosen_paths(selected) == sorted(
        expected
    )  # not the logits', which read what a norm has mixed
    single = Optimizer(penalty=config.L1(1e-3), penalised="kernel$")
    assert penalised_pattern(single, find) == "kernel$"


def test_a_penalty_of_channels_fits_discriminators_and_encoders():
    channels = Optimizer(penalty=config.GroupL1(1e-3, groups="channels"))
    points = config.MlpGan(generator_hidden=(8,), discriminator_hidden=(8,), output="linear")
    images = config.Vae(latent_size=2, hidden=(8,))
    for model, objective, judge, shape, paths in (
        (points, config.Adversarial(), "discriminator", (1, 1, 2), ["hidden_0", "logit"]),
        (images, config.Variational(), "encoder", (4, 4, 1), ["hidden_0", "moments"]),
    ):
        optimizers = {"discriminator": None, judge: channels}
        experiment = Config(model=model, objective=objective, **optimizers)
        task = make_task(experiment, shape)
        # `init` raises if a group is not one of the network's.
        state = jax.eval_shape(task.init, jax.random.key(0))
        selected = select_leaves(getattr(state, judge).params, task.penalised[judge])
        assert chosen_paths(selected) == [f"{path}/kernel" for path in paths]


def test_zeros_are_not_frozen_before_the_target_is_reached():
    with pytest.raises(InputError) as caught:
        build_optimizer(slowly(300, config.L1(1e-3), debias_after=149))
    assert str(caught.value).startswith(
        "`debias_after` (=149) must be at least the `strength_schedule.warmup` (=150)"
    )
