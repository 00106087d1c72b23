"""Convolutions on the device against sums in NumPy and float64."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from convolutions import Layer
from gpu_record import LIMITS, within
from gpu_steps import COMPILERS, compile_for

from l1jax.models.layers import convolve, convolve_transposed

LAYERS = [
    Layer(8, 64, 33, kernel=1, stride=1),
    Layer(9, 48, 64, kernel=3, stride=1),
    Layer(64, 3, 64, kernel=4, stride=2),
    Layer(16, 64, 96, kernel=4, stride=2),
    Layer(14, 32, 48, kernel=5, stride=2),
    Layer(7, 33, 16, kernel=5, stride=2),
    Layer(16, 16, 32, kernel=3, stride=2),
    Layer(16, 8, 8, kernel=3, stride=4),
]


def convolutions(smoke: bool) -> dict[str, Any]:
    """Measure the largest error of outputs, gradients and second derivatives.

    Errors are relative to the largest entry.
    """
    layers = [Layer(8, 3, 4, kernel=4, stride=2)] if smoke else LAYERS
    jobs = [
        (layer, transposed, dtype, precision)
        for layer in layers
        for transposed in (False, True)
        for dtype, precision in (
            ("float32", "highest"),
            ("float32", "default"),
            ("bfloat16", "default"),
        )
    ]
    with ThreadPoolExecutor(COMPILERS) as pool:
        errors = list(pool.map(lambda job: convolution_error(*job), jobs))
    found: dict[str, Any] = {}
    for (layer, transposed, dtype, precision), error in zip(jobs, errors, strict=True):
        kind = "transposed " if transposed else ""
        name = f"{kind}{layer.name()}"
        exact = precision == "highest" or dtype == "bfloat16"
        label = dtype if exact else f"{dtype}, precision default"
        # TensorFloat-32 has bfloat16's digits in its products: its error is shown, within
        # bfloat16's limit.
        limit = LIMITS[dtype] if exact else LIMITS["bfloat16"]
        found.setdefault(label, {})[name] = within(error, limit)
    return found


def convolution_error(layer: Layer, transposed: bool, dtype: str, precision: str) -> float:
    """Compare the device's results with those of `exact_convolution`."""
    rng = np.random.default_rng(0)
    side = -(-layer.size // layer.stride)
    small = (4, side, side)
    large = (
        (4, side * layer.stride, side * layer.stride) if transposed else (4, layer.size, layer.size)
    )
    inputs, outputs = (small, large) if transposed else (large, small)
    shapes = (
        (*inputs, layer.inputs),
        (layer.kernel, layer.kernel, layer.inputs, layer.outputs),
        (*outputs, layer.outputs),
    )
    arrays = [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]
    with jax.default_matmul_precision(precision):
        results = compile_for(
            jax.devices()[0], partial(convolution_results, transposed, layer.stride)
        )
        found = results(*arrays)
    wide = [np.asarray(array.astype(jnp.float32), np.float64) for array in arrays]
    expected = exact_convolution(transposed, layer.stride, *wide)
    pairs = zip(map(np.asarray, found), expected, strict=True)
    return max(float(np.abs(a.astype(np.float64) - b).max() / np.abs(b).max()) for a, b in pairs)


def convolution_results(
    transposed: bool, stride: int, x: jax.Array, kernel: jax.Array, weights: jax.Array
) -> tuple[jax.Array, ...]:
    """Return y, the gradients of Σ weights·y, and R1's gradients.

    The last are those of half the squared gradient with respect to x.
    """
    function = partial(convolve_transposed if transposed else convolve, stride=stride)

    def half_squared_gradient(kernel: jax.Array, weights: jax.Array) -> jax.Array:
        gradient = jax.vjp(lambda x: function(x, kernel), x)[1](weights)[0]
        return jnp.sum(jnp.square(gradient.astype(jnp.float32))) / 2

    y, pullback = jax.vjp(function, x, kernel)
    return y, *pullback(weights), *jax.grad(half_squared_gradient, (0, 1))(kernel, weights)


def exact_convolution(
    transposed: bool, stride: int, x: np.ndarray, kernel: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Compute the same as `convolution_results` does, in NumPy.

    The convolution C(x, k) is linear in both arguments, so it and its adjoints are all that is
    needed.
    """
    size = len(kernel)
    if not transposed:
        gradient = to_image(weights, kernel, stride, x.shape[1])
        return (
            to_outputs(x, kernel, stride),
            gradient,
            to_kernel(x, weights, size, stride),
            to_kernel(gradient, weights, size, stride),
            to_outputs(gradient, kernel, stride),
        )
    # A transposed convolution is the adjoint, with respect to its image, of a convolution with the
    # mirrored kernel.
    mirrored = mirror(kernel)
    gradient = to_outputs(weights, mirrored, stride)
    return (
        to_image(x, mirrored, stride, weights.shape[1]),
        gradient,
        mirror(to_kernel(weights, x, size, stride)),
        mirror(to_kernel(weights, gradient, size, stride)),
        to_image(gradient, mirrored, stride, weights.shape[1]),
    )


def mirror(kernel: np.ndarray) -> np.ndarray:
    """Flipped in both directions, inputs and outputs exchanged."""
    return kernel[::-1, ::-1].swapaxes(2, 3)


def taps(
    side: int, size: int, stride: int
) -> tuple[tuple[int, int], Iterator[tuple[int, int, tuple[slice, ...]]]]:
    """Return the SAME padding of a side, and the pixels that each tap meets.

    The pixels are those of the padded image.
    """
    outputs = -(-side // stride)
    padding = max((outputs - 1) * stride + size - side, 0)
    reach = (outputs - 1) * stride + 1

    def each() -> Iterator[tuple[int, int, tuple[slice, ...]]]:
        for i, j in np.ndindex(size, size):
            yield i, j, (slice(None), slice(i, i + reach, stride), slice(j, j + reach, stride))

    return (padding // 2, padding - padding // 2), each()


def padded(x: np.ndarray, pads: tuple[int, int]) -> np.ndarray:
    return np.pad(x, ((0, 0), pads, pads, (0, 0)))


def to_outputs(x: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """C(x, kernel)."""
    pads, each = taps(x.shape[1], len(kernel), stride)
    wide = padded(x, pads)
    return sum(wide[pixels] @ kernel[i, j] for i, j, pixels in each)


def to_image(y: np.ndarray, kernel: np.ndarray, stride: int, side: int) -> np.ndarray:
    """The adjoint of C with respect to its image."""
    pads, each = taps(side, len(kernel), stride)
    wide = padded(np.zeros((len(y), side, side, kernel.shape[2])), pads)
    for i, j, pixels in each:
        wide[pixels] += y @ kernel[i, j].T
    return wide[:, pads[0] : pads[0] + side, pads[0] : pads[0] + side]


def to_kernel(x: np.ndarray, y: np.ndarray, size: int, stride: int) -> np.ndarray:
    """The adjoint of C with respect to its kernel."""
    pads, each = taps(x.shape[1], size, stride)
    wide = padded(x, pads)
    kernel = np.zeros((size, size, x.shape[-1], y.shape[-1]))
    for i, j, pixels in each:
        kernel[i, j] = np.einsum("bhwc,bhwd->cd", wide[pixels], y, optimize=True)
    return kernel
