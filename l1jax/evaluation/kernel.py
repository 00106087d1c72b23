"""Kernel distances between two sets of features: an unbiased one, and that of CLIP's features."""

from typing import NamedTuple, overload

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from l1jax.config import InputError
from l1jax.evaluation.pairwise import (
    Features,
    Rows,
    as_floating,
    check_integer,
    feature_matrix,
    feature_matrix_or_tracer,
    inner_products,
    require_same_features,
    squared_distances,
    squared_norms,
)

GAUSSIAN_BANDWIDTH = 10.0  # of the kernel of the CMMD
CMMD_SCALE = 1_000.0  # that makes the CMMD a number from about 0 to 10


class KernelDistance(NamedTuple):
    """The distance over random subsets of two samples."""

    mean: float
    standard_error: float
    """Of the mean over subsets. Times √subsets it is their deviation, which some papers report."""


@overload
def kernel_distance(a: Features, b: Features) -> float | Float[Array, ""]: ...
@overload
def kernel_distance(
    a: Features, b: Features, subsets: int, subset_size: int = 1000, seed: int = 0
) -> KernelDistance: ...
def kernel_distance(
    a: Features, b: Features, subsets: int | None = None, subset_size: int = 1000, seed: int = 0
) -> float | Float[Array, ""] | KernelDistance:
    """Measure the squared maximum mean discrepancy with the cubic kernel (x·y/features + 1)³.

    The estimate is unbiased: it is 0 on average for two samples of one distribution, so it may be
    slightly negative. On Inception features it is the KID, but it can be taken on any features.

    It is computed in float64 on the host, one tile of pairs at a time. Arrays that JAX traces
    (under `jit`, `vmap` or `grad`) are processed at once and in their own precision. NaN and
    infinity cannot be refused there and make the result not finite.

    Args:
        a: features of one sample, a row each; at least two rows.
        b: features of the other sample; at least two rows.
        subsets: number of random subsets to average over, each drawn without replacement. None for
            one estimate over all pairs, which costs n·m·features operations.
        subset_size: rows of `a` and of `b` in each of them.
        seed: of the subsets.

    Returns:
        The estimate over all pairs, or the mean over subsets and its standard error.

    Raises:
        InputError: if a sample is no matrix of finite numbers, has fewer than two rows, or fewer
            than `subset_size` where that is asked for, or the distance is beyond float64.

    Source: Bińkowski et al., ICLR 2018, section 4.
    """
    if subsets is not None:
        x = feature_matrix(a, "a", least=2)
        y = feature_matrix(b, "b", least=2)
        require_same_features(x.shape[1], y.shape[1])
        return _over_subsets(x, y, subsets, subset_size, seed)
    x = feature_matrix_or_tracer(a, "a", least=2)
    y = feature_matrix_or_tracer(b, "b", least=2)
    require_same_features(x.shape[1], y.shape[1])
    if isinstance(x, Tracer) or isinstance(y, Tracer):
        return _traced(as_floating(x), as_floating(y))
    return _unbiased(np.asarray(x), np.asarray(y))


def clip_distance(a: Features, b: Features) -> float:
    """Measure the CMMD: the squared maximum mean discrepancy with a Gaussian kernel, times 1,000.

    The kernel is exp(−|x − y|²/(2·10²)), and the estimate contains each row's pair with itself, as
    the authors' code does; so it is never negative and falls to 0 as the samples grow. It is meant
    for CLIP's image embeddings of length 1. On them it is that paper's number.

    Args:
        a: features of one sample, a row each.
        b: features of the other sample.

    Raises:
        InputError: if a sample is no matrix of finite numbers or empty, or the two have different
            features.

    Source: Jayasumana et al., "Rethinking FID: towards a better evaluation metric for image
    generation", CVPR 2024, section 4.
    """
    x = feature_matrix(a, "a", least=1)
    y = feature_matrix(b, "b", least=1)
    require_same_features(x.shape[1], y.shape[1])
    within_a = _gaussian_within(x) / len(x) ** 2
    within_b = _gaussian_within(y) / len(y) ** 2
    between = sum(_sum_of_gaussian(tile.values) for tile in squared_distances(x, y))
    return float(CMMD_SCALE * (within_a + within_b - 2 * between / (len(x) * len(y))))


