"""Which modes generated samples reach: Gaussians of a mixture, or classes that a classifier sees."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real


class ModeCoverage(NamedTuple):
    """How samples spread over modes."""

    modes: Float[Array, ""]  # modes with at least one sample of high quality
    high_quality: Float[Array, ""]  # share of samples that are close to their mode, or sure to be of it
    reverse_kl: Float[Array, ""]  # divergence of their share of the modes from the data's, nats


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
    close = jnp.min(distance, axis=1) <= 3 * jnp.asarray(deviation)
    return _coverage(jnp.argmin(distance, axis=1), close, jnp.full(len(means), 1 / len(means), points.dtype))


def class_coverage(
    classes: Int[Array | np.ndarray, " n"],
    counts: Real[Array | np.ndarray, " classes"],
    confidence: Float[Array | np.ndarray, " n"] | None = None,
    threshold: ArrayLike = 0.9,
) -> ModeCoverage:
    """Measure generated images, as a classifier sees them, against the classes of the training set.

    An image is of high quality if the classifier's confidence is at least `threshold`. Without confidences every
    image is, and a class is reached by a single image: the protocol of stacked MNIST, where the class is the
    number of three digits, 0 to 999, and the confidence the product of theirs. The divergence is Σ q log(q/p),
    q and p the shares of all generated and of all training images in each class.

    Args:
        classes: predicted classes of the generated images, from 0.
        counts: training images of each class, or their shares.
        confidence: the predicted classes' probabilities.
        threshold: least confidence of an image of high quality.

    Raises:
        ValueError: if a class is not one of the training set's.

    Source: Lin et al., "PacGAN", NeurIPS 2018, section 4.2; Metz et al., "Unrolled GANs", ICLR 2017, section 3.3.2.
    """
    if not isinstance(classes, Tracer) and len(classes):
        least, largest = int(classes.min()), int(classes.max())
        if least < 0 or largest >= len(counts):
            raise ValueError(f"`classes` (from {least} to {largest}) must be between 0 and {len(counts) - 1}.")
    predicted, data = jnp.asarray(classes), jnp.asarray(counts, jnp.result_type(float))
    sure = jnp.ones(len(predicted), bool) if confidence is None else jnp.asarray(confidence) >= threshold
    return _coverage(predicted, sure, data / jnp.sum(data))


def _coverage(mode: Int[Array, " n"], good: Bool[Array, " n"], data: Float[Array, " modes"]) -> ModeCoverage:
    """Of samples, the modes that they belong to and whether they are of high quality; `data` has the modes' shares."""
    nothing = jnp.zeros_like(data)
    share = nothing.at[mode].add(1) / len(mode)
    reached = nothing.at[mode].max(good.astype(data.dtype))
    divergence = jnp.sum(jax.scipy.special.xlogy(share, share) - jax.scipy.special.xlogy(share, data))
    return ModeCoverage(jnp.sum(reached), jnp.mean(good, dtype=data.dtype), divergence)
