"""Real images by index: digits, IDX files, arrays, a folder or an archive, a TFDS set, points.

A source makes one example at a time and keeps none that it decoded; batches, order and randomness are
made from it elsewhere. Opening lists the examples; pixels are decoded, and damaged images found, when
they are asked for.
"""

from functools import partial
from typing import Any, cast

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from l1jax import config
from l1jax.data.arrays import open_arrays
from l1jax.data.files import open_images
from l1jax.data.idx import open_idx, open_stacked
from l1jax.data.mixtures import MIXTURES, draw
from l1jax.data.source import Source, digest, fingerprint
from l1jax.data.tfds import open_tfds

__all__ = ["Source", "open_source"]


def open_source(data: config.Data) -> Source:
    """Open the real images that a configuration names.

    The same images give the same order and the same fingerprint wherever they lie: a folder, its tar
    and its zip are one data set.

    Raises:
        InputError: if they cannot be opened; `Source.example` raises it for an image that cannot be used.
    """
    return _open(data)._replace(reopen=partial(open_source, data))


def _open(data: config.Data) -> Source:
    match data:
        case config.DigitsData():
            return _open_digits(data)
        case config.ImageData():
            return open_images(data)
        case config.ArrayData():
            return open_arrays(data)
        case config.IdxData():
            return open_idx(data)
        case config.StackedData():
            return open_stacked(data)
        case config.MixtureData():
            return _open_mixture(data)
        case config.TfdsData():
            return open_tfds(data)


def _open_digits(data: config.DigitsData) -> Source:
    from sklearn.datasets import load_digits  # half a second that the other sources do not need

    digits = cast(Any, load_digits())
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    size = (data.image_size, data.image_size)

    def example(i: int) -> UInt8[np.ndarray, "height width channels"]:
        image = Image.fromarray(pixels[i])
        if image.size != size:
            image = image.resize(size, Image.Resampling.BICUBIC)
        return np.array(image)[..., None]

    identity = fingerprint("digits", digest(pixels), data.image_size)
    labels = digits.target.astype(np.int32)
    return Source(
        len(pixels), (*size, 1), example, identity, labels, content=lambda i: pixels[i].tobytes()
    )


def _open_mixture(data: config.MixtureData) -> Source:
    """A point is an image of one pixel with two channels, its coordinates."""
    points, modes = draw(MIXTURES[data.shape](), data.count, data.draw_seed)
    points = points.reshape(-1, 1, 1, 2)
    identity = fingerprint("mixture", data.shape, data.count, data.draw_seed)
    return Source(
        data.count,
        (1, 1, 2),
        points.__getitem__,
        identity,
        modes,
        np.float32,
        gather=points.__getitem__,
    )
