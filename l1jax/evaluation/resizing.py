"""Resize images as other packages do, so that features are taken on the same pixels.

A Fréchet distance moves by several points with the resizing alone. Source: Parmar, Zhang, Zhu,
CVPR 2022, section 3.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

PILLOW_BITS = 22  # of the fraction of Pillow's integer weights
LOW_BITS = 11  # of them that are summed apart, so that float32 holds each sum exactly
PILLOW_SUPPORT = 2.0  # pixels on either side that a bicubic weight reaches
PILLOW_CUBIC = -0.5  # Pillow's parameter of the cubic kernel

Images = UInt8[Array, "batch _height _width channels"]
Resized = Float[Array, "batch size size channels"]
Weights = Float[np.ndarray, "size length"]


class _Sampling(NamedTuple):
    """Where the pixels of a resized line lie between two of the original."""

    low: Int[np.ndarray, " size"]
    """The pixel before each."""
    share: Float[np.ndarray, " size"]
    """Its distance to that pixel, in pixels."""


def resize_as_tensorflow(images: Images, size: int) -> Resized:
    """Resize bilinearly to squares as TensorFlow 1 did, and as the original FID does.

    Pixel i of the result lies at i·length/size. Larger images are not averaged, so they alias. That
    too is part of the FID's protocol. torch-fidelity and clean-fid's mode "legacy_tensorflow" do
    the same.

    Args:
        images: from 0 to 255.
        size: pixels a side of the result.
    """
    return _interpolate(images, size, _tensorflow_sampling)


def resize_as_pytorch(images: Images, size: int) -> Resized:
    """Resize bilinearly to squares as PyTorch's `interpolate` does, and as pytorch-fid does.

    Pixel i of the result lies at (i + ½)·length/size − ½. Larger images are not averaged.

    Args:
        images: from 0 to 255.
        size: pixels a side of the result.
    """
    return _interpolate(images, size, _pytorch_sampling)


def resize_clean(images: Images, size: int) -> Resized:
    """Resize bicubically to squares as clean-fid does: Pillow's filter on floats, then clipped.

    Larger images are averaged over the pixels that one of the result covers.

    Args:
        images: from 0 to 255.
        size: pixels a side of the result.
    """
    x = images.astype(jnp.float32)
    x = _multiply(x, _pillow_weights(x.shape[2], size).astype(np.float32), 2)
    x = _multiply(x, _pillow_weights(x.shape[1], size).astype(np.float32), 1)
    return jnp.clip(x, 0, 255)


def resize_as_pillow(images: Images, size: int) -> Resized:
    """Resize bicubically to squares as Pillow does: to whole numbers, first along the width.

    The result has Pillow's bits: its weights are integers of 22 bits, and two sums of products of
    11 bits each are exact in float32.

    Args:
        images: from 0 to 255.
        size: pixels a side of the result.
    """
    x = images.astype(jnp.float32)
    for axis in (2, 1):
        if x.shape[axis] != size:
            x = _resize_to_integers(x, size, axis)
    return x


def _interpolate(images: Images, size: int, sampling: Callable[[int, int], _Sampling]) -> Resized:
    """Interpolate linearly along the width, then along the height."""
    x = images.astype(jnp.float32)
    for axis in (2, 1):
        length = x.shape[axis]
        low, share = sampling(length, size)
        near = jnp.take(x, low, axis=axis)
        far = jnp.take(x, np.minimum(low + 1, length - 1), axis=axis)
        shape = [1, 1, 1, 1]
        shape[axis] = size
        x = near + (far - near) * share.reshape(shape)
    return x


def _tensorflow_sampling(length: int, size: int) -> _Sampling:
    """Sample at i·length/size, computed in float32 as the original does."""
    position = np.arange(size, dtype=np.float32) * np.float32(length / size)
    return _Sampling(position.astype(np.int32), position - np.floor(position))


def _pytorch_sampling(length: int, size: int) -> _Sampling:
    """Sample at (i + ½)·length/size − ½, computed in float32 as the original does."""
    centre = np.arange(size, dtype=np.float32) + np.float32(0.5)
    position = np.maximum(centre * np.float32(length / size) - np.float32(0.5), 0)
    return _Sampling(position.astype(np.int32), position - np.floor(position))


@cache
def _pillow_weights(length: int, size: int) -> Weights:
    """Compute Pillow's bicubic weights, a row for each pixel of the result.

    The kernel is stretched over the pixels that one of the result covers, cut at the borders, and
    its weights are divided by their sum.
    """
    scale = length / size
    stretch = max(scale, 1.0)
    support = PILLOW_SUPPORT * stretch
    weights = np.zeros((size, length))
    for i in range(size):
        centre = (i + 0.5) * scale
        first = max(int(centre - support + 0.5), 0)
        last = min(int(centre + support + 0.5), length)
        distance = (np.arange(first, last) - centre + 0.5) / stretch
        row = cubic(distance, PILLOW_CUBIC)
        weights[i, first:last] = row / row.sum()
    return weights


def cubic(distance: Float[np.ndarray, "*any"], a: float) -> Float[np.ndarray, "*any"]:
    """Compute the cubic convolution kernel.

    Args:
        distance: in pixels, of either sign.
        a: its slope at distance 1: −½ in Pillow, −¾ in PyTorch.

    Source: Keys, "Cubic convolution interpolation for digital image processing", 1981.
    """
    x = np.abs(distance)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _resize_to_integers(
    x: Float[Array, "batch _height _width channels"], size: int, axis: int
) -> Float[Array, "batch _rows _columns channels"]:
    """Resize whole numbers from 0 to 255 along one axis to such numbers, with Pillow's bits."""
    weights = np.rint(_pillow_weights(x.shape[axis], size) * 2**PILLOW_BITS).astype(np.int64)
    high = (weights + 2 ** (LOW_BITS - 1)) >> LOW_BITS
    low = weights - (high << LOW_BITS)
    high_sum = _multiply(x, high.astype(np.float32), axis).astype(jnp.int32)
    low_sum = _multiply(x, low.astype(np.float32), axis).astype(jnp.int32)
    rounded = (high_sum << LOW_BITS) + low_sum + 2 ** (PILLOW_BITS - 1)
    return jnp.clip(rounded >> PILLOW_BITS, 0, 255).astype(jnp.float32)


def _multiply(
    x: Float[Array, "batch _height _width channels"], weights: Weights, axis: int
) -> Float[Array, "batch _rows _columns channels"]:
    """Multiply the lines along an axis by a matrix, in full float32 precision."""
    equation = "bhwc,ih->biwc"
    if axis == 2:
        equation = "bhwc,jw->bhjc"
    return jnp.einsum(equation, x, weights, precision="highest")
