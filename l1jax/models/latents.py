"""Standard normal latents, truncated and interpolated."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, ArrayLike, Float

Latents = Float[Array, "count latent"]


def slerp(a: Latents, b: Latents, position: ArrayLike) -> Latents:
    """Move from `a` (position 0) to `b` (1) along the arc between their directions.

    Their lengths change evenly.

    A straight line would pass through latents much shorter than any that training saw; where the
    directions are the same or opposite, it is taken all the same.

    Args:
        a: the latents at the start.
        b: as many latents of the same size, at the end.
        position: the share of the way, 0 to 1; one number, or [count, 1] with one for each.

    Source: Shoemake, SIGGRAPH 1985; White, 2016, section 2.1, for latents.
    """
    lengths = [jnp.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b)]
    first, second = (
        x / jnp.maximum(length, 1e-30) for x, length in zip((a, b), lengths, strict=True)
    )
    apart, together = (
        jnp.linalg.norm(x, axis=-1, keepdims=True) for x in (first - second, first + second)
    )
    angle = 2 * jnp.arctan2(apart, together)
    sine = jnp.sin(angle)
    curved = (sine > 1e-4) & (lengths[0] > 0) & (lengths[1] > 0)
    arc = jnp.sin((1 - position) * angle) * first + jnp.sin(position * angle) * second
    length = (1 - position) * lengths[0] + position * lengths[1]
    return jnp.where(
        curved, length * arc / jnp.where(curved, sine, 1), (1 - position) * a + position * b
    )


@jax.jit
def truncate(latents: Latents, largest: ArrayLike) -> Latents:
    """Map standard normal entries to those of the normal truncated to ±largest.

    Images get nearer the mean, and less diverse.

    The truncated normal is the law of Brock et al., who draw entries beyond ±largest anew. Here
    each entry keeps its quantile instead, z → Φ⁻¹(½ + (Φ(z) − ½)·(2Φ(largest) − 1)), computed from
    the nearer tail: latents move evenly with `largest`, and the same seed draws the same images,
    only nearer the mean.

    Args:
        latents: standard normal.
        largest: the largest magnitude of an entry, greater than 0.

    Source: Brock, Donahue, Simonyan, ICLR 2019, section 3.1.
    """
    bound = jnp.asarray(largest, latents.dtype)  # ndtr takes no integers
    below = 0.5 + (ndtr(-jnp.abs(latents)) - 0.5) * (1 - 2 * ndtr(-bound))
    return jnp.clip(-jnp.sign(latents) * ndtri(below), -bound, bound)


@partial(jax.jit, static_argnames="frames")
def interpolations(
    start: Latents, end: Latents, frames: int
) -> Float[Array, "count frames latent"]:
    """Move from each latent to another in even steps along the arc between them, both included.

    Args:
        start: the latents at the start.
        end: as many latents of the same size, at the end.
        frames: latents on each way, at least 2.
    """
    positions = [frame / (frames - 1) for frame in range(frames)]
    return jnp.stack([slerp(start, end, position) for position in positions], axis=1)
