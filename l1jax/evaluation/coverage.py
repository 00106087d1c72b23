"""Coverage of modes: Gaussians of a mixture, or classes that a classifier predicts."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Num

from l1jax.arrays import TableLike, as_numbers, as_vector, check_finite
from l1jax.config import InputError
from l1jax.evaluation.pairwise import (
    Features,
    as_floating,
    feature_matrix_or_tracer,
    require_same_features,
)


class ModeCoverage(NamedTuple):
    """How samples spread over modes."""

    modes: Float[Array, ""]  # modes with at least one sample of high quality
    high_quality: Float[Array, ""]
    """Share of the samples that are close to their mode, or whose class is certain."""
    reverse_kl: Float[Array, ""]
    """KL divergence of the samples' shares of the modes from the data's, in nats."""


def mode_coverage(points: Features, means: Features, deviation: ArrayLike) -> ModeCoverage:
    """Measure which of several equally likely, equally wide Gaussians the points reach.

    A point belongs to the nearest mean, and is of high quality if it lies within 3·deviation of it.
    The divergence is Σ q log(q·modes), where q is the share of all points that belong to each mode.
    Works under `jit`, where only the shapes can be checked.

    Args:
        points: generated points, a row each; at least one.
        means: the mixture's, a row each.
        deviation: standard deviation along each axis, greater than 0.

    Raises:
        InputError: if points or means are no matrix of finite numbers, differ in their dimensions,
            or the deviation is not greater than 0.

    Source: Lin et al., "PacGAN", NeurIPS 2018, section 4.1; Srivastava et al., "VEEGAN", NeurIPS
    2017, section 4.1.
    """
    x = feature_matrix_or_tracer(points, "points")
    centres = feature_matrix_or_tracer(means, "means")
    require_same_features(x.shape[1], centres.shape[1], "`points` and `means`")
    is_known = not isinstance(deviation, Tracer)
    if is_known and not 0 < np.min(deviation) <= np.max(deviation) < np.inf:
        raise InputError(f"`deviation` (={deviation}) must be greater than 0 and finite.")
    distance = jnp.linalg.norm(as_floating(x)[:, None] - as_floating(centres), axis=-1)
    is_close = jnp.min(distance, axis=1) <= 3 * jnp.asarray(deviation)
    shares = jnp.full(len(centres), 1 / len(centres), distance.dtype)
    return _coverage(jnp.argmin(distance, axis=1), is_close, shares)


def class_coverage(
    classes: TableLike, counts: TableLike, confidence: TableLike = None, threshold: ArrayLike = 0.9
) -> ModeCoverage:
    """Measure which classes of the training set the generated images reach.

    An image is of high quality if the classifier's confidence is at least `threshold`. Without
    confidences every image is of high quality, and a single image reaches a class. This is the
    protocol of stacked MNIST, where the class is the number of three digits, 0 to 999, and the
    confidence is the product of theirs. The divergence is Σ q log(q/p), where q and p are the
    shares of all generated and of all training images in each class.

    Works under `jit`, where only the shapes can be checked.

    Args:
        classes: predicted classes of the generated images, whole numbers from 0; at least one.
        counts: training images of each class, or their shares; not all 0.
        confidence: the predicted classes' probabilities, one for each image; None if there are
            none.
        threshold: the smallest confidence of an image of high quality.

    Raises:
        InputError: if a class is not one of the training set's, the counts are no shares, or the
            confidences are not one finite number for each image.

    Source: Lin et al., "PacGAN", NeurIPS 2018, section 4.2; Metz et al., "Unrolled GANs", ICLR
    2017, section 3.3.2.
    """
    predicted = _finite_vector(classes, "classes")
    images = _finite_vector(counts, "counts")
    if not isinstance(predicted, Tracer):
        least = predicted.min()
        largest = predicted.max()
        if least < 0 or largest >= len(images) or np.any(predicted % 1):
            raise InputError(
                f"`classes` (from {least:g} to {largest:g}) must be whole numbers between 0 and "
                f"{len(images) - 1}: one of the classes that `counts` has."
            )
        predicted = predicted.astype(np.int64)
    if not isinstance(images, Tracer) and not (images.min() >= 0 and images.sum() > 0):
        raise InputError(f"`counts` (from {images.min():g} on) must be at least 0 and not all 0.")
    weights = jnp.asarray(images, jnp.result_type(float))
    shares = weights / jnp.sum(weights)
    if confidence is None:
        return _coverage(jnp.asarray(predicted), jnp.ones(len(predicted), bool), shares)
    probabilities = _finite_vector(confidence, "confidence")
    if len(probabilities) != len(predicted):
        raise InputError(
            f"`confidence` (of {len(probabilities)} images) must have one number for each of the "
            f"{len(predicted)} images that `classes` has."
        )
    return _coverage(jnp.asarray(predicted), jnp.asarray(probabilities) >= threshold, shares)


def _finite_vector(values: TableLike, name: str) -> Num[Array | np.ndarray, " n"]:
    """Return a vector of finite numbers; of a traced array only the shape is checked."""
    if isinstance(values, Tracer):
        vector = values
    else:
        vector = as_numbers(as_vector(values, name), name)
        check_finite(vector, name)
    if vector.ndim != 1 or not len(vector):
        raise InputError(
            f"`{name}` (of shape {vector.shape}) must be a vector of at least one number."
        )
    return vector * 1  # which makes numbers of booleans


def _coverage(
    mode: Int[Array, " n"], high_quality: Bool[Array, " n"], data_shares: Float[Array, " modes"]
) -> ModeCoverage:
    """Compute the coverage from the mode and the quality of every sample."""
    dtype = data_shares.dtype
    zeros = jnp.zeros_like(data_shares)
    shares = zeros.at[mode].add(1) / len(mode)
    is_reached = zeros.at[mode].max(high_quality.astype(dtype))
    terms = jax.scipy.special.xlogy(shares, shares) - jax.scipy.special.xlogy(shares, data_shares)
    return ModeCoverage(
        modes=jnp.sum(is_reached),
        high_quality=jnp.mean(high_quality, dtype=dtype),
        reverse_kl=jnp.sum(terms),
    )
