"""Random affine maps of pixel positions and of colours, as adaptive augmentation (ADA) draws them.

Source: Karras et al., "Training generative adversarial networks with limited data", NeurIPS 2020,
    appendix B.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates
from jax.scipy.special import ndtri
from jaxtyping import Array, ArrayLike, Float

Images = Float[Array, "batch height width channels"]
Number = Float[Array, " batch"]
Uniform = Float[Array, "batch transformations 3"]  # a gate and up to two numbers for each

POSITIONS = 8  # transformations of positions
COLOURS = 5  # transformations of colours
LUMINANCE = np.ones(3) / np.sqrt(3)


def position_maps(
    u: Uniform, probability: ArrayLike, height: int, width: int
) -> Float[Array, "batch 3 3"]:
    """Maps from a position (x, y, 1) in the augmented image, from its centre in pixels, to the original.

    Mirror, quarter turn, translation by whole pixels, scaling, rotation, stretching, rotation,
    translation: each is used with `probability`; one rotation or the other is.
    """
    p = jnp.asarray(probability)
    either = 1 - jnp.sqrt(1 - p)
    gates = jnp.stack([p, p, p, p, either, p, either, p])
    a, b, zero = u[..., 1], u[..., 2], jnp.zeros(len(u))
    size, stretch = jnp.exp2(0.2 * _normal(a[:, 3])), jnp.exp2(0.2 * _normal(a[:, 5]))

    def pixels(u: Number, length: int) -> Number:
        return jnp.round(0.125 * length * (2 * u - 1))

    maps = [
        _scaling(jnp.where(a[:, 0] < 0.5, 1.0, -1.0), zero + 1),
        _rotation(jnp.floor(4 * a[:, 1]) * (np.pi / 2)),
        _translation(pixels(a[:, 2], width), pixels(b[:, 2], height)),
        _scaling(1 / size, 1 / size),
        _rotation((2 * a[:, 4] - 1) * np.pi),
        _scaling(1 / stretch, stretch),
        _rotation((2 * a[:, 6] - 1) * np.pi),
        _translation(0.125 * width * _normal(a[:, 7]), 0.125 * height * _normal(b[:, 7])),
    ]
    return _product(maps, u[..., 0] < gates)


def colour_maps(u: Uniform, probability: ArrayLike) -> Float[Array, "batch 4 4"]:
    """Maps of (red, green, blue, 1): brightness, contrast, luminance flip, hue, saturation, in this order."""
    a, axis = u[..., 1], jnp.asarray(np.append(LUMINANCE, 0))
    along, identity = jnp.outer(axis, axis), jnp.eye(4)
    corner = jnp.zeros((4, 4)).at[3, 3].set(1)
    shift = jnp.asarray([1.0, 1.0, 1.0, 0.0])[:, None] * corner[3]
    cross = jnp.cross(jnp.asarray(LUMINANCE), jnp.eye(3)).T
    across = jnp.zeros((4, 4)).at[:3, :3].set(cross)

    def each(x: Number) -> Float[Array, "batch 1 1"]:
        return x[:, None, None]

    scale, keep = each(jnp.exp2(0.5 * _normal(a[:, 1]))), each(jnp.exp2(_normal(a[:, 4])))
    angle = each((2 * a[:, 3] - 1) * np.pi)
    fixed = along + corner  # what a change of hue or saturation leaves alone
    maps = [
        identity + each(0.2 * _normal(a[:, 0])) * shift,
        scale * (identity - corner) + corner,
        identity - 2 * along * each(jnp.where(a[:, 2] < 0.5, 0.0, 1.0)),
        fixed + jnp.cos(angle) * (identity - fixed) + jnp.sin(angle) * across,
        fixed + keep * (identity - fixed),
    ]
    return _product(list(reversed(maps)), (u[..., 0] < probability)[:, ::-1])


def warp(images: Images, maps: Float[Array, "batch 3 3"]) -> Images:
    """Sample each image at the mapped positions: bilinear, mirrored at the borders."""
    height, width = images.shape[1:3]
    centre = jnp.array([(width - 1) / 2, (height - 1) / 2])
    y, x = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
    grid = jnp.stack([x - centre[0], y - centre[1], jnp.ones_like(x, centre.dtype)])

    def sample(image: Float[Array, "height width channels"], matrix: Float[Array, "3 3"]) -> Array:
        x, y = jnp.einsum("ij,jhw->ihw", matrix[:2], grid) + centre[:, None, None]
        return jax.vmap(
            lambda channel: map_coordinates(channel, [y, x], order=1, mode="reflect"), 2, 2
        )(image)

    return jax.vmap(sample)(images, maps)


def recolour(images: Images, maps: Float[Array, "batch 4 4"]) -> Images:
    """Map each pixel's colour; an image of one channel is grey, and stays so.

    Raises:
        ValueError: if the images have neither 1 nor 3 channels.
    """
    channels = images.shape[3]
    if channels not in (1, 3):
        raise ValueError(
            f"`images` (channels={channels}) must have 1 or 3 channels; others have no hue."
        )
    colour = jnp.broadcast_to(images, (*images.shape[:3], 3))
    mapped = jnp.einsum("nij,nhwj->nhwi", maps[:, :3, :3], colour) + maps[:, None, None, :3, 3]
    return mapped if channels == 3 else mapped.mean(3, keepdims=True)


def _normal(u: Number) -> Number:
    """A standard normal number from a uniform one."""
    return ndtri(jnp.clip(u, 1e-6, 1 - 1e-6))


def _product(maps: Sequence[Array], open_gates: Array) -> Array:
    """The product from left to right, of the maps whose gate is open."""
    result = identity = jnp.eye(maps[0].shape[-1])
    for i, matrix in enumerate(maps):
        result = result @ jnp.where(open_gates[:, i, None, None], matrix, identity)
    return result


def _matrix(rows: Sequence[Sequence[Number | float]], like: Number) -> Float[Array, "batch 3 3"]:
    return jnp.stack(
        [jnp.stack([jnp.broadcast_to(x, like.shape) for x in row], -1) for row in rows], -2
    )


def _scaling(x: Number, y: Number) -> Float[Array, "batch 3 3"]:
    return _matrix([[x, 0, 0], [0, y, 0], [0, 0, 1]], x)


def _rotation(angle: Number) -> Float[Array, "batch 3 3"]:
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    return _matrix([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]], angle)


def _translation(x: Number, y: Number) -> Float[Array, "batch 3 3"]:
    return _matrix([[1, 0, x], [0, 1, y], [0, 0, 1]], x)
