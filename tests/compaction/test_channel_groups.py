"""Which parameters belong to one channel, in networks whose channels are known."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fast_cases import slow_except

import l1jax
from l1jax.compaction import channel_groups, compact_linen
from l1jax.compaction.network_channels import (
    discriminator_channels,
    encoder_channels,
    generator_channels,
    language_model_channels,
)
from l1jax.models import mlp_gan, r3gan, sn_resnet, transformer, vae
from l1jax.models.dcgan import dcgan
from l1jax.penalties import path_name

IMAGES = jax.ShapeDtypeStruct((1, 4, 4, 2), jnp.float32)


def groups_of(module, x, **options):
    init = jax.jit(partial(module.init, **options))
    variables = init(jax.random.key(0), jnp.ones(x.shape, x.dtype))
    return variables, channel_groups(module, variables, x, **options)


def numbers(groups, path, axis):
    assert groups[path].axis == axis
    return list(groups[path].groups)


def without(params, groups, dead):
    """The parameters, with 0 in all slices of these groups."""

    def cut(path, leaf):
        leaf = np.array(leaf)
        slices = groups.get(path_name(path))
        if slices is not None:
            moved = np.moveaxis(leaf, slices.axis, 0)
            moved[np.isin(slices.groups, list(dead))] = 0
        return jnp.asarray(leaf)

    return jax.tree_util.tree_map_with_path(cut, params)


class Residual(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.BatchNorm(True, name="norm_in")(nn.Conv(4, (3, 3), name="in")(x))
        y = nn.relu(nn.Conv(3, (1, 1), use_bias=False, name="middle")(nn.relu(x)))
        x = x + nn.Conv(4, (1, 1), name="back")(y)
        return nn.Dense(2, name="out")(nn.relu(x).mean((1, 2)))


@pytest.mark.slow
def test_a_residual_sum_ties_what_writes_into_it_and_compaction_removes_zero_groups():
    variables, groups = groups_of(Residual(), IMAGES)
    stream = numbers(groups, "in/kernel", -1)
    assert len(set(stream)) == 4
    for path in ("in/bias", "norm_in/scale", "norm_in/bias", "back/kernel", "back/bias"):
        assert numbers(groups, path, -1) == stream
    assert numbers(groups, "out/kernel", -2) == stream
    middle = numbers(groups, "middle/kernel", -1)
    assert len(set(middle)) == 3
    assert not set(middle) & set(stream)
    assert "out/bias" not in groups
    dead = {stream[1], stream[3], middle[0]}
    cut = {**variables, "params": without(variables["params"], groups, dead)}
    _, smaller = compact_linen(Residual(), cut, IMAGES)
    shapes = {name: layer["kernel"].shape for name, layer in smaller["params"].items()}
    assert shapes == {
        "in": (3, 3, 2, 2),
        "middle": (1, 1, 2, 2),
        "back": (1, 1, 2, 2),
        "out": (2, 2),
    }


class Skip(nn.Module):
    """A small U-Net: down, up, and a skip connection that is concatenated."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(3, (3, 3), name="in")(x))
        y = nn.relu(nn.Conv(5, (3, 3), (2, 2), name="down")(x))
        y = nn.ConvTranspose(2, (2, 2), (2, 2), transpose_kernel=True, name="up")(y)
        return nn.Conv(1, (1, 1), name="out")(jnp.concatenate([x, y], -1))


def test_a_concatenation_and_a_kernel_that_is_stored_exchanged():
    _, groups = groups_of(Skip(), IMAGES)
    first = numbers(groups, "in/kernel", -1)
    up = numbers(groups, "up/kernel", -2)  # stored as (…, out, in)
    assert numbers(groups, "up/bias", -1) == up
    assert numbers(groups, "out/kernel", -2) == [*first, *up]
    assert len(set(numbers(groups, "down/kernel", -1))) == 5
    assert len({*first, *up, *groups["down/kernel"].groups}) == 10


