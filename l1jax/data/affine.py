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
from jaxtyping import Array, ArrayLike, Bool, Float

Images = Float[Array, "batch height width channels"]
Number = Float[Array, " batch"]
Uniform = Float[Array, "batch maps 3"]  # a gate and up to two numbers for each map

NUM_POSITION_MAPS = 8
NUM_COLOUR_MAPS = 5
NUMBERS_PER_MAP = 3
LUMINANCE = np.ones(3) / np.sqrt(3)
# A GPU by default would round positions and colours to ten bits.
EXACT = jax.lax.Precision.HIGHEST


def position_maps(
    u: Uniform, probability: ArrayLike, height: int, width: int
) -> Float[Array, "batch 3 3"]:
    """Draw maps from a position in the augmented image to the one that it shows of the original.

    A position is (x, y, 1) in pixels from the image's centre. The map is a product of mirror,
    quarter turn, translation by whole pixels, scaling, rotation, stretching, rotation and
    translation.

    Args:
        u: uniform numbers in [0, 1).
        probability: with which each map is used. One rotation or the other is used with it.
        height: of the images in pixels.
        width: of the images in pixels.
    """
    p = jnp.asarray(probability)
    p_rotation = 1 - jnp.sqrt(1 - p)  # two of them: 1 - (1 - p_rotation)² = p
    gates = jnp.stack([p, p, p, p, p_rotation, p, p_rotation, p])
    a = u[..., 1]
    b = u[..., 2]
    one = jnp.ones(len(u))
    size = jnp.exp2(0.2 * _normal(a[:, 3]))
    stretch = jnp.exp2(0.2 * _normal(a[:, 5]))

    def whole_pixels(u: Number, length: int) -> Number:
        return jnp.round(0.125 * length * (2 * u - 1))

    maps = [
        _scaling(jnp.where(a[:, 0] < 0.5, 1.0, -1.0), one),
        _rotation(jnp.floor(4 * a[:, 1]) * (np.pi / 2)),
        _translation(whole_pixels(a[:, 2], width), whole_pixels(b[:, 2], height)),
        _scaling(1 / size, 1 / size),
        _rotation((2 * a[:, 4] - 1) * np.pi),
        _scaling(1 / stretch, stretch),
        _rotation((2 * a[:, 6] - 1) * np.pi),
        _translation(0.125 * width * _normal(a[:, 7]), 0.125 * height * _normal(b[:, 7])),
    ]
    return _product(maps, u[..., 0] < gates)


def colour_maps(u: Uniform, probability: ArrayLike) -> Float[Array, "batch 4 4"]:
    """Draw maps of (red, green, blue, 1).

    A map changes brightness, contrast, luminance (by a flip), hue and saturation, in this order;
    each change is made with `probability`.
    """
    a = u[..., 1]
    axis = jnp.asarray(np.append(LUMINANCE, 0))
    onto_axis = jnp.outer(axis, axis)
    identity = jnp.eye(4)
    corner = jnp.zeros((4, 4)).at[3, 3].set(1)
    shift = jnp.asarray([1.0, 1.0, 1.0, 0.0])[:, None] * corner[3]
    cross = jnp.cross(jnp.asarray(LUMINANCE), jnp.eye(3)).T
    cross_axis = jnp.zeros((4, 4)).at[:3, :3].set(cross)  # x ↦ axis × x

    def matrices(x: Number) -> Float[Array, "batch 1 1"]:
        return x[:, None, None]

    brightness = matrices(0.2 * _normal(a[:, 0]))
    contrast = matrices(jnp.exp2(0.5 * _normal(a[:, 1])))
    flipped = matrices(jnp.where(a[:, 2] < 0.5, 0.0, 1.0))
    angle = matrices((2 * a[:, 3] - 1) * np.pi)
    saturation = matrices(jnp.exp2(_normal(a[:, 4])))
    fixed = onto_axis + corner  # what a change of hue or saturation leaves alone
    chroma = identity - fixed
    maps = [
        identity + brightness * shift,
        contrast * (identity - corner) + corner,
        identity - 2 * onto_axis * flipped,
        fixed + jnp.cos(angle) * chroma + jnp.sin(angle) * cross_axis,
        fixed + saturation * chroma,
    ]
    return _product(list(reversed(maps)), (u[..., 0] < probability)[:, ::-1])


def warp(images: Images, maps: Float[Array, "batch 3 3"]) -> Images:
    """Sample each image at the mapped positions, bilinearly and mirrored at the borders."""
    height, width = images.shape[1:3]
    centre = jnp.array([(width - 1) / 2, (height - 1) / 2])
    y, x = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
    grid = jnp.stack([x - centre[0], y - centre[1], jnp.ones_like(x, centre.dtype)])

    def sample(
        image: Float[Array, "height width channels"], matrix: Float[Array, "3 3"]
    ) -> Float[Array, "height width channels"]:
        positions = jnp.einsum("ij,jhw->ihw", matrix[:2], grid, precision=EXACT)
        x, y = positions + centre[:, None, None]

        def sample_channel(channel: Float[Array, "height width"]) -> Float[Array, "height width"]:
            return map_coordinates(channel, [y, x], order=1, mode="reflect")

        return jax.vmap(sample_channel, 2, 2)(image)

    return jax.vmap(sample)(images, maps)


def recolour(images: Images, maps: Float[Array, "batch 4 4"]) -> Images:
    """Map each pixel's colour; images of one channel are grey, and stay so.

    Raises:
        ValueError: if the images have neither 1 nor 3 channels.
    """
    channels = images.shape[3]
    if channels not in (1, 3):
        raise ValueError(
            f"`images` (channels={channels}) must have 1 or 3 channels; others have no hue."
        )
    colour = jnp.broadcast_to(images, (*images.shape[:3], 3))
    mapped = jnp.einsum("nij,nhwj->nhwi", maps[:, :3, :3], colour, precision=EXACT)
    mapped += maps[:, None, None, :3, 3]
    if channels == 1:
        return mapped.mean(3, keepdims=True)
    return mapped


def _normal(u: Number) -> Number:
    """Turn a uniform number into a standard normal one."""
    return ndtri(jnp.clip(u, 1e-6, 1 - 1e-6))


def _product(
    maps: Sequence[Float[Array, "..."]], is_used: Bool[Array, "batch maps"]
) -> Float[Array, "batch n n"]:
    """Multiply, from left to right, the maps that are used."""
    identity = jnp.eye(maps[0].shape[-1])
    result = identity
    for i, matrix in enumerate(maps):
        used = jnp.where(is_used[:, i, None, None], matrix, identity)
        result = jnp.matmul(result, used, precision=EXACT)
    return result


def _matrix(rows: Sequence[Sequence[Number | float]], like: Number) -> Float[Array, "batch 3 3"]:
    stacked_rows = [
        jnp.stack([jnp.broadcast_to(x, like.shape) for x in row], axis=-1) for row in rows
    ]
    return jnp.stack(stacked_rows, axis=-2)


def _scaling(x: Number, y: Number) -> Float[Array, "batch 3 3"]:
    return _matrix([[x, 0, 0], [0, y, 0], [0, 0, 1]], x)


def _rotation(angle: Number) -> Float[Array, "batch 3 3"]:
    cosine = jnp.cos(angle)
    sine = jnp.sin(angle)
    return _matrix([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]], angle)


def _translation(x: Number, y: Number) -> Float[Array, "batch 3 3"]:
    return _matrix([[1, 0, x], [0, 1, y], [0, 0, 1]], x)
