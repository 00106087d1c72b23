"""R3GAN: residual networks without normalisation, for the regularised relativistic objective."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from l1jax.models.conditional import one_hot
from l1jax.models.gan import Gan, count_halvings, gan_of_modules
from l1jax.models.linear import (
    Conv,
    Dense,
    Precision,
    at_least_float32,
    checkpointed,
    compute_dtype,
)
from l1jax.models.network import ClassWeights, Images, Labels
from l1jax.models.regularisation import Dropout, DropPath, drop_path_rates

SLOPE = 0.2  # of the leaky ReLU
EXPANSION = 2  # channels inside a block, as a multiple of those outside
WIDE = 8  # side, as a multiple of the smallest image, up to which the channels stay the same


def scaled_normal(gain: float) -> Any:
    """Make an initialiser of normal weights with standard deviation gain / √inputs."""
    if gain == 0:
        return nn.initializers.zeros
    return nn.initializers.variance_scaling(gain**2, "fan_in", "normal")


class Block(nn.Module):
    """A residual block: x + 1×1(φ(grouped 3×3(φ(1×1(x))))), where φ is the leaky ReLU.

    The last convolution starts at zero, so the block starts as the identity. The others start
    smaller by blocks^(−1/4), so that the variance does not grow with the number of blocks. Dropout
    comes before the last convolution.

    Source: Zhang, Dauphin, Ma, ICLR 2019, section 3 (Fixup).
    """

    group_size: int
    blocks: int  # of the whole network
    dropout: float
    drop_path: float
    dtype: Any

    @nn.compact
    def __call__(self, x: Images, train: bool) -> Images:
        """Apply the block."""
        gain = math.sqrt(2 / (1 + SLOPE**2)) * self.blocks**-0.25
        inner = EXPANSION * x.shape[-1]
        conv = partial(Conv, dtype=self.dtype)
        y = conv(inner, 1, kernel_init=scaled_normal(gain), name="conv_1")(x)
        groups = inner // self.group_size
        y = conv(inner, 3, groups=groups, kernel_init=scaled_normal(gain), name="conv_2")(
            jax.nn.leaky_relu(y, SLOPE)
        )
        y = Dropout(self.dropout, name="dropout")(jax.nn.leaky_relu(y, SLOPE), train)
        y = conv(x.shape[-1], 1, use_bias=False, kernel_init=scaled_normal(0), name="conv_3")(y)
        return x + DropPath(self.drop_path, name="drop_path")(y, train)


class Basis(nn.Module):
    """One filter per channel, as large as the image: images to channels or, transposed, back."""

    size: int
    transposed: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "batch ..."]) -> Float[Array, "batch ..."]:
        """Sum kernel · x over pixels or, if transposed, return kernel · x at each pixel."""
        # Each output reads size × size numbers, or a single one if transposed.
        gain = self.size if self.transposed else 1.0
        shape = (self.size, self.size, 1, x.shape[-1])
        kernel = self.param("kernel", scaled_normal(gain), shape)[:, :, 0]
        kernel = kernel.astype(self.dtype or kernel.dtype)
        if self.transposed:
            return kernel * x[:, None, None]
        return jnp.sum(kernel * x, axis=(1, 2))


class R3ganGenerator(nn.Module):
    """Latents weight a basis of small images; blocks and bilinear doublings make them larger."""

    start: int
    widths: Sequence[int]  # of each size, the smallest first
    blocks: int  # per size
    group_size: int
    image_channels: int
    classes: int = 0
    dropout: float = 0.0
    drop_path: float = 0.0
    dtype: Any = None
    checkpointing: bool = False

    @nn.compact
    def __call__(
        self,
        latents: Float[Array, "batch latent"],
        train: bool,
        label: Labels | ClassWeights | None = None,
    ) -> Images:
        """Generate images, which nothing keeps in [-1, 1]; training may drop something."""
        conv = partial(
            Conv, kernel_size=1, use_bias=False, kernel_init=scaled_normal(1), dtype=self.dtype
        )
        dense = partial(Dense, use_bias=False, kernel_init=scaled_normal(1), dtype=self.dtype)
        x = latents
        if self.classes:
            assert label is not None
            embedding = dense(latents.shape[-1], name="embedding")(
                one_hot(label, self.classes, latents.dtype)
            )
            x = jnp.concatenate([x.astype(embedding.dtype), embedding], axis=-1)
        x = dense(self.widths[0], name="project")(x)
        x = Basis(self.start, True, self.dtype, name="basis")(x)
        for i, features in enumerate(self.widths):
            if features != x.shape[-1]:
                x = conv(features, name=f"width_{i}")(x)
            if i > 0:
                x = doubled(x)
            x = residual(self, i, x, train)
        x = conv(self.image_channels, name="image")(x)
        return at_least_float32(x)


class R3ganDiscriminator(nn.Module):
    """The generator's mirror image: blocks and bilinear halvings, then a basis of small filters."""

    start: int
    widths: Sequence[int]  # of each size, the largest first
    blocks: int
    group_size: int
    classes: int = 0
    dropout: float = 0.0
    drop_path: float = 0.0
    dtype: Any = None
    checkpointing: bool = False

    @nn.compact
    def __call__(
        self, images: Images, train: bool, label: Labels | None = None
    ) -> Float[Array, " batch"]:
        """Score images; training may drop something."""
        conv = partial(
            Conv, kernel_size=1, use_bias=False, kernel_init=scaled_normal(1), dtype=self.dtype
        )
        x = conv(self.widths[0], name="pixels")(images)
        for i, features in enumerate(self.widths):
            if i > 0:
                x = halved(x)
            if features != x.shape[-1]:
                x = conv(features, name=f"width_{i}")(x)
            x = residual(self, i, x, train)
        x = at_least_float32(Basis(self.start, False, self.dtype, name="basis")(x))
        dense = partial(Dense, use_bias=False)
        if not self.classes:
            return dense(1, kernel_init=scaled_normal(1), name="logit")(x)[:, 0]
        assert label is not None
        size = self.widths[-1]
        x = dense(size, kernel_init=scaled_normal(1), name="logit")(x)
        embedding = dense(size, kernel_init=scaled_normal(size**-0.5), name="projection")
        return jnp.sum(x * embedding(one_hot(label, self.classes, x.dtype)), axis=-1)


