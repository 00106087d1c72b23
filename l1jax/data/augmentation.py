"""Augmentation inside the step: differentiable, with random numbers for each example of the batch.

An augmentation is a pair of pure functions. `draw` makes the random numbers of a whole batch, of
which every device takes its part, and `apply` uses them; so any number of devices sees the same
images. Images are augmented in [-1, 1], whatever the model's range.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Key

from l1jax.data.affine import (
    NUM_COLOUR_MAPS,
    NUM_POSITION_MAPS,
    NUMBERS_PER_MAP,
    colour_maps,
    position_maps,
    recolour,
    warp,
)

Images = Float[Array, "batch height width channels"]
Uniform = Float[Array, "batch numbers"]


class Augmentation(NamedTuple):
    """A random change of images."""

    draw: Callable[[Key[Array, ""], int], Uniform]
    """(key, number of examples in the whole batch) → uniform numbers in [0, 1), a row for each."""
    apply: Callable[[Images, Uniform, ArrayLike], Images]
    """(images, their rows of numbers, probability) → images of the same shape.

    Each of the transformations is used on an image with this probability, independently of the
    others."""


def flip(images: Images, u: Uniform) -> Images:
    """Mirror left and right if u ≥ ½."""
    return jnp.where(u[:, :1, None, None] < 0.5, images, images[:, :, ::-1])


def brightness(images: Images, u: Uniform) -> Images:
    """Add a number in [-½, ½)."""
    return images + (u[:, :1, None, None] - 0.5)


def saturation(images: Images, u: Uniform) -> Images:
    """Scale the distance from each pixel's mean colour by a factor in [0, 2)."""
    grey = images.mean(3, keepdims=True)
    return grey + (images - grey) * (2 * u[:, :1, None, None])


def contrast(images: Images, u: Uniform) -> Images:
    """Scale the distance from the image's mean by a factor in [½, 1½)."""
    mean = images.mean((1, 2, 3), keepdims=True)
    return mean + (images - mean) * (0.5 + u[:, :1, None, None])


def translation(images: Images, u: Uniform) -> Images:
    """Move by whole pixels, up to an eighth of each side; zeros come in."""

    def source_positions(length: int, u: Float[Array, " batch"]) -> Int[Array, "batch length"]:
        reach = round(length / 8)
        shift = jnp.floor(u * (2 * reach + 1)).astype(jnp.int32) - reach
        return jnp.arange(length) - shift[:, None]

    def move(
        image: Float[Array, "height width channels"],
        rows: Int[Array, " height"],
        columns: Int[Array, " width"],
    ) -> Float[Array, "height width channels"]:
        return image.at[rows[:, None], columns[None]].get(
            mode="fill", fill_value=0, wrap_negative_indices=False
        )

    height, width = images.shape[1:3]
    rows = source_positions(height, u[:, 0])
    columns = source_positions(width, u[:, 1])
    return jax.vmap(move)(images, rows, columns)


def cutout(images: Images, u: Uniform) -> Images:
    """Set a rectangle of half of each side to zero; its centre is anywhere in the image."""

    def covered(length: int, u: Float[Array, " batch"]) -> Bool[Array, "batch length"]:
        size = round(length / 2)
        first = jnp.floor(u * (length + 1 - size % 2)).astype(jnp.int32)[:, None] - size // 2
        return (jnp.arange(length) >= first) & (jnp.arange(length) < first + size)

    height, width = images.shape[1:3]
    inside = covered(height, u[:, 0])[:, :, None] & covered(width, u[:, 1])[:, None, :]
    return jnp.where(inside[..., None], 0, images)


Transformation = Callable[[Images, Uniform], Images]
"""(images, up to two uniform numbers for each) → images of the same shape."""
TRANSFORMATIONS: dict[str, tuple[Transformation, ...]] = {
    "flip": (flip,),
    "color": (brightness, saturation, contrast),
    "translation": (translation,),
    "cutout": (cutout,),
}


