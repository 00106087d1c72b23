"""The channels of the networks that l1jax trains, from their shapes alone."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from l1jax.compaction.channel_groups import groups_of_function
from l1jax.models import Gan, Generator, LanguageModel, Vae
from l1jax.models.gan import PackedApply
from l1jax.models.network import Network
from l1jax.penalties import Slices


def generator_channels(generator: Generator) -> dict[str, Slices]:
    """Find the channels of a generator of images or points, as `channel_groups` does.

    Those of a flow model are of the network that predicts, which reads the time, too.
    """
    network, length = generator.predictor()
    inputs = jax.ShapeDtypeStruct((1, length), jnp.result_type(float))
    return _channels(network, _with_labels(inputs, (1,), generator.classes))


def language_model_channels(model: LanguageModel) -> dict[str, Slices]:
    """Find the attention heads and the feed-forward units of a transformer."""
    return _channels(model.network, [jax.ShapeDtypeStruct((1, model.context), jnp.int32)])


def discriminator_channels(gan: Gan) -> dict[str, Slices]:
    """Find the channels of a discriminator; nothing removes them, but they can be zero."""
    network = gan.discriminator
    if isinstance(network.apply, PackedApply):
        network = network.apply.network
    height, width, channels = gan.generator.image_shape
    images = jax.ShapeDtypeStruct((1, height, width, gan.packing * channels), jnp.float32)
    labels = (1,) if gan.packing == 1 else (1, gan.packing)
    return _channels(network, _with_labels(images, labels, gan.generator.classes))


def encoder_channels(vae: Vae) -> dict[str, Slices]:
    """Find the channels of a recognition network; nothing removes them, but they can be zero."""
    images = jax.ShapeDtypeStruct((1, *vae.generator.image_shape), jnp.float32)
    return _channels(vae.encoder, _with_labels(images, (1,), vae.generator.classes))


def _with_labels(inputs: Any, labels: tuple[int, ...], classes: int) -> list[Any]:
    return [inputs, jax.ShapeDtypeStruct(labels, jnp.int32)] if classes else [inputs]


def _channels(network: Network, inputs: Sequence[Any]) -> dict[str, Slices]:
    """Find the channels of a network, of which only the shapes are needed.

    Its parameters are drawn at random, since all leaves must be different and quick to make.
    """
    random = np.random.default_rng(0)

    def draw(leaf: Any) -> Array:
        return jnp.asarray(random.uniform(0.5, 1.5, leaf.shape), leaf.dtype)

    params, batch_stats = jax.tree.map(draw, jax.eval_shape(network.init, jax.random.key(0)))

    def apply(x: Array, *label: Array) -> PyTree:
        return network.apply(params, batch_stats, x, False, *label)[0]

    return groups_of_function(
        apply, {"params": params, "batch_stats": batch_stats}, inputs, any_layer=True
    )
