"""Convolutions in the form that each platform runs best, with SAME padding and square kernels.

On a GPU or TPU that is the library's. On a CPU XLA's gradients of convolutions are slow. There a
convolution of stride 1 with few channels is the library's, too, its image gradient another one, and
its kernel's gradient one matrix product; these compile ten times as fast as a bilinear algorithm.
Every other convolution is such an algorithm, whose products are matrix products over channels. The
platform is that which a program is lowered for, whichever machine traces it.

A convolution summed against weights of its outputs is trilinear in image, kernel and weights:
convolution, transposed convolution and the kernel's gradient are each other's derivatives, of any
order. So no derivative is ever taken through the choice of the form.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax.custom_batching import custom_vmap
from jaxtyping import Array

from l1jax.models import products
from l1jax.models.bilinear import WINOGRAD, Algorithm, Geometry, shifted
from l1jax.models.products import Images, Kernel

# Tiles of 2×2 are used from these numbers of channels on, with a stride and without; the sums
# around the products cost per channel.
MIN_CHANNELS = 32
MIN_CHANNELS_OF_STRIDE_1 = 128
NHWC = ("NHWC", "HWIO", "NHWC")
Form = Callable[[Geometry, Array, Array], Array]

_library_only: ContextVar[bool] = ContextVar("_library_only", default=False)


@contextmanager
def library_convolutions() -> Iterator[None]:
    """Trace each convolution as one of XLA's, for every platform, while the context lasts."""
    token = _library_only.set(True)
    try:
        yield
    finally:
        _library_only.reset(token)


def convolve(x: Images, kernel: Kernel, stride: int) -> Images:
    """Compute the SAME convolution y[n] = Σ_t kernel[t]·x[stride·n + t − low].

    Args:
        x: the images.
        kernel: the square kernel.
        stride: in both dimensions. `low` in the formula is half the padding, rounded down.
    """
    if _library_only.get():
        return jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), "SAME", dimension_numbers=NHWC
        )
    return _convolve(_geometry(x.shape[1], x.shape[2], kernel, stride), *_alike(x, kernel))


def convolve_transposed(x: Images, kernel: Kernel, stride: int) -> Images:
    """Compute the SAME transposed convolution, as `jax.lax.conv_transpose` does.

    Args:
        x: the images.
        kernel: the square kernel.
        stride: how much larger the output is, in both dimensions.
    """
    if _library_only.get():
        return jax.lax.conv_transpose(x, kernel, (stride, stride), "SAME")
    # The gradient, with respect to its image, of the convolution with the same kernel mirrored.
    mirrored = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    geometry = _geometry(x.shape[1] * stride, x.shape[2] * stride, mirrored, stride)
    return _spread(geometry, *_alike(x, mirrored))


