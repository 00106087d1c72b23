"""Which modes generated samples reach: Gaussians of a mixture, or classes that a classifier sees."""

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
    high_quality: Float[
        Array, ""
    ]  # share of samples that are close to their mode, or sure to be of it
    reverse_kl: Float[Array, ""]  # divergence of their share of the modes from the data's, nats


def mode_coverage(points: Features, means: Features, deviation: ArrayLike) -> ModeCoverage:
    """Measure points against equally likely, equally wide Gaussians.

    A point belongs to the nearest mean, and is of high quality if it lies within 3·deviation of it.
    The divergence is Σ q log(q·modes), q the share of all points that belong to each mode. Works under
    `jit`, where only the shapes can be checked.

    Args:
        points: generated points, a row each; at least one.
        means: the mixture's, a row each.
        deviation: standard deviation along each axis, greater than 0.

    Raises:
        InputError: if points or means are no matrix of finite numbers, differ in their dimensions, or
            the deviation is not greater than 0.

    Source: Lin et al., "PacGAN", NeurIPS 2018, section 4.1; Srivastava et al., "VEEGAN", NeurIPS 2017.
    """
    x, centres = (
        feature_matrix_or_tracer(points, "points"),
        feature_matrix_or_tracer(means, "means"),
    )
    require_same_features(x.shape[1], centres.shape[1], "`points` and `means`")
    if (
        not isinstance(deviation, Tracer)
        and not 0 < np.min(deviation) <= np.max(deviation) < np.inf
    ):
        raise InputError(f"`deviation` (={deviation}) must be greater than 0 and finite.")
    distance = jnp.linalg.norm(as_floating(x)[:, None] - as_floating(centres), axis=-1)
    close = jnp.min(distance, axis=1) <= 3 * jnp.asarray(deviation)
    shares = jnp.full(len(centres), 1 / len(centres), distance.dtype)
    return _coverage(jnp.argmin(distance, axis=1), close, shares)


def class_coverage(
    classes: TableLike, counts: TableLike, confidence: TableLike = None, threshold: ArrayLike = 0.9
) -> ModeCoverage:
    """Measure generated images, as a classifier sees them, against the classes of the training set.

    An image is of high quality if the classifier's confidence is at least `threshold`. Without confidences every
    image is, and a class is reached by a single image: the protocol of stacked MNIST, where the class is the
    number of three digits, 0 to 999, and the confidence the product of theirs. The divergence is Σ q log(q/p),
    q and p the shares of all generated and of all training images in each class.

    Works under `jit`, where only the shapes can be checked.

    Args:
        classes: predicted classes of the generated images, whole numbers from 0; at least one.
        counts: training images of each class, or their shares; not all 0.
        confidence: the predicted classes' probabilities, one for each image; None if there are none.
        threshold: least confidence of an image of high quality.

    Raises:
        InputError: if a class is not one of the training set's, the counts are no shares, or the
            confidences are not one finite number for each image.

    Source: Lin et al., "PacGAN", NeurIPS 2018, section 4.2; Metz et al., "Unrolled GANs", ICLR 2017, section 3.3.2.
    """
    predicted, images = _numbers(classes, "classes"), _numbers(counts, "counts")
    if not isinstance(predicted, Tracer):
        least, largest = predicted.min(), predicted.max()
        if least < 0 or largest >= len(images) or np.any(predicted % 1):
            raise InputError(
                f"`classes` (from {least:g} to {largest:g}) must be between 0 and {len(images) - 1}, whole "
                "numbers: one of the classes that `counts` has."
            )
        predicted = predicted.astype(np.int64)
    if not isinstance(images, Tracer) and not (images.min() >= 0 and images.sum() > 0):
        raise InputError(f"`counts` (from {images.min():g} on) must be at least 0 and not all 0.")
    data = jnp.asarray(images, jnp.result_type(float))
    if confidence is None:
        return _coverage(
            jnp.asarray(predicted), jnp.ones(len(predicted), bool), data / jnp.sum(data)
        )
    sure = _numbers(confidence, "confidence")
    if len(sure) != len(predicted):
        raise InputError(
            f"`confidence` (of {len(sure)} images) must have one number for each of the {len(predicted)} "
            "images that `classes` has."
        )
    return _coverage(jnp.asarray(predicted), jnp.asarray(sure) >= threshold, data / jnp.sum(data))


def _numbers(values: TableLike, name: str) -> Num[Array | np.ndarray, " n"]:
    """A vector of finite numbers, at least one; what JAX traces is only looked at from outside."""
    if isinstance(values, Tracer):
        found = values
    else:
        found = as_numbers(as_vector(values, name), name)
        check_finite(found, name)
    if found.ndim != 1 or not len(found):
        raise InputError(
            f"`{name}` (of shape {found.shape}) must be a vector of at least one number."
        )
    return found * 1  # of booleans, too


def _coverage(
    mode: Int[Array, " n"], good: Bool[Array, " n"], data: Float[Array, " modes"]
) -> ModeCoverage:
    """Of samples, the modes that they belong to and whether they are of high quality; `data` has the modes' shares."""
    nothing = jnp.zeros_like(data)
    share = nothing.at[mode].add(1) / len(mode)
    reached = nothing.at[mode].max(good.astype(data.dtype))
    divergence = jnp.sum(
        jax.scipy.special.xlogy(share, share) - jax.scipy.special.xlogy(share, data)
    )
    return ModeCoverage(jnp.sum(reached), jnp.mean(good, dtype=data.dtype), divergence)
