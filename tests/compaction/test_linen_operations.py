"""Dead channels pass through every operation that keeps channels apart.

The outputs stay those of the network in float64.
"""

import json

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
from l1jax.models.layout.layout_network import LayoutModule
from l1jax.models.layout.node import from_layout, to_layout
from l1jax.models.linear import Conv

pytestmark = pytest.mark.usefixtures("x64")


def convolved(x):
    return nn.relu(nn.Conv(6, (3, 3), name="wide")(x))


def resized(method):
    return lambda x: jax.image.resize(x, (x.shape[0], 9, 8, x.shape[3]), method)


def pooled(pool, **options):
    return lambda x: pool(x, (3, 2), (2, 2), **options)


BETWEEN = {
    "max pooling": pooled(nn.max_pool),
    "padded max pooling": pooled(nn.max_pool, padding="SAME"),
    "mean pooling": pooled(nn.avg_pool),
    "padded mean pooling": pooled(nn.avg_pool, padding="SAME"),
    "mean pooling inside": pooled(nn.avg_pool, padding="SAME", count_include_pad=False),
    "min pooling": lambda x: -nn.max_pool(-x, (2, 2)),
    "dilated max pooling": lambda x: lax.reduce_window(
        x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 1, 1, 1), "VALID", window_dilation=(1, 2, 2, 1)
    ),
    "exact GELU": lambda x: nn.gelu(x, approximate=False),
    "nearest resize": resized("nearest"),
    "bilinear resize": resized("bilinear"),
    "cubic resize": resized("cubic"),
    "antialiased resize": lambda x: jax.image.resize(x, (x.shape[0], 3, 3, x.shape[3]), "bilinear"),
    "flip": lambda x: jnp.flip(x, (1, 2)),
    "flip of channels": lambda x: jnp.flip(x, 3),
    "rounding": lambda x: jnp.round(3 * x),
    "rounding away from zero": lambda x: lax.round(3 * x),
    "dynamic slice": lambda x: lax.dynamic_slice_in_dim(x, 1, 3, axis=1),
    "chosen rows": lambda x: jnp.take(x, np.array([3, 0, 0]), axis=1),
    "repeated rows": lambda x: jnp.repeat(x, 2, axis=1),
    "repeated images": lambda x: jnp.tile(x, (1, 2, 1, 1)),
    "repeated channels": lambda x: jnp.tile(x, (1, 1, 1, 2)),
    "channels in front": lambda x: jnp.swapaxes(nn.max_pool(x, (2, 2)).transpose(0, 3, 1, 2), 1, 3),
    "batch elsewhere": lambda x: (x.transpose(1, 0, 2, 3)).transpose(1, 0, 2, 3),
    "batch norm of another axis": lambda x: nn.BatchNorm(True, axis=1, name="norm")(x),
    "batch norm of channels in front": lambda x: nn.BatchNorm(True, axis=1, name="norm")(
        x.transpose(0, 3, 1, 2)
    ).transpose(0, 2, 3, 1),
    "matrix": lambda x: jnp.einsum(
        "bhwc,hk->bkwc", x, np.random.default_rng(3).normal(size=(6, 4))
    ),
}


FURTHER = (  # cases of what other ones have too
    "padded max pooling",
    "mean pooling",
    "min pooling",
    "nearest resize",
    "cubic resize",
    "antialiased resize",
    "bilinear resize",
    "flip",
    "rounding away from zero",
    "repeated rows",
    "repeated images",
    "batch elsewhere",
)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in FURTHER else ()) for name in BETWEEN],
)
def test_dead_channels_go_through(name):
    wanted, found, left, _ = original_and_compact(
        lambda x: nn.Conv(2, (1, 1), name="last")(BETWEEN[name](convolved(x))),
        pictures(),
        dead=["wide"],
    )
    assert relative_error(found, wanted) < 1e-11
    assert left["params"]["wide"]["kernel"].shape == (
        3,
        3,
        3,
        3,
    )  # of the six outputs three are dead


