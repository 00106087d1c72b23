"""Named channel groups on real Flax kernels, and what each group's zero means for the layer."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalogue import DISTANCE, PROX, SUBGRADIENT, VALUE

import l1jax
from l1jax.penalties import group_axes

LAYERS = {
    "Dense": (nn.Dense(6), (2, 4)),
    "Conv": (nn.Conv(6, (3, 3)), (2, 3, 3, 4)),
    "ConvTranspose": (nn.ConvTranspose(6, (4, 4), strides=(2, 2)), (2, 3, 3, 4)),
}


def layer_without_a_group(layer, axis, index):
    """Apply the layer as Flax does, after a prox that removes the group of this index only."""
    module, shape = LAYERS[layer]
    rng = np.random.default_rng(0)
    kernel_shape = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros(shape))["params"][
        "kernel"
    ].shape
    groups = l1jax.group_l1(1.0, axis)
    (kept,) = set(range(len(kernel_shape))) - set(group_axes(groups.axis, kernel_shape))
    small = (
        np.arange(kernel_shape[kept]).reshape(
            [-1 if a == kept else 1 for a in range(len(kernel_shape))]
        )
        == index
    )
    kernel = rng.choice([-1.0, 1.0], size=kernel_shape).astype(np.float32) * np.where(
        small, 1e-4, 1
    )
    kernel = PROX(groups, kernel, 0.01)
    np.testing.assert_array_equal(kernel == 0, np.broadcast_to(small, kernel_shape))
    variables = {"params": {"kernel": kernel, "bias": jnp.arange(6.0)}}
    apply = jax.jit(module.apply)
    return (lambda x: np.asarray(apply(variables, x))), rng.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("layer", LAYERS)
def test_zero_output_group_leaves_the_bias_alone(layer):
    apply, x = layer_without_a_group(layer, l1jax.output_channels(), 2)
    outputs = apply(x)
    assert np.all(outputs[..., 2] == 2)
    assert np.all(np.ptp(outputs[..., [0, 1, 3, 4, 5]], axis=0) != 0)


@pytest.mark.parametrize("layer", LAYERS)
def test_zero_input_group_ignores_the_channel(layer):
    apply, x = layer_without_a_group(layer, l1jax.input_channels(), 1)
    added = np.eye(4, dtype=np.float32)
    np.testing.assert_array_equal(apply(x), apply(x + added[1]))
    assert np.any(apply(x) != apply(x + added[2]))


def test_scales_are_groups_of_one_entry():
    norm = nn.BatchNorm(use_running_average=False)
    shape = jax.eval_shape(norm.init, jax.random.key(0), jnp.zeros((2, 3)))["params"]["scale"].shape
    scale = jnp.ones(shape) * jnp.array([1.0, 0.2, -3.0])
    y = l1jax.by_path({"scale": l1jax.group_l1(0.5, l1jax.scales())}).prox(
        {"scale": scale, "bias": scale}, 1.0
    )
    np.testing.assert_allclose(y["scale"], [0.5, 0.0, -2.5])
    np.testing.assert_array_equal(y["bias"], scale)


@pytest.mark.parametrize(
    ("groups", "shape", "axes"),
    [
        (l1jax.output_channels(), (4, 6), (0,)),
        (l1jax.input_channels(), (4, 6), (1,)),
        (l1jax.output_channels(), (3, 3, 4, 6), (0, 1, 2)),
        (l1jax.input_channels(), (3, 3, 4, 6), (0, 1, 3)),
        (l1jax.scales(), (6,), ()),
        ((0, 1, 2), (3, 3, 4, 6), (0, 1, 2)),
        (-1, (4, 6), (1,)),
        ((), (4, 6), ()),
    ],
)
def test_axes_are_named(groups, shape, axes):
    assert group_axes(groups, shape) == axes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("block", "shape"),
    [
        pytest.param((2, 3), (4, 6), marks=pytest.mark.slow),
        ((2, 3), (2, 4, 6)),
        ((2, -1, 2), (2, 4, 6)),
    ],
)
def test_blocks_are_groups(block, shape):
    # oracle: each block cut out by hand and given to the prox of one group
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype(np.float32)
    step = rng.uniform(0.5, 2, size=shape).astype(np.float32)
    ends = zip(shape[-len(block) :], block, strict=True)
    lengths = (1,) * (len(shape) - len(block)) + tuple(n if b == -1 else b for n, b in ends)
    for penalty, make in (
        (
            l1jax.group_mcp(0.8, 9.0, l1jax.kernel_blocks(block)),
            lambda: l1jax.group_mcp(0.8, 9.0, 0),
        ),
        (
            l1jax.sparse_group_l1(0.2, 0.8, l1jax.kernel_blocks(block)),
            lambda: l1jax.sparse_group_l1(0.2, 0.8, 0),
        ),
    ):
        for steps in (np.float32(0.7), step):
            y = np.array(PROX(penalty, x, steps))
            value = 0.0
            square = 0.0
            subgradient = np.asarray(SUBGRADIENT(penalty, x))
            for start in np.ndindex(*(n // b for n, b in zip(shape, lengths, strict=True))):
                at = tuple(slice(s * b, (s + 1) * b) for s, b in zip(start, lengths, strict=True))
                part = x[at].ravel()
                part_step = steps[at].ravel() if np.ndim(steps) else steps
                expected = PROX(make(), part, part_step).reshape(lengths)
                np.testing.assert_allclose(y[at], expected, rtol=1e-5, atol=1e-6)
                np.testing.assert_allclose(
                    subgradient[at], SUBGRADIENT(make(), part).reshape(lengths), rtol=1e-5
                )
                value += float(VALUE(make(), part))
                square += float(DISTANCE(make(), part, part_step * part)) ** 2
            np.testing.assert_allclose(VALUE(penalty, x), value, rtol=1e-5)
            np.testing.assert_allclose(DISTANCE(penalty, x, steps * x), np.sqrt(square), rtol=1e-4)
    assert (y == 0).any()


@pytest.mark.slow
def test_step_that_varies_along_one_axis_only():
    # length 1 along the groups is one step per group; length 1 along the others is a metric
    x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    rng = np.random.default_rng(1)
    for shape in ((4, 1), (1, 6), (6,), (1, 1), ()):
        step = rng.uniform(0.1, 0.5, size=shape).astype(np.float32)
        full = np.broadcast_to(step, x.shape)
        for axis in (0, l1jax.kernel_blocks((2, 3))):
            penalty = l1jax.sparse_group_l1(0.3, 0.7, axis)
            np.testing.assert_allclose(
                PROX(penalty, x, step), PROX(penalty, x, full), rtol=1e-5, atol=1e-6
            )


def test_one_step_per_group_takes_the_cheap_form():
    def program(step):
        return str(jax.make_jaxpr(l1jax.group_l1(1.0, 0).prox)(jnp.ones((4, 6)), step))

    for step in (1.0, jnp.ones((1, 6))):
        assert program(step).count("reduce_sum") == 1
        assert "while" not in program(step)
    assert "while" in program(jnp.ones((4, 6)))


def test_zero_groups_are_those_with_no_entry_left():
    rng = np.random.default_rng(0)
    conv = rng.normal(size=(3, 3, 4, 6))
    dense = rng.normal(size=(4, 6))
    conv[..., [1, 4]] = dense[2] = dense[:2, :3] = 0
    conv[0, 0, 0] = 0  # an entry of every group, all of none but those two
    params = {
        "conv": conv,
        "dense": dense,
        "summed": dense,
        "blocks": dense,
        "entries": dense,
        "bias": np.zeros(6),
    }
    rows = l1jax.input_channels()
    penalty = l1jax.by_path(
        {
            "conv": l1jax.group_l1(1.0, l1jax.output_channels()),
            "dense": l1jax.group_mcp(1.0, 3.0, rows),
            "summed": l1jax.sum_of(l1jax.l1(1.0), l1jax.group_l1(1.0, rows), l1jax.l2(1.0)),
            "blocks": l1jax.group_l1(1.0, l1jax.kernel_blocks((2, 3))),
            "entries": l1jax.l1(1.0),
        }
    )
    zeros = jax.jit(l1jax.zero_groups)(params, penalty)
    expected = {
        "conv": [False, True, False, False, True, False],
        "dense": [False, False, True, False],
        "summed": [False, False, True, False],
        "blocks": [[True, False], [False, False]],
        "entries": dense == 0,
    }
    assert zeros.keys() == expected.keys()
    for path, groups in expected.items():
        np.testing.assert_array_equal(zeros[path], groups)
