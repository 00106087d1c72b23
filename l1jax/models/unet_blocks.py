"""The parts of a U-Net: residual blocks, attention, and patches."""

from functools import partial
from typing import Any, NamedTuple

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from l1jax.models.flow_inputs import Embedding
from l1jax.models.linear import Conv, Dense
from l1jax.models.network import Images
from l1jax.models.regularisation import Dropout
from l1jax.models.transformer_layers import split_heads

ZEROS = nn.initializers.zeros
Widened = Float[Array, "batch height width features"]  # images with other channels


class Sizes(NamedTuple):
    """What the blocks of one U-Net share."""

    group_size: int
    head_size: int
    dropout: float
    dtype: Any

    def norm(self, name: str) -> nn.GroupNorm:
        """Make a norm over each example's groups of channels."""
        return nn.GroupNorm(
            num_groups=None,
            group_size=self.group_size,
            epsilon=1e-5,
            dtype=self.dtype,
            name=name,
        )


class ResidualBlock(nn.Module):
    """x + conv(φ(norm(conv(φ(norm(x))))·(1 + scale) + shift)), where φ is SiLU.

    Scale and shift of each channel come from the embedding of time and class. The last convolution
    starts at zero. Where the channels change, x passes a 1×1 convolution.

    Source: Dhariwal, Nichol, NeurIPS 2021, section 3 (adaptive group normalisation).
    """

    features: int
    sizes: Sizes

    @nn.compact
    def __call__(self, x: Images, embedding: Embedding, train: bool) -> Widened:
        """Apply the block."""
        sizes = self.sizes
        conv = partial(Conv, self.features, 3, dtype=sizes.dtype)
        dense = partial(Dense, self.features, dtype=sizes.dtype)
        y = conv(name="conv_1")(nn.silu(sizes.norm("norm_1")(x)))
        scale = dense(name="scale")(embedding)[:, None, None]
        shift = dense(name="shift")(embedding)[:, None, None]
        y = nn.silu(sizes.norm("norm_2")(y) * (1 + scale) + shift)
        y = Dropout(sizes.dropout, name="dropout")(y, train)
        y = conv(kernel_init=ZEROS, name="conv_2")(y)
        if x.shape[-1] != self.features:
            x = Conv(self.features, 1, dtype=sizes.dtype, name="shortcut")(x)
        return x + y


class FullAttention(nn.Module):
    """Attention of all positions to all positions; it has no parameters.

    With fewer heads of keys and values than of queries, neighbouring queries share them.

    Source: Vaswani et al., NeurIPS 2017, section 3.2.
    """

    heads: int
    key_value_heads: int

    @nn.compact
    def __call__(
        self,
        query: Float[Array, "batch length _query"],
        key: Float[Array, "batch length keys"],
        value: Float[Array, "batch length keys"],
    ) -> Float[Array, "batch length _query"]:
        """Split the channels into heads, attend, and join the heads again."""
        y = jax.nn.dot_product_attention(
            split_heads(query, self.heads),
            split_heads(key, self.key_value_heads),
            split_heads(value, self.key_value_heads),
        )
        return y.reshape(query.shape)


class AttentionBlock(nn.Module):
    """x + output(attention(query, key and value of norm(x))); the output starts at zero.

    Source: Ho, Jain, Abbeel, NeurIPS 2020, appendix B.
    """

    sizes: Sizes

    @nn.compact
    def __call__(self, x: Images) -> Images:
        """Let every pixel attend to every pixel."""
        sizes = self.sizes
        channels = x.shape[-1]
        dense = partial(Dense, channels, dtype=sizes.dtype)
        y = sizes.norm("norm")(x).reshape(x.shape[0], -1, channels)
        query, key, value = (dense(name=name)(y) for name in ("query", "key", "value"))
        heads = channels // sizes.head_size
        y = FullAttention(heads, heads, name="heads")(query, key, value)
        return x + dense(kernel_init=ZEROS, name="output")(y).reshape(x.shape)


def to_patches(x: Images, size: int) -> Float[Array, "batch _rows _columns entries"]:
    """Turn each square of size × size pixels into one pixel with all their channels."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // size, size, width // size, size, channels)
    x = x.transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(*x.shape[:3], size * size * channels)


def from_patches(
    x: Float[Array, "batch _rows _columns entries"], size: int
) -> Float[Array, "batch _height _width _channels"]:
    """Turn pixels back to what `to_patches` made them of."""
    batch, rows, columns, _ = x.shape
    x = x.reshape(batch, rows, columns, size, size, -1).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, rows * size, columns * size, -1)
