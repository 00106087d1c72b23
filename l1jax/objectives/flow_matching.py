"""Flow matching: learn the velocity that carries noise to images along straight lines.

With the noise x₀ and the image x₁, x_t = (1 − t)·x₀ + t·x₁ moves at the velocity x₁ − x₀. A network
that minimises the squared error of a velocity learns its mean given x_t, which carries the whole
distribution of noise to that of images.

Source: Lipman et al., ICLR 2023, example II with σ = 0; Liu, Gong, Liu, ICLR 2023, equation 1.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

TimeLaw = Literal["uniform", "logit_normal"]
Pairing = Literal["independent", "optimal"]
Images = Float[Array, "batch *image"]
Times = Float[Array, " batch"]


def draw_times(
    key: Key[Array, ""],
    count: int,
    law: TimeLaw = "logit_normal",
    mean: float = 0.0,
    deviation: float = 1.0,
) -> Times:
    """Draw the times at which the velocity is learned, between 0 (noise) and 1 (images).

    Args:
        key: of the draw.
        count: how many.
        law: "uniform", or "logit_normal": σ(mean + deviation·ε), which has more of the middle,
            where the velocity is hard to tell.
        mean: of the logit; above 0 for times nearer the images.
        deviation: of the logit.

    Source: Esser et al., "Scaling rectified flow transformers", ICML 2024, equation 19.
    """
    if law == "uniform":
        return jax.random.uniform(key, (count,))
    return jax.nn.sigmoid(mean + deviation * jax.random.normal(key, (count,)))


def between(noise: Images, image: Images, time: Times) -> Images:
    """Compute x_t = (1 − t)·noise + t·image.

    Args:
        noise: standard normal.
        image: as many images.
        time: of each.
    """
    t = time.reshape(-1, *[1] * (noise.ndim - 1))
    return (1 - t) * noise + t * image


def velocity_error(velocity: Images, wanted: Images) -> Float[Array, " batch"]:
    """Compute the squared error of a velocity, mean over an image's entries.

    No weights depend on the time: those of the loss are the law that `draw_times` draws from.

    Args:
        velocity: that a network predicts.
        wanted: what it is to be: image − noise.
    """
    error = jnp.square(velocity - wanted)
    return jnp.mean(error, axis=tuple(range(1, error.ndim)))
