"""Gradient penalties on the discriminator."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Images = Float[Array, "batch height width channels"]
Aux = TypeVar("Aux")


def with_squared_gradient(
    discriminate: Callable[[Images], tuple[Float[Array, " batch"], Aux]], images: Images
) -> tuple[Float[Array, " batch"], Aux, Float[Array, " batch"]]:
    """Score images and return ‖∇D(x)‖² per image beside the logits, from one forward pass.

    R1 is γ/2 times its mean over real images, R2 over generated ones; differentiable again.

    Returns:
        logits, what `discriminate` gives beside them, and ‖∇D(x)‖² summed over pixels and channels.

    Source: Mescheder, Geiger, Nowozin, ICML 2018, section 4.1.
    """
    logits, pullback, aux = jax.vjp(discriminate, images, has_aux=True)
    (gradient,) = pullback(jnp.ones_like(logits))
    return logits, aux, jnp.sum(jnp.square(gradient), axis=(1, 2, 3))