class NormOfGroups(nn.Module):
    """A group norm over a skip connection beside another layer's channels."""

    count: int | None
    size: int | None = None

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (1, 1), name="in")(x)
        y = nn.Conv(4, (3, 3), name="middle")(nn.silu(x))
        y = nn.silu(nn.GroupNorm(self.count, self.size, name="norm")(jnp.concatenate([x, y], -1)))
        return nn.Conv(1, (3, 3), name="out")(y)


@pytest.mark.parametrize(
    "norm", slow_except([{"count": 4}, {"count": None, "size": 2}], {"count": 4})
)
def test_a_group_norm_ties_the_channels_of_each_group_and_loses_whole_ones(norm):
    variables, groups = groups_of(NormOfGroups(**norm), IMAGES)
    first = numbers(groups, "in/kernel", -1)
    second = numbers(groups, "middle/kernel", -1)
    for channels in (first, second):
        assert channels[::2] == channels[1::2]
    assert len({*first, *second}) == 4
    assert numbers(groups, "norm/scale", -1) == [*first, *second]
    assert numbers(groups, "out/kernel", -2) == [*first, *second]
    cut = {"params": without(variables["params"], groups, {first[0], second[2]})}
    bias = cut["params"]["norm"]["bias"]
    cut["params"]["norm"]["bias"] = bias.at[0].set(0.5)  # a constant, with zeros around the image
    cut["params"]["out"]["kernel"] = cut["params"]["out"]["kernel"].at[:, :, 0].set(1)
    cut["params"]["middle"]["kernel"] = cut["params"]["middle"]["kernel"].at[..., 0].set(0)
    _, smaller = compact_linen(NormOfGroups(**norm), cut, IMAGES)
    shapes = {
        name: layer.get("kernel", layer.get("scale")).shape
        for name, layer in smaller["params"].items()
    }
    # The norm keeps a channel of zeros, which is filled in, where the other of its group varies.
    assert shapes == {
        "in": (1, 1, 2, 2),
        "middle": (3, 3, 2, 1),
        "norm": (4,),
        "out": (3, 3, 5, 1),  # with a channel of ones for the constant
    }


def test_a_norm_of_groups_across_two_layers_ties_them():
    with pytest.raises(ValueError, match="must have channels that can be removed"):
        groups_of(nn.Sequential([nn.GroupNorm(1)]), IMAGES)
    _, groups = groups_of(NormOfGroups(count=1), IMAGES)
    assert len({*groups["in/kernel"].groups, *groups["middle/kernel"].groups}) == 1


