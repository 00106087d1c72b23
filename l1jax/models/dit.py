"""A diffusion transformer that predicts velocities: attention between squares of pixels."""

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from l1jax.models.flow import Flow, flow_sampler, make_flow
from l1jax.models.flow_inputs import Embedding, embed_inputs, split_inputs
from l1jax.models.flow_sampling import Prediction, SamplingMethod
from l1jax.models.linear import Dense, Precision, at_least_float32, checkpointed, compute_dtype
from l1jax.models.mlp import OUTPUTS
from l1jax.models.network import ClassWeights, Images, Labels, linen_network
from l1jax.models.regularisation import Dropout
from l1jax.models.unet_blocks import ZEROS, FullAttention, from_patches, to_patches

TIME_FEATURES = 256  # cosines and sines of the time
HIDDEN = 4  # units of a feed-forward layer, as a multiple of the width
XAVIER = nn.initializers.xavier_uniform()
SMALL = nn.initializers.normal(0.02)
Tokens = Float[Array, "batch length width"]


class DitBlock(nn.Module):
    """Attention, then feed-forward units, each behind a norm and scaled by what the block is told.

    x + g·f(norm(x)·(1 + s) + b), where shift b, scale s and gate g of each channel come from the
    embedding of time and class. They start at zero, and the block as the identity.

    Source: Peebles, Xie, ICCV 2023, section 3.2 (adaLN-Zero).
    """

    heads: int
    dropout: float
    dtype: Any

    @nn.compact
    def __call__(self, x: Tokens, embedding: Embedding, train: bool) -> Tokens:
        """Apply the block."""
        width = x.shape[-1]
        dense = partial(Dense, dtype=self.dtype, kernel_init=XAVIER)
        told = Dense(6 * width, kernel_init=ZEROS, dtype=self.dtype, name="modulation")(embedding)
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = jnp.split(told[:, None], 6, axis=-1)

        y = _norm(self.dtype, "norm_1")(x) * (1 + scale_1) + shift_1
        query, key, value = (dense(width, name=name)(y) for name in ("query", "key", "value"))
        y = FullAttention(self.heads, self.heads, name="heads")(query, key, value)
        y = Dropout(self.dropout, name="dropout_1")(dense(width, name="output")(y), train)
        x = x + gate_1 * y

        y = _norm(self.dtype, "norm_2")(x) * (1 + scale_2) + shift_2
        y = nn.gelu(dense(HIDDEN * width, name="up")(y))
        y = Dropout(self.dropout, name="dropout_2")(dense(width, name="down")(y), train)
        return x + gate_2 * y


class DitModule(nn.Module):
    """The network from an image's entries and the time, side by side, and a class to a prediction.

    Squares of pixels are the tokens; their places are known by fixed waves.
    """

    image_shape: tuple[int, int, int]
    width: int
    layers: int
    heads: int
    patch_size: int
    dropout: float
    dtype: Any
    output: Any
    classes: int
    average_velocity: bool
    checkpointing: bool

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "batch entries"],
        train: bool,
        label: Labels | ClassWeights | None = None,
    ) -> Images:
        """Predict; only dropout makes a difference in training."""
        width = self.width
        dense = partial(Dense, dtype=self.dtype)
        image, time, length = split_inputs(inputs, self.image_shape, self.average_velocity)
        embedding = embed_inputs(
            time,
            length,
            label,
            TIME_FEATURES,
            self.classes,
            partial(dense, width, kernel_init=SMALL),
        )
        patches = to_patches(image.reshape(-1, *self.image_shape), self.patch_size)
        _, rows, columns, entries = patches.shape
        tokens = patches.reshape(-1, rows * columns, entries)
        x = dense(width, kernel_init=XAVIER, name="patches")(tokens)
        x = x + place_features(rows, columns, width).astype(x.dtype)
        for i in range(self.layers):
            # The default binds this turn's: the backward pass calls the function again.
            def block(x: Tokens, name: str = f"block_{i}") -> Tokens:
                return DitBlock(self.heads, self.dropout, self.dtype, name=name)(
                    x, embedding, train
                )

            x = checkpointed(self, block, x, self.checkpointing)
        told = dense(2 * width, kernel_init=ZEROS, name="modulation")(embedding)
        shift, scale = jnp.split(told[:, None], 2, axis=-1)
        x = _norm(self.dtype, "norm")(x) * (1 + scale) + shift
        x = dense(entries, kernel_init=ZEROS, name="image")(x).reshape(-1, rows, columns, entries)
        return self.output(at_least_float32(from_patches(x, self.patch_size)))


