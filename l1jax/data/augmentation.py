"""Augmentation inside the step: differentiable, and drawn per example of the whole batch.

Each is a pair of pure functions: `draw` makes the random numbers of a whole batch, of which every
device takes its slice, and `apply` uses them; so any number of devices sees the same images. Images
are augmented in [-1, 1], whatever the model's range.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key

from l1jax.data.affine import COLOURS, POSITIONS, colour_maps, position_maps, recolour, warp

Images = Float[Array, "batch height width channels"]
Uniform = Float[Array, "batch numbers"]


class Augmentation(NamedTuple):
    """A random change of images.

    draw: (key, examples in the whole batch) → uniform numbers in [0, 1), a row for each example.
    apply: (images, their rows, probability) → images of the same shape; each of the augmentation's
        transformations is used on an image with this probability, independently of the others.
    """

    draw: Callable[[Key[Array, ""], int], Uniform]
    apply: Callable[[Images, Uniform, ArrayLike], Images]


def flip(images: Images, u: Uniform) -> Images:
    """Mirror left and right where u ≥ ½."""
    return jnp.where(u[:, :1, None, None] < 0.5, images, images[:, :, ::-1])


def brightness(images: Images, u: Uniform) -> Images:
    """Add up to ±½."""
    return images + (u[:, :1, None, None] - 0.5)


def saturation(images: Images, u: Uniform) -> Images:
    """Scale the distance from each pixel's mean colour by 0 to 2."""
    grey = images.mean(3, keepdims=True)
    return grey + (images - grey) * (2 * u[:, :1, None, None])


def contrast(images: Images, u: Uniform) -> Images:
    """Scale the distance from the image's mean by ½ to 1½."""
    mean = images.mean((1, 2, 3), keepdims=True)
    return mean + (images - mean) * (0.5 + u[:, :1, None, None])


def translation(images: Images, u: Uniform) -> Images:
    """Move by whole pixels, up to an eighth of each side; zeros come in."""

    def positions(length: int, u: Float[Array, " batch"]) -> Array:
        reach = round(length / 8)
        shift = jnp.floor(u * (2 * reach + 1)).astype(jnp.int32) - reach
        return jnp.arange(length) - shift[:, None]

    def move(image: Array, rows: Array, columns: Array) -> Array:
        return image.at[rows[:, None], columns[None]].get(
            mode="fill", fill_value=0, wrap_negative_indices=False
        )

    height, width = images.shape[1:3]
    return jax.vmap(move)(images, positions(height, u[:, 0]), positions(width, u[:, 1]))


def cutout(images: Images, u: Uniform) -> Images:
    """Set a rectangle of half of each side to zero, its centre anywhere in the image."""

    def covered(length: int, u: Float[Array, " batch"]) -> Array:
        size = round(length / 2)
        first = jnp.floor(u * (length + 1 - size % 2)).astype(jnp.int32)[:, None] - size // 2
        return (jnp.arange(length) >= first) & (jnp.arange(length) < first + size)

    height, width = images.shape[1:3]
    inside = covered(height, u[:, 0])[:, :, None] & covered(width, u[:, 1])[:, None, :]
    return jnp.where(inside[..., None], 0, images)


TRANSFORMATIONS = {
    "flip": (flip,),
    "color": (brightness, saturation, contrast),
    "translation": (translation,),
    "cutout": (cutout,),
}


def augment(*names: str, image_range: tuple[float, float] = (-1.0, 1.0)) -> Augmentation:
    """Transformations in turn; color, translation and cutout together, always used, are DiffAugment.

    Args:
        names: of `flip`, `color`, `translation`, `cutout`.
        image_range: the images' darkest and lightest value.

    Raises:
        ValueError: if a name is unknown.

    Source: Zhao et al., "Differentiable augmentation for data-efficient GAN training", NeurIPS 2020,
        section 3.2; strengths as in the authors' programs.
    """
    if unknown := [name for name in names if name not in TRANSFORMATIONS]:
        raise ValueError(f"`names` (={unknown[0]!r}) must be of {', '.join(TRANSFORMATIONS)}.")
    links = [link for name in names for link in TRANSFORMATIONS[name]]
    width = 3  # a gate and up to two numbers for each

    def apply(images: Images, u: Uniform, probability: ArrayLike) -> Images:
        x = _centred(images, image_range)
        for i, link in enumerate(links):
            gate, numbers = u[:, width * i, None, None, None], u[:, width * i + 1 : width * (i + 1)]
            x = jnp.where(gate < probability, link(x, numbers), x)
        return _back(x, image_range)

    return Augmentation(
        lambda key, count: jax.random.uniform(key, (count, width * len(links))), apply
    )


def adaptive(image_range: tuple[float, float] = (-1.0, 1.0)) -> Augmentation:
    """The blitting, geometric and colour transformations of adaptive augmentation (ADA).

    Flips, quarter turns, translations, scalings and rotations become one affine map per image, sampled
    bilinearly (the paper filters with wavelets) with reflection at the borders; brightness, contrast,
    luminance flip, hue and saturation one map of colours.

    Args:
        image_range: the images' darkest and lightest value.

    Source: Karras et al., "Training generative adversarial networks with limited data", NeurIPS 2020,
        appendix B, the set called bgc.
    """

    def apply(images: Images, u: Uniform, probability: ArrayLike) -> Images:
        u = u.reshape(len(u), POSITIONS + COLOURS, 3)
        x = warp(
            _centred(images, image_range),
            position_maps(u[:, :POSITIONS], probability, *images.shape[1:3]),
        )
        return _back(recolour(x, colour_maps(u[:, POSITIONS:], probability)), image_range)

    return Augmentation(
        lambda key, count: jax.random.uniform(key, (count, 3 * (POSITIONS + COLOURS))), apply
    )


def move_probability(
    probability: Float[Array, ""],
    real_logits_sign: Float[Array, ""],
    images: int,
    target: float = 0.6,
    full_after: int = 500_000,
) -> Float[Array, ""]:
    """Adapt the probability of augmentation to how far the discriminator overfits.

    Args:
        probability: now, in [0, 1].
        real_logits_sign: E sign D(x) over the whole batch, near 0 without overfitting and 1 with it.
        images: real images seen since the last move.
        target: E sign D(x) to hold.
        full_after: images in which the probability can rise from 0 to 1.

    Source: Karras et al., NeurIPS 2020, section 3.
    """
    return jnp.clip(probability + jnp.sign(real_logits_sign - target) * (images / full_after), 0, 1)


def _centred(images: Images, image_range: tuple[float, float]) -> Images:
    low, high = image_range
    return images if (low, high) == (-1, 1) else 2 * (images - low) / (high - low) - 1


def _back(images: Images, image_range: tuple[float, float]) -> Images:
    low, high = image_range
    return images if (low, high) == (-1, 1) else low + (high - low) * (images + 1) / 2
