"""Reconstruction of given images, with an L1 term on the outputs."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

Images = Float[Array, "batch height width channels"]


def mean_squared_error(generated: Images, real: Images) -> Float[Array, ""]:
    """Compute the squared difference, mean over pixels, channels and batch, in squared units."""
    return jnp.mean(jnp.square(generated - real))


def activity_l1(activations: Float[Array, "..."], strength: ArrayLike) -> Float[Array, ""]:
    """Compute strength·|activation|, mean over all entries; it makes outputs sparse."""
    return jnp.asarray(strength) * jnp.mean(jnp.abs(activations))
