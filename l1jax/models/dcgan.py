"""DCGAN for square images of 16 to 128 pixels."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from l1jax.models.gan import AXIS, Gan, Generator, network

leaky_relu = partial(jax.nn.leaky_relu, negative_slope=0.2)
KERNEL_INIT = nn.initializers.normal(0.02)


def scale_init(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
    """Batch norm's γ from a normal distribution around 1, as the paper's authors do."""
    return 1 + 0.02 * jax.random.normal(key, shape, dtype)


def batch_norm(train: bool, name: str) -> nn.BatchNorm:
    """Batch norm with statistics over the whole batch, all devices included."""
    return nn.BatchNorm(
        use_running_average=not train, momentum=0.9, epsilon=1e-5, axis_name=AXIS, scale_init=scale_init, name=name
    )


class DcganGenerator(nn.Module):
    """Project to a small image, then double its size with each 4×4 stride-2 transposed convolution."""

    start: int  # pixels of the small image
    widths: Sequence[int]  # channels of the small image and of each doubling but the last
    image_channels: int

    @nn.compact
    def __call__(
        self, latents: Float[Array, "batch latent"], train: bool
    ) -> Float[Array, "batch height width channels"]:
        """Generate images in [-1, 1]."""
        deconv = partial(nn.ConvTranspose, kernel_size=(4, 4), strides=(2, 2), use_bias=False, kernel_init=KERNEL_INIT)
        first, *rest = self.widths
        x = nn.Dense(self.start**2 * first, use_bias=False, kernel_init=KERNEL_INIT, name="project")(latents)
        x = x.reshape(-1, self.start, self.start, first)
        x = nn.relu(batch_norm(train, "norm_0")(x))
        for i, features in enumerate(rest, 1):
            x = nn.relu(batch_norm(train, f"norm_{i}")(deconv(features, name=f"deconv_{i}")(x)))
        return jnp.tanh(deconv(self.image_channels, name="image")(x))


class DcganDiscriminator(nn.Module):
    """Halve the size with each 4×4 stride-2 convolution, then one logit from what is left."""

    widths: Sequence[int]
    norm: bool

    @nn.compact
    def __call__(self, images: Float[Array, "batch height width channels"], train: bool) -> Float[Array, " batch"]:
        """Score images."""
        x = images
        for i, features in enumerate(self.widths):
            normed = self.norm and i > 0
            conv = nn.Conv(
                features, (4, 4), strides=(2, 2), use_bias=not normed, kernel_init=KERNEL_INIT, name=f"conv_{i}"
            )
            x = conv(x)
            x = leaky_relu(batch_norm(train, f"norm_{i}")(x) if normed else x)
        return nn.Dense(1, kernel_init=KERNEL_INIT, name="logit")(x.reshape(x.shape[0], -1))[:, 0]


def dcgan(
    image_shape: tuple[int, int, int], latent_size: int = 100, channels: int = 64, discriminator_norm: bool = True
) -> Gan:
    """DCGAN: tanh images, ReLU generator with batch norm, leaky ReLU 0.2 discriminator.

    The generator starts from 4 to 7 pixels and doubles up to the image: four times for 64 pixels. No layer
    in front of a batch norm has a bias.

    Args:
        image_shape: height, width, channels; square, the side 4, 5, 6 or 7 times a power of two, at least 8.
        latent_size: dimensions of the Gaussian latent.
        channels: of the layer next to the image; they double with every halving of the size.
        discriminator_norm: batch norm in the discriminator, from its second layer on.

    Raises:
        ValueError: if the image's shape does not fit.

    Source: Radford, Metz, Chintala, ICLR 2016.
    """
    height, width, image_channels = image_shape
    start, doublings = height, 0
    while start > 7 and start % 2 == 0:
        start, doublings = start // 2, doublings + 1
    if height != width or start not in (4, 5, 6, 7) or doublings < 1:
        raise ValueError(
            f"`image_shape` (={image_shape}) must be square with a side of 4, 5, 6 or 7 times a power of two, such as "
            "28, 32, 64 or 128; set `data.image_size` to one of them."
        )
    widths = [channels * 2**i for i in range(doublings)]
    generator = DcganGenerator(start, tuple(reversed(widths)), image_channels)
    discriminator = DcganDiscriminator(tuple(widths), discriminator_norm)
    return Gan(
        Generator(network(generator, (latent_size,)), latent_size, image_shape, (-1.0, 1.0)),
        network(discriminator, image_shape),
    )
