import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from l1jax.evaluation.features import (
    AXIS,
    Extracted,
    FeatureExtractor,
    _compiled,
    custom_features,
    extract_all,
    pixel_features,
    random_features,
)

RNG = np.random.default_rng(0)


def images(n, height=8, width=8, channels=1):
    return RNG.integers(0, 256, (n, height, width, channels)).astype(np.uint8)


def test_pixels_are_vectors_from_minus_one_to_one():
    x = images(3, 4, 5, 3)
    x[0, 0, 0] = [0, 255, 51]
    found = extract_all(pixel_features(), x).features
    np.testing.assert_allclose(found, x.reshape(3, -1) / 255.0 * 2 - 1, atol=1e-6)
    np.testing.assert_allclose(found[0, :3], [-1, 1, -0.6], atol=1e-6)


@pytest.mark.parametrize("batch", [1, 3, 16, 1000])
def test_any_batch_gives_every_image_once_in_order(batch):
    x = images(37)
    found = extract_all(pixel_features(), x, batch).features
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, x.reshape(37, -1) / 127.5 - 1, atol=1e-6)


@pytest.mark.parametrize("lengths", [(37,), (1, 1, 1), (5, 40, 2, 0, 9), (16, 16)])
def test_arrays_in_turn_are_their_concatenation(lengths):
    x = images(sum(lengths))
    parts = np.split(x, np.cumsum(lengths)[:-1])
    np.testing.assert_array_equal(
        extract_all(pixel_features(), iter(parts), 16).features,
        extract_all(pixel_features(), x).features,
    )


def test_one_compilation_serves_all_batches_and_further_calls():
    traced = []

    def function(batch):
        traced.append(batch.shape)
        return batch.mean((1, 2))

    features = custom_features("means", function)
    found = [
        extract_all(features, [images(n) for n in lengths], 16)
        for lengths in ((40,), (3, 20), (16,))
    ]
    assert [len(f.features) for f in found] == [40, 23, 16]
    assert traced == [(16 // jax.device_count(), 8, 8, 1)]


def test_all_devices_agree_with_one():
    x, features = images(21, 12, 12, 3), random_features(features=32)
    alone = features.extract(
        jax.tree.map(jnp.asarray, features.parameters), jnp.asarray(x)
    ).features
    assert jax.device_count() == 8
    np.testing.assert_allclose(extract_all(features, x, 16).features, alone, rtol=1e-4, atol=1e-5)


def test_logits_come_along():
    def extract(scale, batch):
        return Extracted(batch.mean((1, 2)), scale * batch.sum((1, 2)))

    x = images(19, channels=3)
    found = extract_all(FeatureExtractor("sums", extract, jnp.float32(0.5)), x, 8)
    np.testing.assert_allclose(found.logits, 0.5 * x.sum((1, 2)), rtol=1e-5)
    assert extract_all(pixel_features(), x).logits is None


def test_products_are_as_exact_as_float32():
    features = FeatureExtractor(
        "product", lambda w, batch: Extracted(batch[:, 0, :, 0].astype(jnp.float32) @ w), jnp.eye(8)
    )
    compute = _compiled(features.extract, Mesh(np.asarray(jax.local_devices()), (AXIS,)))
    program = jax.make_jaxpr(compute)(features.parameters, jnp.zeros((8, 8, 8, 1), jnp.uint8))
    assert "HIGHEST" in str(program)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (np.zeros((2, 8, 8, 1), np.float32), "float32"),
        (np.zeros((2, 8, 8), np.uint8), r"\(2, 8, 8\)"),
        ([images(2), images(2, 9)], "8 × 8 × 1"),
        ([], "at least one"),
        (images(0), "at least one"),
    ],
)
def test_what_are_no_images_is_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        extract_all(pixel_features(), wrong)


def test_a_batch_of_none_is_refused():
    with pytest.raises(ValueError, match="`batch` \\(=0\\)"):
        extract_all(pixel_features(), images(2), 0)


def leaky(x):
    return np.where(x > 0, x, 0.2 * x)


def strided(x, kernel):
    """A 3×3 convolution of stride 2 over pixels 2i to 2i + 2, as SAME pads even sides."""
    padded = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
    rows, columns = x.shape[1] // 2, x.shape[2] // 2
    taps = [
        padded[:, i : i + 2 * rows : 2, j : j + 2 * columns : 2] @ kernel[i, j]
        for i in range(3)
        for j in range(3)
    ]
    return np.sum([t[:, :rows, :columns] for t in taps], axis=0)


def test_random_convolutions_are_those_of_numpy():
    features, x = random_features(seed=3, features=16), images(5, 16, 12, 3)
    kernels, projection = features.parameters["kernels"], features.parameters["projection"]
    y = leaky(strided(leaky(strided(x / 127.5 - 1, kernels[0])), kernels[1]))
    expected = np.pad(y, ((0, 0), (0, 0), (0, 1), (0, 0))).reshape(5, -1) @ projection
    np.testing.assert_allclose(extract_all(features, x).features, expected, rtol=1e-4, atol=1e-5)


def test_random_weights_are_uniform_and_the_same_forever():
    parameters = random_features(seed=0, features=64).parameters
    for weights, gain in [(k, 2 / 1.04) for k in parameters["kernels"]] + [
        (parameters["projection"], 1.0)
    ]:
        inputs = np.prod(weights.shape[:-1])
        bound = np.sqrt(3 * gain / inputs)
        assert np.abs(weights).max() <= bound
        quarters = np.histogram(weights, np.linspace(-bound, bound, 5))[0] / weights.size
        np.testing.assert_allclose(quarters, 0.25, atol=5 / np.sqrt(weights.size))
    bits = np.random.Philox(key=0).random_raw(2)  # the two first, by hand
    first = [(2 * (int(b) >> 40) + 1) / 2**24 - 1 for b in bits]
    np.testing.assert_array_equal(
        parameters["kernels"][0].ravel()[:2],
        np.float32(np.multiply(first, np.sqrt(3 * 2 / 1.04 / 27))),
    )


@pytest.mark.slow
def test_random_features_keep_one_scale_whatever_the_depth():
    for side in (8, 64):
        found = extract_all(random_features(), images(8, side, side, 3)).features
        assert found.shape == (8, 512)
        assert 0.05 < found.std() < 2


@pytest.mark.slow
def test_grey_images_have_the_features_of_colour_images_with_equal_channels():
    x, features = images(3, 28, 28), random_features(features=8)
    np.testing.assert_allclose(
        extract_all(features, x).features,
        extract_all(features, np.repeat(x, 3, -1)).features,
        rtol=1e-5,
        atol=1e-6,
    )


def test_protocols_tell_features_apart():
    protocols = [
        random_features(0).protocol,
        random_features(1).protocol,
        random_features(0, 64).protocol,
    ]
    protocols += [pixel_features().protocol, custom_features("mine", lambda x: x).protocol]
    assert len(set(protocols)) == len(protocols)
    assert "weights " in protocols[0]


@pytest.mark.parametrize(("side", "channels", "words"), [(1025, 1, "1,024"), (8, 2, "channels=2")])
def test_images_that_random_features_cannot_see_are_refused(side, channels, words):
    with pytest.raises(ValueError, match=words):
        extract_all(random_features(features=4), np.zeros((1, side, 4, channels), np.uint8))


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"features": 0}])
def test_random_features_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}`"):
        random_features(**wrong)
