"""The network of a compact model."""

from typing import Any

from l1jax import config
from l1jax.build import build_model
from l1jax.models import Generator


def rebuild(model: config.Model, image_shape: tuple[int, int, int], layout: dict[str, Any]) -> Generator:
    """Build a generator from its layout; `{}` is that of the whole model.

    Raises:
        InputError: if the layout does not fit the model.
    """
    if layout:
        raise config.InputError(f"`layout` (={layout}) must be empty.")
    built = build_model(model, image_shape)
    return built if isinstance(built, Generator) else built.generator


def in_float32(layout: dict[str, Any]) -> dict[str, Any]:
    """The same layout computing in float32."""
    return layout
