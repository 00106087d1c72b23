"""How alike generated images are to each other, by multi-scale structural similarity."""

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
WINDOW, DEVIATION = 11, 1.5  # of the Gaussian, pixels
CHUNK = 2**20  # pixels compared at once
ROUNDING = 1e-3  # by which a value may be above the peak

Images: TypeAlias = TableLike  # image, height, width, channel; what is none is refused in words


class PairSimilarity(NamedTuple):
    """Structural similarity of random pairs: the higher, the less diverse; 1 for equal images."""

    mean: float
    standard_error: float  # for the pairs drawn from these images


def multiscale_ssim(a: Images, b: Images, peak: ArrayLike = 255.0) -> Float[Array, " n"]:
    """Compare images pairwise: a[i] with b[i], mean over channels; 1 if equal, never below 0.

    The product over scales of contrast and structure, and at the coarsest of luminance, each to the power
    of its scale's weight; every scale halves the one before by averaging 2×2 pixels (an odd last row or
    column is left out). Only scales that hold the 11×11 Gaussian window (deviation 1.5) count: five from
    176 pixels on, four from 88, three from 44, two from 22, one below; the first weights are then divided
    by their sum. Images below 11 pixels have one scale, and the largest odd window that fits, its
    deviation in proportion. Can be compiled, in the precision of float32 or better.

    Args:
        a: images with values from 0 to `peak`.
        b: images of the same shape.
        peak: the largest possible value.

    Raises:
        InputError: if they are no images of one shape, or values are not finite or not from 0 to `peak`;
            under `jit` only the shapes can be checked.

    Source: Wang, Simoncelli, Bovik, "Multi-scale structural similarity", 2003, equations 2 to 7.
    """
    first, second = _images(a, "a", peak), _images(b, "b", peak)
    if first.shape != second.shape:
        raise InputError(
            f"`a` and `b` (of shapes {first.shape} and {second.shape}) must have one shape."
        )
    first, second = jnp.asarray(first), jnp.asarray(second)
    dtype = jnp.promote_types(jnp.promote_types(first.dtype, second.dtype), jnp.float32)
    x, y = (images.astype(dtype) / peak for images in (first, second))
    scales = sum(min(x.shape[1:3]) >> scale >= WINDOW for scale in range(len(WEIGHTS))) or 1
    similarity = jnp.ones((), dtype)
    for scale, weight in enumerate(np.divide(WEIGHTS[:scales], sum(WEIGHTS[:scales]))):
        luminance, contrast_structure = _compare(x, y)
        last = scale == scales - 1
        factor = jnp.mean(
            luminance * contrast_structure if last else contrast_structure, axis=(1, 2)
        )
        similarity *= jnp.maximum(factor, 0) ** weight
        x, y = (x, y) if last else (_halve(x), _halve(y))
    return jnp.mean(similarity, axis=-1)


def _images(images: Images, name: str, peak: ArrayLike) -> Shaped[Array | np.ndarray, "_ _ _ _"]:
    """Images with values from 0 to `peak`; what JAX traces is only looked at from outside."""
    found = images if isinstance(images, Tracer) else as_numbers(images, name)
    if found.ndim != 4 or not all(found.shape[1:]):
        remedy = f"; `{name}[..., None]` adds the channel of grey ones" if found.ndim == 3 else ""
        raise InputError(
            f"`{name}` (of shape {found.shape}) must be images × height × width × channels{remedy}."
        )
    if isinstance(found, Tracer) or isinstance(peak, Tracer):
        return found
    if not 0 < np.max(peak) < np.inf:
        raise InputError(
            f"`peak` (={peak}) must be greater than 0: the largest value that a pixel can have."
        )
    check_finite(found, name)
    if found.size and (found.min() < 0 or found.max() > (1 + ROUNDING) * np.max(peak)):
        raise InputError(
            f"`{name}` (from {found.min():.4g} to {found.max():.4g}) must be from 0 to `peak` (={peak}): "
            "shift and scale it, or give the `peak` that it has."
        )
    return found