def differentiable_augmentation(
    *names: str, image_range: tuple[float, float] = (-1.0, 1.0)
) -> Augmentation:
    """Apply named transformations in turn.

    color, translation and cutout together, with probability 1, are DiffAugment.

    Args:
        *names: Any of `flip`, `color`, `translation`, `cutout`.
        image_range: the images' darkest and lightest value.

    Raises:
        ValueError: if a name is unknown.

    Source: Zhao et al., "Differentiable augmentation for data-efficient GAN training", NeurIPS
        2020, section 3.2; the strengths are those of the authors' programs.
    """
    if unknown := [name for name in names if name not in TRANSFORMATIONS]:
        raise ValueError(f"`names` (={unknown[0]!r}) must be of {', '.join(TRANSFORMATIONS)}.")
    transformations = [part for name in names for part in TRANSFORMATIONS[name]]
    width = 3  # for each transformation: a gate, and up to two numbers

    def draw(key: Key[Array, ""], count: int) -> Uniform:
        return jax.random.uniform(key, (count, width * len(transformations)))

    def apply(images: Images, u: Uniform, probability: ArrayLike) -> Images:
        x = _to_unit_range(images, image_range)
        for i, transform in enumerate(transformations):
            gate = u[:, width * i, None, None, None]
            numbers = u[:, width * i + 1 : width * (i + 1)]
            x = jnp.where(gate < probability, transform(x, numbers), x)
        return _from_unit_range(x, image_range)

    return Augmentation(draw, apply)


def adaptive_augmentation(image_range: tuple[float, float] = (-1.0, 1.0)) -> Augmentation:
    """Apply the blitting, geometric and colour transformations of adaptive augmentation (ADA).

    Flips, quarter turns, translations, scalings and rotations become one affine map per image,
    sampled bilinearly (the paper filters with wavelets) with reflection at the borders. Brightness,
    contrast, luminance flip, hue and saturation become one map of colours.

    Args:
        image_range: the images' darkest and lightest value.

    Source: Karras et al., "Training generative adversarial networks with limited data", NeurIPS
        2020, appendix B, the set called bgc.
    """
    num_maps = NUM_POSITION_MAPS + NUM_COLOUR_MAPS

    def draw(key: Key[Array, ""], count: int) -> Uniform:
        return jax.random.uniform(key, (count, num_maps * NUMBERS_PER_MAP))

    def apply(images: Images, u: Uniform, probability: ArrayLike) -> Images:
        u = u.reshape(len(u), num_maps, NUMBERS_PER_MAP)
        u_positions = u[:, :NUM_POSITION_MAPS]
        u_colours = u[:, NUM_POSITION_MAPS:]
        height, width = images.shape[1:3]
        x = _to_unit_range(images, image_range)
        x = warp(x, position_maps(u_positions, probability, height, width))
        x = recolour(x, colour_maps(u_colours, probability))
        return _from_unit_range(x, image_range)

    return Augmentation(draw, apply)


def adapt_probability(
    probability: Float[Array, ""],
    real_logits_sign: Float[Array, ""],
    images: int,
    target: float = 0.6,
    full_after: int = 500_000,
) -> Float[Array, ""]:
    """Adapt the probability of augmentation to how far the discriminator overfits.

    Args:
        probability: current value, in [0, 1].
        real_logits_sign: E sign D(x), the mean over the whole batch of real images. It is near 0
            without overfitting and near 1 with it.
        images: number of real images seen since the last change.
        target: E sign D(x) to hold.
        full_after: number of images in which the probability can rise from 0 to 1.

    Source: Karras et al., "Training generative adversarial networks with limited data", NeurIPS
        2020, section 3.
    """
    step = jnp.sign(real_logits_sign - target) * (images / full_after)
    return jnp.clip(probability + step, 0, 1)


def _to_unit_range(images: Images, image_range: tuple[float, float]) -> Images:
    """Map images from `image_range` to [-1, 1]."""
    low, high = image_range
    if (low, high) == (-1, 1):
        return images
    return 2 * (images - low) / (high - low) - 1


def _from_unit_range(images: Images, image_range: tuple[float, float]) -> Images:
    """Map images from [-1, 1] to `image_range`."""
    low, high = image_range
    if (low, high) == (-1, 1):
        return images
    return low + (high - low) * (images + 1) / 2
