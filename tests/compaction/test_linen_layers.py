"""Layers with odd fields, arguments or wrappers compute the same when compacted.

Otherwise they are refused by name.
"""

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fast_cases import slow_except
from flax import linen as nn
from jax import lax
from linen_networks import Network, original_and_compact, pictures, trained, vectors
from sparse_networks import relative_error

from l1jax.compaction.compact_network import compact_linen

JittedDense = nn.jit(nn.Dense)  # one for all: what is compiled of it is kept


def head(x):
    return nn.Dense(2, name="head")(x)


def doubled(trees):
    return jax.tree.map(lambda leaf: 2 * leaf, trees)


class Step(nn.Module):
    """One of several layers of equal width."""

    @nn.compact
    def __call__(self, x, _):
        return nn.relu(nn.Dense(5, name="dense")(x)), None


class LowRank(nn.Module):
    """x W + x A B, with the parameters of the layer inside in its own scope."""

    @nn.compact
    def __call__(self, x):
        inner = nn.Dense(6, name="inner")
        nn.share_scope(self, inner)
        down = self.param("down", nn.initializers.ones, (x.shape[-1], 2))
        up = self.param("up", nn.initializers.ones, (2, 6))
        return inner(x) + x @ down @ up


def tripled(*args, **options):
    return 3 * lax.dot_general(*args, **options)


def convolved_thrice(*args, **options):
    return 3 * lax.conv_general_dilated(*args, **options)