def test_a_norm_of_channels_in_front_is_taken_in_by_the_layer_in_front():
    _, _, left, nodes = original_and_compact(
        lambda x: nn.BatchNorm(True, axis=1, name="norm")(
            nn.Conv(6, (3, 3), name="wide")(x).transpose(0, 3, 1, 2)
        ).transpose(0, 2, 3, 1),
        pictures(),
    )
    assert set(left["params"]) == {"wide"}
    assert "transpose" not in {node.op for node in nodes}


@pytest.mark.parametrize("kernel_size", [(3, 3), (4, 2)])
@pytest.mark.parametrize("padding", ["SAME", "VALID", ((1, 2), (0, 1))])
def test_a_transposed_kernel_is_that_of_the_layer(kernel_size, padding):
    wanted, found, left, _ = original_and_compact(
        lambda x: nn.ConvTranspose(
            2, kernel_size, strides=(2, 2), padding=padding, transpose_kernel=True, name="last"
        )(convolved(x)),
        pictures(),
        dead=["wide"],
    )
    assert relative_error(found, wanted) < 1e-11
    assert left["params"]["wide"]["kernel"].shape[-1] == 3


def layer(kind, **options):
    return lambda x: kind(2, name="last", **options)(x)


# Of each: whether constants become part of the bias, as the page says of what pads with no zeros.
LAST = {
    "a 1×1 convolution": (layer(nn.Conv, kernel_size=(1, 1)), True),
    "one with strides": (layer(nn.Conv, kernel_size=(1, 1), strides=2), True),
    "one of every pixel": (layer(nn.Conv, kernel_size=(3, 3), padding="VALID"), True),
    "one of a torus": (layer(nn.Conv, kernel_size=(3, 3), padding="CIRCULAR"), True),
    "one of mirrored images": (layer(nn.Conv, kernel_size=(3, 3), padding="REFLECT"), True),
    "one with explicit zeros": (layer(nn.Conv, kernel_size=(1, 1), padding=1), False),
    "a padded one": (layer(nn.Conv, kernel_size=(3, 3)), False),
    "one of an enlarged image": (
        layer(nn.Conv, kernel_size=(1, 1), input_dilation=2, padding=0),
        False,
    ),
    "a dilated one": (layer(nn.Conv, kernel_size=(2, 2), kernel_dilation=2, padding="VALID"), True),
    "a grouped one": (layer(nn.Conv, kernel_size=(1, 1), feature_group_count=2), True),
    "a transposed 1×1 convolution": (layer(nn.ConvTranspose, kernel_size=(1, 1)), True),
    "one of some precision": (
        layer(nn.Conv, kernel_size=(1, 1), precision=(lax.Precision.HIGH, lax.Precision.HIGHEST)),
        True,
    ),
    "one whose sums have a type": (
        layer(nn.ConvTranspose, kernel_size=(1, 1), preferred_element_type=jnp.float64),
        True,
    ),
    "one that enlarges": (layer(nn.ConvTranspose, kernel_size=(1, 1), strides=(2, 2)), False),
}


@pytest.mark.parametrize(
    "name",
    slow_except(
        LAST,
        "a 1×1 convolution",
        "one of every pixel",
        "one with explicit zeros",
        "a padded one",
        "a transposed 1×1 convolution",
        "one that enlarges",
    ),
)
def test_constants_become_a_bias_where_no_zeros_come_between(name):
    last, folded = LAST[name]
    wanted, found, left, _ = original_and_compact(
        lambda x: last(convolved(x) + 1), pictures(), dead=["wide"]
    )
    assert relative_error(found, wanted) < 1e-11
    inputs = left["params"]["last"]["kernel"].shape[-2]
    if name == "a grouped one":
        assert inputs == 2  # the group that keeps more of its three
    else:
        assert inputs == (3 if folded else 4)  # or one channel of ones


