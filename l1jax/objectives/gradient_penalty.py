"""Gradient penalties on the discriminator."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Images = Float[Array, "batch height width channels"]
Aux = TypeVar("Aux")


def with_squared_gradient(
    discriminate: Callable[[Images], tuple[Float[Array, " logits"], Aux]], images: Images
) -> tuple[Float[Array, " logits"], Aux, Float[Array, " batch"]]:
    """Compute logits and, from the same forward pass, ‖∇D(x)‖² per image.

    If one logit belongs to several images (packing), each image gets its part of the gradient. R1
    is γ/2 times the mean of ‖∇D(x)‖² over real images, R2 that over generated ones;
    `unit_norm_penalty` turns it into the penalties of WGAN-GP and DRAGAN. The result can be
    differentiated again.

    Args:
        discriminate: images → (logits, auxiliary output).
        images: at which the gradient is taken.

    Returns:
        The logits, the auxiliary output, and ‖∇D(x)‖², summed over pixels and channels.

    Source: Mescheder, Geiger, Nowozin, ICML 2018, section 4.1.
    """
    logits, pullback, aux = jax.vjp(discriminate, images, has_aux=True)
    (gradient,) = pullback(jnp.ones_like(logits))
    return logits, aux, jnp.sum(jnp.square(gradient), axis=(1, 2, 3))


def unit_norm_penalty(squared: Float[Array, " batch"]) -> Float[Array, ""]:
    """Compute E(‖∇D‖ − 1)² from ‖∇D‖² per image, mean over the batch.

    Its own gradient is 0 where ‖∇D‖ is.

    Source: Gulrajani et al., NeurIPS 2017, equation 3.
    """
    is_zero = squared == 0  # where the square root has no derivative
    norm = jnp.where(is_zero, 0, jnp.sqrt(jnp.where(is_zero, 1, squared)))
    return jnp.mean(jnp.square(norm - 1))


def between(real: Images, fake: Images, weight: Float[Array, " batch"]) -> Images:
    """Return the points weight·x + (1 − weight)·G(z) at which WGAN-GP takes the gradient.

    Args:
        real: images.
        fake: as many generated ones.
        weight: uniform in [0, 1], one per pair.

    Source: Gulrajani et al., NeurIPS 2017, algorithm 1.
    """
    weight = weight[:, None, None, None]
    return weight * real + (1 - weight) * fake


def around(real: Images, noise: Images, deviation: Float[Array, ""]) -> Images:
    """Return the points x + ½·deviation·noise, at which DRAGAN takes the gradient.

    Args:
        real: images.
        noise: uniform in [0, 1], as large.
        deviation: standard deviation of the pixels of the whole batch.

    Source: Kodali et al., 2017, "On convergence and stability of GANs", with the noise of the
        authors' programs.
    """
    return real + 0.5 * deviation * noise