def _gaussian_within(x: Rows) -> float:
    """Sum the Gaussian kernel less 1 over all ordered pairs of rows."""
    total = 0.0
    for rows, columns, squares in squared_distances(x):
        weight = 1 if rows == columns else 2  # a tile above the diagonal stands for two
        total += weight * _sum_of_gaussian(squares)
    return total


def _sum_of_gaussian(squares: Float[np.ndarray, "..."]) -> float:
    """Sum the Gaussian kernel less 1 over squared distances, which are overwritten.

    On vectors of length 1 the kernel is between .98 and 1. Its small part alone is summed, so no
    digits are lost; the ones cancel in the distance.
    """
    squares *= -1 / (2 * GAUSSIAN_BANDWIDTH**2)
    return float(np.sum(np.expm1(squares, out=squares)))


def _over_subsets(a: Rows, b: Rows, subsets: int, size: int, seed: int) -> KernelDistance:
    check_integer(subsets, "subsets", least=2)
    check_integer(size, "subset_size", least=2)
    if size > min(len(a), len(b)):
        raise InputError(
            f"`subset_size` (={size}) must be at most the rows of the smaller sample "
            f"(={min(len(a), len(b))}); draw more samples or take smaller subsets."
        )
    rng = np.random.default_rng(seed)
    distances = []
    for _ in range(subsets):
        subset_of_a = a[rng.choice(len(a), size, replace=False)]
        subset_of_b = b[rng.choice(len(b), size, replace=False)]
        distances.append(_unbiased(subset_of_a, subset_of_b))
    standard_error = np.std(distances, ddof=1) / np.sqrt(subsets)
    return KernelDistance(float(np.mean(distances)), float(standard_error))


def _unbiased(a: Rows, b: Rows) -> float:
    n = len(a)
    m = len(b)
    with np.errstate(over="ignore", invalid="ignore"):  # raised as an error below
        within_a = _sum_within(a) / (n * (n - 1))
        within_b = _sum_within(b) / (m * (m - 1))
        distance = within_a + within_b - 2 * _sum_between(a, b) / (n * m)
    if not np.isfinite(distance):
        largest = max(np.abs(x.astype(np.float64)).max() for x in (a, b))
        raise InputError(
            f"`a` and `b` (with entries up to {largest:.1e}) must be small enough for the sixth "
            "powers of their entries to be finite: divide both by one number."
        )
    return distance


def _sum_within(x: Rows) -> float:
    """Sum the kernel over all ordered pairs of different rows."""
    features = x.shape[1]
    total = 0.0
    for rows, columns, values in inner_products(x):
        weight = 1 if rows == columns else 2  # a tile above the diagonal stands for two
        total += weight * _sum_of_kernel(values, features)
    return total - _sum_of_kernel(squared_norms(x), features)


def _sum_between(x: Rows, y: Rows) -> float:
    features = x.shape[1]
    return sum(_sum_of_kernel(values, features) for _, _, values in inner_products(x, y))


def _sum_of_kernel(inner: Float[np.ndarray, "..."], features: int) -> float:
    """Sum the kernel over inner products, which are overwritten."""
    inner /= features
    inner += 1
    return float(np.vdot(inner * inner, inner))


def _traced(a: Float[Array, "n features"], b: Float[Array, "m features"]) -> Float[Array, ""]:
    def kernel(x: Float[Array, "n features"], y: Float[Array, "m features"]) -> Float[Array, "n m"]:
        products = jnp.matmul(x, y.T, precision="highest")
        return (products / x.shape[1] + 1) ** 3

    def mean_of_pairs(gram: Float[Array, "n n"]) -> Float[Array, ""]:
        size = len(gram)
        return (jnp.sum(gram) - jnp.trace(gram)) / (size * (size - 1))

    within = mean_of_pairs(kernel(a, a)) + mean_of_pairs(kernel(b, b))
    return within - 2 * jnp.mean(kernel(a, b))
