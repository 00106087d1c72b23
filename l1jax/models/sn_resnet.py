"""Residual generator and spectrally normalised residual discriminator for 32, 48 and 64 pixels."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from l1jax.models.conditional import ConditionalBatchNorm, logits
from l1jax.models.gan import Gan, gan_of_modules
from l1jax.models.linear import (
    Conv,
    Dense,
    Precision,
    at_least_float32,
    checkpointed,
    compute_dtype,
)
from l1jax.models.network import ClassWeights, Images, Labels
from l1jax.models.regularisation import (
    Dropout,
    DropPath,
    Norm,
    batch_norm,
    drop_path_rates,
    norm,
)

XAVIER = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")
XAVIER_RELU = nn.initializers.variance_scaling(2.0, "fan_avg", "uniform")


class Layout(NamedTuple):
    """The networks of one image size: channels as multiples of those next to the image."""

    start: int  # pixels of the generator's small image
    generator: tuple[int, ...]  # of the small image and after each doubling
    generator_width: int
    discriminator: tuple[int, ...]  # of each block
    discriminator_width: int
    halved: int  # how many of the discriminator's blocks, the first ones, halve the image


LAYOUTS = {
    32: Layout(4, (1, 1, 1, 1), 256, (1, 1, 1, 1), 128, 2),
    48: Layout(6, (8, 4, 2, 1), 64, (1, 2, 4, 8, 16), 64, 4),
    64: Layout(4, (16, 8, 4, 2, 1), 64, (1, 2, 4, 8, 16), 64, 5),
}


class GeneratorBlock(nn.Module):
    """A block that doubles images: norm, ReLU, doubling, 3×3; norm, ReLU, 3×3; plus a shortcut.

    The shortcut is a 1×1 convolution of the doubled input.

    Without biases: each would be a constant per channel, which the next norm takes away. The 1×1
    convolution comes in front of its doubling, with which it commutes. Dropout comes after the
    second ReLU.
    """

    features: int
    classes: int
    dropout: float
    drop_path: float
    dtype: Any

    @nn.compact
    def __call__(
        self, x: Images, train: bool, label: Labels | ClassWeights | None
    ) -> Float[Array, "batch height2 width2 features"]:
        """Apply the block."""
        conv = partial(Conv, self.features, use_bias=False, dtype=self.dtype)

        def activated(name: str, x: Images) -> Images:
            if self.classes:
                assert label is not None
                return nn.relu(
                    ConditionalBatchNorm(self.classes, dtype=self.dtype, name=name)(x, train, label)
                )
            return nn.relu(batch_norm(train, name, dtype=self.dtype)(x))

        shortcut = conv(1, kernel_init=XAVIER, name="shortcut")(x)
        shortcut = jnp.repeat(jnp.repeat(shortcut, 2, axis=1), 2, axis=2)
        x = conv(3, kernel_init=XAVIER_RELU, resampling="double", name="conv_1")(
            activated("norm_1", x)
        )
        x = Dropout(self.dropout, name="dropout")(activated("norm_2", x), train)
        x = conv(3, kernel_init=XAVIER_RELU, name="conv_2")(x)
        return DropPath(self.drop_path, name="drop_path")(x, train) + shortcut


class SnResnetGenerator(nn.Module):
    """A projection to a small image, residual blocks that double it, norm, ReLU and a 3×3 layer."""

    start: int
    widths: Sequence[int]
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
        """Generate images in [-1, 1]."""
        first, *rest = self.widths
        # A bias per pixel and channel: the norm, whose mean is over pixels, does not take it away.
        x = Dense(self.start**2 * first, kernel_init=XAVIER, dtype=self.dtype, name="project")(
            latents
        )
        x = x.reshape(-1, self.start, self.start, first)

        drop_paths = drop_path_rates(self.drop_path, len(rest))

        def block(i: int, features: int, x: Array) -> Array:
            options = (self.classes, self.dropout, drop_paths[i], self.dtype)
            return GeneratorBlock(features, *options, name=f"block_{i}")(x, train, label)

        for i, features in enumerate(rest):
            x = checkpointed(self, partial(block, i, features), x, self.checkpointing)
        x = nn.relu(batch_norm(train, "norm", dtype=self.dtype)(x))
        x = Conv(self.image_channels, 3, kernel_init=XAVIER, dtype=self.dtype, name="image")(x)
        return jnp.tanh(at_least_float32(x))


class DiscriminatorBlock(nn.Module):
    """A residual block: ReLU, 3×3, ReLU, 3×3, halving; plus a shortcut.

    The shortcut is a 1×1 convolution of the halved input, or the input itself where neither size
    nor channels change. The first block of a network leaves out the first ReLU. Norms come before
    ReLUs, dropout after the second one.
    """

    features: int
    halved: bool
    first: bool
    norm: Norm
    spectral_norm: bool
    dropout: float
    drop_path: float
    dtype: Any

    @nn.compact
    def __call__(self, x: Images, train: bool) -> Float[Array, "batch _height _width features"]:
        """Apply the block."""
        conv = partial(Conv, spectral_norm=self.spectral_norm, dtype=self.dtype)

        def activated(name: str, x: Images) -> Images:
            return nn.relu(norm(self.norm, train, name, dtype=self.dtype)(x))

        inputs = x.shape[-1]
        shortcut = x
        if self.halved:
            shortcut = shortcut.reshape(
                x.shape[0], x.shape[1] // 2, 2, x.shape[2] // 2, 2, inputs
            ).mean((2, 4))
        if self.halved or inputs != self.features:
            shortcut = conv(self.features, 1, kernel_init=XAVIER, name="shortcut")(shortcut)
        hidden = self.features
        if not self.first:
            x = activated("norm_1", x)
            hidden = inputs
        x = conv(hidden, 3, use_bias=self.norm == "none", kernel_init=XAVIER_RELU, name="conv_1")(x)
        x = Dropout(self.dropout, name="dropout")(activated("norm_2", x), train)
        resampling = "halve" if self.halved else "none"
        last = conv(self.features, 3, resampling=resampling, kernel_init=XAVIER_RELU, name="conv_2")
        return DropPath(self.drop_path, name="drop_path")(last(x), train) + shortcut


class SnResnetDiscriminator(nn.Module):
    """Residual blocks, ReLU, the sum over pixels, then a logit; with classes, a projection."""

    widths: Sequence[int]
    halved: int
    norm: Norm = "none"
    spectral_norm: bool = True
    dropout: float = 0.0
    drop_path: float = 0.0
    classes: int = 0
    dtype: Any = None
    checkpointing: bool = False

    @nn.compact
    def __call__(
        self, images: Images, train: bool, label: Labels | None = None
    ) -> Float[Array, " batch"]:
        """Score images."""
        drop_paths = drop_path_rates(self.drop_path, len(self.widths))

        def block(i: int, x: Array) -> Array:
            options = (self.norm, self.spectral_norm, self.dropout, drop_paths[i], self.dtype)
            return DiscriminatorBlock(
                self.widths[i], i < self.halved, i == 0, *options, name=f"block_{i}"
            )(x, train)

        x = images
        for i in range(len(self.widths)):
            x = checkpointed(self, partial(block, i), x, self.checkpointing)
        x = nn.relu(x)
        features = jnp.sum(at_least_float32(x), axis=(1, 2))
        dense = partial(Dense, kernel_init=XAVIER, spectral_norm=self.spectral_norm)
        return logits(features, label, self.classes, dense)


def sn_resnet(
    image_shape: tuple[int, int, int],
    latent_size: int = 128,
    generator_width: int = 0,
    discriminator_width: int = 0,
    *,
    norm: Norm = "none",
    spectral_norm: bool = True,
    dropout: float = 0.0,
    generator_dropout: float = 0.0,
    discriminator_drop_path: float = 0.0,
    generator_drop_path: float = 0.0,
    classes: int = 0,
    packing: int = 1,
    dtype: Precision = "float32",
    checkpointing: bool = False,
) -> Gan:
    """Build SNGAN: a residual generator, and a residual discriminator with spectral normalisation.

    The generator has batch norm, which is conditional with classes; the discriminator then has a
    projection. The generator doubles images by nearest neighbours. No layer has a bias that a batch
    norm would cancel.

    Args:
        image_shape: height, width, channels; 32, 48 or 64 pixels square.
        latent_size: dimensions of the Gaussian latent.
        generator_width: channels next to the image; 0 for the published 256, 64 and 64 at 32, 48
            and 64 pixels. At 48 and 64 pixels they double with every halving of the size.
        discriminator_width: channels next to the image; 0 for the published 128, 64 and 64.
        norm: norm before the discriminator's ReLUs: "none", "batch", "layer" or "group".
        spectral_norm: whether the discriminator's kernels are divided by their largest singular
            value.
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
        ValueError: if the image's shape does not fit.

    Source: Miyato, Kataoka, Koyama, Yoshida, ICLR 2018, tables 4 and 5; Miyato, Koyama, ICLR 2018.
    """
    height, width, image_channels = image_shape
    if height != width or height not in LAYOUTS:
        raise ValueError(
            f"`image_shape` (={image_shape}) must be square with a side of 32, 48 or 64; set "
            "`data.image_size`, or of sound `data.mels` and `data.frames`, to one of them."
        )
    layout = LAYOUTS[height]
    generator_widths = [(generator_width or layout.generator_width) * w for w in layout.generator]
    widths = [(discriminator_width or layout.discriminator_width) * w for w in layout.discriminator]
    compute = compute_dtype(dtype)
    generator = SnResnetGenerator(
        layout.start,
        tuple(generator_widths),
        image_channels,
        classes,
        generator_dropout,
        generator_drop_path,
        compute,
        checkpointing,
    )
    discriminator = SnResnetDiscriminator(
        tuple(widths),
        layout.halved,
        norm,
        spectral_norm,
        dropout,
        discriminator_drop_path,
        classes,
        compute,
        checkpointing,
    )
    return gan_of_modules(generator, discriminator, latent_size, image_shape, classes, packing)
