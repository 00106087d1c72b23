"""Dense and convolutional layers with spectral normalisation, groups and a compute precision."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from l1jax.models.layers import convolve, convolve_transposed
from l1jax.models.regularisation import SpectralNorm

Precision = Literal["float32", "bfloat16"]


def compute_dtype(dtype: Precision) -> Any:
    """Return the dtype that layers compute in: bfloat16, or None for that of their parameters.

    Parameters, batch statistics, norms' means and variances, singular values, images and logits
    stay float32 either way.

    Raises:
        ValueError: if the precision is neither "float32" nor "bfloat16".
    """
    if dtype == "bfloat16":
        return jnp.bfloat16
    if dtype == "float32":
        return None
    raise ValueError(f'`dtype` (={dtype!r}) must be "float32" or "bfloat16".')


def at_least_float32(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Convert to float32, unless the precision is higher already; losses and images need it."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


class Dense(nn.Module):
    """`flax.linen.Dense` with optional spectral normalisation."""

    features: int
    use_bias: bool = True
    kernel_init: Callable[..., Any] = nn.initializers.lecun_normal()
    spectral_norm: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        """Multiply by the kernel and add the bias."""
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        if self.spectral_norm:
            kernel = SpectralNorm(name="spectral")(kernel)
        bias = None
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        # One row for each example and position: as a product of matrices the kernel's gradient
        # takes a third of the time on CPUs.
        rows = x.reshape(-1, x.shape[-1])
        y = (rows @ kernel).reshape(*x.shape[:-1], self.features)
        if bias is None:
            return y
        return y + bias


class Conv(nn.Module):
    """`flax.linen.Conv` or `ConvTranspose` with a square kernel and SAME padding.

    Parameters and outputs are those of Flax, except for spectral normalisation and resampling.
    Resampling needs a stride of 1 and no groups. It is computed as one convolution of stride 2
    whose kernel is larger by one, which takes 2.25 times fewer multiplications for 3×3 kernels.

    resampling: "double" repeats each pixel of the image 2×2 times before the convolution, "halve"
        takes means of 2×2 pixels after it.
    groups: Flax's `feature_group_count`; each group of outputs reads its own group of inputs.
    dtype: dtype of the computation; None for that of the parameters.
    """

    features: int
    kernel_size: int
    stride: int = 1
    use_bias: bool = True
    kernel_init: Callable[..., Any] = nn.initializers.lecun_normal()
    transposed: bool = False
    resampling: Literal["none", "double", "halve"] = "none"
    groups: int = 1
    spectral_norm: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch _h _w _c"]
    ) -> Float[Array, "batch _height _width _features"]:
        """Convolve; a transposed convolution first enlarges the image by the stride with zeros."""
        groups = self.groups
        inputs = x.shape[-1]
        shape = (self.kernel_size, self.kernel_size, inputs // groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        if self.spectral_norm:
            kernel = SpectralNorm(name="spectral")(kernel)
        bias = None
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
        stride = self.stride
        if self.resampling != "none":
            stride = 2
            pixels = 4 if self.resampling == "halve" else 1  # that an output is the mean of
            kernel = _sum_over_squares(kernel) / pixels
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        convolution = partial(convolve, stride=stride)
        if self.transposed or self.resampling == "double":
            convolution = partial(convolve_transposed, stride=stride)
        if groups == 1:
            y = convolution(x, kernel)
        else:
            x = x.reshape(*x.shape[:3], groups, inputs // groups)
            kernel = kernel.reshape(*kernel.shape[:3], groups, self.features // groups)
            y = jax.vmap(convolution, in_axes=3, out_axes=3)(x, kernel)
            y = y.reshape(*y.shape[:3], self.features)
        if bias is None:
            return y
        return y + bias


ConvTranspose = partial(Conv, transposed=True)


def checkpointed(
    module: nn.Module, function: Callable[[Array], Array], x: Array, enabled: bool
) -> Array:
    """Compute function(x) and, if enabled, compute it again in the backward pass to save memory.

    Args:
        module: the module in whose compact method this is called; it owns the layers that
            `function` makes.
        function: what to compute.
        x: its input.
        enabled: whether intermediate results are dropped and computed again in the backward pass.
    """
    if not enabled:
        return function(x)
    return nn.remat(lambda _, x: function(x))(module, x)


def _sum_over_squares(
    kernel: Float[Array, "size size inputs outputs"],
) -> Float[Array, "larger larger inputs outputs"]:
    """Sum a kernel over its four positions in a square of 2×2 pixels."""
    pads = [((p, 1 - p), (q, 1 - q), (0, 0), (0, 0)) for p in range(2) for q in range(2)]
    return jnp.sum(jnp.stack([jnp.pad(kernel, pad) for pad in pads]), axis=0)
