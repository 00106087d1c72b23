"""Layers that keep the weights that a run begins with: FreezeD, and the same of other networks."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from l1jax.config import Config, InputError
from l1jax.models import Flow, Gan, Generator, LanguageModel, Vae
from l1jax.models.depth import layers_by_depth
from l1jax.models.network import Network


def freeze_layers(
    experiment: Config,
    name: str,
    tx: optax.GradientTransformation,
    model: Gan | Vae | Flow | Generator | LanguageModel,
) -> optax.GradientTransformation:
    """Leave the first layers of a network as they are, if its configuration says so.

    Their batch statistics go on. Neither gradients nor the penalty change their parameters.

    Args:
        experiment: for `frozen_layers`, and where the weights come from.
        name: of the network: "generator", "discriminator" or "encoder".
        tx: its optimiser.
        model: that has the network.

    Raises:
        InputError: if the weights would be drawn ones, no layer would be left to train, or the
            algorithm keeps a solution of its own.

    Source: Mo, Cho, Shin, Freeze the discriminator, CVPR workshops 2020.
    """
    optimizer = getattr(experiment, name)
    count = optimizer.frozen_layers
    if not count:
        return tx
    if experiment.origin is None or name not in experiment.origin.networks:
        raise InputError(
            f"`{name}.frozen_layers` (={count}) needs --from a source with a {name}: layers that "
            "are drawn and never trained are noise."
        )
    if optimizer.algorithm in ("rmda", "ramda"):
        raise InputError(
            f"`{name}.frozen_layers` (={count}) must be 0 for `algorithm` "
            f"(={optimizer.algorithm}), whose solution is not made of its steps."
        )
    layers = find_layers(model, name, getattr(experiment.model, "packing", 1))
    if count >= len(layers):
        raise InputError(
            f"`{name}.frozen_layers` (={count}) must be at most {len(layers) - 1}, so that a layer "
            f"is left to train; the layers are {', '.join(layer for layer, _ in layers)}."
        )
    frozen = {part for _, parts in layers[:count] for part in parts}

    def still(updates: PyTree) -> PyTree:
        return jax.tree_util.tree_map_with_path(
            lambda path, u: jnp.zeros_like(u) if _top(path) in frozen else u, updates
        )

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None, **more: Any
    ) -> tuple[optax.Updates, Any]:
        updates, state = tx.update(updates, state, params, **more)
        return still(updates), state

    return optax.GradientTransformation(tx.init, update)


def find_layers(
    model: Gan | Vae | Flow | Generator | LanguageModel, name: str, packing: int = 1
) -> list[tuple[str, tuple[str, ...]]]:
    """List the layers of one of a model's networks from its inputs to its outputs.

    Args:
        model: that has the network.
        name: of the network: "generator", "discriminator" or "encoder".
        packing: images that a discriminator judges together.
    """
    network, inputs = _network_of(model, name, packing)
    label = jnp.zeros(inputs.shape[0], jnp.int32)
    params, batch_stats = jax.eval_shape(network.init, jax.random.key(0))

    def forward(params: PyTree) -> Any:
        statistics = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), batch_stats)
        given = jnp.zeros(inputs.shape, inputs.dtype)
        return network.apply(params, statistics, given, False, label)

    return layers_by_depth(forward, params)


def _network_of(
    model: Gan | Vae | Flow | Generator | LanguageModel, name: str, packing: int
) -> tuple[Network, jax.ShapeDtypeStruct]:
    """Return a network and the shape of its inputs."""
    if isinstance(model, LanguageModel):
        return model.network, jax.ShapeDtypeStruct((1, model.context), jnp.int32)
    generator = model if isinstance(model, Generator) else model.generator
    images = jax.ShapeDtypeStruct((packing, *generator.image_shape), jnp.float32)
    if name == "discriminator" and isinstance(model, Gan):
        return model.discriminator, images
    if name == "encoder" and isinstance(model, Vae):
        return model.encoder, images
    network, length = generator.predictor()
    return network, jax.ShapeDtypeStruct((1, length), jnp.float32)


def _top(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path[:1], simple=True)
