"""Dense generators and discriminators."""

from collections.abc import Callable, Sequence
from functools import partial

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from l1jax.models.gan import Gan, Generator, network
from l1jax.models.layers import Conv

RANGES = {"tanh": (-1.0, 1.0), "sigmoid": (0.0, 1.0)}
leaky_relu = partial(jax.nn.leaky_relu, negative_slope=0.2)


class DenseImages(nn.Module):
    """Dense layers from latents to images."""

    hidden: Sequence[int]
    image_shape: tuple[int, int, int]
    activation: Callable[[Array], Array]
    output: Callable[[Array], Array]

    @nn.compact
    def __call__(
        self, latents: Float[Array, "batch latent"], train: bool
    ) -> Float[Array, "batch height width channels"]:
        """Generate images; training and inference are the same."""
        height, width, channels = self.image_shape
        x = latents
        for i, features in enumerate(self.hidden):
            x = self.activation(nn.Dense(features, name=f"hidden_{i}")(x))
        x = self.output(nn.Dense(height * width * channels, name="image")(x))
        return x.reshape(-1, *self.image_shape)


class Logits(nn.Module):
    """Strided 5×5 convolutions, if any, then dense layers, then one logit per image."""

    channels: Sequence[int]
    hidden: Sequence[int]

    @nn.compact
    def __call__(self, images: Float[Array, "batch height width channels"], train: bool) -> Float[Array, " batch"]:
        """Score images; training and inference are the same."""
        x = images
        for i, features in enumerate(self.channels):
            x = leaky_relu(Conv(features, 5, stride=2, name=f"conv_{i}")(x))
        x = x.reshape(x.shape[0], -1)
        for i, features in enumerate(self.hidden):
            x = leaky_relu(nn.Dense(features, name=f"hidden_{i}")(x))
        return nn.Dense(1, name="logit")(x)[:, 0]


def mlp_gan(
    image_shape: tuple[int, int, int],
    latent_size: int = 64,
    generator_hidden: Sequence[int] = (256, 256),
    discriminator_channels: Sequence[int] = (),
    discriminator_hidden: Sequence[int] = (256, 256),
    output: str = "tanh",
) -> Gan:
    """A dense generator against a dense or convolutional discriminator, leaky ReLU 0.2 in both.

    Args:
        image_shape: height, width, channels.
        latent_size: dimensions of the Gaussian latent.
        generator_hidden: width of each hidden layer of the generator.
        discriminator_channels: channels of the 5×5 stride-2 convolutions in front, none for a dense one.
        discriminator_hidden: width of each hidden dense layer of the discriminator.
        output: "tanh" for images in [-1, 1] or "sigmoid" for [0, 1].
    """
    last = {"tanh": jax.nn.tanh, "sigmoid": jax.nn.sigmoid}[output]
    generator = DenseImages(tuple(generator_hidden), image_shape, leaky_relu, last)
    discriminator = Logits(tuple(discriminator_channels), tuple(discriminator_hidden))
    return Gan(
        Generator(network(generator, (latent_size,)), latent_size, image_shape, RANGES[output]),
        network(discriminator, image_shape),
    )


def dense_generator(
    image_shape: tuple[int, int, int], latent_size: int = 100, hidden: Sequence[int] = (128, 128)
) -> Generator:
    """A dense generator alone: ReLU inside, sigmoid outside, images in [0, 1]."""
    module = DenseImages(tuple(hidden), image_shape, jax.nn.relu, jax.nn.sigmoid)
    return Generator(network(module, (latent_size,)), latent_size, image_shape, RANGES["sigmoid"])
