"""The network Inception-v3 in TensorFlow's version of 2015-12-05, which the FID uses.

It differs from the Inception-v3 of its paper: average pools leave the padding out of their means,
the last block takes a maximum instead of a mean, and there are 1,008 classes. Layers are named as
in the public PyTorch file, and each batch norm is folded into its convolution.

Source: Szegedy et al., CVPR 2016, figures 5 to 7 and table 1; Heusel et al., NeurIPS 2017.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from l1jax.evaluation.features import Extracted

SIZE = 299  # pixels, height and width of what the network sees
CLASSES = 1008
MIN_PRODUCT_CHANNELS = 256
"""Channels from which on a strided convolution is a sum of matrix products on CPUs."""

Images = Float[Array, "batch _height _width _channels"]
Layer = Callable[..., Images]


class Convolution(nn.Module):
    """A convolution, its batch norm folded in, and ReLU."""

    features: int
    size: tuple[int, int]
    stride: int
    padding: Literal["SAME", "VALID"]
    mean: bool

    @nn.compact
    def __call__(self, x: Images) -> Images:
        """Convolve, average 3×3 pixels if `mean` is set, add the bias, and apply ReLU.

        The original averages before a 1×1 convolution. After it the result is the same, and there
        are fewer channels.
        """
        kernel = self.param(
            "kernel", nn.initializers.zeros, (*self.size, x.shape[-1], self.features)
        )
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        arguments = {"stride": self.stride, "padding": self.padding}
        y = jax.lax.platform_dependent(
            x,
            kernel,
            cpu=partial(_convolve_on_cpu, **arguments),
            default=partial(_convolve, **arguments),
        )
        if self.mean:
            y = _average_pool(y)
        return jax.nn.relu(y + bias)


class Inception(nn.Module):
    """Images of 299×299 pixels in [-1, 1) → the 2,048 means of the last pool, and logits."""

    with_bias: bool = False  # of the logits

    @nn.compact
    def __call__(self, x: Float[Array, "batch 299 299 3"]) -> Extracted:
        """Run the network."""

        def layer(
            name: str, x: Images, features: int, height: int, width: int, **options: Any
        ) -> Images:
            options = {"stride": 1, "padding": "SAME", "mean": False} | options
            return Convolution(features, (height, width), name=name, **options)(x)

        x = layer("Conv2d_1a_3x3", x, 32, 3, 3, stride=2, padding="VALID")
        x = layer("Conv2d_2a_3x3", x, 32, 3, 3, padding="VALID")
        x = _max_pool(layer("Conv2d_2b_3x3", x, 64, 3, 3))
        x = layer("Conv2d_3b_1x1", x, 80, 1, 1)
        x = _max_pool(layer("Conv2d_4a_3x3", x, 192, 3, 3, padding="VALID"))
        for block_name, block in BLOCKS.items():

            def layer_of_block(name: str, *args: Any, prefix: str = block_name, **options: Any):
                return layer(f"{prefix}.{name}", *args, **options)

            x = block(layer_of_block, x)
        x = jnp.mean(x, axis=(1, 2))
        kernel = self.param("fc.kernel", nn.initializers.zeros, (x.shape[-1], CLASSES))
        bias = self.param("fc.bias", nn.initializers.zeros, (CLASSES,))
        logits = x @ kernel
        if self.with_bias:
            logits = logits + bias
        return Extracted(x, logits)


def _convolve(x: Images, kernel: Array, stride: int, padding: str) -> Images:
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=layout
    )


def _convolve_on_cpu(x: Images, kernel: Array, stride: int, padding: str) -> Images:
    """Convolve in the form that XLA's CPU backend computes fastest.

    Its own convolution without padding takes twice as long.
    """
    size = kernel.shape[0]
    inputs = kernel.shape[2]
    if kernel.shape[:2] == (1, 1):
        return x @ kernel[0, 0]
    if padding == "VALID" and stride == 1:
        low = size // 2
        return _convolve(x, kernel, 1, "SAME")[:, low : x.shape[1] - low, low : x.shape[2] - low]
    if padding == "VALID" and inputs >= MIN_PRODUCT_CHANNELS:
        height, width = ((length - size) // stride * stride + 1 for length in x.shape[1:3])
        taps = [
            x[:, i : i + height : stride, j : j + width : stride] @ kernel[i, j]
            for i, j in np.ndindex(size, size)
        ]
        return jax.tree.reduce(jnp.add, taps)
    return _convolve(x, kernel, stride, padding)


def _block_a(layer: Layer, x: Images, pooled: int) -> Images:
    five = layer("branch5x5_2", layer("branch5x5_1", x, 48, 1, 1), 64, 5, 5)
    three = layer("branch3x3dbl_2", layer("branch3x3dbl_1", x, 64, 1, 1), 96, 3, 3)
    three = layer("branch3x3dbl_3", three, 96, 3, 3)
    return _concatenate(
        layer("branch1x1", x, 64, 1, 1),
        five,
        three,
        layer("branch_pool", x, pooled, 1, 1, mean=True),
    )


def _block_b(layer: Layer, x: Images) -> Images:
    once = layer("branch3x3", x, 384, 3, 3, stride=2, padding="VALID")
    twice = layer("branch3x3dbl_2", layer("branch3x3dbl_1", x, 64, 1, 1), 96, 3, 3)
    twice = layer("branch3x3dbl_3", twice, 96, 3, 3, stride=2, padding="VALID")
    return _concatenate(once, twice, _max_pool(x))


def _block_c(layer: Layer, x: Images, width: int) -> Images:
    once = layer("branch7x7_2", layer("branch7x7_1", x, width, 1, 1), width, 1, 7)
    once = layer("branch7x7_3", once, 192, 7, 1)
    twice = layer("branch7x7dbl_2", layer("branch7x7dbl_1", x, width, 1, 1), width, 7, 1)
    twice = layer("branch7x7dbl_4", layer("branch7x7dbl_3", twice, width, 1, 7), width, 7, 1)
    twice = layer("branch7x7dbl_5", twice, 192, 1, 7)
    return _concatenate(
        layer("branch1x1", x, 192, 1, 1), once, twice, layer("branch_pool", x, 192, 1, 1, mean=True)
    )


def _block_d(layer: Layer, x: Images) -> Images:
    three = layer(
        "branch3x3_2", layer("branch3x3_1", x, 192, 1, 1), 320, 3, 3, stride=2, padding="VALID"
    )
    seven = layer("branch7x7x3_2", layer("branch7x7x3_1", x, 192, 1, 1), 192, 1, 7)
    seven = layer("branch7x7x3_3", seven, 192, 7, 1)
    seven = layer("branch7x7x3_4", seven, 192, 3, 3, stride=2, padding="VALID")
    return _concatenate(three, seven, _max_pool(x))


def _block_e(layer: Layer, x: Images, mean: bool) -> Images:
    pooled = x
    if not mean:
        pooled = nn.max_pool(x, (3, 3), padding="SAME")
    once = layer("branch3x3_1", x, 384, 1, 1)
    twice = layer("branch3x3dbl_2", layer("branch3x3dbl_1", x, 448, 1, 1), 384, 3, 3)
    return _concatenate(
        layer("branch1x1", x, 320, 1, 1),
        layer("branch3x3_2a", once, 384, 1, 3),
        layer("branch3x3_2b", once, 384, 3, 1),
        layer("branch3x3dbl_3a", twice, 384, 1, 3),
        layer("branch3x3dbl_3b", twice, 384, 3, 1),
        layer("branch_pool", pooled, 192, 1, 1, mean=mean),
    )


def _concatenate(*branches: Images) -> Images:
    return jnp.concatenate(branches, axis=-1)


def _max_pool(x: Images) -> Images:
    """Take the maximum of 3×3 pixels with stride 2, one dimension after the other."""
    for axis in (1, 2):
        length = (x.shape[axis] - 3) // 2 * 2 + 1
        shifted = [jax.lax.slice_in_dim(x, i, i + length, 2, axis) for i in range(3)]
        x = jax.tree.reduce(jnp.maximum, shifted)
    return x


def _average_pool(x: Images) -> Images:
    """Average those of 3×3 pixels that are in the image."""
    return nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False)


BLOCKS: dict[str, Callable[[Layer, Images], Images]] = {
    "Mixed_5b": partial(_block_a, pooled=32),
    "Mixed_5c": partial(_block_a, pooled=64),
    "Mixed_5d": partial(_block_a, pooled=64),
    "Mixed_6a": _block_b,
    "Mixed_6b": partial(_block_c, width=128),
    "Mixed_6c": partial(_block_c, width=160),
    "Mixed_6d": partial(_block_c, width=160),
    "Mixed_6e": partial(_block_c, width=192),
    "Mixed_7a": _block_d,
    "Mixed_7b": partial(_block_e, mean=True),
    "Mixed_7c": partial(_block_e, mean=False),  # as that graph has it
}