WRAPPED = {
    "weight norm": lambda x: nn.WeightNorm(nn.Dense(6, name="wide"))(x),
    "spectral norm": lambda x: nn.SpectralNorm(nn.Dense(6, name="wide"))(x, update_stats=False),
    "mapped variables": lambda x: nn.map_variables(nn.Dense, "params", doubled, init=True)(
        6, name="wide"
    )(x),
    "remat": lambda x: nn.remat(nn.Dense)(6, name="wide")(x),
    "jit": lambda x: JittedDense(6, name="wide")(x),
    "low rank": lambda x: LowRank(name="wide")(x),
    "precision": lambda x: nn.Dense(6, precision=lax.Precision.HIGHEST, name="wide")(x),
    "types": lambda x: nn.Dense(6, dtype=jnp.float64, param_dtype=jnp.float64, name="wide")(x),
    "initialisation": lambda x: nn.Dense(6, kernel_init=nn.initializers.ones, name="wide")(x),
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", WRAPPED)
def test_a_wrapped_layer_computes_with_what_it_really_has(name):
    wanted, found, left, _ = original_and_compact(
        lambda x: head(nn.relu(WRAPPED[name](x))), vectors(), dead=["wide"]
    )
    assert relative_error(found, wanted) < 1e-11
    if name != "low rank":
        assert left["params"]["head"]["kernel"].shape == (
            3,
            2,
        )  # half of the layer's six outputs are dead


@pytest.mark.usefixtures("x64")
def test_a_compiled_module_is_itself_again_after_its_compaction():
    module = Network(lambda x: JittedDense(2, name="kept")(x))
    x = vectors()
    variables = trained(module, [x])
    before = jax.jit(module.apply)(variables, x)
    for _ in range(2):
        smaller, left = compact_linen(module, variables, x)
        np.testing.assert_allclose(smaller.apply(left, x), before, rtol=1e-12)
    np.testing.assert_allclose(module.apply(variables, x), before, rtol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_layer_of_fewer_bits_still_has_them(dtype):
    x = vectors(dtype=np.float32)
    wanted, found, left, _ = original_and_compact(
        lambda x: head(nn.relu(nn.Dense(6, dtype=dtype, name="wide")(x))), x, dead=["wide"]
    )
    assert left["params"]["wide"]["kernel"].shape == (5, 3)
    assert relative_error(found, wanted) < (1e-6 if dtype == jnp.float32 else 1e-2)


NORMS = {
    "layer": lambda fast: nn.LayerNorm(use_fast_variance=fast, name="norm"),
    "group": lambda fast: nn.GroupNorm(3, use_fast_variance=fast, name="norm"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", slow_except(NORMS, "group"))
def test_the_variance_is_computed_as_the_network_does(kind):
    module = Network(lambda x: NORMS[kind](False)(x))
    x = np.random.default_rng(0).normal(1e3, 1, (8, 12)).astype(np.float32)
    variables = trained(module, [x])
    smaller, left = compact_linen(module, variables, jnp.asarray(x))
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, np.float64), variables)
        exact = np.asarray(module.apply(wide, jnp.asarray(x, np.float64)))
    assert relative_error(np.asarray(smaller.apply(left, jnp.asarray(x))), exact) < 1e-3
    fast = Network(lambda x: NORMS[kind](True)(x))
    assert (
        relative_error(np.asarray(fast.apply(variables, jnp.asarray(x))), exact) > 1e-2
    )  # so that there is something to see


def boxed(x):
    return nn.Dense(
        6, kernel_init=nn.with_partitioning(nn.initializers.ones, (None, "model")), name="odd"
    )(x)


def mapped(x):
    layer = nn.vmap(nn.Dense, variable_axes={"params": None}, split_rngs={"params": False})
    return layer(6, name="odd")(x)


def scanned(x):
    steps = nn.scan(Step, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
    return steps(name="odd")(x, None)[0]


def hypernetwork(x):
    def scaled(tree):
        return jax.tree.map(lambda leaf: leaf * jnp.mean(x), tree)

    return nn.map_variables(nn.Dense, "params", scaled, init=True)(6, name="odd")(x)


def derivative(x):
    layer = nn.Dense(1, name="odd")
    return nn.vjp(lambda layer, x: layer(x), layer, x)[1](jnp.ones((x.shape[0], 1)))[1]


REFUSED = {
    "a product of its own": (
        lambda x: nn.Dense(6, dot_general=tripled, name="odd")(x),
        r"with `dot_general`.*None",
    ),
    "a class of products": (
        lambda x: nn.Dense(6, dot_general_cls=lambda: tripled, name="odd")(x),
        "`dot_general_cls`",
    ),
    "a promotion of its own": (
        lambda x: nn.Dense(6, promote_dtype=lambda *a, dtype: a, name="odd")(x),
        r"with `promote_dtype` .*must be left at its default",
    ),
    "an axis of its own": (
        lambda x: nn.LayerNorm(reduction_axes=(0, 1), name="odd")(x),
        "`reduction_axes`",
    ),
    "fewer bits for sums": (
        lambda x: nn.LayerNorm(force_float32_reductions=False, name="odd")(x),
        "`force_float32",
    ),
    "the batch's axis": (
        lambda x: nn.BatchNorm(True, axis=0, name="odd")(x.T @ x),
        "`odd`|mixes the examples",
    ),
    "a masked layer norm": (
        lambda x: nn.LayerNorm(name="odd")(x, mask=x > 0),
        "is called with `mask`",
    ),
    "a masked batch norm": (
        lambda x: nn.BatchNorm(True, name="odd")(x, mask=x > 0),
        "is called with `mask`",
    ),
    "a masked group norm": (
        lambda x: nn.GroupNorm(1, name="odd")(x, mask=x > 0),
        "is called with `mask`",
    ),
    "partitioning": (boxed, "pass flax.linen.meta.unbox"),
    "a mapped layer": (mapped, "is called under `vmap`"),
    "layers in a loop": (scanned, "`scan` in `.*odd.*` cannot be compacted"),
    "parameters made of the input": (
        hypernetwork,
        "depend on the network's input|mixes the examples",
    ),
    "a derivative": (derivative, "is differentiated inside of the network|mixes the examples"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_layer_that_is_not_known_is_refused_by_its_name(name):
    function, said = REFUSED[name]
    module, x = Network(function), vectors(dtype=np.float32)
    variables = jax.jit(module.init)(jax.random.key(0), x)
    with pytest.raises(ValueError, match=said) as caught:
        compact_linen(module, variables, x)
    assert "odd" in str(caught.value) or "mixes the examples" in str(caught.value)


IMAGES_REFUSED = {
    "a convolution of its own": (
        lambda x: nn.Conv(2, (3, 3), conv_general_dilated=convolved_thrice, name="odd")(x),
        "`odd` cannot be compacted with `conv_general_dilated`",
    ),
    "a class of convolutions": (
        lambda x: nn.Conv(2, (3, 3), conv_general_dilated_cls=lambda: convolved_thrice, name="odd")(
            x
        ),
        "`odd` cannot be compacted with `conv_general_dilated_cls`",
    ),
    "a masked kernel": (
        lambda x: nn.Conv(2, (1, 1), mask=jnp.ones((1, 1, 3, 2)), name="odd")(x),
        "`odd` cannot be compacted with `mask`",
    ),
    "a masked transposed kernel": (
        lambda x: nn.ConvTranspose(2, (1, 1), mask=jnp.ones((1, 1, 3, 2)), name="odd")(x),
        "`odd` cannot be compacted with `mask`",
    ),
    "a convolution over the batch": (
        lambda x: nn.Conv(2, (3, 3), name="odd")(x.mean(1)),
        "`odd` cannot be compacted: it is called on 3 axes, the batch's among them, and needs 4",
    ),
    "a transposed kernel on a torus": (
        lambda x: nn.ConvTranspose(
            2, (3, 3), padding="CIRCULAR", transpose_kernel=True, name="odd"
        )(x),
        "`odd` cannot be compacted: it has `transpose_kernel`",
    ),
    "local weights": (
        lambda x: nn.ConvLocal(2, (3, 3), name="odd")(x),
        "in `.*odd` cannot be compacted",
    ),
}


@pytest.mark.parametrize("name", IMAGES_REFUSED)
def test_a_convolution_that_is_not_known_is_refused_by_its_name(name):
    function, said = IMAGES_REFUSED[name]
    module, x = Network(function), pictures(dtype=np.float32)
    variables = jax.jit(module.init)(jax.random.key(0), x)
    with pytest.raises(ValueError, match=said):
        compact_linen(module, variables, x)


def test_a_norm_in_training_is_refused():
    module, x = (
        Network(lambda x: nn.BatchNorm(name="odd")(x, use_running_average=False)),
        vectors(dtype=np.float32),
    )
    variables = jax.jit(module.init)(jax.random.key(0), x)
    with pytest.raises(ValueError, match="`odd` cannot be compacted: it is in training"):
        compact_linen(module, variables, x, mutable=["batch_stats"])


def test_modules_of_other_libraries_are_refused():
    with pytest.raises(ValueError, match=r"`module` \(=Linear\) must be a module of flax.linen"):
        compact_linen(nnx.Linear(3, 2, rngs=nnx.Rngs(0)), {}, vectors(dtype=np.float32))


@pytest.mark.usefixtures("x64")
def test_an_unboxed_layer_is_that_of_its_numbers():
    module, x = Network(boxed), vectors()
    variables = nn.meta.unbox(jax.jit(module.init)(jax.random.key(0), x))
    smaller, left = compact_linen(module, variables, x)
    np.testing.assert_allclose(smaller.apply(left, x), module.apply(variables, x), rtol=1e-12)
