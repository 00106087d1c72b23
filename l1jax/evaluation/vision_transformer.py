"""The vision transformer, in the two forms of DINOv2 and of CLIP.

Source: Dosovitskiy et al., ICLR 2021; Oquab et al., "DINOv2", TMLR 2024; Radford et al., "CLIP",
ICML 2021.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

HEAD_WIDTH = 64  # features of one head of attention, in every published size

Tokens = Float[Array, "batch tokens width"]


class Design(NamedTuple):
    """What distinguishes one vision transformer from another."""

    patch: int
    """Pixels a side of a patch."""
    grid: int
    """Patches a side of an image."""
    width: int
    """Features of a token."""
    depth: int
    """Number of blocks."""
    is_clip: bool
    """CLIP normalises the tokens before the first block, projects the result, has x·σ(1.702x) where
    others have GELU, and its patches no bias; DINOv2 scales the branches of its blocks."""
    outputs: int
    """Features of an image; the width, unless the result is projected."""

    @property
    def side(self) -> int:
        """Pixels a side of an image."""
        return self.patch * self.grid

    @property
    def epsilon(self) -> float:
        """What layer norm adds to the variance."""
        if self.is_clip:
            return 1e-5
        return 1e-6


class VisionTransformer(nn.Module):
    """Normalised images → the features of their class tokens."""

    design: Design

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width 3"]
    ) -> Float[Array, "batch outputs"]:
        """Run the network on images of `design.side` pixels a side."""
        design = self.design
        zeros = nn.initializers.zeros
        patches = _cut_into_patches(images, design.patch)
        x = nn.Dense(design.width, use_bias=not design.is_clip, name="patches")(patches)
        class_token = self.param("class_token", zeros, (design.width,))
        first = jnp.broadcast_to(class_token, (len(x), 1, design.width))
        x = jnp.concatenate([first, x], axis=1)
        x = x + self.param("positions", zeros, (design.grid**2 + 1, design.width))
        if design.is_clip:
            x = nn.LayerNorm(design.epsilon, name="norm_before")(x)
        for i in range(design.depth):
            x = Block(design, name=f"block_{i}")(x)
        x = nn.LayerNorm(design.epsilon, name="norm")(x[:, 0])
        if design.is_clip:
            x = nn.Dense(design.outputs, use_bias=False, name="projection")(x)
        return x


class Block(nn.Module):
    """Attention and two dense layers, each behind a layer norm and added to its input."""

    design: Design

    @nn.compact
    def __call__(self, x: Tokens) -> Tokens:
        """Run the block."""
        design = self.design
        x = x + self.scaled("attention_scale", self.attend(x))
        y = nn.LayerNorm(design.epsilon, name="dense_norm")(x)
        y = nn.Dense(4 * design.width, name="expand")(y)
        if design.is_clip:
            y = y * jax.nn.sigmoid(1.702 * y)
        else:
            y = jax.nn.gelu(y, approximate=False)
        y = nn.Dense(design.width, name="contract")(y)
        return x + self.scaled("dense_scale", y)

    def attend(self, x: Tokens) -> Tokens:
        """Compute what each token takes from all."""
        width = self.design.width
        y = nn.LayerNorm(self.design.epsilon, name="attention_norm")(x)
        y = nn.Dense(3 * width, name="query_key_value")(y)
        heads = (*y.shape[:2], width // HEAD_WIDTH, HEAD_WIDTH)
        query, key, value = (part.reshape(heads) for part in jnp.split(y, 3, axis=-1))
        y = jax.nn.dot_product_attention(query, key, value)
        return nn.Dense(width, name="attention_output")(y.reshape(x.shape))

    def scaled(self, name: str, y: Tokens) -> Tokens:
        """Multiply a branch by its learned scales; CLIP has none."""
        if self.design.is_clip:
            return y
        return y * self.param(name, nn.initializers.ones, (self.design.width,))


def _cut_into_patches(
    images: Float[Array, "batch height width channels"], patch: int
) -> Float[Array, "batch patches pixels"]:
    """Cut images into square patches, row by row; their pixels lie row by row, too."""
    count, height, width, channels = images.shape
    x = images.reshape(count, height // patch, patch, width // patch, patch, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(count, -1, patch * patch * channels)
