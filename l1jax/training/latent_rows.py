"""The latents of the pictures of l1jax.sample: independent ones, and rows of related ones."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from l1jax.models import Generator, class_path
from l1jax.models.latents import interpolations, truncate
from l1jax.training.keys import named_seed_key
from l1jax.training.sampling import draw_latents


class Choice(NamedTuple):
    """Which latents are drawn, and of which class their images are.

    seed: of the latents, of which the first n are the same for every `count` ≥ n.
    count: how many.
    truncation: largest entry of a latent, see `truncate`; None for as they are drawn.
    label: class of all images; None for a conditional generator's classes in turn.
    """

    seed: int
    count: int
    truncation: float | None = None
    label: int | None = None


class Chosen(NamedTuple):
    """Latents, and the class of the image of each or the weights that the classes have in it.

    There are no classes for a generator without any.
    """

    latents: Float[Array, "count latent"]
    labels: Int[Array, " count"] | Float[Array, "count classes"] | None


def independent_latents(generator: Generator, choice: Choice) -> Chosen:
    """Draw latents that have nothing to do with each other."""
    latents = draw_latents(generator, named_seed_key(choice.seed, "sample"), choice.count)
    return Chosen(_truncated(latents, choice), _labels(generator, choice, 1, 1))


def interpolation_rows(generator: Generator, choice: Choice, frames: int) -> Chosen:
    """Go in rows from each of a seed's latents to another one; the class of a row stays the same.

    Args:
        generator: for the size of the latents, and its classes.
        choice: of the latents that the rows begin with, those of `independent_latents`. Every
            latent on the way is truncated.
        frames: latents in a row, at least 2.

    Returns:
        The latents, row after row.
    """
    start = draw_latents(generator, named_seed_key(choice.seed, "sample"), choice.count)
    end = draw_latents(generator, named_seed_key(choice.seed, "interpolation"), choice.count)
    rows = interpolations(start, end, frames).reshape(-1, generator.latent_size)
    return Chosen(_truncated(rows, choice), _labels(generator, choice, 1, frames))


def class_rows(generator: Generator, choice: Choice, to_label: int, frames: int) -> Chosen:
    """Go in rows from a latent's class to another class; the latent of a row stays the same.

    The ends of a row are the images that the latent has in these classes.

    Args:
        generator: a class-conditional one.
        choice: of the latents, and of the class at the start of the rows; without one the classes
            take turns.
        to_label: the class at the end of all rows.
        frames: images in a row, at least 2.

    Returns:
        The latents and the weights of the classes, row after row.
    """
    chosen = independent_latents(generator, choice)
    assert chosen.labels is not None
    weights = class_path(chosen.labels, to_label, frames, generator.classes)
    rows = weights.reshape(-1, generator.classes)
    return Chosen(jnp.repeat(chosen.latents, frames, axis=0), rows)


def direction_rows(
    generator: Generator,
    choice: Choice,
    directions: Float[np.ndarray, "number latent"],
    steps: Float[np.ndarray, " frames"],
) -> Chosen:
    """Move a seed's latents along directions: all along the first, then all along the second, …

    Args:
        generator: for the size of the latents, and its classes.
        choice: of the latents, which are truncated before they are moved.
        directions: of latents.
        steps: how far a latent is moved in each image of its row, in multiples of the direction.

    Returns:
        The latents, row after row.
    """
    latents = independent_latents(generator, choice).latents
    moves = jnp.asarray(np.einsum("nl,f->nfl", directions, steps), latents.dtype)
    rows = (latents[:, None] + moves[:, None]).reshape(-1, generator.latent_size)
    return Chosen(rows, _labels(generator, choice, len(directions), len(steps)))


def _truncated(
    latents: Float[Array, "count latent"], choice: Choice
) -> Float[Array, "count latent"]:
    if choice.truncation is None:
        return latents
    return truncate(latents, choice.truncation)


def _labels(
    generator: Generator, choice: Choice, groups: int, frames: int
) -> Int[Array, " count"] | None:
    """Return the class of each image of groups of rows, a row for each latent."""
    if not generator.classes:
        return None
    labels = jnp.arange(choice.count) % generator.classes
    if choice.label is not None:
        labels = jnp.full_like(labels, choice.label)
    return jnp.repeat(jnp.tile(labels, groups), frames)
