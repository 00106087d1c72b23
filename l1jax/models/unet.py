"""A U-Net that predicts velocities: residual blocks, attention, skip connections."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from l1jax.models.flow import Flow, flow_sampler, make_flow
from l1jax.models.flow_inputs import embed_inputs, split_inputs
from l1jax.models.flow_sampling import Prediction, SamplingMethod
from l1jax.models.linear import (
    Conv,
    Dense,
    Precision,
    at_least_float32,
    checkpointed,
    compute_dtype,
)
from l1jax.models.mlp import OUTPUTS
from l1jax.models.network import ClassWeights, Images, Labels, linen_network
from l1jax.models.unet_blocks import (
    ZEROS,
    AttentionBlock,
    ResidualBlock,
    Sizes,
    Widened,
    from_patches,
    to_patches,
)

SMALLEST, LARGEST = 8, 64  # sides of an image
EMBEDDING = 4  # entries of the embedding of time and class, as a multiple of `channels`


class UnetModule(nn.Module):
    """The network from an image's entries and the time, side by side, and a class to a prediction.

    On the way down each block's output, and that of each halving, is kept; on the way up each block
    reads one of them beside its input.
    """

    image_shape: tuple[int, int, int]
    widths: Sequence[int]  # channels of each image size, the largest first
    blocks: int
    attention: Sequence[int]
    patch_size: int
    sizes: Sizes
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
        sizes = self.sizes
        first = self.widths[0]
        image, time, length = split_inputs(inputs, self.image_shape, self.average_velocity)
        dense = partial(Dense, EMBEDDING * first, dtype=sizes.dtype)
        embedding = embed_inputs(time, length, label, first, self.classes, dense)

        def block(x: Images, features: int, name: str, attends: bool) -> Widened:
            def apply(x: Images) -> Widened:
                y = ResidualBlock(features, sizes, name=name)(x, embedding, train)
                if attends:
                    y = AttentionBlock(sizes, name=f"{name}_attention")(y)
                return y

            return checkpointed(self, apply, x, self.checkpointing)

        conv = partial(Conv, kernel_size=3, dtype=sizes.dtype)
        patches = to_patches(image.reshape(-1, *self.image_shape), self.patch_size)
        x = conv(first, name="pixels")(patches)
        skips = [x]
        last = len(self.widths) - 1
        for level, features in enumerate(self.widths):
            attends = x.shape[1] in self.attention
            for i in range(self.blocks):
                x = block(x, features, f"down_{level}_{i}", attends)
                skips.append(x)
            if level < last:
                x = conv(features, stride=2, name=f"halve_{level}")(x)
                skips.append(x)
        x = block(x, self.widths[last], "middle_0", attends=True)
        x = block(x, self.widths[last], "middle_1", attends=False)
        for level in reversed(range(last + 1)):
            attends = x.shape[1] in self.attention
            for i in range(self.blocks + 1):
                x = jnp.concatenate([x, skips.pop()], axis=-1)
                x = block(x, self.widths[level], f"up_{level}_{i}", attends)
            if level:
                x = conv(self.widths[level], resampling="double", name=f"double_{level}")(x)
        x = nn.silu(sizes.norm("norm")(x))
        x = conv(patches.shape[-1], kernel_init=ZEROS, name="image")(x)
        return self.output(at_least_float32(from_patches(x, self.patch_size)))


def unet(
    image_shape: tuple[int, int, int],
    channels: int = 64,
    multipliers: Sequence[int] = (1, 2, 2),
    blocks: int = 2,
    attention: Sequence[int] = (),
    group_size: int = 8,
    head_size: int = 32,
    patch_size: int = 1,
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
    """Build a flow model for images of 8 to 64 pixels.

    The network is that of DDPM with scales and shifts as in ADM: 128 channels, multipliers 1, 2, 2,
    2, two blocks and attention at 16 pixels are the published one for 32 pixels. Its norms have
    groups of `group_size` channels, and not a number of groups, so that a group of channels can be
    removed and the others stay what they are.

    Args:
        image_shape: height, width and channels; every level but the last halves both.
        channels: of the level next to the image, at least 2 and even; they also number the features
            of the time, and a quarter of the embedding's.
        multipliers: channels of each level, as multiples of `channels`; the first is the image's
            own size.
        blocks: residual blocks of each level on the way down; there is one more on the way up.
        attention: heights of the images at which each block is followed by attention; the middle
            always attends.
        group_size: channels of a norm's group; it must divide those of each level.
        head_size: channels of an attention head; it must divide those of each level that attends.
        patch_size: side of the squares of pixels that the network takes for one pixel with all
            their channels, as a first halving that costs nothing; 1 for none.
        predicts: what the network gives: "image", the clean image, through tanh; "velocity" or
            "noise", without.
        classes: number of classes of a class-conditional model; 0 for an unconditional one.
        dtype: "float32", or "bfloat16" to compute in bfloat16 with float32 parameters.
        generator_dropout: share of the activations in each block that training sets to zero.
        checkpointing: whether the backward pass computes each block again, to save memory.
        average_velocity: whether the network reads the length of an interval of time, too, and
            gives the average velocity over it.
        method: how velocities are followed: "euler", "midpoint", "heun", or "average", one
            evaluation for each step, which needs `average_velocity`.
        sampling_steps: steps from noise to an image.
        time_shift: above 1 for more of these near the noise; see `time_grid`.
        guidance: w of classifier-free guidance, v + w·(v − v without the class); 0 for none.

    Raises:
        ValueError: if the image does not fit the levels, there is no level or no block, attention
            is at a height that no level has, the groups or heads do not fit the channels, or the
            method, the guidance, the steps or the shift are impossible.

    Source: Ho, Jain, Abbeel, NeurIPS 2020, appendix B; Dhariwal, Nichol, NeurIPS 2021, section 3;
        Hoogeboom, Heek, Salimans, ICML 2023, section 3.3 (patches).
    """
    sampler = flow_sampler(method, sampling_steps, time_shift, guidance, classes, average_velocity)
    widths = [channels * multiplier for multiplier in multipliers]
    _check_levels(image_shape, channels, widths, blocks, patch_size)
    heights = [image_shape[0] // (patch_size * 2**level) for level in range(len(widths))]
    _check_attention(attention, heights, widths, head_size)
    if any(width % group_size for width in widths):
        raise ValueError(
            f"`group_size` (={group_size}) must divide the channels of each level (={widths}): "
            "choose `channels` that it does."
        )
    module = UnetModule(
        image_shape,
        tuple(widths),
        blocks,
        tuple(attention),
        patch_size,
        Sizes(group_size, head_size, generator_dropout, compute_dtype(dtype)),
        OUTPUTS["tanh" if predicts == "image" else "linear"],
        classes,
        average_velocity,
        checkpointing,
    )
    size = int(np.prod(image_shape))
    predictor = linen_network(module, (size + 1 + average_velocity,), classes)
    return make_flow(
        predictor,
        predicts,
        image_shape,
        (-1.0, 1.0),
        classes,
        sampler,
        average_velocity,
    )


def _check_levels(
    image_shape: tuple[int, int, int],
    channels: int,
    widths: Sequence[int],
    blocks: int,
    patch_size: int,
) -> None:
    """Raise unless every level but the last halves the image, and has channels and blocks."""
    if not widths or min(blocks, patch_size) < 1:
        raise ValueError(
            f"`multipliers` must have a number for each level (there are {len(widths)}), and "
            f"`blocks` (={blocks}) and `patch_size` (={patch_size}) must be at least 1."
        )
    if channels < 2 or channels % 2:
        raise ValueError(f"`channels` (={channels}) must be even and at least 2.")
    *sides, _ = image_shape
    if min(sides) < SMALLEST or max(sides) > LARGEST:
        raise ValueError(
            f"`image_shape` (={image_shape}) must have sides of {SMALLEST} to {LARGEST} pixels: "
            "set `data.image_size`, or use flow-mlp for points and smaller images."
        )
    divisor = patch_size * 2 ** (len(widths) - 1)
    if any(side % divisor for side in sides):
        raise ValueError(
            f"`image_shape` (={image_shape}) must have sides that {divisor} divides, because "
            f"patches (`patch_size` ={patch_size}) divide them and each of {len(widths)} levels "
            "(`multipliers`) but the last halves them: use fewer levels, or another "
            "`data.image_size`."
        )


def _check_attention(
    attention: Sequence[int], heights: Sequence[int], widths: Sequence[int], head_size: int
) -> None:
    """Raise unless attention is where images are, and its heads fit the channels there."""
    for height in attention:
        if height not in heights:
            raise ValueError(
                f"`attention` (={tuple(attention)}) must name heights that images have in the "
                f"network (={heights}), and {height} is none of them."
            )
    attending = [
        width
        for height, width in zip(heights, widths, strict=True)
        if height in attention or height == heights[-1]
    ]
    if head_size < 1 or any(width % head_size for width in attending):
        raise ValueError(
            f"`head_size` (={head_size}) must divide the channels of each level with attention and "
            f"of the middle (={attending})."
        )
