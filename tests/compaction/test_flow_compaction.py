"""Flow models whose channels are removed: once for all times, and through a whole U-Net."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_channel_groups import without

from l1jax.compaction import compact
from l1jax.compaction.network_channels import generator_channels
from l1jax.config import FlowMlp
from l1jax.models import dit, flow_mlp, unet
from l1jax.models.layers import library_convolutions
from l1jax.serialization.rebuild_generator import rebuild

RNG = np.random.default_rng(0)
SMALL = {"channels": 4, "multipliers": (1, 2), "blocks": 1, "group_size": 2, "head_size": 2}


def drawn(generator):
    def draw(leaf):
        return jnp.asarray(RNG.normal(size=leaf.shape) / np.sqrt(leaf.shape[0]), leaf.dtype)

    network, _ = generator.predictor()
    return jax.tree.map(draw, jax.eval_shape(network.init, jax.random.key(0))[0])


def count(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def images(generator, params, latents, *label):
    with library_convolutions():
        return jax.jit(lambda x: generator.network.apply(params, {}, x, False, *label)[0])(latents)


def predictions(generator, params, inputs, label):
    network, _ = generator.predictor()
    with library_convolutions():
        return jax.jit(lambda x: network.apply(params, {}, x, False, label)[0])(inputs)


def test_a_unit_of_the_time_alone_stays_and_nothing_is_copied():
    """Its incoming weights from the image are zero, those from the time are not."""
    flow = flow_mlp((3, 3, 1), (8, 6), 4, method="euler", sampling_steps=3)
    params = drawn(flow.generator)
    params["hidden_0"]["kernel"] = params["hidden_0"]["kernel"].at[:, :3].set(0)
    params["condition"]["kernel"] = params["condition"]["kernel"].at[:, :1].set(0)
    smaller = compact(flow.generator, params, {})
    assert smaller.params["hidden_1"]["kernel"].shape == (7, 6)  # the first unit is constant
    frequencies = 2
    assert count(smaller.params) == count(params) - 3 * 9 - 4 - 1 - 6 + frequencies
    latents = jnp.asarray(RNG.normal(size=(5, 9)), jnp.float32)
    expected = images(flow.generator, params, latents)
    np.testing.assert_allclose(
        images(smaller.generator, smaller.params, latents), expected, atol=1e-6
    )
    model = FlowMlp((8, 6), 4, method="euler", sampling_steps=3)
    read = rebuild(model, (3, 3, 1), smaller.layout)
    np.testing.assert_allclose(images(read, smaller.params, latents), expected, atol=1e-6)


def test_a_network_that_reads_lengths_is_compacted_with_them():
    options = {"average_velocity": True, "method": "average", "sampling_steps": 2}
    flow = flow_mlp((3, 3, 1), (8,), 4, **options)
    params = drawn(flow.generator)
    params["image"]["kernel"] = params["image"]["kernel"].at[:3].set(0)
    smaller = compact(flow.generator, params, {})
    assert smaller.params["length"]["kernel"].shape == (4, 5)
    latents = jnp.asarray(RNG.normal(size=(5, 9)), jnp.float32)
    expected = images(flow.generator, params, latents)
    read = rebuild(FlowMlp((8,), 4, **options), (3, 3, 1), smaller.layout)
    np.testing.assert_allclose(images(read, smaller.params, latents), expected, atol=1e-6)


@pytest.mark.slow
def test_groups_go_through_skips_norms_and_attention_of_a_unet():
    flow = unet((8, 8, 1), **SMALL, classes=3)
    generator = flow.generator
    groups = generator_channels(generator)
    params = drawn(generator)
    dead = {slices.groups[0] for slices in groups.values()}
    cut = without(params, groups, dead)
    smaller = compact(generator, cut, {})
    for path, slices in groups.items():
        layer = smaller.params
        for part in path.split("/"):
            layer = layer[part]
        left = [number for number in slices.groups if number not in dead]
        assert layer.shape[slices.axis] == len(left), path
    reads = smaller.params["up_0_0"]["conv_1"]["kernel"].shape[2]
    assert reads == 6 + 2  # of what comes up and of what was kept on the way down
    assert smaller.params["middle_0_attention"]["output"]["kernel"].shape == (6, 6)
    inputs = jnp.asarray(RNG.uniform(size=(3, 65)), jnp.float32)
    found, expected = (
        predictions(trained, params, inputs, jnp.arange(3))
        for trained, params in ((smaller.generator, smaller.params), (generator, cut))
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 0.1


@pytest.mark.slow
def test_units_and_heads_of_a_diffusion_transformer_are_removed():
    """Its embedding of the time, which every block reads, and its residual stream stay."""
    flow = dit((4, 4, 1), width=8, layers=1, heads=2, classes=3)
    params = drawn(flow.generator)
    own = params["block_0"]
    for name, dead in (("up", slice(0, 5)), ("value", slice(0, 4))):  # five units and a head
        own[name]["kernel"] = own[name]["kernel"].at[:, dead].set(0)
        own[name]["bias"] = own[name]["bias"].at[dead].set(0)
    smaller = compact(flow.generator, params, {})
    left = smaller.params["block_0"]
    assert left["up"]["kernel"].shape == (8, 32 - 5)
    assert left["down"]["kernel"].shape == (32 - 5, 8)
    assert left["query"]["kernel"].shape == (8, 4)
    assert left["output"]["kernel"].shape == (4, 8)
    assert left["modulation"]["kernel"].shape == own["modulation"]["kernel"].shape
    inputs = jnp.asarray(RNG.uniform(size=(3, 17)), jnp.float32)
    found, expected = (
        predictions(trained, params, inputs, jnp.arange(3))
        for trained, params in ((smaller.generator, smaller.params), (flow.generator, params))
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 0.1
