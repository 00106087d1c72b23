"""Kernel distance: how far two sets of features are apart, unbiased at any sample size."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def kernel_distance(a: Float[Array, "n features"], b: Float[Array, "m features"]) -> Float[Array, ""]:
    """Squared maximum mean discrepancy with the cubic kernel (x·y/features + 1)³.

    The unbiased estimate over all pairs: 0 on average for two samples of one distribution, so it may
    be slightly negative. On Inception features it is the KID; it can be taken on any features.

    Args:
        a: features of one sample, a row each; at least two rows.
        b: features of the other sample; at least two rows.

    Raises:
        ValueError: if a sample has fewer than two rows.

    Source: Bińkowski et al., ICLR 2018, section 4.
    """
    n, m = len(a), len(b)
    if n < 2 or m < 2:
        raise ValueError(f"`a` and `b` (of {n} and {m} rows) must have at least two rows each.")

    def kernel(x: Float[Array, "n features"], y: Float[Array, "m features"]) -> Float[Array, "n m"]:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def mean_of_pairs(gram: Float[Array, "n n"]) -> Float[Array, ""]:
        size = len(gram)
        return (jnp.sum(gram) - jnp.trace(gram)) / (size * (size - 1))

    return mean_of_pairs(kernel(a, a)) + mean_of_pairs(kernel(b, b)) - 2 * jnp.mean(kernel(a, b))
