"""Inception-v3 as the Fréchet Inception distance uses it, from TensorFlow's graph of 2015-12-05.

It differs from the Inception-v3 of its paper: average pools leave the padding out of their means, the last block
pools the maximum, there are 1,008 classes, and images are resized as TensorFlow 1 did, without half-pixel centres.
Names are those of the public PyTorch file; each batch norm is folded into its convolution.

Source: Szegedy et al., CVPR 2016; Heusel et al., NeurIPS 2017; Parmar, Zhang, Zhu, CVPR 2022 (on resizing).
"""

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int, Shaped, UInt8

from l1jax.config import InputError
from l1jax.evaluation.features import Extracted, FeatureExtractor, in_colour
from l1jax.evaluation.tensors import hash_tensors, load_tensors

SIZE = 299  # pixels, height and width of what the network sees
CLASSES = 1008
EPSILON = 1e-3  # of the batch norms
WIDE = 256  # channels from which on a strided convolution is a sum of matrix products on CPUs
SOURCE = "source.sha256"  # the metadata's key of the file that weights were converted from

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
        """Convolve, take the mean of 3×3 pixels if asked, add the bias, and take the positive part.

        A mean in front of a 1×1 convolution is the same behind it, where there are fewer channels.
        """
        kernel = self.param(
            "kernel", nn.initializers.zeros, (*self.size, x.shape[-1], self.features)
        )
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        how = {"stride": self.stride, "padding": self.padding}
        on_cpu = partial(_convolve_on_cpu, **how)
        y = jax.lax.platform_dependent(x, kernel, cpu=on_cpu, default=partial(_convolve, **how))
        return jax.nn.relu((_mean(y) if self.mean else y) + bias)


class Inception(nn.Module):
    """Images of 299×299 pixels in [-1, 1) → the last pool's 2,048 means, and logits, with their bias if asked."""

    with_bias: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "batch 299 299 3"]) -> Extracted:
        """Run the network."""

        def layer(
            name: str, x: Images, features: int, height: int, width: int, **how: Any
        ) -> Images:
            how = {"stride": 1, "padding": "SAME", "mean": False} | how
            return Convolution(features, (height, width), name=name, **how)(x)

        x = layer("Conv2d_1a_3x3", x, 32, 3, 3, stride=2, padding="VALID")
        x = layer("Conv2d_2a_3x3", x, 32, 3, 3, padding="VALID")
        x = _largest(layer("Conv2d_2b_3x3", x, 64, 3, 3))
        x = layer("Conv2d_3b_1x1", x, 80, 1, 1)
        x = _largest(layer("Conv2d_4a_3x3", x, 192, 3, 3, padding="VALID"))
        for block, how in BLOCKS.items():
            x = how(
                lambda name, *args, block=block, **kwargs: layer(
                    f"{block}.{name}", *args, **kwargs
                ),
                x,
            )
        x = jnp.mean(x, axis=(1, 2))
        kernel = self.param("fc.kernel", nn.initializers.zeros, (x.shape[-1], CLASSES))
        bias = self.param("fc.bias", nn.initializers.zeros, (CLASSES,))
        return Extracted(x, x @ kernel + bias if self.with_bias else x @ kernel)


def _convolve(x: Images, kernel: Array, stride: int, padding: str) -> Images:
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=layout
    )