def residual(
    owner: R3ganGenerator | R3ganDiscriminator, size: int, x: Images, train: bool
) -> Images:
    """Apply the residual blocks of one image size.

    Args:
        owner: the network in whose compact method this is called, and which owns the blocks.
        size: number of the image size, for the names of the blocks.
        x: the images.
        train: whether something is dropped.
    """
    num_blocks = owner.blocks * len(owner.widths)
    drop_paths = drop_path_rates(owner.drop_path, num_blocks)

    def block(i: int, x: Images) -> Images:
        drop_path = drop_paths[size * owner.blocks + i]
        options = (num_blocks, owner.dropout, drop_path, owner.dtype)
        return Block(owner.group_size, *options, name=f"block_{size}_{i}")(x, train)

    for i in range(owner.blocks):
        x = checkpointed(owner, partial(block, i), x, owner.checkpointing)
    return x


def doubled(x: Images) -> Float[Array, "batch height2 width2 channels"]:
    """Double height and width bilinearly, with zeros around the image."""
    for axis in (1, 2):
        before = _shifted(x, axis, 1)
        after = _shifted(x, axis, -1)
        pairs = jnp.stack([(3 * x + before) / 4, (3 * x + after) / 4], axis + 1)
        x = pairs.reshape(*x.shape[:axis], 2 * x.shape[axis], *x.shape[axis + 1 :])
    return x


