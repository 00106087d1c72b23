"""Features of Inception-v3, as the Fréchet Inception distance takes them.

Images are resized as TensorFlow 1 did it: bilinearly and without half-pixel centres.

Source: Heusel et al., NeurIPS 2017; Parmar, Zhang, Zhu, CVPR 2022, section 3 (on resizing).
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import cast

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree, UInt8

from l1jax.evaluation.features import Extracted, FeatureExtractor, in_colour
from l1jax.evaluation.inception_network import SIZE, Inception
from l1jax.evaluation.inception_weights import SOURCE, check_tensors, fold_batch_norms
from l1jax.evaluation.tensors import hash_tensors, load_tensors


def resize(
    images: UInt8[Array, "batch height width channels"],
) -> Float[Array, "batch 299 299 channels"]:
    """Resize images bilinearly to 299×299 pixels, as TensorFlow 1 did.

    Pixel i of the result lies at i·length/299. Larger images are not averaged, so they alias. That
    too is part of the FID's protocol.
    """
    x = images.astype(jnp.float32)
    for axis in (2, 1):
        length = x.shape[axis]
        low, weight = _sample_positions(length)
        near = jnp.take(x, low, axis=axis)
        far = jnp.take(x, np.minimum(low + 1, length - 1), axis=axis)
        weight_shape = [1, 1, 1, 1]
        weight_shape[axis] = SIZE
        x = near + (far - near) * weight.reshape(weight_shape)
    return x


def _sample_positions(length: int) -> tuple[Int[np.ndarray, " 299"], Float[np.ndarray, " 299"]]:
    """Return the pixel before each position, and the distance to it in pixels.

    Computed in float32, as the original does.
    """
    position = np.arange(SIZE, dtype=np.float32) * np.float32(length / SIZE)
    return position.astype(np.int32), position - np.floor(position)


@cache
def _extractor(bias: bool) -> Callable[..., Extracted]:
    def extract(
        parameters: PyTree, images: UInt8[Array, "batch height width channels"]
    ) -> Extracted:
        x = (resize(in_colour(images)) - 128) / 128
        return cast(Extracted, Inception(bias).apply({"params": parameters}, x))

    return extract


def inception_features(path: Path | str, bias: bool = False) -> FeatureExtractor:
    """Make the feature extractor of the Fréchet Inception distance.

    The features are the 2,048 means of the last pool. Images of any size are resized as in
    TensorFlow 1, and the channel of grey images is repeated three times.

    Args:
        path: the weights, as `python -m l1jax.convert` writes them.
        bias: whether the logits have their bias. Published Inception scores are computed without.

    Raises:
        InputError: if the file cannot be read, is damaged, or does not hold this network's weights.

    Source: Heusel et al., NeurIPS 2017; Salimans et al., NeurIPS 2016, for the logits.
    """
    tensors, metadata = load_tensors(Path(path).expanduser())
    check_tensors(tensors, str(path))
    weights = metadata.get(SOURCE, "") or hash_tensors(tensors)
    with_or_without = "with" if bias else "without"
    protocol = (
        f"Inception-v3 of 2015-12-05, pool 3 (2,048), logits {with_or_without} bias, resized to "
        f"299×299 bilinearly as TensorFlow 1, weights {weights[:8]}"
    )
    return FeatureExtractor(protocol, _extractor(bias), fold_batch_norms(tensors))
