"""Draw a few images, to compare a generator with another form of it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree

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
    label = jnp.arange(COUNT, dtype=jnp.int32) % generator.classes if generator.classes else None

    @jax.jit
    def draw(params: PyTree, statistics: PyTree, latents: Any) -> Any:
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
