"""What a flow model's network reads besides an image: the time, and the length of an interval."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from l1jax.models.linear import Dense

LENGTH = "length"
"""Name of the layer that a network of average velocities has besides those of another flow."""
LONGEST_PERIOD = 10_000  # of the features of a time, as a multiple of the shortest


def split_inputs(
    inputs: Float[Array, "batch columns"], image_shape: tuple[int, int, int]
) -> tuple[Float[Array, "batch entries"], Float[Array, " batch"], Float[Array, " batch"]]:
    """Split a predictor's inputs into images, times and the lengths of intervals.

    Args:
        inputs: side by side; without lengths the times take their place.
        image_shape: height, width and channels.
    """
    entries = int(np.prod(image_shape))
    return inputs[:, :entries], inputs[:, entries], inputs[:, -1]


def length_input(
    length: Float[Array, " batch"], waves: int, features: int, dtype: Any
) -> Float[Array, "batch features"]:
    """Apply the layer through which a network reads the length of an interval.

    Its kernel starts at zero, so that a network which was trained without it is the same with it.

    Args:
        length: of each interval.
        waves: number of cosines and sines that describe it.
        features: of the layer.
        dtype: that it computes in.
    """
    layer = Dense(
        features, use_bias=False, kernel_init=nn.initializers.zeros, dtype=dtype, name=LENGTH
    )
    return layer(wave_features(length, waves, fastest=10))


def wave_features(
    time: Float[Array, " batch"], count: int, fastest: float = 1_000
) -> Float[Array, "batch features"]:
    """Describe times by cosines and sines of fastest·t/10,000^(k/(count/2)), k = 0, 1, ….

    Args:
        time: from 0 to 1.
        count: of the features; even.
        fastest: frequency of the first, radians per unit of time.

    Source: Vaswani et al., NeurIPS 2017, section 3.5; Ho, Jain, Abbeel, NeurIPS 2020, appendix B.
    """
    half = count // 2
    frequency = fastest * np.float32(LONGEST_PERIOD) ** (-np.arange(half, dtype=np.float32) / half)
    angle = time[:, None] * frequency
    return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=1)
