"""Kernel distance: how far two sets of features are apart, unbiased at any sample size."""

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
    squared_norms,
)


class KernelDistance(NamedTuple):
    """The distance over random subsets of two samples."""

    mean: float
    standard_error: float  # of the mean over subsets; times √subsets it is the subsets' deviation, which some report


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

    The unbiased estimate: 0 on average for two samples of one distribution, so it may be slightly negative.
    On Inception features it is the KID; it can be taken on any features. In float64 on the host, a tile of
    pairs at a time; of arrays that JAX traces (under `jit`, `vmap`, `grad`) at once and in their own
    precision, where NaN and infinity cannot be refused and make the result not finite.

    Args:
        a: features of one sample, a row each; at least two rows.
        b: features of the other sample; at least two rows.
        subsets: None for one estimate over all pairs, at n·m·features operations; else how many
            random subsets to average over, each drawn without replacement.
        subset_size: rows of `a` and of `b` in each of them.
        seed: of the subsets.

    Returns:
        The estimate over all pairs, or the mean over subsets and its standard error.

    Raises:
        InputError: if a sample is no matrix of finite numbers, has fewer than two rows, or fewer than
            `subset_size` where that is asked for, or the distance is beyond float64.

    Source: Bińkowski et al., ICLR 2018, section 4.
    """
    if subsets is not None:
        x, y = feature_matrix(a, "a", least=2), feature_matrix(b, "b", least=2)
        require_same_features(x.shape[1], y.shape[1])
        return _over_subsets(x, y, subsets, subset_size, seed)
    x, y = feature_matrix_or_tracer(a, "a", least=2), feature_matrix_or_tracer(b, "b", least=2)
    require_same_features(x.shape[1], y.shape[1])
    if isinstance(x, Tracer) or isinstance(y, Tracer):
        return _traced(as_floating(x), as_floating(y))
    return _unbiased(np.asarray(x), np.asarray(y))


def _over_subsets(a: Rows, b: Rows, subsets: int, size: int, seed: int) -> KernelDistance:
    check_integer(subsets, "subsets", least=2)
    check_integer(size, "subset_size", least=2)
    if size > min(len(a), len(b)):
        raise InputError(
            f"`subset_size` (={size}) must be at most the rows of the smaller sample "
            f"(={min(len(a), len(b))}); draw more samples or take smaller subsets."
        )
    rng = np.random.default_rng(seed)
    found = [
        _unbiased(*(x[rng.choice(len(x), size, replace=False)] for x in (a, b)))
        for _ in range(subsets)
    ]
    return KernelDistance(float(np.mean(found)), float(np.std(found, ddof=1) / np.sqrt(subsets)))


def _unbiased(a: Rows, b: Rows) -> float:
    n, m = len(a), len(b)
    with np.errstate(over="ignore", invalid="ignore"):  # told below
        distance = (
            _within(a) / (n * (n - 1)) + _within(b) / (m * (m - 1)) - 2 * _between(a, b) / (n * m)
        )
    if not np.isfinite(distance):
        largest = max(np.abs(x.astype(np.float64)).max() for x in (a, b))
        raise InputError(
            f"`a` and `b` (with entries up to {largest:.1e}) must be small enough for the sixth powers of "
            "their entries to be finite: divide both by one number."
        )
    return distance


def _within(x: Rows) -> float:
    """The kernel's sum over all ordered pairs of different rows."""
    sums = (
        (1 if rows == columns else 2) * _cubes(tile, x.shape[1])
        for rows, columns, tile in inner_products(x)
    )
    return sum(sums) - _cubes(squared_norms(x), x.shape[1])


def _between(x: Rows, y: Rows) -> float:
    return sum(_cubes(tile, x.shape[1]) for _, _, tile in inner_products(x, y))


def _cubes(products: Float[np.ndarray, "..."], features: int) -> float:
    products /= features
    products += 1
    return float(np.vdot(products * products, products))


def _traced(a: Float[Array, "n features"], b: Float[Array, "m features"]) -> Float[Array, ""]:
    def kernel(x: Float[Array, "n features"], y: Float[Array, "m features"]) -> Float[Array, "n m"]:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def mean_of_pairs(gram: Float[Array, "n n"]) -> Float[Array, ""]:
        size = len(gram)
        return (jnp.sum(gram) - jnp.trace(gram)) / (size * (size - 1))

    return mean_of_pairs(kernel(a, a)) + mean_of_pairs(kernel(b, b)) - 2 * jnp.mean(kernel(a, b))