@pytest.mark.slow
def test_a_table_comes_back_from_json():
    def function(x):
        y = nn.max_pool(convolved(x), (2, 2), padding="SAME")
        y = jax.image.resize(y, (x.shape[0], 5, 4, 6), "bilinear")[:, ::-1]
        y = nn.Conv(2, (1, 1), precision=(lax.Precision.HIGH, lax.Precision.HIGHEST), name="last")(
            y
        )
        return jnp.round(y), nn.gelu(y, approximate=False)

    module, x = Network(function), pictures()
    variables = trained(module, [x], ["wide"])
    smaller, left = compact_linen(module, variables, x)
    again = LayoutModule(
        from_layout(json.loads(json.dumps(to_layout(smaller.nodes)))), smaller.structure
    )
    for found, wanted in zip(again.apply(left, x), module.apply(variables, x), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-12)


def test_an_own_convolution_that_enlarges_carries_its_constants():
    wanted, found, _, _ = original_and_compact(
        lambda x: Conv(2, 1, stride=2, transposed=True, name="last")(convolved(x) + 1),
        pictures(),
        dead=["wide"],
    )
    assert relative_error(found, wanted) < 1e-11


def test_embeddings_lose_the_channels_that_are_constant_or_not_read():
    module = Network(
        lambda ids: nn.Dense(2, name="last")(nn.relu(nn.Embed(5, 6, name="table")(ids)))
    )
    ids = jnp.array([[0, 1], [4, 2], [3, 3]])
    variables = trained(module, [ids])
    table, kernel = (
        np.array(variables["params"][k][n]) for k, n in (("table", "embedding"), ("last", "kernel"))
    )
    table[:, 1] = 0.5
    kernel[4] = 0
    variables["params"] = {
        "table": {"embedding": table},
        "last": {**variables["params"]["last"], "kernel": kernel},
    }
    smaller, left = compact_linen(module, variables, ids)
    np.testing.assert_allclose(smaller.apply(left, ids), module.apply(variables, ids), rtol=1e-5)
    assert left["params"]["table"]["embedding"].shape == (5, 4)


@pytest.mark.parametrize("outputs", [2, 5])
def test_a_shared_layer_is_called_again(outputs):
    def function(x):
        shared = nn.Dense(5, name="shared")
        y = shared(nn.relu(shared(x)))
        return nn.Dense(outputs, name="last")(jnp.concatenate([y, shared(y)], axis=-1))

    wanted, found, left, nodes = original_and_compact(function, vectors(), dead=["shared"])
    assert relative_error(found, wanted) < 1e-11
    calls = [node for node in nodes if node.name.startswith("shared")]
    assert len(calls) == 3
    assert left["params"]["shared"]["kernel"].shape == (
        5,
        2,
    )  # the first call reads all of the input
    assert left["params"]["shared_call_2"]["kernel"].shape == (
        2,
        2,
    )  # and the others what is left of it


def test_a_shared_layer_without_dead_channels_stays_shared():
    def function(x):
        shared = nn.Dense(5, name="shared")
        return shared(nn.relu(shared(x)))

    wanted, found, left, _ = original_and_compact(function, vectors())
    assert relative_error(found, wanted) < 1e-11
    assert set(left["params"]) == {"shared"}


def test_several_outputs_come_back_as_they_were():
    def function(x):
        hidden = nn.relu(nn.Dense(6, name="wide")(x))
        means = nn.Dense(2, name="mean")(hidden)
        return {"mean": means, "others": (nn.softplus(means[:, 0]), jnp.ones((x.shape[0], 3)), x)}

    wanted, found, left, _ = original_and_compact(function, vectors(), dead=["wide"])
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-11)
    assert left["params"]["wide"]["kernel"].shape == (5, 3)


INTEGERS = {
    "division": lambda i: lax.div(i - 4, 2),
    "remainder": lambda i: lax.rem(i - 4, 3),
    "bits": lambda i: ~i & 3,
    "exclusive or": lambda i: (i ^ 5) | 8,
    "shifts": lambda i: (i << 3) >> 1,
    "comparison": lambda i: jnp.where((i > 1) & ~(i == 3), i, -i),
    "powers": lambda i: i**3,
    "wrapping": lambda i: (i + 250).astype(jnp.uint8),
    "booleans": lambda i: jnp.any(i[:, None] == jnp.arange(3), axis=1),
    "sum": lambda i: jnp.sum(i[:, None] * jnp.array([2, -1]), axis=1),
}


