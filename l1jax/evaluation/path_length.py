"""How evenly images change on the way from one latent to another."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from l1jax.config import InputError

Latents = Float[Array, "count latent"]
DISCARDED = (0.01, 0.99)  # quantiles outside of which a length is left out, as the source does


class PathLength(NamedTuple):
    """The mean squared speed of features on the way between random latents."""

    mean: float
    standard_error: float


def path_length(
    generate: Callable[[Latents], Float[Array, "count *image"]],
    extract: Callable[[Float[Array, "count *image"]], Float[Array, "count features"]],
    key: Key[Array, ""],
    latent_size: int,
    count: int = 1_000,
    batch: int = 50,
) -> PathLength:
    """Measure how fast features of images change with the latent: smoother generators score lower.

    |d/dt f(G(slerp(z₁, z₂, t)))|² at random z₁, z₂ and t, by differentiation. The published
    perceptual path length divides the difference of two images, 10⁻⁴ of the way apart, by that
    step, and takes LPIPS for f; this is the limit of small steps, on features of your choice.
    Lengths below the first and above the last percentile are left out, as there.

    Args:
        generate: latents → images as floats, not rounded to pixels.
        extract: images → features.
        key: of the latents and the places on the way.
        latent_size: of the standard normal latents.
        count: pairs of latents.
        batch: pairs in one compiled call.

    Raises:
        InputError: if `count` is below 100, so that there are no percentiles, or `batch` below 1.

    Source: Karras, Laine, Aila, "A style-based generator architecture for GANs", CVPR 2019, section
    4.1.
    """
    if count < 100 or batch < 1:
        raise InputError(
            f"`count` (={count}) must be at least 100 and `batch` (={batch}) at least 1."
        )

    from l1jax.models.latents import slerp  # the rest of l1jax.evaluation needs no extra

    @jax.jit
    def squared_speed(keys: Key[Array, " batch"]) -> Float[Array, " batch"]:
        def ends(one: Key[Array, ""]) -> tuple[Array, Array, Array]:
            first, second, place = jax.random.split(one, 3)
            shape = (latent_size,)
            return (
                jax.random.normal(first, shape),
                jax.random.normal(second, shape),
                jax.random.uniform(place),
            )

        start, end, position = jax.vmap(ends)(keys)

        def features(shift: Array) -> Float[Array, "batch features"]:
            places = (position + shift)[:, None]
            return extract(generate(slerp(start, end, places)))

        # The gradient of a gradient: l1jax's convolutions have no forward differentiation.
        values, pull_back = jax.vjp(features, jnp.zeros([]))
        speed = jax.grad(lambda cotangent: pull_back(cotangent)[0])(jnp.zeros_like(values))
        return jnp.sum(speed**2, axis=-1)

    keys = jax.random.split(key, -(-count // batch) * batch)
    lengths = [squared_speed(keys[i : i + batch]) for i in range(0, count, batch)]
    values = np.concatenate([np.asarray(part, np.float64) for part in lengths])[:count]
    low, high = np.quantile(values, DISCARDED)
    kept = values[(values >= low) & (values <= high)]
    return PathLength(float(kept.mean()), float(kept.std(ddof=1) / np.sqrt(len(kept))))