class Flat(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(2, (3, 3), name="conv")(x).reshape(len(x), -1)
        x = nn.Dense(2 * 6, name="wide")(x).reshape(-1, 2, 6)
        x = nn.relu(nn.BatchNorm(True, name="norm")(x)).reshape(len(x), -1)
        return nn.Dense(1, name="out")(x)


def test_reshapes_are_followed_and_a_norm_ties_the_pixels_of_a_channel():
    _, groups = groups_of(Flat(), IMAGES)
    conv = numbers(groups, "conv/kernel", -1)
    assert len(set(conv)) == 2
    channel = numbers(groups, "norm/scale", -1)
    assert len(set(channel)) == 6
    assert numbers(groups, "wide/kernel", -1) == [*channel, *channel]  # of two pixels
    assert numbers(groups, "out/kernel", -2) == [*channel, *channel]


class Grouped(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (1, 1), name="in")(x)
        x = nn.Conv(8, (3, 3), feature_group_count=4, name="depthwise")(x)
        x = nn.Conv(8, (1, 1), feature_group_count=2, name="by_fours")(x)
        return nn.Conv(1, (1, 1), name="out")(x)


def test_channels_of_grouped_convolutions():
    _, groups = groups_of(Grouped(), IMAGES)
    assert "in/kernel" not in groups  # the depthwise outputs go to a kernel shared by two groups
    assert len(set(numbers(groups, "by_fours/kernel", -1))) == 8
    assert numbers(groups, "out/kernel", -2) == numbers(groups, "by_fours/kernel", -1)


class Wrapped(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.WeightNorm(nn.Dense(3, name="inner"))(x))
        shared = nn.Dense(3, name="shared")
        x = nn.tanh(shared(nn.tanh(shared(x))))
        return nn.Dense(2, name="out")(x)


def test_a_layer_that_is_called_twice_ties_its_inputs_with_its_outputs():
    _, groups = groups_of(Wrapped(), jax.ShapeDtypeStruct((1, 2), jnp.float32))
    shared = numbers(groups, "shared/kernel", -1)
    assert len(set(shared)) == 3
    assert numbers(groups, "inner/kernel", -1) == shared
    assert numbers(groups, "out/kernel", -2) == shared


class Normed(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.LayerNorm()(nn.Dense(4, name="stream")(x))
        y = nn.Dense(3, name="unit")(x)
        return x.sum(-1), nn.Dense(2, name="out")(nn.silu(y)) * x[:, :2]


def test_what_a_norm_mixes_or_the_network_returns_is_in_no_group():
    _, groups = groups_of(Normed(), jax.ShapeDtypeStruct((1, 2), jnp.float32))
    assert set(groups) == {"unit/kernel", "unit/bias", "out/kernel"}
    with pytest.raises(ValueError, match="must have channels that can be removed"):
        groups_of(nn.Dense(3), jax.ShapeDtypeStruct((1, 2), jnp.float32))
    with pytest.raises(ValueError, match=r"`module` \(=Network\) must be a module of flax.linen"):
        channel_groups(transformer(11, width=4, layers=1, heads=1, context=2).network, {})


@pytest.mark.parametrize("activation", ["swiglu", "gelu"])
def test_heads_and_units_of_a_transformer(activation):
    model = transformer(
        11, width=16, layers=2, heads=4, key_value_heads=2, context=6, activation=activation
    )
    groups = language_model_channels(model)
    everything = set()
    for name in ("block_0", "block_1"):
        keys = numbers(groups, f"{name}/attention/key/kernel", -1)
        a, b = keys[0], keys[-1]
        assert keys == [a] * 4 + [b] * 4
        assert numbers(groups, f"{name}/attention/value/kernel", -1) == keys
        queries = [a] * 8 + [b] * 8  # two heads of queries share one of keys
        assert numbers(groups, f"{name}/attention/query/kernel", -1) == queries
        assert numbers(groups, f"{name}/attention/output/kernel", -2) == queries
        units = numbers(groups, f"{name}/feed_forward/up/kernel", -1)
        assert numbers(groups, f"{name}/feed_forward/down/kernel", -2) == units
        if activation == "swiglu":
            assert numbers(groups, f"{name}/feed_forward/gate/kernel", -1) == units
        everything |= {a, b, *units}
    assert everything == set(range(2 * (2 + len(units))))
    assert not [path for path in groups if "norm" in path or "logits" in path]


def test_channels_of_a_generator_are_those_that_its_norms_have():
    generator = dcgan((16, 16, 1), latent_size=4, channels=4).generator
    groups = generator_channels(generator)
    params, _ = jax.eval_shape(generator.network.init, jax.random.key(0))
    scales = {path: s for path, s in groups.items() if path.endswith("scale")}
    assert len(scales) == sum("scale" in layer for layer in params.values())
    assert all(-1 not in slices.groups for slices in scales.values())
    penalty = l1jax.coupled(1.0, groups)
    assert penalty.per_leaf(params)  # it fits


# A network that judges or encodes images, how many groups it has, and two of its kernels: one that
# writes channels, and one that reads them.
JUDGES = {
    "dense": (
        lambda **options: mlp_gan((8, 8, 1), latent_size=2, classes=3, packing=2, **options),
        512,
        ("hidden_0/kernel", "hidden_1/kernel"),
    ),
    "DCGAN": (
        lambda **options: dcgan((16, 16, 1), latent_size=4, channels=4, **options),
        4 + 8,
        ("conv_0/kernel", "conv_1/kernel"),
    ),
    "residual": (  # 4 blocks have hidden channels; the first two begin a stream of their own each
        lambda **options: sn_resnet((32, 32, 1), 4, 4, 4, packing=2, **options),
        4 * 4 + 2 * 4,
        ("block_0/shortcut/kernel", "block_1/conv_1/kernel"),
    ),
}
WITHOUT_SPECTRAL_NORM = {
    "R3GAN": (
        lambda: r3gan((8, 8, 1), 4, 8, group_size=4),
        8 + 2 * 16,
        ("pixels/kernel", "block_0_0/conv_1/kernel"),
    ),
    "encoder": (
        lambda: vae((8, 8, 1), latent_size=2, hidden=(6, 5), classes=3),
        6 + 5,
        ("hidden_0/kernel", "hidden_1/kernel"),
    ),
}


@pytest.mark.parametrize("name", slow_except([*JUDGES, *WITHOUT_SPECTRAL_NORM], "dense", "DCGAN"))
def test_channels_of_discriminators_and_encoders(name):
    build, count, (written, read) = (JUDGES | WITHOUT_SPECTRAL_NORM)[name]
    model = build(spectral_norm=False) if name in JUDGES else build()
    find = encoder_channels if name == "encoder" else discriminator_channels
    network = model.encoder if name == "encoder" else model.discriminator
    groups = find(model)
    used = {group for slices in groups.values() for group in slices.groups} - {-1}
    assert len(used) == count
    if name in JUDGES:
        assert find(build(spectral_norm=True)) == groups
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    params, batch_stats = jax.tree.map(lambda x: rng.uniform(0.5, 1.5, x.shape), shapes)
    params = without(params, groups, {groups[written].groups[1]})
    images = rng.uniform(size=(4, *model.generator.image_shape))
    label = jnp.arange(4) % 3 if model.generator.classes else None

    @jax.jit
    @jax.grad
    def gradient(params):
        return jnp.sum(network.apply(params, batch_stats, jnp.asarray(images), False, label)[0])

    # What reads a channel of zeros gets nothing of it, so that row has no gradient.
    leaves = jax.tree_util.tree_leaves_with_path(gradient(params))
    (grad,) = [np.asarray(leaf) for path, leaf in leaves if path_name(path) == read]
    rows = np.abs(np.moveaxis(grad, -2, 0)).reshape(grad.shape[-2], -1).max(1)
    assert rows[1] == 0
    assert rows[[0, 2, 3]].all()


@pytest.mark.slow
def test_training_with_the_groups_leaves_channels_that_compaction_removes():
    variables, groups = groups_of(Residual(), IMAGES)
    tx = l1jax.proximal_adam(0.05, l1jax.coupled(2e-3, groups))
    x = jax.random.normal(jax.random.key(1), (32, *IMAGES.shape[1:]))
    y = 3 * x.mean((1, 2))

    def loss(params):
        return jnp.mean((Residual().apply({**variables, "params": params}, x) - y) ** 2)

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(jax.grad(loss)(params), state, params)
        return (jax.tree.map(jnp.add, params, updates), state), None

    start = variables["params"]
    (params, _), _ = jax.jit(lambda p: jax.lax.scan(step, (p, tx.init(p)), length=200))(start)
    zero = l1jax.zero_groups(params, l1jax.coupled(1.0, groups))
    left = int(np.sum(~np.asarray(zero["in/kernel"])))
    assert 0 < left < 4
    _, smaller = compact_linen(Residual(), {**variables, "params": params}, IMAGES)
    assert smaller["params"]["out"]["kernel"].shape == (left, 2)