OFTEN = ("division", "bits", "comparison", "wrapping", "sum")  # the others take the same way


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("name", slow_except(INTEGERS, *OFTEN))
def test_integers_stay_what_they_are(name, known):
    """Computed by the table from an input, and beforehand from what is known."""

    def function(x, i):
        numbers = jnp.zeros_like(i) + 3 if known else i
        factor = INTEGERS[name](numbers).astype(x.dtype)
        return nn.Dense(2, name="last")(x) * factor[:, None] + factor[:, None]

    wanted, found, _, _ = original_and_compact(function, vectors(6), jnp.arange(6))
    np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-12)


OF_CONSTANTS = {
    "slice": lambda c: c[:, 1:3],
    "flip": lambda c: jnp.flip(c, 1),
    "padding": lambda c: jnp.pad(c, ((0, 0), (1, 0))),
    "part": lambda c: jnp.split(c, 2, axis=1)[1],
    "repetition": lambda c: jnp.tile(c, (1, 2)),
    "maximum": lambda c: c.max(1, keepdims=True),
}


@pytest.mark.parametrize("name", OF_CONSTANTS)
def test_constants_may_have_a_row_for_each_example(name):
    def function(x):
        rows = jnp.asarray(np.tile(np.arange(4.0), (x.shape[0], 1)))
        return nn.Dense(1, name="last")(x) + OF_CONSTANTS[name](rows)

    wanted, found, _, _ = original_and_compact(function, vectors())
    np.testing.assert_allclose(found, wanted, rtol=1e-11)


def test_a_network_that_divides_by_the_number_of_examples_is_refused():
    module, x = Network(lambda x: nn.Dense(2, name="last")(x) / x.shape[0]), vectors()
    variables = jax.jit(module.init)(jax.random.key(0), x)
    with pytest.raises(
        ValueError,
        match="a number in `Network` cannot be compacted: it depends on the number of ex",
    ):
        compact_linen(module, variables, x)


def test_an_axis_as_long_as_the_traced_batch_is_no_batch():
    def function(x):
        weights = jnp.cos(jnp.linspace(0, 1, 509))
        return nn.Dense(2, name="last")(x * weights)

    wanted, found, _, _ = original_and_compact(function, vectors(3, 509))
    assert relative_error(found, wanted) < 1e-11


def test_constants_of_any_size_are_told_apart():
    """One beside a much larger one, and beside one that is infinite."""

    def function(x):
        offsets = jnp.array([[1e20, 1e20], [1.0, 2.0]])
        least = jnp.array([-jnp.inf, 3.0])
        y = nn.Dense(2, name="last")(x)
        return jnp.maximum(y, least), y + offsets[1], y * offsets[0], jnp.tanh(offsets) * y[:, None]

    wanted, found, _, _ = original_and_compact(function, vectors())
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11)


def test_a_constant_that_is_read_twice_is_cut_twice():
    def function(x):
        gate = jnp.linspace(-1, 1, 6)
        first = nn.Dense(6, name="first")(x) * gate
        second = nn.Dense(6, name="second")(x) * gate
        return nn.Dense(2, name="last")(jnp.concatenate([first, second], -1))

    module, x = Network(function), vectors()
    variables = trained(module, [x])
    kernel = np.array(variables["params"]["last"]["kernel"])
    kernel[[0, 1, 10]] = 0  # two of the first six are not read, and another one of the second
    variables["params"]["last"]["kernel"] = jnp.asarray(kernel)
    smaller, left = compact_linen(module, variables, x)
    np.testing.assert_allclose(smaller.apply(left, x), module.apply(variables, x), rtol=1e-11)
    assert left["params"]["first"]["kernel"].shape == (5, 4)
    assert left["params"]["second"]["kernel"].shape == (5, 5)
