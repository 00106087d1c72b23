"""Strided convolutions with Flax's parameters and outputs, in the form that the backend runs best.

XLA computes a strided convolution's gradients on a CPU by naive loops (a DCGAN step of 64 images took
minutes). There both directions are written as matrix products of blocks: a convolution with kernel k
and stride s is one with kernel K = ⌈k/s⌉ and stride 1 over blocks of s×s pixels, whose derivatives are
matrix products again. Elsewhere the library's convolution is used.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

Images = Float[Array, "batch _height _width _channels"]
Kernel = Float[Array, "size size _inputs _outputs"]


class Conv(nn.Module):
    """`flax.linen.Conv`, or `ConvTranspose`, with a square kernel and SAME padding.

    The parameters and outputs are Flax's.
    """

    features: int
    kernel_size: int
    stride: int = 1
    use_bias: bool = True
    kernel_init: Callable[..., Any] = nn.initializers.lecun_normal()
    transposed: bool = False

    @nn.compact
    def __call__(self, x: Images) -> Images:
        """Convolve; transposed, the image enlarged by the stride with zeros."""
        size = self.kernel_size
        kernel = self.param("kernel", self.kernel_init, (size, size, x.shape[-1], self.features))
        y = (convolve_transposed if self.transposed else convolve)(x, kernel, self.stride)
        return y + self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else y


ConvTranspose = partial(Conv, transposed=True)


def convolve(x: Images, kernel: Kernel, stride: int) -> Images:
    """SAME convolution: y[n] = Σ_t kernel[t]·x[stride·n + t − low], `low` half the padding."""
    if jax.default_backend() != "cpu":
        return jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
    size, taps = kernel.shape[0], -(-kernel.shape[0] // stride)
    (height, low_h), (width, low_w) = (_same(n, size, stride) for n in x.shape[1:3])
    high_h, high_w = ((n + taps - 1) * stride for n in (height, width))
    pads = ((0, 0), (low_h, high_h - x.shape[1] - low_h), (low_w, high_w - x.shape[2] - low_w), (0, 0))
    blocks = _space_to_depth(jnp.pad(x, pads), stride)
    shifted = [blocks[:, p : p + height, q : q + width] for p in range(taps) for q in range(taps)]
    rows = _by_taps(kernel, stride).transpose(0, 2, 1, 3, 4, 5)  # taps, taps, stride, stride, inputs, outputs
    return jnp.concatenate(shifted, -1) @ rows.reshape(-1, kernel.shape[-1])


def convolve_transposed(x: Images, kernel: Kernel, stride: int) -> Images:
    """SAME transposed convolution, as `jax.lax.conv_transpose`; output is stride × as large."""
    if jax.default_backend() != "cpu":
        return jax.lax.conv_transpose(x, kernel, (stride, stride), "SAME")
    size, taps = kernel.shape[0], -(-kernel.shape[0] // stride)
    inputs, outputs = kernel.shape[2:]
    columns = _by_taps(jnp.flip(kernel, (0, 1)), stride).transpose(0, 2, 4, 1, 3, 5)
    columns = columns.reshape(taps, taps, inputs, stride * stride * outputs)

    def place(p: int, q: int) -> Images:
        return jnp.pad(x @ columns[p, q], ((0, 0), (p, taps - 1 - p), (q, taps - 1 - q), (0, 0)))

    spread = sum(place(p, q) for p in range(taps) for q in range(taps))
    first = 0 if stride > size - 1 else size - 1 - -(-(size + stride - 2) // 2)
    height, width = x.shape[1] * stride, x.shape[2] * stride
    return _depth_to_space(jnp.asarray(spread), stride)[:, first : first + height, first : first + width]


def _same(length: int, size: int, stride: int) -> tuple[int, int]:
    """Output length and leading padding of a SAME convolution."""
    output = -(-length // stride)
    return output, max((output - 1) * stride + size - length, 0) // 2


def _by_taps(kernel: Kernel, stride: int) -> Float[Array, "taps stride taps stride inputs outputs"]:
    """The kernel in blocks of the stride, filled up with zeros."""
    taps = -(-kernel.shape[0] // stride)
    missing = taps * stride - kernel.shape[0]
    filled = jnp.pad(kernel, ((0, missing), (0, missing), (0, 0), (0, 0)))
    return filled.reshape(taps, stride, taps, stride, *kernel.shape[2:])


def _space_to_depth(x: Images, s: int) -> Images:
    b, h, w, c = x.shape
    return x.reshape(b, h // s, s, w // s, s, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, h // s, w // s, s * s * c)


def _depth_to_space(x: Images, s: int) -> Images:
    b, h, w, c = x.shape
    return x.reshape(b, h, w, s, s, c // s**2).transpose(0, 1, 3, 2, 4, 5).reshape(b, h * s, w * s, c // s**2)
