"""The diffusion transformer against the paper's formulas in NumPy and its published sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from on_devices import drawn
from scipy.special import softmax

from l1jax.build import build_model
from l1jax.config import Dit, InputError
from l1jax.models import dit
from l1jax.models.dit import place_features
from l1jax.models.summary import layers

RNG = np.random.default_rng(0)
SHAPE = (4, 6, 2)
WIDTH, HEADS, LAYERS, PATCH, CLASSES = 8, 2, 2, 2, 3
SMALL = {"width": WIDTH, "layers": LAYERS, "heads": HEADS, "patch_size": PATCH}


@pytest.mark.slow
def test_parameters_and_work_are_those_of_the_published_network():
    """DiT-S/2 has 33 million parameters and takes 6.06 billion MACs (table 4 of the paper).

    The authors' network also gives a variance of each entry and knows one class more, for none.
    """
    flow = dit((32, 32, 4), classes=1000, predicts="velocity")
    found = layers(flow.predictor.init)
    variances = (384 + 1) * 2 * 2 * 4
    parameters = sum(layer.parameters for layer in found) + variances + 384
    assert parameters == pytest.approx(33e6, rel=5e-3)
    places = (32 // 2) ** 2
    attention = 12 * 2 * places**2 * 384
    weighted = [layer for layer in found if layer.parameters]
    work = sum(layer.flops for layer in weighted) / 2 + attention
    assert work / 1e9 == pytest.approx(6.06, abs=0.03)


def silu(x):
    return x / (1 + np.exp(-x))


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def norm(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)


def affine(layer, x):
    return x @ layer["kernel"] + layer.get("bias", 0)


def expected_velocity(params, image, time, label):
    """The network for one image."""
    frequency = 10_000.0 ** (-np.arange(128) / 128)
    angle = 1_000 * time * frequency
    told = affine(params["time_0"], np.concatenate([np.cos(angle), np.sin(angle)]))
    told = affine(params["time_1"], silu(told))
    if label < CLASSES:
        told = told + params["class"]["kernel"][label]
    told = silu(told)
    rows, columns = SHAPE[0] // PATCH, SHAPE[1] // PATCH
    tokens = [
        image[PATCH * i : PATCH * (i + 1), PATCH * j : PATCH * (j + 1)].ravel()
        for i in range(rows)
        for j in range(columns)
    ]
    x = affine(params["patches"], np.array(tokens))
    for place in range(rows * columns):
        for half, at in enumerate((place % columns, place // columns)):
            for k in range(WIDTH // 4):
                wave = at / 10_000 ** (k / (WIDTH // 4))
                x[place, half * WIDTH // 2 + k] += np.sin(wave)
                x[place, half * WIDTH // 2 + WIDTH // 4 + k] += np.cos(wave)
    for i in range(LAYERS):
        own = params[f"block_{i}"]
        shift, scale, gate, shift_2, scale_2, gate_2 = np.split(affine(own["modulation"], told), 6)
        y = norm(x) * (1 + scale) + shift
        query, key, value = (affine(own[name], y) for name in ("query", "key", "value"))
        attended = []
        for head in np.split(np.arange(WIDTH), HEADS):
            weights = softmax(query[:, head] @ key[:, head].T / np.sqrt(len(head)), axis=1)
            attended.append(weights @ value[:, head])
        x = x + gate * affine(own["output"], np.concatenate(attended, 1))
        y = norm(x) * (1 + scale_2) + shift_2
        x = x + gate_2 * affine(own["down"], gelu(affine(own["up"], y)))
    shift, scale = np.split(affine(params["modulation"], told), 2)
    x = affine(params["image"], norm(x) * (1 + scale) + shift)
    found = np.zeros(SHAPE)
    for place, token in enumerate(x):
        i, j = PATCH * (place // columns), PATCH * (place % columns)
        found[i : i + PATCH, j : j + PATCH] = token.reshape(PATCH, PATCH, SHAPE[2])
    return found


def test_the_prediction_is_the_papers():
    flow = dit(SHAPE, **SMALL, classes=CLASSES, predicts="velocity")
    params, _ = drawn(flow.predictor)
    x = RNG.normal(size=(3, *SHAPE))
    time = np.array([0.0, 0.3, 1.0])
    label = np.array([2, 0, 3])  # the last is none of the classes
    found, _ = jax.jit(flow.velocity, static_argnames="train")(
        params, {}, jnp.asarray(x, jnp.float32), jnp.asarray(time), train=False, label=label
    )
    wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    expected = [expected_velocity(wide, *each) for each in zip(x, time, label, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_it_starts_at_the_middle_of_the_range_and_a_length_changes_nothing():
    flow = dit(SHAPE, **SMALL, average_velocity=True)
    params, _ = jax.jit(flow.predictor.init)(jax.random.key(0))
    assert not np.any(params["length"]["kernel"])
    inputs = jnp.asarray(RNG.normal(size=(2, np.prod(SHAPE) + 2)), jnp.float32)
    predicted, _ = jax.jit(flow.predictor.apply, static_argnums=3)(params, {}, inputs, False)
    np.testing.assert_array_equal(predicted, np.zeros((2, *SHAPE)))


def test_places_are_told_apart():
    waves = place_features(3, 5, 8)
    assert waves.shape == (15, 8)
    assert len(np.unique(waves, axis=0)) == 15


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ((9, 8, 1), {}, r"`patch_size` \(=2\) must divide .*\(9, 8, 1\)"),
        ((8, 8, 1), {"patch_size": 3}, r"`patch_size` \(=3\) must divide"),
        ((8, 8, 1), {"width": 30}, r"`width` \(=30\) must be a multiple of 4"),
        ((8, 8, 1), {"width": 16, "heads": 3}, r"`heads` \(=3\)"),
        ((8, 8, 1), {"guidance": 2.0}, "`guidance` .*without classes"),
    ],
)
def test_impossible_sizes_are_refused(shape, options, words):
    with pytest.raises(InputError, match=words):
        build_model(Dit(**options), shape)
