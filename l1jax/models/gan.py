"""What a GAN is here: pure functions over parameters and batch statistics."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key, PyTree, Shaped, UInt8

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
    image_range: tuple[float, float]  # of the last activation
    classes: int = 0  # of a class-conditional model; 0 for none

    def latents(self, key: Key[Array, ""], count: int) -> Float[Array, "count latent"]:
        """Draw latents from the standard normal distribution."""
        return jax.random.normal(key, (count, self.latent_size))


class Gan(NamedTuple):
    """A generator and a discriminator, which gives one logit per image; both conditional or neither."""

    generator: Generator
    discriminator: Network


def network(module: nn.Module, input_shape: tuple[int, ...], classes: int = 0) -> Network:
    """The pure functions of a Linen module.

    Args:
        module: called as module(inputs, train), or module(inputs, train, label) if it has classes; draws
            from the stream "dropout", keeps state in the collection "batch_stats".
        input_shape: of one example.
        classes: how many classes its labels name; 0 for an unconditional network.
    """

    def init(key: Key[Array, ""]) -> tuple[PyTree, PyTree]:
        label = (jnp.zeros(1, jnp.int32),) if classes else ()
        variables = module.init(key, jnp.zeros((1, *input_shape)), False, *label)
        return variables["params"], variables.get("batch_stats", {})

    def apply(
        params: PyTree,
        statistics: PyTree,
        inputs: Any,
        train: bool,
        label: Int[Array, " batch"] | None = None,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Any, PyTree]:
        variables = {"params": params, "batch_stats": statistics}
        arguments = (inputs, train, label) if classes else (inputs, train)
        rngs = {} if key is None else {"dropout": key}
        if not train or not statistics:
            return module.apply(variables, *arguments, rngs=rngs), statistics
        outputs, moved = module.apply(variables, *arguments, rngs=rngs, mutable=["batch_stats"])
        return outputs, jax.tree.map(lambda old, new: new.astype(old.dtype), statistics, moved["batch_stats"])

    return Network(init, apply)


def local_slice(whole: Shaped[Array, "whole ..."]) -> Shaped[Array, "local ..."]:
    """This device's part of something drawn for the whole batch, the same on every device."""
    local = whole.shape[0] // jax.lax.axis_size(AXIS)
    return jax.lax.dynamic_slice_in_dim(whole, jax.lax.axis_index(AXIS) * local, local)


def from_uint8(images: Shaped[Array, "..."], image_range: tuple[float, float]) -> Float[Array, "..."]:
    """Map 0…255 linearly onto the model's range, float32; what is floating already is left alone."""
    if jnp.issubdtype(images.dtype, jnp.floating):
        return images
    low, high = image_range
    return low + (high - low) * (images.astype(jnp.float32) / 255)


def to_uint8(images: Float[Array, "..."], image_range: tuple[float, float]) -> UInt8[Array, "..."]:
    """Map the model's range linearly onto 0…255, rounded and clipped."""
    low, high = image_range
    return jnp.round(255 * jnp.clip((images - low) / (high - low), 0, 1)).astype(jnp.uint8)