def pair_similarity(
    images: Images,
    pairs: int = 100,
    labels: TableLike = None,
    seed: int = 0,
    peak: float = 255.0,
) -> PairSimilarity:
    """Mean multi-scale similarity of random pairs of different images, within each class if labelled.

    Args:
        images: with values from 0 to `peak`.
        pairs: how many, of every class with at least two images; at least 2.
        labels: their classes, which then count equally; None to pair all images.
        seed: of the pairs.
        peak: the largest possible value.

    Raises:
        InputError: if they are no images, there are fewer than two pairs, no class has two images, or
            there is not one label for each image.

    Source: Odena, Olah, Shlens, ICML 2017, section 4.2.
    """
    check_integer(pairs, "pairs", least=2)
    images = np.asarray(_images(images, "images", peak))
    classes = np.zeros(len(images), int) if labels is None else as_vector(labels, "labels")
    if len(classes) != len(images):
        raise InputError(
            f"`labels` (of {len(classes)} images) must have one for each of the {len(images)}."
        )
    groups = [
        group
        for group in (np.flatnonzero(classes == c) for c in np.unique(classes))
        if len(group) > 1
    ]
    if not groups:
        raise InputError(
            f"`images` ({len(images)} of {len(set(classes.tolist()))} classes) must have two of a class."
        )
    rng = np.random.default_rng(seed)
    drawn = [_pairs_of(group, pairs, rng) for group in groups]
    first, second = np.concatenate(drawn, axis=1)
    values = _in_chunks(images, first, second, peak).reshape(len(groups), pairs)
    variances = np.var(values, axis=1, ddof=1) / pairs
    return PairSimilarity(float(values.mean()), float(np.sqrt(variances.sum()) / len(groups)))


def _pairs_of(
    group: Int[np.ndarray, " n"], pairs: int, rng: np.random.Generator
) -> Int[np.ndarray, "2 pairs"]:
    first = rng.integers(len(group), size=pairs)
    return group[[first, (first + rng.integers(1, len(group), size=pairs)) % len(group)]]


def _in_chunks(
    images: Shaped[np.ndarray, "n height width channels"],
    first: Int[np.ndarray, " pairs"],
    second: Int[np.ndarray, " pairs"],
    peak: float,
) -> Float[np.ndarray, " pairs"]:
    """Compare pairs in chunks of one size, so that one program serves all."""
    chunk = min(len(first), max(1, CHUNK // images[0].size))
    starts = range(0, len(first), chunk)
    which = [np.resize(index, chunk * len(starts)).reshape(-1, chunk) for index in (first, second)]
    found = [_compiled(images[i], images[j], peak) for i, j in zip(*which, strict=True)]
    return np.concatenate(jax.device_get(found)).astype(np.float64)[: len(first)]


_compiled = jax.jit(multiscale_ssim)


def _compare(
    x: Float[Array, "n height width channels"], y: Float[Array, "n height width channels"]
) -> tuple[Float[Array, "n rows columns channels"], Float[Array, "n rows columns channels"]]:
    """Luminance, and contrast times structure, at every place of the window; values are within [0, 1]."""
    window = _window(min(x.shape[1:3]), x.dtype)
    rows, columns = (_sliding(window, size) for size in x.shape[1:3])
    shifted = x - 0.5, y - 0.5  # the variances lose fewer digits
    maps = jnp.stack([*shifted, shifted[0] ** 2, shifted[1] ** 2, shifted[0] * shifted[1]])
    mean_x, mean_y, square_x, square_y, product = jnp.einsum(
        "mnhwc,ih,jw->mnijc", maps, rows, columns, precision="highest"
    )
    variance_x, variance_y, covariance = (
        square_x - mean_x**2,
        square_y - mean_y**2,
        product - mean_x * mean_y,
    )
    mean_x, mean_y = mean_x + 0.5, mean_y + 0.5
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return luminance, (2 * covariance + c2) / (variance_x + variance_y + c2)


def _window(side: int, dtype: jnp.dtype) -> Float[Array, " window"]:
    size = min(WINDOW, side - (side + 1) % 2)
    deviation = DEVIATION * size / WINDOW
    weights = jnp.exp(-0.5 * ((jnp.arange(size, dtype=dtype) - size // 2) / deviation) ** 2)
    return weights / jnp.sum(weights)


def _sliding(window: Float[Array, " window"], size: int) -> Float[Array, "places size"]:
    """The matrix that averages with the window at each place where it fits: faster than thin convolutions."""
    places = size - len(window) + 1
    offset = np.arange(size) - np.arange(places)[:, None]
    inside = (offset >= 0) & (offset < len(window))
    return jnp.where(inside, window[np.clip(offset, 0, len(window) - 1)], 0)


def _halve(x: Float[Array, "n height width channels"]) -> Float[Array, "n rows columns channels"]:
    n, height, width, channels = x.shape
    even = x[:, : height // 2 * 2, : width // 2 * 2]
    return even.reshape(n, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))
