"""Other people's Linen modules are compacted where that is sound.

Otherwise they are refused by name.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict
from sparse_networks import relative_error, shapes

from l1jax.compaction.compact_network import compact_linen
from l1jax.models.linear import Dense


class Upsampler(nn.Module):
    """Resize by depth-to-space, by Flax's transposed convolution, and by repetition.

    Depth-to-space has the channels of the block first.
    """

    @nn.compact
    def __call__(self, z, image, train=False):
        x = nn.gelu(nn.Dense(3 * 3 * 6, name="project")(z)).reshape(-1, 3, 3, 6)
        x = nn.Conv(6 * 4, (3, 3), name="shuffle")(x)
        x = x.reshape(-1, 3, 3, 6, 2, 2).transpose(0, 1, 4, 2, 5, 3).reshape(-1, 6, 6, 6)
        x = nn.silu(nn.BatchNorm(use_running_average=not train, name="norm")(x))
        y = nn.Conv(6, (3, 3), padding="VALID", name="valid")(
            jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        )
        x = jnp.concatenate([x + y * 0.5, image], axis=-1)
        x = nn.ConvTranspose(5, (4, 4), strides=(2, 2), use_bias=False, name="up")(x)
        x = nn.relu(nn.GroupNorm(num_groups=5, name="group_norm")(x))
        x = jnp.repeat(x[:, ::2, 1:-1], 2, axis=1)
        return nn.Conv(2, (3, 3), feature_group_count=1, name="image")(x)


def random_upsampler(dead):
    """Return the module, its variables and inputs.

    `dead` layers lose every third output, in the kernel and the inputs alike.
    """
    rng, module = np.random.default_rng(0), Upsampler()
    inputs = rng.normal(size=(4, 5)), rng.normal(size=(4, 6, 6, 2))
    made = jax.eval_shape(lambda: module.init(jax.random.key(0), *map(jnp.asarray, inputs)))

    def fill(path, leaf):
        values = rng.normal(size=leaf.shape) / np.sqrt(max(leaf.size // leaf.shape[-1], 1))
        if path[-1].key == "kernel" and path[-2].key in dead:
            values[..., ::3] = 0
        return jnp.asarray(np.abs(values) + 0.5 if path[-1].key == "var" else values)

    return module, jax.tree_util.tree_map_with_path(fill, made), [jnp.asarray(x) for x in inputs]


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("dead", "fold_norms"),
    [
        ([], False),
        (["project", "valid"], True),
        pytest.param(["shuffle", "up"], False, marks=pytest.mark.slow),
        pytest.param(["project", "shuffle", "valid"], True, marks=pytest.mark.slow),
        (["project", "shuffle", "valid"], False),
    ],
)
def test_a_module_of_usual_layers_computes_the_same(dead, fold_norms):
    module, variables, inputs = random_upsampler(dead)
    smaller, left = compact_linen(module, variables, *inputs, fold_norms=fold_norms)
    found = jax.jit(lambda v, z, image: smaller.apply(v, z, False, image))(left, *inputs)
    assert relative_error(found, jax.jit(module.apply)(variables, *inputs)) < 1e-11
    made = jax.eval_shape(
        lambda key: smaller.init(key, inputs[0], False, inputs[1]), jax.random.key(0)
    )
    assert shapes(made) == shapes(left)
    before, after = (flatten_dict(v["params"], sep="/") for v in (variables, left))
    narrower = {
        name.split("/")[0]
        for name in after
        if name.endswith("kernel") and after[name].shape != before[name].shape
    }
    assert narrower >= set(dead)
    groups = 3 if "up" in dead else 5  # each of one channel
    assert after["group_norm/scale"].shape == (groups,)


class Normed(nn.Module):
    """Dense layers with and without a bias in front of batch norms, and a gate."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.relu(nn.Dense(6, name="first")(x))
        x = nn.BatchNorm(use_running_average=not train, name="norm_1")(
            nn.Dense(5, use_bias=False, name="second")(x)
        )
        x = nn.BatchNorm(use_running_average=not train, name="norm_2")(
            nn.Dense(4, name="third")(jnp.tanh(x))
        )
        return nn.Dense(3, name="last")(x * self.param("gate", nn.initializers.ones, (4,)))


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("fold_norms", [True, False])
def test_norms_take_in_biases_and_constants_and_a_gate_cuts_off(fold_norms):
    rng, x = np.random.default_rng(1), jnp.asarray(np.random.default_rng(2).normal(size=(7, 3)))
    made = jax.eval_shape(lambda: Normed().init(jax.random.key(0), x))
    variables = jax.tree.map(lambda leaf: jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape)), made)
    params = variables["params"]
    params["first"]["kernel"] = params["first"]["kernel"].at[:, :2].set(0)
    params["gate"] = params["gate"].at[1].set(0)
    smaller, left = compact_linen(Normed(), variables, x, fold_norms=fold_norms)
    assert relative_error(smaller.apply(left, x), Normed().apply(variables, x)) < 1e-12
    found = left["params"]
    assert found["second"]["kernel"].shape == (4, 5)
    assert found["third"]["kernel"].shape == (5, 3)
    assert ("bias" in found["second"]) == fold_norms == ("norm_1" not in found)
    if not fold_norms:
        moved = left["batch_stats"]["norm_1"]["mean"] - variables["batch_stats"]["norm_1"]["mean"]
        constant = params["first"]["bias"][:2] @ params["second"]["kernel"][:2]
        np.testing.assert_allclose(moved, -constant, rtol=1e-12)


class Sliced(nn.Module):
    @nn.compact
    def __call__(self, x):
        y = nn.Dense(6, name="wide")(x)
        return nn.Dense(2, name="last")(jnp.concatenate([y[:, 1:][:, 1:4], jnp.tanh(y)], axis=-1))


@pytest.mark.slow
def test_slices_of_slices_are_those_of_the_original():
    x = jax.random.normal(jax.random.key(0), (5, 3))
    variables = Sliced().init(jax.random.key(1), x)
    smaller, left = compact_linen(Sliced(), variables, x)
    assert relative_error(smaller.apply(left, x), Sliced().apply(variables, x)) < 1e-6
    assert sum(node.op == "take" for node in smaller.nodes) == 1


class Attention(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(4, name="keys")(x)
        return jnp.einsum("bij,bkj->bik", x, x)


class Mixed(nn.Module):
    @nn.compact
    def __call__(self, x):
        return Inner(name="inner")(x)


class Inner(nn.Module):
    @nn.compact
    def __call__(self, x):
        return jnp.sort(nn.Dense(3)(x), axis=-1)


class Spectral(nn.Module):
    @nn.compact
    def __call__(self, x):
        return Dense(2, spectral_norm=True, name="normalised")(x)


class AcrossBatch(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x - jnp.mean(x, axis=0)


@pytest.mark.parametrize(
    ("module", "shape", "said"),
    [
        (Attention(), (2, 3, 4), "`dot_general`"),
        (Mixed(), (2, 3), r"`sort` in `.*inner.*` cannot be compacted: it is not among"),
        (
            Spectral(),
            (2, 3),
            r"`normalised` cannot be compacted with `spectral_norm` \(=True\): it must be False",
        ),
        (AcrossBatch(), (2, 3), "mixes the examples of a batch"),
    ],
)
def test_what_is_not_sound_is_refused_by_name(module, shape, said):
    x = jnp.ones(shape)
    with pytest.raises(ValueError, match=said):
        compact_linen(module, module.init(jax.random.key(0), x), x)
