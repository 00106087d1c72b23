"""A model whose dead channels are gone."""

from typing import Any, NamedTuple

from jaxtyping import PyTree

from l1jax.models import Generator


class Compact(NamedTuple):
    """A generator with smaller layers, and its weights."""

    generator: Generator
    params: PyTree
    statistics: PyTree
    layout: dict[str, Any]  # plain JSON values; with the model's config and image_shape it rebuilds the network
