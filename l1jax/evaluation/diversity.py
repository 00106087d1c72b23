"""Diversity of generated images: the multi-scale structural similarity of random pairs."""

from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Int, Shaped

from l1jax.arrays import TableLike, as_numbers, as_vector, check_finite
from l1jax.config import InputError
from l1jax.evaluation.pairwise import check_integer

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, the finest first
WINDOW = 11  # pixels, side of the Gaussian window
DEVIATION = 1.5  # pixels, of that Gaussian
CHUNK = 2**20  # pixels compared at once
ROUNDING = 1e-3  # share by which a value may exceed the peak

Images: TypeAlias = TableLike
"""Image, height, width, channel. Anything else is refused with a message, not with a type error."""


class PairSimilarity(NamedTuple):
    """Structural similarity of random pairs, from 0 to 1 for equal images."""

    mean: float
    standard_error: float  # over the random choice of pairs


def multiscale_ssim(a: Images, b: Images, peak: ArrayLike = 255.0) -> Float[Array, " n"]:
    """Compare images pairwise: a[i] with b[i], mean over channels.

    The similarity is the product over scales of contrast and structure, and of luminance at the
    coarsest scale, each to the power of its scale's weight. It is 1 for equal images and never
    below 0. Every scale halves the one before by averaging 2×2 pixels; an odd last row or column is
    left out. Only scales that hold the 11×11 Gaussian window (deviation 1.5) count: five from 176
    pixels on, four from 88, three from 44, two from 22, and one below. The first weights are then
    divided by their sum. Images below 11 pixels have one scale and the largest odd window that
    fits, with a deviation in proportion. The function can be compiled, and has the precision of
    float32 or better.

    Args:
        a: images with values from 0 to `peak`.
        b: images of the same shape.
        peak: the largest possible value.

    Raises:
        InputError: if they are no images of one shape, or values are not finite or not from 0 to
            `peak`. Under `jit` only the shapes can be checked.

    Source: Wang, Simoncelli, Bovik, "Multi-scale structural similarity", 2003, equations 2 to 7.
    """
    first = _check_images(a, "a", peak)
    second = _check_images(b, "b", peak)
    if first.shape != second.shape:
        raise InputError(
            f"`a` and `b` (of shapes {first.shape} and {second.shape}) must have one shape."
        )
    first = jnp.asarray(first)
    second = jnp.asarray(second)
    dtype = jnp.promote_types(jnp.promote_types(first.dtype, second.dtype), jnp.float32)
    x = first.astype(dtype) / peak
    y = second.astype(dtype) / peak
    side = min(x.shape[1:3])
    num_scales = max(sum(side >> scale >= WINDOW for scale in range(len(WEIGHTS))), 1)
    weights = np.divide(WEIGHTS[:num_scales], sum(WEIGHTS[:num_scales]))
    similarity = jnp.ones((), dtype)
    for weight in weights[:-1]:
        contrast_structure = _compare(x, y).contrast_structure
        similarity *= jnp.maximum(jnp.mean(contrast_structure, axis=(1, 2)), 0) ** weight
        x = _halve(x)
        y = _halve(y)
    luminance, contrast_structure = _compare(x, y)
    coarsest = jnp.mean(luminance * contrast_structure, axis=(1, 2))
    similarity *= jnp.maximum(coarsest, 0) ** weights[-1]
    return jnp.mean(similarity, axis=-1)


def _check_images(
    images: Images, name: str, peak: ArrayLike
) -> Shaped[Array | np.ndarray, "_ _ _ _"]:
    """Return images with values from 0 to `peak`; of traced arrays only the shape is checked."""
    pixels = images if isinstance(images, Tracer) else as_numbers(images, name)
    if pixels.ndim != 4 or not all(pixels.shape[1:]):
        remedy = ""
        if pixels.ndim == 3:
            remedy = f"; `{name}[..., None]` adds the channel of grey images"
        raise InputError(
            f"`{name}` (of shape {pixels.shape}) must be images × height × width × "
            f"channels{remedy}."
        )
    if isinstance(pixels, Tracer) or isinstance(peak, Tracer):
        return pixels
    if not 0 < np.max(peak) < np.inf:
        raise InputError(
            f"`peak` (={peak}) must be greater than 0: the largest value that a pixel can have."
        )
    check_finite(pixels, name)
    if pixels.size and (pixels.min() < 0 or pixels.max() > (1 + ROUNDING) * np.max(peak)):
        raise InputError(
            f"`{name}` (from {pixels.min():.4g} to {pixels.max():.4g}) must be from 0 to `peak` "
            f"(={peak}): shift and scale it, or give the `peak` that it has."
        )
    return pixels


