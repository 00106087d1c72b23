"""Draw a few images, to compare a generator with another form of it."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from l1jax.models import Generator

COUNT = 16


def probe(
    generator: Generator, params: PyTree, statistics: PyTree
) -> Float[np.ndarray, "count h w c"]:
    """Draw images from the same few latents, of all classes in turn.

    Args:
        generator: what draws them.
        params: its parameters.
        statistics: its running batch statistics.

    Returns:
        The images, in the generator's range.
    """
    latents = generator.latents(jax.random.key(0), COUNT)
    label = None
    if generator.classes:
        label = jnp.arange(COUNT, dtype=jnp.int32) % generator.classes

    @jax.jit
    def draw(params: PyTree, statistics: PyTree, latents: Array) -> Array:
        return generator.network.apply(params, statistics, latents, False, label)[0]

    return np.asarray(draw(params, statistics, latents))


def differences(
    wanted: Float[np.ndarray, "..."], images: Float[np.ndarray, "..."]
) -> tuple[float, float]:
    """Return the largest difference and the relative difference in the L2 norm."""
    difference = images.astype(np.float64) - wanted
    return float(np.abs(difference).max()), float(
        np.linalg.norm(difference) / max(np.linalg.norm(wanted), 1e-30)
    )
