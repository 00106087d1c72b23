"""What a GAN is here: pure functions over parameters and batch statistics."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key, PyTree, Shaped, UInt8

from l1jax.models.summary import summarise

AXIS = "data"  # the mapped axis over which batch statistics are synchronised

Images = Float[Array, "batch height width channels"]


class Network(NamedTuple):
    """A network as two pure functions.

    init: key → (params, statistics), float32.
    apply: (params, statistics, inputs, train, label=None, key=None) → (outputs, statistics). In
        training, batch statistics are means over the mapped axis `AXIS` and the returned ones have
        moved; otherwise the running ones are used and returned as they are. `label`, an integer per
        example, is for class-conditional networks; `key`, the same on every device, for networks
        that draw in training (dropout).
    """

    init: Callable[[Key[Array, ""]], tuple[PyTree, PyTree]]
    apply: Callable[..., tuple[Float[Array, "..."], PyTree]]


class Generator(NamedTuple):
    """A network from latents to images."""

    network: Network
    latent_size: int
    image_shape: tuple[int, int, int]  # height, width, channels
    image_range: (
        tuple[float, float] | None
    )  # of the last activation; None for points instead of images
    classes: int = 0  # of a class-conditional model; 0 for none
    activations: Callable[[PyTree, Float[Array, "batch latent"]], tuple[Array, ...]] | None = (
        None  # of hidden layers
    )

    def latents(self, key: Key[Array, ""], count: int) -> Float[Array, "count latent"]:
        """Draw latents from the standard normal distribution."""
        return jax.random.normal(key, (count, self.latent_size))

    def summary(self) -> str:
        """Tabulate layers, output shapes, parameters and FLOPs of one image, as `summarise` does."""
        return summarise(self.network.init, "generator")


class Gan(NamedTuple):
    """A generator and a discriminator; both conditional or neither.

    The discriminator gives one logit per image, or one for each `packing` images that follow each other.
    """

    generator: Generator
    discriminator: Network
    packing: int = 1  # must divide the batch of each device

    def summary(self) -> str:
        """Tabulate both networks, as `summarise` does; the discriminator's FLOPs are those of one logit."""
        return (
            f"{self.generator.summary()}\n\n{summarise(self.discriminator.init, 'discriminator')}"
        )


def network(
    module: nn.Module, input_shape: tuple[int, ...], classes: int = 0, labels: int = 1
) -> Network:
    """The pure functions of a Linen module.

    Args:
        module: called as module(inputs, train), or module(inputs, train, label) if it has classes; draws
            from the stream "dropout", keeps state in the collection "batch_stats".
        input_shape: of one example.
        classes: how many classes its labels name; 0 for an unconditional network.
        labels: how many labels one example has; more than one where examples are `packed`.
    """

    def init(key: Key[Array, ""]) -> tuple[PyTree, PyTree]:
        label = (jnp.zeros((1,) if labels == 1 else (1, labels), jnp.int32),) if classes else ()
        variables = module.init(key, jnp.zeros((1, *input_shape)), False, *label)
        return variables.get("params", {}), variables.get("batch_stats", {})

    def apply(
        params: PyTree,
        statistics: PyTree,
        inputs: Any,
        train: bool,
        label: Int[Array, "batch ..."] | None = None,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Any, PyTree]:
        if classes and label is None:
            raise ValueError(
                f"`label` (=None) must name one of {classes} classes for each example of this network."
            )
        variables = {"params": params, "batch_stats": statistics}
        arguments = (inputs, train, label) if classes else (inputs, train)
        rngs = {} if key is None else {"dropout": key}
        if not train or not statistics:
            return module.apply(variables, *arguments, rngs=rngs), statistics
        outputs, moved = module.apply(variables, *arguments, rngs=rngs, mutable=["batch_stats"])
        return outputs, jax.tree.map(
            lambda old, new: new.astype(old.dtype), statistics, moved["batch_stats"]
        )

    return Network(init, apply)


def packed(network: Network, packing: int) -> Network:
    """Let a discriminator judge images together, against mode collapse: `packing` of them give one logit.

    Images that follow each other in the batch are joined by their channels, and so are their labels, so
    that any number of devices packs the same ones.

    Args:
        network: of images with `packing` times the channels, and as many labels each if conditional.
        packing: how many images; 1 gives the network back.

    Returns:
        A network of images with their own channels: batch images → batch / packing logits. Its `apply`
        raises a ValueError if `packing` does not divide the batch of the device.

    Source: Lin, Khetan, Fanti, Oh, NeurIPS 2018, section 2.
    """
    if packing == 1:
        return network

    def apply(
        params: PyTree,
        statistics: PyTree,
        inputs: Images,
        train: bool,
        label: Int[Array, " batch"] | None = None,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, " packs"], PyTree]:
        batch, height, width, channels = inputs.shape
        if batch % packing:
            raise ValueError(
                f"`packing` (={packing}) must divide the batch of each device (={batch}); make `batch_size` a multiple "
                "of packing × devices."
            )
        packs = inputs.reshape(-1, packing, height, width, channels).transpose(0, 2, 3, 1, 4)
        packs = packs.reshape(-1, height, width, packing * channels)
        label = None if label is None else label.reshape(-1, packing)
        return network.apply(params, statistics, packs, train, label, key)

    return Network(network.init, apply)


def packed_network(
    module: nn.Module, image_shape: tuple[int, int, int], classes: int, packing: int
) -> Network:
    """The pure functions of a discriminator's module, `packed`."""
    if packing < 1:
        raise ValueError(
            f"`packing` (={packing}) must be at least 1, which is one image for each logit."
        )
    height, width, channels = image_shape
    return packed(network(module, (height, width, packing * channels), classes, packing), packing)


def halvings(image_shape: tuple[int, int, int]) -> tuple[int, int]:
    """How a square image halves down to 4 to 7 pixels: their number, and how often it was halved.

    Raises:
        ValueError: if it does not.
    """
    height, width, _ = image_shape
    start, count = height, 0
    while start > 7 and start % 2 == 0:
        start, count = start // 2, count + 1
    if height != width or start not in (4, 5, 6, 7) or count < 1:
        raise ValueError(
            f"`image_shape` (={image_shape}) must be square with a side of 4, 5, 6 or 7 times a power of two, such as "
            "28, 32, 64 or 128; set `data.image_size` to one of them."
        )
    return start, count


def local_slice(whole: Shaped[Array, "whole ..."]) -> Shaped[Array, "local ..."]:
    """This device's part of something drawn for the whole batch, the same on every device."""
    local = whole.shape[0] // jax.lax.axis_size(AXIS)
    return jax.lax.dynamic_slice_in_dim(whole, jax.lax.axis_index(AXIS) * local, local)


def from_uint8(
    images: Shaped[Array, "..."], image_range: tuple[float, float] | None
) -> Float[Array, "..."]:
    """Map 0…255 linearly onto the model's range, float32; points, which have none, are left alone."""
    if image_range is None:
        return images
    low, high = image_range
    return low + (high - low) * (images.astype(jnp.float32) / 255)


def to_uint8(images: Float[Array, "..."], image_range: tuple[float, float]) -> UInt8[Array, "..."]:
    """Map the model's range linearly onto 0…255, rounded and clipped."""
    low, high = image_range
    return jnp.round(255 * jnp.clip((images - low) / (high - low), 0, 1)).astype(jnp.uint8)
