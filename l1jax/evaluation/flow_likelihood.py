"""The likelihood that a flow model gives to images or points, in nats and in bits per dimension."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree, Shaped
from scipy.special import stdtrit

from l1jax.models import Flow
from l1jax.models.flow_sampling import Time, integrate, time_grid
from l1jax.models.network import Labels

LEVELS = 255  # steps between the 256 values of a pixel


def flow_log_likelihood(
    flow: Flow, steps: int = 64, probes: int = 1
) -> Callable[..., Float[Array, " batch"]]:
    """Build (params, batch statistics, examples, key, label=None) → nats per example.

    The differential equation is followed from the example at t = 1 back to the noise x₀ at t = 0:
    log p(x₁) = log N(x₀; 0, 1) − ∫ ∇·v dt. The divergence is estimated without bias by εᵀ(∂v/∂x)ε
    with random signs ε, exactly where ∂v/∂x is diagonal. Points have a density. The bytes of images
    get uniform noise, so that the mean over that noise is a lower bound on the logarithm of their
    probability. What the generator clips is not taken into account.

    Args:
        flow: the networks.
        steps: midpoint steps, each with two evaluations and their derivatives.
        probes: draws of ε for each example, whose estimates are averaged.

    Raises:
        ValueError: if there is no step or no probe.

    Source: Grathwohl et al., FFJORD, ICLR 2019, section 3; Chen et al., NeurIPS 2018, theorem 1;
        Theis, van den Oord, Bethge, ICLR 2016, section 3.1 (bytes).
    """
    if min(steps, probes) < 1:
        raise ValueError(f"`steps` (={steps}) and `probes` (={probes}) must be at least 1.")
    backwards = time_grid(steps)[::-1]
    image_range = flow.generator.image_range
    entries = flow.generator.latent_size

    def log_likelihood(
        params: PyTree,
        batch_stats: PyTree,
        examples: Shaped[Array, "batch height width channels"],
        key: Key[Array, ""],
        label: Labels | None = None,
    ) -> Float[Array, " batch"]:
        pixel_key, probe_key = jax.random.split(key)
        x = examples
        log_scale = 0.0
        if image_range is not None:
            noise = jax.random.uniform(pixel_key, examples.shape) - 0.5
            low, high = image_range
            x = low + (high - low) * (examples + noise) / LEVELS
            log_scale = entries * math.log((high - low) / LEVELS)
        signs = jax.random.rademacher(probe_key, (probes, *x.shape), x.dtype)

        def velocity(x: Array, time: Time) -> Array:
            at = jnp.full(x.shape[0], time, jnp.float32)
            return flow.velocity(params, batch_stats, x, at, False, label)[0]

        def with_divergence(
            both: Float[Array, "batch columns"], time: Time
        ) -> Float[Array, "batch columns"]:
            """Return the velocity, and beside it the divergence there."""
            here = both[:, :-1].reshape(x.shape)
            moved, pull = jax.vjp(lambda x: velocity(x, time), here)

            def estimate(signs: Array) -> Array:
                (row,) = pull(signs)
                return jnp.sum((row * signs).reshape(len(row), -1), axis=1)

            divergence = jnp.mean(jax.lax.map(estimate, signs), axis=0)
            return jnp.column_stack([moved.reshape(len(moved), -1), divergence])

        start = jnp.column_stack([x.reshape(len(x), -1), jnp.zeros(len(x), x.dtype)])
        end = integrate(with_divergence, start, backwards, "midpoint")
        noise = end[:, :-1]
        log_normal = -0.5 * jnp.sum(jnp.square(noise) + math.log(2 * math.pi), axis=1)
        return log_normal + end[:, -1] + log_scale

    return log_likelihood


class BitsPerDimension(NamedTuple):
    """The mean over images, and how sure it is.

    mean: bits per entry of an image.
    interval: of the mean, Student's; None for a single image.
    count: of the images.
    """

    mean: float
    interval: tuple[float, float] | None
    count: int


def bits_per_dimension(
    nats: Float[np.ndarray, " images"], entries: int, level: float = 0.95
) -> BitsPerDimension:
    """Turn log-likelihoods into bits per dimension, −nats/(entries·log 2).

    Args:
        nats: log-likelihood of each image.
        entries: of an image: height · width · channels.
        level: confidence level.
    """
    bits = -np.asarray(nats, np.float64) / (entries * math.log(2))
    mean = float(bits.mean())
    interval = None
    if len(bits) > 1:
        error = bits.std(ddof=1) / math.sqrt(len(bits))
        reach = float(stdtrit(len(bits) - 1, 0.5 + level / 2) * error)
        interval = (mean - reach, mean + reach)
    return BitsPerDimension(mean, interval, len(bits))
