"""Generative adversarial networks: a generator and a discriminator of images or packs of images."""

from dataclasses import dataclass
from typing import NamedTuple

from flax import linen as nn
from jaxtyping import Array, Float, Key, PyTree

from l1jax.models.network import Generator, Images, Labels, Network, linen_network
from l1jax.models.summary import summarise


class Gan(NamedTuple):
    """A generator and a discriminator; both are class-conditional or neither is.

    generator: the network from latents to images.
    discriminator: the network from images to logits.
    packing: images per logit. The images of a pack follow each other in the batch, so `packing`
        must divide the batch of each device.
    """

    generator: Generator
    discriminator: Network
    packing: int = 1

    def summary(self) -> str:
        """Tabulate both networks; the discriminator's FLOPs are those of one logit."""
        discriminator = summarise(self.discriminator.init, "discriminator")
        return f"{self.generator.summary()}\n\n{discriminator}"


def packed(network: Network, packing: int) -> Network:
    """Let a discriminator judge `packing` images together with one logit, against mode collapse.

    Images that follow each other in the batch are joined along their channels, and so are their
    labels. The packs are therefore the same for any number of devices.

    Args:
        network: of images with `packing` times the channels, and of `packing` labels per example
            if it is conditional.
        packing: images per logit; 1 returns the network unchanged.

    Returns:
        A network of images with their own channels: batch images → batch / packing logits. Its
        `apply` raises a ValueError if `packing` does not divide the batch of the device.

    Source: Lin, Khetan, Fanti, Oh, NeurIPS 2018, section 2.
    """
    if packing == 1:
        return network
    return Network(network.init, PackedApply(network, packing))


@dataclass(frozen=True)
class PackedApply:
    """The forward pass of a network that judges packs of images."""

    network: Network
    """Of images with `packing` times the channels."""
    packing: int

    def __call__(
        self,
        params: PyTree,
        batch_stats: PyTree,
        inputs: Images,
        train: bool,
        label: Labels | None = None,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, " packs"], PyTree]:
        """Join the images of each pack along their channels, and apply the network."""
        packing = self.packing
        batch, height, width, channels = inputs.shape
        if batch % packing:
            raise ValueError(
                f"`packing` (={packing}) must divide the batch of each device (={batch}): make "
                "`batch_size` a multiple of packing × devices."
            )
        packs = inputs.reshape(-1, packing, height, width, channels).transpose(0, 2, 3, 1, 4)
        packs = packs.reshape(-1, height, width, packing * channels)
        pack_labels = None if label is None else label.reshape(-1, packing)
        return self.network.apply(params, batch_stats, packs, train, pack_labels, key)


def packed_discriminator(
    module: nn.Module, image_shape: tuple[int, int, int], classes: int, packing: int
) -> Network:
    """Turn a discriminator's module into a network of packed images.

    Args:
        module: the discriminator, of images with `packing` times the channels.
        image_shape: height, width and channels of one image.
        classes: number of classes; 0 for an unconditional discriminator.
        packing: images per logit, at least 1; see `packed`.

    Raises:
        ValueError: if `packing` is below 1.
    """
    if packing < 1:
        raise ValueError(
            f"`packing` (={packing}) must be at least 1, which is one image per logit."
        )
    height, width, channels = image_shape
    network = linen_network(module, (height, width, packing * channels), classes, packing)
    return packed(network, packing)


def gan_of_modules(
    generator: nn.Module,
    discriminator: nn.Module,
    latent_size: int,
    image_shape: tuple[int, int, int],
    classes: int,
    packing: int,
) -> Gan:
    """Build a GAN of images between −1 and 1 from two Linen modules.

    Args:
        generator: the module from latents to images.
        discriminator: the module from images, with `packing` times the channels, to logits.
        latent_size: number of latent variables.
        image_shape: height, width and channels of one image.
        classes: number of classes; 0 for an unconditional GAN.
        packing: images per logit, at least 1; see `packed`.

    Raises:
        ValueError: if `packing` is below 1.
    """
    network = linen_network(generator, (latent_size,), classes)
    return Gan(
        Generator(network, latent_size, image_shape, (-1.0, 1.0), classes),
        packed_discriminator(discriminator, image_shape, classes, packing),
        packing,
    )


def count_halvings(image_shape: tuple[int, int, int]) -> tuple[int, int]:
    """Halve a square image down to a side of 4 to 7 pixels.

    Returns:
        That side in pixels, and the number of halvings.

    Raises:
        ValueError: if the image is not square or does not halve to such a side.
    """
    height, width, _ = image_shape
    side = height
    halvings = 0
    while side > 7 and side % 2 == 0:
        side //= 2
        halvings += 1
    if height != width or side not in (4, 5, 6, 7) or halvings < 1:
        raise ValueError(
            f"`image_shape` (={image_shape}) must be square with a side of 4, 5, 6 or 7 times a "
            "power of two, such as 28, 32, 64 or 128; set `data.image_size`, or of sound "
            "`data.mels` and `data.frames`, to one of them."
        )
    return side, halvings