def pair_similarity(
    images: Images,
    pairs: int = 100,
    labels: TableLike = None,
    seed: int = 0,
    peak: float = 255.0,
) -> PairSimilarity:
    """Compute the mean multi-scale similarity of random pairs of different images.

    Args:
        images: images with values from 0 to `peak`.
        pairs: number of pairs of every class that has at least two images; at least 2.
        labels: classes of the images. Pairs are then of one class, and all classes count equally.
            None to pair all images.
        seed: of the pairs.
        peak: the largest possible value.

    Raises:
        InputError: if they are no images, there are fewer than two pairs, no class has two images,
            or there is not one label for each image.

    Source: Odena, Olah, Shlens, ICML 2017, section 4.2.
    """
    check_integer(pairs, "pairs", least=2)
    images = np.asarray(_check_images(images, "images", peak))
    classes = np.zeros(len(images), int) if labels is None else as_vector(labels, "labels")
    if len(classes) != len(images):
        raise InputError(
            f"`labels` (of {len(classes)} images) must have one for each of the {len(images)}."
        )
    groups = []
    for label in np.unique(classes):
        group = np.flatnonzero(classes == label)
        if len(group) > 1:
            groups.append(group)
    if not groups:
        num_classes = len(set(classes.tolist()))
        raise InputError(
            f"`images` ({len(images)} of {num_classes} classes) must have two of a class."
        )
    rng = np.random.default_rng(seed)
    pairs_of_groups = [_random_pairs(group, pairs, rng) for group in groups]
    first, second = np.concatenate(pairs_of_groups, axis=1)
    values = _compare_in_chunks(images, first, second, peak).reshape(len(groups), pairs)
    variances = np.var(values, axis=1, ddof=1) / pairs
    return PairSimilarity(float(values.mean()), float(np.sqrt(variances.sum()) / len(groups)))


def _random_pairs(
    group: Int[np.ndarray, " n"], pairs: int, rng: np.random.Generator
) -> Int[np.ndarray, "2 pairs"]:
    """Draw pairs of different members of a group."""
    first = rng.integers(len(group), size=pairs)
    offset = rng.integers(1, len(group), size=pairs)
    second = (first + offset) % len(group)
    return group[[first, second]]


def _compare_in_chunks(
    images: Shaped[np.ndarray, "n height width channels"],
    first: Int[np.ndarray, " pairs"],
    second: Int[np.ndarray, " pairs"],
    peak: float,
) -> Float[np.ndarray, " pairs"]:
    """Compare pairs in chunks of one size, so that one program serves all."""
    chunk = min(len(first), max(1, CHUNK // images[0].size))
    num_chunks = -(-len(first) // chunk)
    first_chunks = np.resize(first, (num_chunks, chunk))
    second_chunks = np.resize(second, (num_chunks, chunk))
    similarities = [
        _compiled(images[i], images[j], peak)
        for i, j in zip(first_chunks, second_chunks, strict=True)
    ]
    return np.concatenate(jax.device_get(similarities)).astype(np.float64)[: len(first)]


_compiled = jax.jit(multiscale_ssim)


class _Comparison(NamedTuple):
    """Terms of the similarity at every place of the window, from 0 or −1 to 1."""

    luminance: Float[Array, "n rows columns channels"]
    contrast_structure: Float[Array, "n rows columns channels"]


def _compare(
    x: Float[Array, "n height width channels"], y: Float[Array, "n height width channels"]
) -> _Comparison:
    """Compare images with values from 0 to 1 at one scale."""
    height, width = x.shape[1:3]
    window = _window(min(height, width), x.dtype)
    x = x - 0.5  # so that the variances lose fewer digits
    y = y - 0.5
    mean_x, mean_y, square_x, square_y, product = jnp.einsum(
        "mnhwc,ih,jw->mnijc",
        jnp.stack([x, y, x**2, y**2, x * y]),
        _averaging_matrix(window, height),
        _averaging_matrix(window, width),
        precision="highest",
    )
    variance_x = square_x - mean_x**2
    variance_y = square_y - mean_y**2
    covariance = product - mean_x * mean_y
    mean_x = mean_x + 0.5
    mean_y = mean_y + 0.5
    c1 = 0.01**2
    c2 = 0.03**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    contrast_structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return _Comparison(luminance, contrast_structure)


def _window(side: int, dtype: jnp.dtype) -> Float[Array, " window"]:
    size = min(WINDOW, side - (side + 1) % 2)
    deviation = DEVIATION * size / WINDOW
    weights = jnp.exp(-0.5 * ((jnp.arange(size, dtype=dtype) - size // 2) / deviation) ** 2)
    return weights / jnp.sum(weights)


def _averaging_matrix(window: Float[Array, " window"], size: int) -> Float[Array, "places size"]:
    """Make the matrix that averages with the window at each place where it fits.

    It is faster than a convolution of so few channels.
    """
    places = size - len(window) + 1
    offset = np.arange(size) - np.arange(places)[:, None]
    is_inside = (offset >= 0) & (offset < len(window))
    return jnp.where(is_inside, window[np.clip(offset, 0, len(window) - 1)], 0)


def _halve(x: Float[Array, "n height width channels"]) -> Float[Array, "n rows columns channels"]:
    n, height, width, channels = x.shape
    even = x[:, : height // 2 * 2, : width // 2 * 2]
    return even.reshape(n, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))
