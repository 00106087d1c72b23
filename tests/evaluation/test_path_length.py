"""The path length of generators whose speed is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l1jax.config import InputError
from l1jax.evaluation import path_length
from l1jax.models.layers import convolve

KEY = jax.random.key(3)


def slerp_in_numpy(a, b, t):
    lengths = [np.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b)]
    u, v = a / lengths[0], b / lengths[1]
    angle = np.arccos(np.sum(u * v, -1, keepdims=True))
    arc = (np.sin((1 - t) * angle) * u + np.sin(t * angle) * v) / np.sin(angle)
    return ((1 - t) * lengths[0] + t * lengths[1]) * arc


@pytest.mark.parametrize("batch", [64, 150])
def test_it_is_the_squared_speed_of_finite_differences(batch):
    """A nonlinear generator, in float64, by the step of the published definition."""
    matrix = np.random.default_rng(0).normal(size=(6, 12))

    def generate(latents):
        return jnp.tanh(latents @ matrix.astype(np.float32)).reshape(-1, 2, 6)

    found = path_length(generate, lambda x: x.reshape(len(x), -1), KEY, 6, 150, batch)
    lengths = []
    for key in jax.random.split(KEY, -(-150 // batch) * batch)[:150]:
        first, second, place = jax.random.split(key, 3)
        ends = [np.asarray(jax.random.normal(k, (1, 6)), np.float64) for k in (first, second)]
        t = float(jax.random.uniform(place))
        images = [np.tanh(slerp_in_numpy(*ends, s) @ matrix) for s in (t, t + 1e-6)]
        lengths.append(np.sum((images[1] - images[0]) ** 2) / 1e-12)
    low, high = np.quantile(lengths, (0.01, 0.99))
    kept = [length for length in lengths if low <= length <= high]
    assert found.mean == pytest.approx(np.mean(kept), rel=1e-3)
    assert found.standard_error == pytest.approx(
        np.std(kept, ddof=1) / np.sqrt(len(kept)), rel=1e-3
    )


def test_convolutions_are_differentiated():
    """Features that are a rotation of the latents' first three move as fast as these."""
    kernel = jnp.asarray(np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0], jnp.float32)

    def rotate(images):
        return convolve(images, kernel[None, None], 1).reshape(len(images), -1)

    def generate(latents):
        return latents[:, None, None, :3]

    moved = path_length(generate, rotate, KEY, 5, 100)
    plain = path_length(generate, lambda x: x.reshape(len(x), -1), KEY, 5, 100)
    assert moved.mean == pytest.approx(plain.mean, rel=1e-4)


def test_a_generator_of_one_image_does_not_move():
    found = path_length(lambda z: jnp.ones((len(z), 3)), lambda x: x, KEY, 4, 100)
    assert found.mean == 0


def test_too_few_pairs_are_refused():
    with pytest.raises(InputError, match=r"`count` .*=50.* at least 100"):
        path_length(lambda z: z, lambda x: x, KEY, 4, 50)