def _convolve_on_cpu(x: Images, kernel: Array, stride: int, padding: str) -> Images:
    """The same in the form that XLA's CPU backend computes fastest; without padding its own takes twice as long."""
    size, inputs = kernel.shape[0], kernel.shape[2]
    if kernel.shape[:2] == (1, 1):
        return x @ kernel[0, 0]
    if padding == "VALID" and stride == 1:
        low = size // 2
        return _convolve(x, kernel, 1, "SAME")[:, low : x.shape[1] - low, low : x.shape[2] - low]
    if padding == "VALID" and inputs >= WIDE:
        height, width = ((length - size) // stride * stride + 1 for length in x.shape[1:3])
        taps = [
            x[:, i : i + height : stride, j : j + width : stride] @ kernel[i, j]
            for i, j in np.ndindex(size, size)
        ]
        return jax.tree.reduce(jnp.add, taps)
    return _convolve(x, kernel, stride, padding)


def _a(layer: Layer, x: Images, pooled: int) -> Images:
    five = layer("branch5x5_2", layer("branch5x5_1", x, 48, 1, 1), 64, 5, 5)
    three = layer("branch3x3dbl_2", layer("branch3x3dbl_1", x, 64, 1, 1), 96, 3, 3)
    three = layer("branch3x3dbl_3", three, 96, 3, 3)
    return _joined(
        layer("branch1x1", x, 64, 1, 1),
        five,
        three,
        layer("branch_pool", x, pooled, 1, 1, mean=True),
    )


def _b(layer: Layer, x: Images) -> Images:
    once = layer("branch3x3", x, 384, 3, 3, stride=2, padding="VALID")
    twice = layer("branch3x3dbl_2", layer("branch3x3dbl_1", x, 64, 1, 1), 96, 3, 3)
    twice = layer("branch3x3dbl_3", twice, 96, 3, 3, stride=2, padding="VALID")
    return _joined(once, twice, _largest(x))


def _c(layer: Layer, x: Images, width: int) -> Images:
    once = layer("branch7x7_2", layer("branch7x7_1", x, width, 1, 1), width, 1, 7)
    once = layer("branch7x7_3", once, 192, 7, 1)
    twice = layer("branch7x7dbl_2", layer("branch7x7dbl_1", x, width, 1, 1), width, 7, 1)
    twice = layer("branch7x7dbl_4", layer("branch7x7dbl_3", twice, width, 1, 7), width, 7, 1)
    twice = layer("branch7x7dbl_5", twice, 192, 1, 7)
    return _joined(
        layer("branch1x1", x, 192, 1, 1), once, twice, layer("branch_pool", x, 192, 1, 1, mean=True)
    )


def _d(layer: Layer, x: Images) -> Images:
    three = layer(
        "branch3x3_2", layer("branch3x3_1", x, 192, 1, 1), 320, 3, 3, stride=2, padding="VALID"
    )
    seven = layer("branch7x7x3_2", layer("branch7x7x3_1", x, 192, 1, 1), 192, 1, 7)
    seven = layer("branch7x7x3_3", seven, 192, 7, 1)
    seven = layer("branch7x7x3_4", seven, 192, 3, 3, stride=2, padding="VALID")
    return _joined(three, seven, _largest(x))


def _e(layer: Layer, x: Images, mean: bool) -> Images:
    pooled = x if mean else nn.max_pool(x, (3, 3), padding="SAME")
    once = layer("branch3x3_1", x, 384, 1, 1)
    twice = layer("branch3x3dbl_2", layer("branch3x3dbl_1", x, 448, 1, 1), 384, 3, 3)
    return _joined(
        layer("branch1x1", x, 320, 1, 1),
        layer("branch3x3_2a", once, 384, 1, 3),
        layer("branch3x3_2b", once, 384, 3, 1),
        layer("branch3x3dbl_3a", twice, 384, 1, 3),
        layer("branch3x3dbl_3b", twice, 384, 3, 1),
        layer("branch_pool", pooled, 192, 1, 1, mean=mean),
    )


def _joined(*branches: Images) -> Images:
    return jnp.concatenate(branches, axis=-1)


def _largest(x: Images) -> Images:
    """The maximum of 3×3 pixels at every second, one dimension after the other."""
    for axis in (1, 2):
        reach = (x.shape[axis] - 3) // 2 * 2 + 1
        x = jax.tree.reduce(
            jnp.maximum, [jax.lax.slice_in_dim(x, i, i + reach, 2, axis) for i in range(3)]
        )
    return x


def _mean(x: Images) -> Images:
    """The mean of those of 3×3 pixels that are in the image."""
    return nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False)


BLOCKS: dict[str, Callable[[Layer, Images], Images]] = {
    "Mixed_5b": partial(_a, pooled=32),
    "Mixed_5c": partial(_a, pooled=64),
    "Mixed_5d": partial(_a, pooled=64),
    "Mixed_6a": _b,
    "Mixed_6b": partial(_c, width=128),
    "Mixed_6c": partial(_c, width=160),
    "Mixed_6d": partial(_c, width=160),
    "Mixed_6e": partial(_c, width=192),
    "Mixed_7a": _d,
    "Mixed_7b": partial(_e, mean=True),
    "Mixed_7c": partial(_e, mean=False),  # as that graph has it
}


def resize(
    images: UInt8[Array, "batch height width channels"],
) -> Float[Array, "batch 299 299 channels"]:
    """Interpolate bilinearly to 299×299, pixel i of the result lying at i·length/299, as TensorFlow 1 did.

    Downwards it does not average, so that images larger than 299 alias: that too is part of the distance's protocol.
    """
    x = images.astype(jnp.float32)
    for axis in (2, 1):
        low, weight = _positions(x.shape[axis])
        near, far = (jnp.take(x, np.minimum(low + i, x.shape[axis] - 1), axis=axis) for i in (0, 1))
        x = near + (far - near) * weight.reshape([-1 if i == axis else 1 for i in range(4)])
    return x


