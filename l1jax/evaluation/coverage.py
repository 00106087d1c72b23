"""Which modes of a mixture of Gaussians generated points reach."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float


class ModeCoverage(NamedTuple):
    """How points spread over the modes of a mixture."""

    modes: Float[Array, ""]  # modes with at least one point of high quality
    high_quality: Float[Array, ""]  # share of points within three standard deviations of a mean
    reverse_kl: Float[Array, ""]  # divergence of their share of the modes from the mixture's, nats


def mode_coverage(
    points: Float[Array, "n dimensions"], means: Float[Array, "modes dimensions"], deviation: ArrayLike
) -> ModeCoverage:
    """Measure points against equally likely, equally wide Gaussians.

    A point belongs to the nearest mean, and is of high quality if it lies within 3·deviation of it.
    The divergence is Σ q log(q·modes), q the share of all points that belong to each mode.

    Args:
        points: generated points.
        means: the mixture's.
        deviation: standard deviation along each axis.

    Source: Lin et al., "PacGAN", NeurIPS 2018, section 4.1; Srivastava et al., "VEEGAN", NeurIPS 2017.
    """
    distance = jnp.linalg.norm(points[:, None] - means, axis=-1)
    nearest = jnp.argmin(distance, axis=1)
    close = jnp.min(distance, axis=1) <= 3 * jnp.asarray(deviation)
    belongs = jax.nn.one_hot(nearest, len(means))
    share = jnp.mean(belongs, axis=0)
    reached = jnp.any((belongs > 0) & close[:, None], axis=0)
    divergence = jnp.sum(jax.scipy.special.xlogy(share, share * len(means)))
    return ModeCoverage(jnp.sum(reached).astype(share.dtype), jnp.mean(close, dtype=share.dtype), divergence)
