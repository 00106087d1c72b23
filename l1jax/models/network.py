"""What a network is in l1jax: pure functions over parameters and batch statistics."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key, PyTree, Shaped, UInt8

from l1jax.models.flow_sampling import FlowSampler
from l1jax.models.summary import summarise

AXIS = "data"  # the mapped axis over which batch statistics are synchronised

Images = Float[Array, "batch height width channels"]
Labels = Int[Array, " batch"] | Int[Array, "batch packed"]
ClassWeights = Float[Array, "batch classes"]
"""The share that each class has in each example; they sum to 1. A generator takes it as a label."""


class Apply(Protocol):
    """The forward pass of a `Network`."""

    def __call__(
        self,
        params: PyTree,
        batch_stats: PyTree,
        inputs: Shaped[Array, "batch ..."],
        train: bool,
        label: Labels | ClassWeights | None = None,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, "..."], PyTree]:
        """Compute the network's outputs.

        Args:
            params: parameters, as `Network.init` returns them.
            batch_stats: running batch statistics, as `Network.init` returns them.
            inputs: one example per entry of the first axis.
            train: whether batch statistics are means over the mapped axis `AXIS` and the running
                ones are updated. Otherwise the running ones are used and returned unchanged.
            label: class of each example, for a class-conditional network. The generators of l1jax
                also take the weights of all classes, floats, for what lies between classes.
            key: random key of layers that draw in training (dropout); the same on every device.

        Returns:
            The outputs and the batch statistics.
        """
        ...


class Network(NamedTuple):
    """A network as two pure functions.

    init: key → (params, batch statistics), both float32.
    apply: the forward pass; see `Apply`.
    """

    init: Callable[[Key[Array, ""]], tuple[PyTree, PyTree]]
    apply: Apply


class Velocities(NamedTuple):
    """What the generator of a flow model follows.

    predictor: network of an image's entries and the time, side by side, and of the length of an
        interval if it gives average velocities.
    sampler: how they are followed.
    settings: the other arguments of `l1jax.models.flow.make_flow`, plain values.
    """

    predictor: Network
    sampler: FlowSampler
    settings: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the sampler's settings and the others as plain values."""
        return {**self.settings, **self.sampler._asdict()}


class Generator(NamedTuple):
    """A network from latents to images, or to points.

    network: its pure functions.
    latent_size: dimensions of a latent.
    image_shape: height, width and channels of an image.
    image_range: smallest and largest output of the last activation; None for points.
    classes: number of classes of a class-conditional generator; 0 for none.
    activations: (params, latents) → activations of each hidden layer, if the generator can return
        them.
    velocities: what the generator of a flow model follows from noise to images; None for others.
    """

    network: Network
    latent_size: int
    image_shape: tuple[int, int, int]
    image_range: tuple[float, float] | None
    classes: int = 0
    activations: Callable[[PyTree, Float[Array, "batch latent"]], tuple[Array, ...]] | None = None
    velocities: Velocities | None = None

    def predictor(self) -> tuple[Network, int]:
        """Return the network that has the weights, and the length of its inputs.

        That of a flow model reads the time beside a latent, and the length of an interval if it
        gives average velocities.
        """
        if self.velocities is None:
            return self.network, self.latent_size
        num_times = 2 if self.velocities.settings["average_velocity"] else 1
        return self.velocities.predictor, self.latent_size + num_times

    def latents(self, key: Key[Array, ""], count: int) -> Float[Array, "count latent"]:
        """Draw latents from the standard normal distribution."""
        return jax.random.normal(key, (count, self.latent_size))

    @property
    def evaluations(self) -> int:
        """How many times the network with the weights is evaluated for an image."""
        return 1 if self.velocities is None else self.velocities.sampler.evaluations

    def summary(self) -> str:
        """Tabulate layers, output shapes, parameters and FLOPs of one image."""
        return summarise(self.network.init, "generator")


def linen_network(
    module: nn.Module, input_shape: tuple[int, ...], classes: int = 0, labels: int = 1
) -> Network:
    """Turn a Flax Linen module into a `Network`.

    Args:
        module: called as module(inputs, train), or as module(inputs, train, label) if `classes` is
            not 0. It draws from the random stream "dropout" and keeps its batch statistics in the
            collection "batch_stats".
        input_shape: shape of one example.
        classes: number of classes of a class-conditional network; 0 for an unconditional one.
        labels: number of labels per example; more than 1 where examples are `packed`.

    Returns:
        The network. Its `apply` raises a ValueError if it has classes and gets no label.
    """

    def init(key: Key[Array, ""]) -> tuple[PyTree, PyTree]:
        arguments: list[Array | bool] = [jnp.zeros((1, *input_shape)), False]
        if classes:
            label_shape = (1,) if labels == 1 else (1, labels)
            arguments.append(jnp.zeros(label_shape, jnp.int32))
        variables = module.init(key, *arguments)
        return variables.get("params", {}), variables.get("batch_stats", {})

    def apply(
        params: PyTree,
        batch_stats: PyTree,
        inputs: Any,  # whatever the module takes
        train: bool,
        label: Labels | ClassWeights | None = None,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Any, PyTree]:
        arguments: list[Array | bool] = [inputs, train]
        require_label(label, classes)
        if classes and label is not None:
            arguments.append(label)
        variables = {"params": params, "batch_stats": batch_stats}
        rngs = {} if key is None else {"dropout": key}
        if not train or not batch_stats:
            return module.apply(variables, *arguments, rngs=rngs), batch_stats
        outputs, updated = module.apply(variables, *arguments, rngs=rngs, mutable=["batch_stats"])
        new_batch_stats = jax.tree.map(
            lambda old, new: new.astype(old.dtype), batch_stats, updated["batch_stats"]
        )
        return outputs, new_batch_stats

    return Network(init, apply)


def require_label(label: Labels | ClassWeights | None, classes: int) -> None:
    """Check that a class-conditional network gets labels.

    Args:
        label: of each example.
        classes: of the network; 0 if it has none.

    Raises:
        ValueError: if it has classes and gets no labels.
    """
    if classes and label is None:
        raise ValueError(
            f"`label` (=None) must name one of {classes} classes for each example of this network: "
            "pass an integer array."
        )


def local_slice(batch: Shaped[Array, "global ..."]) -> Shaped[Array, "local ..."]:
    """Return this device's part of an array that every device holds for the whole batch."""
    local = batch.shape[0] // jax.lax.axis_size(AXIS)
    start = jax.lax.axis_index(AXIS) * local
    return jax.lax.dynamic_slice_in_dim(batch, start, local)


def from_uint8(
    images: Shaped[Array, "..."], image_range: tuple[float, float] | None
) -> Float[Array, "..."]:
    """Map 0…255 linearly onto the model's range in float32; return points (no range) unchanged."""
    if image_range is None:
        return images
    low, high = image_range
    return low + (high - low) * (images.astype(jnp.float32) / 255)


def to_uint8(images: Float[Array, "..."], image_range: tuple[float, float]) -> UInt8[Array, "..."]:
    """Map the model's range linearly onto 0…255, rounded and clipped."""
    low, high = image_range
    return jnp.round(255 * jnp.clip((images - low) / (high - low), 0, 1)).astype(jnp.uint8)