def _norm(dtype: Any, name: str) -> nn.LayerNorm:
    return nn.LayerNorm(epsilon=1e-6, use_bias=False, use_scale=False, dtype=dtype, name=name)


def place_features(rows: int, columns: int, width: int) -> Float[np.ndarray, "places width"]:
    """Describe the places of a grid, row by row, by sines and cosines.

    The first half of the features is of the column, the second of the row: each has the sines of
    place/10,000^(k/(width/4)), k = 0, 1, …, and then their cosines.

    Args:
        rows: of the grid.
        columns: of the grid.
        width: number of features, a multiple of four.

    Source: Vaswani et al., NeurIPS 2017, section 3.5; Peebles, Xie, ICCV 2023, section 3.2.
    """
    quarter = width // 4
    frequency = 10_000.0 ** (-np.arange(quarter) / quarter)
    row, column = np.divmod(np.arange(rows * columns), columns)
    angles = [place[:, None] * frequency for place in (column, row)]
    waves = [wave(angle) for angle in angles for wave in (np.sin, np.cos)]
    return np.concatenate(waves, axis=1).astype(np.float32)


def dit(
    image_shape: tuple[int, int, int],
    width: int = 384,
    layers: int = 12,
    heads: int = 6,
    patch_size: int = 2,
    predicts: Prediction = "image",
    classes: int = 0,
    dtype: Precision = "float32",
    *,
    generator_dropout: float = 0.0,
    checkpointing: bool = False,
    average_velocity: bool = False,
    method: SamplingMethod = "midpoint",
    sampling_steps: int = 16,
    time_shift: float = 1.0,
    guidance: float = 0.0,
) -> Flow:
    """Build a diffusion transformer as a flow model; the defaults are the published DiT-S/2.

    Args:
        image_shape: height, width and channels; the patches divide height and width.
        width: channels of a token; a multiple of four that the heads divide.
        layers: blocks of attention and feed-forward units, of which each has 4 times the width.
        heads: attention heads.
        patch_size: side of the squares of pixels that are tokens.
        predicts: what the network gives: "image", the clean image, through tanh; "velocity" or
            "noise", without.
        classes: number of classes of a class-conditional model; 0 for an unconditional one.
        dtype: "float32", or "bfloat16" to compute in bfloat16 with float32 parameters.
        generator_dropout: share of what attention and feed-forward units add that training sets to
            zero.
        checkpointing: whether the backward pass computes each block again, to save memory.
        average_velocity: whether the network reads the length of an interval of time, too, and
            gives the average velocity over it.
        method: how velocities are followed: "euler", "midpoint", "heun", or "average", one
            evaluation for each step, which needs `average_velocity`.
        sampling_steps: steps from noise to an image.
        time_shift: above 1 for more of these near the noise; see `time_grid`.
        guidance: w of classifier-free guidance, v + w·(v − v without the class); 0 for none.

    Raises:
        ValueError: if the patches do not divide the image, the width does not fit the heads or is
            no multiple of four, there is no layer, or the method, the guidance, the steps or the
            shift are impossible.

    Source: Peebles, Xie, "Scalable diffusion models with transformers", ICCV 2023, section 3.2.
    """
    sampler = flow_sampler(method, sampling_steps, time_shift, guidance, classes, average_velocity)
    *sides, _ = image_shape
    if patch_size < 1 or any(side % patch_size for side in sides):
        raise ValueError(
            f"`patch_size` (={patch_size}) must divide height and width of the images "
            f"(={image_shape}): set it or `data.image_size` so that it does."
        )
    if min(layers, heads, width) < 1 or width % 4 or width % heads:
        raise ValueError(
            f"`width` (={width}) must be a multiple of 4 and of `heads` (={heads}), and `layers` "
            f"(={layers}) at least 1."
        )
    module = DitModule(
        image_shape,
        width,
        layers,
        heads,
        patch_size,
        generator_dropout,
        compute_dtype(dtype),
        OUTPUTS["tanh" if predicts == "image" else "linear"],
        classes,
        average_velocity,
        checkpointing,
    )
    size = int(np.prod(image_shape))
    predictor = linen_network(module, (size + 1 + average_velocity,), classes)
    return make_flow(
        predictor, predicts, image_shape, (-1.0, 1.0), classes, sampler, average_velocity
    )
