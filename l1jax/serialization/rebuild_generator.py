"""Rebuild a network from its configuration and its layout."""

import json

from l1jax import config
from l1jax.build import build_image_model
from l1jax.config.fields import JsonObject
from l1jax.models import Generator
from l1jax.models.layout.layout_network import layout_network


def rebuild(
    model: config.Model, image_shape: tuple[int, int, int], layout: JsonObject
) -> Generator:
    """Build the generator of a configuration with the layers of a layout.

    Args:
        model: configuration of the model.
        image_shape: height, width and channels.
        layout: JSON values of a compact network; the configuration's own network is built if they
            are empty.

    Raises:
        InputError: if the configuration does not fit the images.
    """
    built = build_image_model(model, image_shape)
    if isinstance(built, Generator):
        generator = built
    else:
        generator = built.generator
    if not layout:
        return generator
    smaller = layout_network(layout, generator.latent_size, generator.classes)
    return generator._replace(network=smaller, activations=None)


def in_float32(layout: JsonObject) -> JsonObject:
    """Return the same layout with float32 in place of bfloat16."""
    return json.loads(json.dumps(layout).replace('"bfloat16"', '"float32"'))