def _geometry(height: int, width: int, kernel: Kernel, stride: int) -> Geometry:
    """Choose the algorithm."""
    size, _, inputs, outputs = kernel.shape
    taps = -(-size // stride)
    needed = MIN_CHANNELS if stride > 1 else MIN_CHANNELS_OF_STRIDE_1
    fast = min(stride**2 * inputs, outputs) >= needed
    return Geometry(height, width, size, stride, _algorithm(taps, fast))


def _algorithm(taps: int, fast: bool) -> Algorithm:
    return WINOGRAD[taps] if fast and taps in WINOGRAD else shifted(taps)


def _alike(x: Array, kernel: Array) -> tuple[Array, Array]:
    """Both of the same type and varying over the same mapped axes, as their derivatives need it."""
    x, kernel = promote_dtype(x, kernel)
    axes_x, axes_kernel = (jax.typeof(a).manual_axis_type.varying for a in (x, kernel))
    x = jax.lax.pcast(x, tuple(axes_kernel - axes_x), to="varying")
    return x, jax.lax.pcast(kernel, tuple(axes_x - axes_kernel), to="varying")


def _library_convolution(g: Geometry, x: Images, kernel: Kernel) -> Images:
    strides = (g.stride, g.stride)
    return jax.lax.conv_general_dilated(x, kernel, strides, "SAME", dimension_numbers=NHWC)


def _library_image_gradient(g: Geometry, y: Images, kernel: Kernel) -> Images:
    """Convolve the weights `y`, with zeros between them, with the mirrored kernel."""

    def padding(length: int) -> tuple[int, int]:
        outputs, _, low = g.along(length)
        return g.size - 1 - low, length - 1 - (outputs - 1) * g.stride + low

    return jax.lax.conv_general_dilated(
        y,
        jnp.flip(kernel, (0, 1)),
        (1, 1),
        [padding(g.height), padding(g.width)],
        lhs_dilation=(g.stride, g.stride),
        dimension_numbers=("NHWC", "HWOI", "NHWC"),
    )


def _library_kernel_gradient(g: Geometry, x: Images, y: Images) -> Kernel:
    """Images convolved with the weights `y`, zeros between them, summed over the batch."""

    def padding(length: int) -> tuple[int, int]:
        outputs, _, low = g.along(length)
        return low, g.size - low + (outputs - 1) * g.stride - length

    return jax.lax.conv_general_dilated(
        x,
        y,
        (1, 1),
        [padding(g.height), padding(g.width)],
        rhs_dilation=(g.stride, g.stride),
        dimension_numbers=("CHWN", "IHWO", "HWNC"),
    )


def _mirrored_convolution(g: Geometry, y: Images, kernel: Kernel) -> Images:
    """`_library_image_gradient` for a stride of 1.

    On CPUs it is as fast as a convolution, because the kernel has the axes of one.
    """
    mirrored = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    _, _, low = g.along(g.height)
    padding = (g.size - 1 - low, low)
    return jax.lax.conv_general_dilated(
        y, mirrored, (1, 1), [padding, padding], dimension_numbers=NHWC
    )


def _on_cpu(g: Geometry, channels: int, direct: Form, algorithm: Form) -> Callable[..., Array]:
    """Choose the form for CPUs: `direct` where the geometry is, else an algorithm.

    Under `vmap`, too, it is an algorithm: XLA's convolutions in groups are slow on CPUs.
    """
    if not g.is_direct:
        return partial(algorithm, g)
    mapped = partial(algorithm, g._replace(algorithm=_algorithm(g.taps, channels >= MIN_CHANNELS)))

    @custom_vmap
    def form(left: Array, right: Array) -> Array:
        return direct(g, left, right)

    @form.def_vmap
    def of_many(
        axis_size: int, is_mapped: list[bool], left: Array, right: Array
    ) -> tuple[Array, bool]:
        del axis_size
        axes = [0 if has_axis else None for has_axis in is_mapped]
        return jax.vmap(mapped, axes)(left, right), True

    return form


# `jit` traces the forms once for each geometry and shapes, and never again.
@partial(jax.jit, static_argnums=0)
def _convolution(g: Geometry, x: Images, kernel: Kernel) -> Images:
    own = _on_cpu(g, min(kernel.shape[2:]), _library_convolution, products.convolution)
    return jax.lax.platform_dependent(x, kernel, cpu=own, default=partial(_library_convolution, g))


@partial(jax.jit, static_argnums=0)
def _image_gradient(g: Geometry, y: Images, kernel: Kernel) -> Images:
    own = _on_cpu(g, min(kernel.shape[2:]), _mirrored_convolution, products.image_gradient)
    return jax.lax.platform_dependent(
        y, kernel, cpu=own, default=partial(_library_image_gradient, g)
    )


@partial(jax.jit, static_argnums=0)
def _kernel_gradient(g: Geometry, x: Images, y: Images) -> Kernel:
    channels = min(x.shape[-1], y.shape[-1])
    own = _on_cpu(g, channels, products.direct_kernel_gradient, products.kernel_gradient)
    return jax.lax.platform_dependent(x, y, cpu=own, default=partial(_library_kernel_gradient, g))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _convolve(geometry: Geometry, x: Images, kernel: Kernel) -> Images:
    return _convolution(geometry, x, kernel)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _spread(geometry: Geometry, y: Images, kernel: Kernel) -> Images:
    """Return the gradient of Σ y·_convolve(x, kernel) with respect to x."""
    return _image_gradient(geometry, y, kernel)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _correlate(geometry: Geometry, x: Images, y: Images) -> Kernel:
    """Return the gradient of Σ y·_convolve(x, kernel) with respect to the kernel."""
    return _kernel_gradient(geometry, x, y)


_convolve.defvjp(
    lambda geometry, x, kernel: (_convolve(geometry, x, kernel), (x, kernel)),
    lambda geometry, seen, y: (_spread(geometry, y, seen[1]), _correlate(geometry, seen[0], y)),
)
_spread.defvjp(
    lambda geometry, y, kernel: (_spread(geometry, y, kernel), (y, kernel)),
    lambda geometry, seen, x: (_convolve(geometry, x, seen[1]), _correlate(geometry, x, seen[0])),
)
_correlate.defvjp(
    lambda geometry, x, y: (_correlate(geometry, x, y), (x, y)),
    lambda geometry, seen, kernel: (
        _spread(geometry, seen[1], kernel),
        _convolve(geometry, seen[0], kernel),
    ),
)
