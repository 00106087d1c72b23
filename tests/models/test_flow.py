"""A dense flow model, against its formula."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l1jax.compaction import TrainedGenerator, compact, verify
from l1jax.models import flow_mlp, mlp_gan
from l1jax.models.flow import with_few_steps
from l1jax.models.flow_inputs import wave_features
from l1jax.models.flow_sampling import FlowSampler, time_grid

SHAPE = (2, 3, 1)
RNG = np.random.default_rng(0)


def drawn(flow):
    params, _ = flow.predictor.init(jax.random.key(1))
    return params


def waves(time, fastest):
    angle = time[:, None] * fastest * 10_000 ** (-np.arange(4) / 4)
    return np.concatenate([np.cos(angle), np.sin(angle)], 1)


def by_hand(params, x, time, length=None):
    """The prediction in NumPy."""

    def dense(name, y):
        return y @ np.asarray(params[name]["kernel"]) + np.asarray(params[name].get("bias", 0))

    y = dense("hidden_0", x.reshape(len(x), -1)) + dense("condition", waves(time, 1_000))
    if length is not None:
        y = y + dense("length", waves(length, 10))
    y = y / (1 + np.exp(-y))
    y = dense("hidden_1", y)
    y = y / (1 + np.exp(-y))
    return np.tanh(dense("image", y)).reshape(-1, *SHAPE)


def test_the_velocity_is_that_of_its_formula():
    flow = flow_mlp(SHAPE, (5, 4), 8)
    params = drawn(flow)
    x = RNG.normal(size=(3, *SHAPE))
    time = np.array([0.1, 0.5, 0.9])
    found, _ = flow.velocity(params, {}, jnp.asarray(x, jnp.float32), jnp.asarray(time), False)
    expected = (by_hand(params, x, time) - x) / (1 - time)[:, None, None, None]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    assert flow.generator.latent_size == 6
    assert flow.generator.image_range == (-1, 1)


def test_images_are_the_end_of_the_way_from_the_latents():
    flow = flow_mlp(SHAPE, (5, 4), 8, method="euler", sampling_steps=3, time_shift=2.0)
    params = drawn(flow)
    latents = RNG.normal(size=(2, 6)).astype(np.float32)
    images, _ = flow.generator.network.apply(params, {}, jnp.asarray(latents), False)

    expected = latents.reshape(-1, *SHAPE).astype(np.float64)
    times = time_grid(3, 2.0)
    for t, end in itertools.pairwise(times):
        predicted = by_hand(params, expected, np.full(2, t))
        expected = expected + (end - t) * (predicted - expected) / max(1 - t, 0.05)
    np.testing.assert_allclose(images, np.clip(expected, -1, 1), atol=2e-3)


def test_a_network_that_also_reads_lengths_begins_as_it_was_without():
    flow = flow_mlp(SHAPE, (5, 4), 8)
    longer = flow_mlp(SHAPE, (5, 4), 8, average_velocity=True)
    params = drawn(longer)
    before = {name: layer for name, layer in params.items() if name != "length"}
    assert jax.tree.map(jnp.shape, before) == jax.tree.map(jnp.shape, drawn(flow))
    x = jnp.asarray(RNG.normal(size=(3, *SHAPE)), jnp.float32)
    time = jnp.array([0.1, 0.5, 0.9])
    expected, _ = flow.velocity(before, {}, x, time, False)
    for length in (None, jnp.array([0.9, 0.3, 0.0])):
        found, _ = longer.velocity(params, {}, x, time, False, length=length)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("steps", [1, 2])
def test_each_step_of_average_velocities_is_one_evaluation(steps):
    flow = flow_mlp(SHAPE, (5, 4), 8, average_velocity=True, method="average", sampling_steps=steps)
    params = drawn(flow)
    params["length"]["kernel"] = jnp.asarray(RNG.normal(size=(8, 5)), jnp.float32)
    latents = RNG.normal(size=(2, 6)).astype(np.float32)
    images, _ = flow.generator.network.apply(params, {}, jnp.asarray(latents), False)

    expected = latents.reshape(-1, *SHAPE).astype(np.float64)
    for t in np.arange(steps) / steps:
        predicted = by_hand(params, expected, np.full(2, t), np.full(2, 1 / steps))
        expected = expected + (predicted - expected) / (1 - t) / steps
    np.testing.assert_allclose(images, np.clip(expected, -1, 1), atol=2e-3)


@pytest.mark.slow
def test_guidance_adds_what_the_class_changes():
    options = {"classes": 3, "method": "euler", "sampling_steps": 1}
    latents = jnp.asarray(RNG.normal(size=(4, 2)), jnp.float32)
    label = jnp.array([0, 1, 2, 1])
    points = {}
    for guidance in (0.0, 2.0):
        flow = flow_mlp((1, 1, 2), (5,), 8, "velocity", "linear", guidance=guidance, **options)
        params = drawn(flow)
        points[guidance], _ = flow.generator.network.apply(params, {}, latents, False, label)
    start = latents.reshape(-1, 1, 1, 2)
    time = jnp.zeros(4)
    with_class, _ = flow.velocity(params, {}, start, time, False, label)
    without, _ = flow.velocity(params, {}, start, time, False, jnp.full(4, 3))
    np.testing.assert_allclose(points[0.0], start + with_class, rtol=1e-5)
    np.testing.assert_allclose(
        points[2.0], start + 3 * with_class - 2 * without, rtol=1e-4, atol=1e-5
    )
    assert np.abs(with_class - without).max() > 1e-3
    weights = jax.nn.one_hot(label, 3)  # the same classes, as a way between classes gives them
    by_weights, _ = flow.generator.network.apply(params, {}, latents, False, weights)
    np.testing.assert_allclose(by_weights, points[2.0], rtol=1e-6)


def test_few_steps_are_euler_steps_of_the_same_network_without_guidance():
    options = {"classes": 3, "guidance": 2.0}
    generator = flow_mlp(SHAPE, (5, 4), 8, **options).generator
    few = with_few_steps(generator)
    assert few.velocities.sampler == FlowSampler("euler", (0.0, 0.25, 0.5, 0.75, 1.0))
    assert few.velocities.predictor is generator.velocities.predictor
    assert few[1:6] == generator[1:6]
    quick = flow_mlp(SHAPE, (5, 4), 8, method="euler", sampling_steps=3).generator
    assert with_few_steps(quick) is quick
    other = mlp_gan((2, 2, 1), 3, (4,)).generator
    assert with_few_steps(other) is other


def test_features_of_the_time_are_waves():
    found = wave_features(jnp.array([0.0, 0.001]), 4)
    np.testing.assert_allclose(found[0], [1, 1, 0, 0])
    expected = [np.cos(1), np.cos(0.01), np.sin(1), np.sin(0.01)]
    np.testing.assert_allclose(found[1], expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"guidance": 1.0}, "`guidance` .*without classes"),
        ({"hidden": ()}, "`hidden` .*at least one"),
        ({"time_features": 7}, "`time_features` .*even"),
        ({"sampling_steps": 0}, "`steps` .*=0"),
        ({"time_shift": 0.0}, "`shift` .*=0"),
    ],
)
def test_impossible_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        flow_mlp(SHAPE, **options)


@pytest.mark.slow
def test_dead_channels_are_removed_from_every_evaluation():
    """A channel without inputs is constant; what reads it is one layer, whatever the time."""
    flow = flow_mlp((4, 4, 1), (16, 12), 8, sampling_steps=3)
    params = drawn(flow)
    for layer in ("hidden_0", "condition"):
        params[layer]["kernel"] = params[layer]["kernel"].at[:, :5].set(0)
    params["hidden_1"]["kernel"] = params["hidden_1"]["kernel"].at[:, :4].set(0)
    smaller = compact(flow.generator, params, {})
    latents = jax.random.normal(jax.random.key(2), (5, 16))
    expected, _ = flow.generator.network.apply(params, {}, latents, False)
    found, _ = smaller.generator.network.apply(smaller.params, {}, latents, False)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert smaller.params["hidden_0"]["kernel"].shape == (16, 11)
    assert smaller.params["hidden_1"]["kernel"].shape == (11, 8)
    assert smaller.params["image"]["kernel"].shape == (8, 16)
    proof = verify(
        TrainedGenerator(flow.generator, params, {}, {}),
        smaller,
        jax.random.key(3),
        count=4,
        batch=2,
        rounds=1,
    )
    entries = [(16 + 8) * 16 + 16 * 12 + 12 * 16, (16 + 8) * 11 + 11 * 8 + 8 * 16]
    flops = [2 * 6 * n for n in entries]  # two for each entry, in each of six evaluations
    assert [proof.before.flops, proof.after.flops] == flops
