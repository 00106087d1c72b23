"""A compact generator of any family makes the same images with only what they depend on."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from sparse_networks import FAMILIES, arguments, images, random_variables, relative_error, shapes

from l1jax.compaction.compact_network import compact
from l1jax.config import Dcgan
from l1jax.models import dcgan, mlp_gan
from l1jax.models.network import AXIS
from l1jax.serialization.rebuild_generator import rebuild

SHARES = {
    "none": [0],
    "some": [0, 0.3],
    "many": [0.3, 0.7],
    "nearly all": [0, 0.7, 0.95],
    "all": [0, 0, 1],
}

DEEP = {
    "dcgan": ["none", "many", "all"],
    "r3gan with classes": ["some", "nearly all", "all"],
    "sn_resnet": ["many"],
    "sn_resnet with classes": ["nearly all"],
    "r3gan": ["many"],
}
LARGE = ("sn_resnet", "sn_resnet with classes", "r3gan")  # theirs are the longest to compile
FURTHER = ("none", "some", "nearly all")  # which the first family has among the fast tests
CASES = [
    pytest.param(
        family,
        shares,
        marks=pytest.mark.slow
        if family in LARGE or (family != "mlp" and shares in FURTHER)
        else (),
    )
    for family in FAMILIES
    for shares in DEEP.get(family, SHARES)
]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("family", "shares"), CASES)
def test_images_are_the_same_and_nothing_dead_is_left(family, shares):
    generator, seed = FAMILIES[family](), sorted(SHARES).index(shares)
    params, statistics = random_variables(generator, seed, SHARES[shares])
    expected = images(generator, params, statistics)
    folding = bool((seed + len(family)) % 2)
    smaller = compact(generator, params, statistics, fold_norms=folding)
    found = images(smaller.generator, smaller.params, smaller.batch_stats)
    assert found.shape == expected.shape
    assert relative_error(found, expected) < 1e-11
    assert json.loads(json.dumps(smaller.layout)) == smaller.layout
    made = jax.eval_shape(smaller.generator.network.init, jax.random.key(0))
    assert shapes(made) == shapes((smaller.params, smaller.batch_stats))
    again = compact(smaller.generator, smaller.params, smaller.batch_stats, fold_norms=folding)
    assert layer_shapes(again.params) == layer_shapes(smaller.params)
    kept, whole = (
        sum(np.size(v) for v in layer_leaves(p).values()) for p in (smaller.params, params)
    )
    assert kept < whole if shares in ("many", "nearly all") else kept <= whole


def layer_leaves(params):
    return {path: leaf for path, leaf in flatten_dict(params).items() if path[-1] == "kernel"}


def layer_shapes(params):
    return {path: leaf.shape for path, leaf in layer_leaves(params).items()}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "family",
    [
        pytest.param(family, marks=pytest.mark.slow if family in LARGE else ())
        for family in ("mlp", "dcgan with classes", "sn_resnet", "r3gan", "vae with classes")
    ],
)
def test_every_kept_channel_is_live(family):
    generator = FAMILIES[family]()
    params, statistics = random_variables(generator, 5, [0.3, 0.5])
    smaller = compact(generator, params, statistics)
    weights = np.random.default_rng(0).normal(size=(96, *generator.image_shape))

    @jax.jit
    @jax.grad
    def effect(params):
        made, _ = smaller.generator.network.apply(
            params, smaller.batch_stats, *arguments(generator, 96)
        )
        return jnp.sum(weights * made)

    removed = False
    for path, gradient in layer_leaves(effect(smaller.params)).items():
        whole = flatten_dict(params)[path]
        removed |= gradient.shape != whole.shape
        moved = np.abs(gradient)
        assert moved.max((*range(moved.ndim - 2), moved.ndim - 1)).all(), f"{path} has a dead input"
        if not (family == "r3gan" and "conv_2" in path):  # groups of equal width
            assert moved.max(tuple(range(moved.ndim - 1))).all(), f"{path} has a dead output"
    assert removed


@pytest.mark.slow
def test_float32_stays_within_rounding():
    for family in ("mlp with classes", "dcgan"):
        generator = FAMILIES[family]()
        params, statistics = random_variables(generator, 3, [0.3, 0.7], np.float32)
        smaller = compact(generator, params, statistics)
        assert {leaf.dtype for leaf in jax.tree.leaves(smaller.params)} == {jnp.dtype("float32")}
        found = images(smaller.generator, smaller.params, smaller.batch_stats)
        assert relative_error(found, images(generator, params, statistics)) < 1e-5


def test_a_constant_unit_becomes_part_of_the_next_bias_and_an_unread_one_goes():
    generator = mlp_gan((1, 2, 1), 3, (4, 2)).generator
    rng = np.random.default_rng(0)
    first, second, image = (rng.normal(size=s).astype(np.float32) for s in ((3, 4), (4, 2), (2, 2)))
    first[:, 1] = 0  # constant
    second[2] = 0  # unread
    first[0] = 0  # a latent that nothing reads
    biases = [rng.normal(size=n).astype(np.float32) for n in (4, 2, 2)]
    layers = zip(("hidden_0", "hidden_1", "image"), (first, second, image), biases, strict=True)
    smaller = compact(generator, {name: {"kernel": k, "bias": b} for name, k, b in layers}, {})
    hidden = smaller.params["hidden_0"]
    np.testing.assert_array_equal(hidden["kernel"], first[1:][:, [0, 3]])
    constant = biases[0][1] * (1 if biases[0][1] > 0 else 0.2)  # leaky ReLU
    np.testing.assert_allclose(
        smaller.params["hidden_1"]["bias"], biases[1] + constant * second[1], rtol=1e-6
    )
    np.testing.assert_array_equal(smaller.params["hidden_1"]["kernel"], second[[0, 3]])
    assert smaller.generator.latent_size == 3


def small_dcgan(constant):
    """A DCGAN whose first small image has a channel that is this constant, before norm and ReLU."""
    generator = dcgan((8, 8, 1), 3, 4).generator
    params, statistics = random_variables(generator, 0, [0], np.float32)
    params["project"]["kernel"].reshape(3, 4, 4, 4)[..., 2] = 0
    norm, moments = params["norm_0"], statistics["norm_0"]
    value = norm["bias"][2] - norm["scale"][2] * moments["mean"][2] / np.sqrt(
        moments["var"][2] + 1e-5
    )
    norm["bias"][2] += constant - value
    return generator, params, statistics


def test_a_constant_before_a_padding_convolution_is_carried_by_a_channel_of_ones():
    generator, params, statistics = small_dcgan(0.7)
    smaller = compact(generator, params, statistics)
    kernel = smaller.params["image"]["kernel"]
    assert kernel.shape == (4, 4, 3 + 1, 1)
    np.testing.assert_allclose(kernel[:, :, 3], 0.7 * params["image"]["kernel"][:, :, 2], rtol=1e-5)
    found = images(smaller.generator, smaller.params, smaller.batch_stats)
    assert relative_error(found, images(generator, params, statistics)) < 1e-5


def test_a_constant_that_the_activation_makes_zero_leaves_nothing():
    smaller = compact(*small_dcgan(-0.7))
    assert smaller.params["image"]["kernel"].shape == (4, 4, 3, 1)


@pytest.mark.slow
@pytest.mark.parametrize("same", [True, False])
def test_a_class_conditional_constant_goes_if_it_is_the_same_for_all_classes(same):
    generator = FAMILIES["sn_resnet with classes"]()
    params, statistics = random_variables(generator, 4, [0], np.float32)
    norm = params["block_0"]["norm_2"]
    norm["scale"][:, 1] = 0
    norm["bias"][:, 1] = 0.3 if same else [0.3, 0.3, 0.4]
    smaller = compact(generator, params, statistics)
    assert smaller.params["block_0"]["norm_2"]["scale"].shape == (3, 3 if same else 4)
    assert (
        smaller.params["block_0"]["conv_1"]["kernel"].shape[-1] == 3
    )  # which nothing reads either way
    found = images(smaller.generator, smaller.params, smaller.batch_stats)
    assert relative_error(found, images(generator, params, statistics)) < 1e-5


@pytest.mark.slow
def test_norms_stay_for_training_and_take_constants_into_their_means():
    generator, params, statistics = small_dcgan(-0.7)
    smaller = compact(generator, params, statistics, fold_norms=False)
    kept = smaller.params["norm_0"]["scale"].size
    assert 0 < kept < 4
    assert smaller.batch_stats["norm_0"]["mean"].shape == (kept,)
    assert "bias" not in smaller.params["project"]

    def train(latents):
        return smaller.generator.network.apply(smaller.params, smaller.batch_stats, latents, True)

    made, moved = jax.vmap(train, axis_name=AXIS)(
        jnp.stack([generator.latents(jax.random.key(0), 5)] * 2)
    )
    assert made.shape == (2, 5, 8, 8, 1)
    assert shapes(jax.tree.map(lambda leaf: leaf[0], moved)) == shapes(smaller.batch_stats)
    assert np.any(moved["norm_0"]["mean"][0] != smaller.batch_stats["norm_0"]["mean"])


def test_a_network_is_rebuilt_from_its_configuration_and_its_layout():
    model = Dcgan(latent_size=3, channels=4)
    generator = rebuild(model, (8, 8, 1), {})
    params, statistics = random_variables(generator, 2, [0, 0.5], np.float32)
    smaller = compact(generator, params, statistics)
    again = rebuild(model, (8, 8, 1), json.loads(json.dumps(smaller.layout)))
    np.testing.assert_array_equal(
        images(again, smaller.params, smaller.batch_stats),
        images(smaller.generator, smaller.params, smaller.batch_stats),
    )
    assert again[1:] == generator[1:]
