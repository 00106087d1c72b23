"""Dense and convolutional layers with spectral normalisation, groups, and compute in another precision."""

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
    """What layers compute in: bfloat16, or None, the precision of their parameters.

    Parameters, batch statistics, norms' means and variances, singular values, images and logits stay
    float32 either way.
    """
    if dtype not in ("float32", "bfloat16"):
        raise ValueError(f'`dtype` (={dtype!r}) must be "float32" or "bfloat16".')
    return jnp.bfloat16 if dtype == "bfloat16" else None


def at_least_float32(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """What losses and images are computed from: float32, or more if it is more already."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


class Dense(nn.Module):
    """`flax.linen.Dense`, spectrally normalised if asked."""

    features: int
    use_bias: bool = True
    kernel_init: Callable[..., Any] = nn.initializers.lecun_normal()
    spectral_norm: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "batch inputs"]) -> Float[Array, "batch outputs"]:
        """Multiply by the kernel and add the bias."""
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        if self.spectral_norm:
            kernel = SpectralNorm(name="spectral")(kernel)
        bias = (
            self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else None
        )
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = x @ kernel
        return y if bias is None else y + bias


class Conv(nn.Module):
    """`flax.linen.Conv`, or `ConvTranspose`, with a square kernel and SAME padding.

    The parameters and outputs are Flax's, but for spectral normalisation and resampling: "double" repeats
    each pixel of the image 2×2 times in front of the convolution, "halve" takes means of 2×2 pixels behind
    it; with a stride of 1 and no groups. Either is computed as one convolution of stride 2, whose kernel
    is larger by one: for 3×3 kernels that takes 2.25 times fewer multiplications.

    groups: Flax's `feature_group_count`; each group of outputs reads its own group of inputs.
    dtype: to compute in; None for that of the parameters.
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
        """Convolve; transposed, the image enlarged by the stride with zeros."""
        size, groups, inputs = self.kernel_size, self.groups, x.shape[-1]
        kernel = self.param(
            "kernel", self.kernel_init, (size, size, inputs // groups, self.features)
        )
        if self.spectral_norm:
            kernel = SpectralNorm(name="spectral")(kernel)
        bias = (
            self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else None
        )
        if self.resampling != "none":
            kernel = _over_squares(kernel) / (4 if self.resampling == "halve" else 1)
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        stride = self.stride if self.resampling == "none" else 2
        enlarging = self.transposed or self.resampling == "double"
        convolution = partial(convolve_transposed if enlarging else convolve, stride=stride)
        if groups == 1:
            y = convolution(x, kernel)
        else:
            x = x.reshape(*x.shape[:3], groups, inputs // groups)
            kernel = kernel.reshape(*kernel.shape[:3], groups, self.features // groups)
            y = jax.vmap(convolution, in_axes=3, out_axes=3)(x, kernel)
            y = y.reshape(*y.shape[:3], self.features)
        return y if bias is None else y + bias


ConvTranspose = partial(Conv, transposed=True)


def checkpointed(
    module: nn.Module, function: Callable[[Array], Array], x: Array, enabled: bool
) -> Array:
    """function(x); if enabled, what it computes inside is not kept for the backward pass but computed again.

    The layers that `function` makes belong to `module`, in whose compact method it is called.
    """
    return nn.remat(lambda _, x: function(x))(module, x) if enabled else function(x)


def _over_squares(
    kernel: Float[Array, "size size inputs outputs"],
) -> Float[Array, "larger larger inputs outputs"]:
    """The kernel summed over its four positions in a square of 2×2 pixels."""
    pads = [((p, 1 - p), (q, 1 - q), (0, 0), (0, 0)) for p in range(2) for q in range(2)]
    return jnp.sum(jnp.stack([jnp.pad(kernel, pad) for pad in pads]), axis=0)