def _positions(length: int) -> tuple[Int[np.ndarray, " 299"], Float[np.ndarray, " 299"]]:
    """The pixel in front of each position, and how far behind it that lies; in float32, as the original."""
    at = np.arange(SIZE, dtype=np.float32) * np.float32(length / SIZE)
    return at.astype(np.int32), at - np.floor(at)


@cache
def _extractor(bias: bool) -> Callable[..., Extracted]:
    def extract(parameters: Any, images: UInt8[Array, "batch height width channels"]) -> Extracted:
        x = (resize(in_colour(images)) - 128) / 128
        return cast(Extracted, Inception(bias).apply({"params": parameters}, x))

    return extract


def inception_features(path: Path | str, bias: bool = False) -> FeatureExtractor:
    """See images as the Fréchet Inception distance does.

    Features are the 2,048 means of the last pool. Images of any size are resized as in TensorFlow 1, grey ones are
    taken as red, green and blue alike.

    Args:
        path: the weights, as `python -m l1jax.evaluation.convert` writes them.
        bias: whether the logits have their bias. The Inception score's were computed without.

    Raises:
        InputError: if the file cannot be read, is damaged, or does not hold this network's weights.

    Source: Heusel et al., NeurIPS 2017; Salimans et al., NeurIPS 2016, for the logits.
    """
    tensors, metadata = load_tensors(Path(path).expanduser())
    check_tensors(tensors, str(path))
    weights = metadata.get(SOURCE, "") or hash_tensors(tensors)
    protocol = (
        f"Inception-v3 of 2015-12-05, pool 3 (2,048), logits {'with' if bias else 'without'} bias, resized to 299×299 "
        f"bilinearly as TensorFlow 1, weights {weights[:8]}"
    )
    return FeatureExtractor(protocol, _extractor(bias), fold(tensors))


@cache
def tensor_shapes() -> dict[str, tuple[int, ...]]:
    """The names and shapes of the public PyTorch file's tensors, those that are needed."""
    shapes, found = (
        jax.eval_shape(Inception().init, jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 3)))[
            "params"
        ],
        {},
    )
    for name, layer in shapes.items():
        if isinstance(layer, Mapping):
            height, width, inputs, outputs = layer["kernel"].shape
            found[f"{name}.conv.weight"] = (outputs, inputs, height, width)
            found |= {
                f"{name}.bn.{part}": (outputs,)
                for part in ("weight", "bias", "running_mean", "running_var")
            }
    return found | {"fc.weight": (CLASSES, shapes["fc.kernel"].shape[0]), "fc.bias": (CLASSES,)}


def check_tensors(tensors: Mapping[str, Shaped[np.ndarray, "..."]], name: str) -> None:
    """Refuse what are not this network's weights.

    Raises:
        InputError: naming the first tensor that is missing, unknown, of another shape or type, or not finite.
    """
    shapes = tensor_shapes()
    for kind, keys in (
        ("lacks", shapes.keys() - tensors.keys()),
        ("must not hold", tensors.keys() - shapes.keys()),
    ):
        if keys:
            raise InputError(
                f"{name!r} {kind} {len(keys)} of the tensors of Inception-v3, `{min(keys)}` for one: give the public "
                "weights of the Fréchet Inception distance."
            )
    for key, shape in shapes.items():
        value = tensors[key]
        if value.shape != shape or value.dtype != np.float32:
            raise InputError(
                f"`{key}` of {name!r} (={value.dtype}{list(value.shape)}) must be float32{list(shape)}."
            )
        if not np.all(np.isfinite(value)):
            raise InputError(
                f"`{key}` of {name!r} must be finite; the file is damaged: replace it."
            )


def fold(tensors: Mapping[str, Float[np.ndarray, "..."]]) -> Any:
    """Make the network's parameters, each batch norm folded into its convolution.

    y = (w∗x − μ)·γ/√(σ² + ε) + β is a convolution with w·s and the bias β − μ·s, s = γ/√(σ² + ε).
    """
    parameters: dict[str, Any] = {
        "fc.kernel": tensors["fc.weight"].T,
        "fc.bias": tensors["fc.bias"],
    }
    for key in (key for key in tensors if key.endswith(".conv.weight")):
        name = key.removesuffix(".conv.weight")
        scale, shift, mean, variance = (
            tensors[f"{name}.bn.{part}"].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = scale / np.sqrt(variance + EPSILON)
        kernel = (tensors[key] * scale[:, None, None, None]).transpose(2, 3, 1, 0)
        folded = {"kernel": kernel, "bias": shift - mean * scale}
        parameters[name] = {
            part: np.ascontiguousarray(value, np.float32) for part, value in folded.items()
        }
    return parameters
