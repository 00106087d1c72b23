import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fast_cases import slow_except
from numpy.lib.stride_tricks import sliding_window_view

from l1jax.evaluation import diversity, multiscale_ssim, pair_similarity

RNG = np.random.default_rng(0)
compiled = jax.jit(multiscale_ssim)
WEIGHTS = np.asarray([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])


def compare(x, y, window):
    """Equations 2 to 4 of one channel; contrast and structure are one factor."""
    size = len(window)
    patches = [sliding_window_view(image, (size, size)) for image in (x, y)]
    mean_x, mean_y = (np.sum(p * window, axis=(2, 3)) for p in patches)
    centred = [p - mean[..., None, None] for p, mean in zip(patches, (mean_x, mean_y), strict=True)]
    variance_x, variance_y = (np.sum(c**2 * window, axis=(2, 3)) for c in centred)
    covariance = np.sum(centred[0] * centred[1] * window, axis=(2, 3))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    deviations = np.sqrt(variance_x * variance_y)
    contrast = (2 * deviations + c2) / (variance_x + variance_y + c2)
    structure = (covariance + c2 / 2) / (deviations + c2 / 2)
    return luminance, contrast * structure


def reference(x, y, scales, size):
    """Wang, Simoncelli, Bovik, equation 7, of one channel in float64."""
    grid = np.arange(size) - (size - 1) / 2
    deviation = 1.5 * size / 11
    window = np.exp(-(grid[:, None] ** 2 + grid**2) / (2 * deviation**2))
    window /= window.sum()
    result = 1.0
    for scale in range(scales):
        luminance, rest = compare(x, y, window)
        mean = np.mean(luminance * rest) if scale == scales - 1 else np.mean(rest)
        result *= max(mean, 0) ** (WEIGHTS[scale] / WEIGHTS[:scales].sum())
        even = [image[: len(image) // 2 * 2, : image.shape[1] // 2 * 2] for image in (x, y)]
        x, y = ((e[::2, ::2] + e[1::2, ::2] + e[::2, 1::2] + e[1::2, 1::2]) / 4 for e in even)
    return result


def pictures(n, height, width, channels, seed=0):
    """Waves with noise, so that pairs are neither equal nor unrelated."""
    rng = np.random.default_rng(seed)
    rows, columns = np.arange(height)[:, None, None], np.arange(width)[:, None]
    waves = np.sin(rows / 4 + rng.uniform(0, 1.5, (n, 1, 1, channels))) * np.cos(columns / 5)
    return np.clip(
        128 + 80 * waves + 15 * rng.normal(size=(n, height, width, channels)), 0, 255
    ).astype(np.uint8)


SHAPES = [  # height, width, channels, scales, window
    (8, 8, 1, 1, 7),
    (9, 11, 3, 1, 9),
    (16, 21, 1, 1, 11),
    (28, 28, 1, 2, 11),
    (45, 51, 3, 3, 11),
    (64, 64, 3, 3, 11),
    (128, 128, 1, 4, 11),
    (176, 180, 1, 5, 11),
]


@pytest.mark.parametrize("shape", slow_except(SHAPES, *SHAPES[:3], SHAPES[4]))
def test_it_is_the_papers_formula(shape, x64):
    height, width, channels, scales, size = shape
    a, b = pictures(2, height, width, channels, 0), pictures(2, height, width, channels, 1)
    x, y = a.astype(np.float64), b.astype(np.float64)
    expected = [
        np.mean([reference(x[i, ..., c], y[i, ..., c], scales, size) for c in range(channels)])
        for i in range(2)
    ]
    assert all(0.02 < value < 0.98 for value in expected)
    np.testing.assert_allclose(compiled(x / 255, y / 255, 1.0), expected, rtol=1e-9)
    np.testing.assert_allclose(compiled(a, b, 255.0), expected, rtol=1e-4)  # in float32


def test_equal_images_score_one_and_opposite_ones_zero():
    a = pictures(3, 32, 32, 3)
    np.testing.assert_allclose(compiled(a, a), 1, rtol=1e-5)
    np.testing.assert_array_equal(compiled(a, 255 - a), 0)


def test_images_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match="must have one shape"):
        multiscale_ssim(pictures(2, 8, 8, 1), pictures(3, 8, 8, 1))


def test_of_two_images_every_pair_is_the_same(monkeypatch):
    monkeypatch.setattr(diversity, "CHUNK", 3 * 8 * 8)  # three pairs at once
    images = pictures(2, 8, 8, 1)
    found = pair_similarity(images, pairs=10)
    np.testing.assert_allclose(found.mean, compiled(images[:1], images[1:])[0], rtol=1e-5)
    assert found.standard_error < 1e-6


def test_classes_count_equally_and_pair_only_among_themselves():
    single, other = pictures(3, 8, 8, 1)[1:], pictures(1, 8, 8, 1, 5)
    images = np.concatenate([np.tile(other, (6, 1, 1, 1)), single, pictures(1, 8, 8, 1, 9)])
    labels = jnp.asarray([4] * 6 + [1] * 2 + [7])  # the last class has no pair
    expected = (1 + float(compiled(single[:1], single[1:])[0])) / 2
    np.testing.assert_allclose(pair_similarity(images, 5, labels).mean, expected, rtol=1e-5)


def test_random_pairs_have_the_mean_over_all_pairs():
    images = pictures(8, 8, 8, 1)
    first, second = np.nonzero(~np.eye(8, dtype=bool))
    everyone = np.asarray(compiled(images[first], images[second]))
    found = pair_similarity(images, pairs=2_000, seed=3)
    np.testing.assert_allclose(found.standard_error, everyone.std() / np.sqrt(2_000), rtol=0.1)
    assert abs(found.mean - everyone.mean()) < 4 * found.standard_error
    assert found != pair_similarity(images, pairs=2_000, seed=4)
    assert found == pair_similarity(images, pairs=2_000, seed=3)


def test_what_has_no_pairs_is_refused():
    images = pictures(2, 8, 8, 1)
    with pytest.raises(ValueError, match=r"`pairs` \(=1\)"):
        pair_similarity(images, pairs=1)
    with pytest.raises(ValueError, match=r"`images` \(2 of 2 classes\)"):
        pair_similarity(images, labels=np.asarray([0, 1]))
