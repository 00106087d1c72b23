"""The channels of the networks that l1jax trains, from their shapes alone."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from l1jax.compaction.channel_groups import groups_of_function
from l1jax.models import Generator, LanguageModel
from l1jax.models.network import Network
from l1jax.penalties import Slices


def generator_channels(generator: Generator) -> dict[str, Slices]:
    """Find the channels of a generator of images or points, as `channel_groups` does."""
    inputs = [jax.ShapeDtypeStruct((1, generator.latent_size), jnp.result_type(float))]
    if generator.classes:
        inputs.append(jax.ShapeDtypeStruct((1,), jnp.int32))
    return _channels(generator.network, inputs)


def language_model_channels(model: LanguageModel) -> dict[str, Slices]:
    """Find the attention heads and the feed-forward units of a transformer."""
    return _channels(model.network, [jax.ShapeDtypeStruct((1, model.context), jnp.int32)])


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

    return groups_of_function(apply, {"params": params, "batch_stats": batch_stats}, inputs)