def halved(x: Images) -> Float[Array, "batch height2 width2 channels"]:
    """Halve height and width with weights 1, 3, 3, 1 over 8: a quarter of `doubled` transposed."""
    for axis in (1, 2):
        pairs = x.reshape(*x.shape[:axis], x.shape[axis] // 2, 2, *x.shape[axis + 1 :])
        left = jax.lax.index_in_dim(pairs, 0, axis + 1, keepdims=False)
        right = jax.lax.index_in_dim(pairs, 1, axis + 1, keepdims=False)
        x = (3 * (left + right) + _shifted(right, axis, 1) + _shifted(left, axis, -1)) / 8
    return x


def r3gan(
    image_shape: tuple[int, int, int],
    latent_size: int = 64,
    channels: int = 128,
    blocks: int = 1,
    group_size: int = 16,
    *,
    dropout: float = 0.0,
    generator_dropout: float = 0.0,
    discriminator_drop_path: float = 0.0,
    generator_drop_path: float = 0.0,
    classes: int = 0,
    packing: int = 1,
    dtype: Precision = "float32",
    checkpointing: bool = False,
) -> Gan:
    """Build R3GAN: mirrored residual networks of grouped bottlenecks without normalisation.

    The generated images are not bounded: the objective keeps them where the real ones are, in
    [-1, 1]. With classes, a label's embedding is appended to the latent, and another embedding
    projects the discriminator's features. The paper's networks for 32 and 64 pixels have 768
    channels and 2 blocks; the defaults are for smaller machines.

    Args:
        image_shape: height, width, channels; square, with a side of at least 8 that is 4, 5, 6 or
            7 times a power of two.
        latent_size: dimensions of the Gaussian latent.
        channels: channels at sizes up to 8 times the smallest; beyond that they are halved with
            each doubling.
        blocks: residual blocks per image size, in each network.
        group_size: channels of a group in the grouped convolutions; it must divide twice the
            channels of each size.
        dropout: share of the activations in each of the discriminator's blocks that training sets
            to zero, in [0, 1).
        generator_dropout: the same of the generator's blocks.
        discriminator_drop_path: share of the examples that pass the discriminator's last block by
            its shortcut alone in training, in [0, 1); see `DropPath`. That of the other blocks is
            smaller in proportion to their depth.
        generator_drop_path: the same of the generator's blocks.
        classes: number of classes, for labels 0 … classes − 1; 0 for an unconditional model.
        packing: images per logit, see `packed`; 1 for no packing.
        dtype: "float32", or "bfloat16" to compute in bfloat16 with float32 parameters.
        checkpointing: whether the backward pass computes each residual block again, to save
            memory.

    Raises:
        ValueError: if the image's shape or the groups do not fit.

    Source: Huang, Gokaslan, Kuleshov, Tompkin, NeurIPS 2024, section 4 and appendix.
    """
    start, doublings = count_halvings(image_shape)
    widths = [channels * WIDE // max(WIDE, 2**i) for i in range(doublings + 1)]
    if any(EXPANSION * width % group_size for width in widths):
        raise ValueError(
            f"`group_size` (={group_size}) must divide twice the channels of each image size "
            f"(={widths}); choose `channels` that it does."
        )
    compute = compute_dtype(dtype)
    sizes = (blocks, group_size)
    generator = R3ganGenerator(
        start,
        tuple(widths),
        *sizes,
        image_shape[-1],
        classes,
        generator_dropout,
        generator_drop_path,
        compute,
        checkpointing,
    )
    discriminator = R3ganDiscriminator(
        start,
        tuple(reversed(widths)),
        *sizes,
        classes,
        dropout,
        discriminator_drop_path,
        compute,
        checkpointing,
    )
    return gan_of_modules(generator, discriminator, latent_size, image_shape, classes, packing)


def _shifted(x: Images, axis: int, by: int) -> Images:
    """Move x by one pixel forwards (1) or backwards (−1), with a zero in the free place."""
    padding = [(0, 0)] * x.ndim
    if by == 1:
        padding[axis] = (1, 0)
        start = 0
    else:
        padding[axis] = (0, 1)
        start = 1
    return jax.lax.slice_in_dim(jnp.pad(x, padding), start, start + x.shape[axis], axis=axis)
