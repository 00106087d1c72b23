"""Whatever goes wrong, no network is returned that computes something else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from linen_networks import Network, trained, vectors

from l1jax.compaction import compact_network, layer_calls, verify_module
from l1jax.compaction.compact_network import compact_linen
from l1jax.compaction.verify_module import MismatchError, random_inputs
from l1jax.models.layout import layout_network, operations


def usual(x):
    y = nn.relu(nn.Dense(6, name="wide")(x))
    return nn.Dense(2, name="last")(nn.LayerNorm(name="norm")(y)) + jnp.round(x[:, :2])


def compacted(function=usual, x=None, dead=("wide",)):
    module = Network(function)
    x = vectors(dtype=np.float32) if x is None else x
    return compact_linen(module, trained(module, [x], dead), x)


def test_a_right_one_is_returned():
    compacted()


def another_bias(graph):
    params = {
        **graph.params,
        "last": {**graph.params["last"], "bias": graph.params["last"]["bias"] + 1e-3},
    }
    return graph._replace(params=params)


def fewer_bits(graph):
    rounded = jax.tree.map(
        lambda leaf: np.asarray(leaf, jnp.bfloat16).astype(np.float32), graph.params
    )
    return graph._replace(params=rounded)


FAULTS = {
    "too much is removed": (
        compact_network,
        "shrink",
        lambda own: lambda graph: another_bias(own(graph)),
        "what is left",
    ),
    "norms are folded wrongly": (
        compact_network,
        "fold_batch_norms",
        lambda own: lambda graph: another_bias(own(graph)),
        "what is",
    ),
    "parameters lose bits": (
        compact_network,
        "_round_params",
        lambda own: lambda *a: fewer_bits(own(*a)),
        "rounded,",
    ),
    "a field is forgotten": (
        layer_calls,
        "_options",
        lambda own: lambda *a: {**own(*a), "epsilon": 0.1} if "epsilon" in own(*a) else own(*a),
        "its table",
    ),
    "a layer is called with others' numbers": (
        layer_calls,
        "_variables",
        lambda own: lambda *a: jax.tree.map(lambda leaf: leaf * 1.001, own(*a)),
        "its table",
    ),
    "what is not a number": (
        compact_network,
        "_round_params",
        lambda own: (
            lambda *a: own(*a)._replace(
                params=jax.tree.map(lambda leaf: leaf * np.nan, own(*a).params)
            )
        ),
        "rounded,",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_mistake_is_noticed(name, monkeypatch):
    where, what, made, said = FAULTS[name]
    monkeypatch.setattr(where, what, made(getattr(where, what)))
    with pytest.raises(MismatchError, match=f"the network cannot be compacted: .*{said}"):
        compacted()


OPERATIONS = {
    "round": (operations.ELEMENTWISE, lambda xp, x, rounding_method: xp.floor(x)),
    "max": (operations.ELEMENTWISE, lambda xp, x, y: xp.maximum(x, y + 1e-3)),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_wrong_operation_is_noticed(name, monkeypatch):
    table, wrong = OPERATIONS[name]
    monkeypatch.setitem(table, name, wrong)
    with pytest.raises(MismatchError, match="its table computes something else"):
        compacted()


def test_a_wrong_pooling_is_noticed(monkeypatch):
    monkeypatch.setattr(layout_network, "pool", lambda node, x: 1.01 * x[:, ::2, ::2])
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 4, 3)), jnp.float32)
    with pytest.raises(MismatchError, match="its table computes something else"):
        compacted(lambda x: nn.max_pool(x, (2, 2), (2, 2)), x)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_what_shows_at_other_scales_alone_is_noticed(scale, monkeypatch):
    """A bend of the function that no input of the example's own size reaches."""

    class Bent(layout_network.LayoutModule):
        def __call__(self, x, train=False, *others):
            y = layout_network.LayoutModule.__call__(self, x, train, *others)
            size = jnp.abs(x).max(axis=1, keepdims=True)
            return jnp.where(size < 0.1 if scale < 1 else size > 100, 1.1 * y, y)

    monkeypatch.setattr(verify_module, "LayoutModule", Bent)
    with pytest.raises(
        MismatchError, match=f"On random inputs of mean .*deviation {scale:g}|of mean 1000"
    ):
        compacted(lambda x: nn.Dense(2, name="last")(x))


def test_a_network_of_no_finite_numbers_is_refused():
    with pytest.raises(MismatchError, match="no finite number"):
        compacted(lambda x: jnp.log(-jnp.abs(nn.Dense(2, name="last")(x))))


def test_a_network_that_overflows_at_large_inputs_is_judged_by_the_others():
    compacted(lambda x: jnp.exp(nn.Dense(2, name="last")(x)) * jnp.exp(x[:, :1]))


def test_random_inputs_are_those_that_a_network_may_get():
    floats = jnp.asarray(np.random.default_rng(0).normal(0, 200, (5, 3)), jnp.float32)
    labels, flags = jnp.array([3, 7, 7, 9, 3]), jnp.array([[True], [False]])
    groups = random_inputs([floats, labels, flags])
    sizes = [np.abs(group.inputs[0]).mean() for group in groups]
    assert 50 < sizes[0] < 500
    assert sizes[1] < 1
    assert sizes[2] > 5e4
    assert sizes[3] > 1e5
    for group in groups[:4]:
        assert set(group.inputs[1].tolist()) <= {3, 7, 9}
    assert groups[4].inputs[1].min() < 0  # any integers, negative ones too
    assert groups[0].inputs[2].dtype == bool
    assert [x.dtype for x in groups[0].inputs[:2]] == [np.float32, labels.dtype]
    shapes = random_inputs(
        [jax.ShapeDtypeStruct((1, 4), jnp.float32), jax.ShapeDtypeStruct((1,), jnp.uint8)]
    )
    assert 0.3 < np.abs(shapes[0].inputs[0]).mean() < 3
    assert set(shapes[0].inputs[1].tolist()) <= {0, 1}
