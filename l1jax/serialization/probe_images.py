"""What a generator draws from a few latents, to compare it with another form of it."""

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
    """Images of the same few latents, classes in turn, in the generator's range."""
    latents = generator.latents(jax.random.key(0), COUNT)
    label = jnp.arange(COUNT, dtype=jnp.int32) % generator.classes if generator.classes else None

    @jax.jit
    def draw(params: PyTree, statistics: PyTree, latents: Any) -> Any:
        return generator.network.apply(params, statistics, latents, False, label)[0]

    return np.asarray(draw(params, statistics, latents))


def differences(
    wanted: Float[np.ndarray, "..."], images: Float[np.ndarray, "..."]
) -> tuple[float, float]:
    """Largest difference, and relative difference in L2."""
    difference = images.astype(np.float64) - wanted
    return float(np.abs(difference).max()), float(
        np.linalg.norm(difference) / max(np.linalg.norm(wanted), 1e-30)
    )
