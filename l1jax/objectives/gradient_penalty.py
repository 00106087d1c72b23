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
    """Score images and return ‖∇D(x)‖² per image beside the logits, from one forward pass.

    Where a logit judges several images (packing), the part of its gradient in each is given.

    R1 is γ/2 times its mean over real images, R2 over generated ones; `unit_norm_penalty` makes
    WGAN-GP's and DRAGAN's of it. Differentiable again.

    Returns:
        logits, what `discriminate` gives beside them, and ‖∇D(x)‖² summed over pixels and channels.

    Source: Mescheder, Geiger, Nowozin, ICML 2018, section 4.1.
    """
    logits, pullback, aux = jax.vjp(discriminate, images, has_aux=True)
    (gradient,) = pullback(jnp.ones_like(logits))
    return logits, aux, jnp.sum(jnp.square(gradient), axis=(1, 2, 3))


def unit_norm_penalty(squared: Float[Array, " batch"]) -> Float[Array, ""]:
    """E(‖∇D‖ − 1)² from ‖∇D‖² per image, mean over the batch; its gradient is 0 where ‖∇D‖ is.

    Source: Gulrajani et al., NeurIPS 2017, equation 3.
    """
    flat = squared == 0
    norm = jnp.where(flat, 0, jnp.sqrt(jnp.where(flat, 1, squared)))
    return jnp.mean(jnp.square(norm - 1))


def between(real: Images, fake: Images, weight: Float[Array, " batch"]) -> Images:
    """The points weight·x + (1 − weight)·G(z) at which WGAN-GP looks at the gradient.

    Args:
        real: images.
        fake: as many generated ones.
        weight: uniform in [0, 1], one per pair.

    Source: Gulrajani et al., NeurIPS 2017, algorithm 1.
    """
    weight = weight[:, None, None, None]
    return weight * real + (1 - weight) * fake


def around(real: Images, noise: Images, deviation: Float[Array, ""]) -> Images:
    """The points x + ½·deviation·noise, near real images, at which DRAGAN looks at the gradient.

    Args:
        real: images.
        noise: uniform in [0, 1], as large.
        deviation: standard deviation of the pixels of the whole batch.

    Source: Kodali et al., 2017, "On convergence and stability of GANs", with the noise of the authors'
        programs.
    """
    return real + 0.5 * deviation * noise
