"""Rebuild a network from its configuration and its layout."""

import dataclasses
import json
from typing import Any

from l1jax import config
from l1jax.build import build_image_model
from l1jax.config.fields import JsonObject
from l1jax.models import Generator
from l1jax.models.layout.layout_network import layout_generator


def rebuild(
    model: config.Model,
    image_shape: tuple[int, int, int],
    layout: JsonObject,
    like: Generator | None = None,
) -> Generator:
    """Build the generator of a configuration with the layers of a layout.

    Args:
        model: configuration of the model.
        image_shape: height, width and channels.
        layout: JSON values of a compact network; the configuration's own network is built if they
            are empty.
        like: a generator with the same latents, classes and range. With it, a user's own model is
            rebuilt from its layout without its package.

    Raises:
        InputError: if the configuration does not fit the images.
    """
    if like is not None and layout and isinstance(model, config.CustomModel):
        generator = like
    else:
        built = build_image_model(model, image_shape)
        generator = built if isinstance(built, Generator) else built.generator
    if not layout:
        return generator
    return layout_generator(generator, layout)


def float32_model(model: config.Model) -> config.Model:
    """Return a model's configuration with float32 as the type that its layers compute in.

    A user's own model has that type if it has an option `dtype`; else it stays as it is.
    """
    changed: Any = model
    if isinstance(model, config.CustomModel):
        if getattr(model.options, "dtype", None) != "bfloat16":
            return model
        options = dataclasses.replace(model.options, dtype="float32")
        return dataclasses.replace(model, options=options)
    return dataclasses.replace(changed, dtype="float32")


def in_float32(layout: JsonObject) -> JsonObject:
    """Return the same layout with float32 in place of bfloat16."""
    return json.loads(json.dumps(layout).replace('"bfloat16"', '"float32"'))
