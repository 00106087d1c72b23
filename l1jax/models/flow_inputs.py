"""What a flow model's network reads besides an image: time, class, and length of an interval."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from l1jax.models.conditional import one_hot
from l1jax.models.linear import Dense
from l1jax.models.network import ClassWeights, Labels

Embedding = Float[Array, "batch embedding"]
LENGTH = "length"
"""Name of the layer that a network of average velocities has besides those of another flow."""
LONGEST_PERIOD = 10_000  # of the features of a time, as a multiple of the shortest


def split_inputs(
    inputs: Float[Array, "batch columns"], image_shape: tuple[int, int, int], has_length: bool
) -> tuple[Float[Array, "batch entries"], Float[Array, " batch"], Float[Array, " batch"] | None]:
    """Split a predictor's inputs into images, times, and the lengths of intervals if it reads them.

    Args:
        inputs: side by side.
        image_shape: height, width and channels.
        has_length: whether lengths are the last column.
    """
    entries = int(np.prod(image_shape))
    length = inputs[:, -1] if has_length else None
    return inputs[:, :entries], inputs[:, entries], length


def embed_inputs(
    time: Float[Array, " batch"],
    length: Float[Array, " batch"] | None,
    label: Labels | ClassWeights | None,
    waves: int,
    classes: int,
    dense: Callable[..., Dense],
) -> Embedding:
    """Embed time, length and class, through the SiLU that every block would apply.

    Args:
        time: of each image.
        length: of the interval from there; None for a network that reads none.
        label: class of each image, or weights of the classes.
        waves: number of cosines and sines that describe a time.
        classes: of the model; 0 for none.
        dense: makes a layer with as many outputs as the embedding has entries.
    """
    y = dense(name="time_0")(wave_features(time, waves))
    y = dense(name="time_1")(nn.silu(y))
    if length is not None:
        y = y + length_input(length, waves, y.shape[-1], y.dtype)
    if classes:
        assert label is not None
        y = y + dense(use_bias=False, name="class")(one_hot(label, classes, y.dtype))
    return nn.silu(y)


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
