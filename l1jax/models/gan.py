"""What a GAN is here: pure functions over parameters and batch statistics."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key, PyTree, UInt8

AXIS = "data"  # the mapped axis over which batch statistics are synchronised

Images = Float[Array, "batch height width channels"]


class Network(NamedTuple):
    """A network as two pure functions.

    init: key → (params, statistics), float32.
    apply: (params, statistics, inputs, train) → (outputs, statistics). In training, batch
        statistics are means over the mapped axis `AXIS` and the returned ones have moved; otherwise
        the running ones are used and returned as they are.
    """

    init: Callable[[Key[Array, ""]], tuple[PyTree, PyTree]]
    apply: Callable[[PyTree, PyTree, Float[Array, "..."], bool], tuple[Float[Array, "..."], PyTree]]


class Generator(NamedTuple):
    """A network from latents to images."""

    network: Network
    latent_size: int
    image_shape: tuple[int, int, int]  # height, width, channels
    image_range: tuple[float, float]  # of the last activation

    def latents(self, key: Key[Array, ""], count: int) -> Float[Array, "count latent"]:
        """Draw latents from the standard normal distribution."""
        return jax.random.normal(key, (count, self.latent_size))


class Gan(NamedTuple):
    """A generator and a discriminator; the discriminator gives one logit per image."""

    generator: Generator
    discriminator: Network


def network(module: nn.Module, input_shape: tuple[int, ...]) -> Network:
    """The pure functions of a Linen module that is called as module(inputs, train)."""

    def init(key: Key[Array, ""]) -> tuple[PyTree, PyTree]:
        variables = module.init(key, jnp.zeros((1, *input_shape)), False)
        return variables["params"], variables.get("batch_stats", {})

    def apply(params: PyTree, statistics: PyTree, inputs: Any, train: bool) -> tuple[Any, PyTree]:
        variables = {"params": params, "batch_stats": statistics}
        if not train or not statistics:
            return module.apply(variables, inputs, train), statistics
        outputs, moved = module.apply(variables, inputs, train, mutable=["batch_stats"])
        return outputs, jax.tree.map(lambda old, new: new.astype(old.dtype), statistics, moved["batch_stats"])

    return Network(init, apply)


def from_uint8(images: UInt8[Array, "..."], image_range: tuple[float, float]) -> Float[Array, "..."]:
    """Map 0…255 linearly onto the model's range, float32."""
    low, high = image_range
    return low + (high - low) * (images.astype(jnp.float32) / 255)


def to_uint8(images: Float[Array, "..."], image_range: tuple[float, float]) -> UInt8[Array, "..."]:
    """Map the model's range linearly onto 0…255, rounded and clipped."""
    low, high = image_range
    return jnp.round(255 * jnp.clip((images - low) / (high - low), 0, 1)).astype(jnp.uint8)
