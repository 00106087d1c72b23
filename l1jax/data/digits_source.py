"""scikit-learn's handwritten digits as a source."""

from typing import Any, cast

import numpy as np
from PIL import Image

from l1jax import config
from l1jax.data.source import Pixels, Source, fingerprint, hash_arrays


def open_digits(data: config.DigitsData) -> Source:
    """Open the 1,797 digits of 8×8 pixels; another size is made by bicubic interpolation."""
    from sklearn.datasets import load_digits  # takes half a second, which other sources save

    digits = cast(Any, load_digits())
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    size = (data.image_size, data.image_size)

    def example(i: int) -> Pixels:
        image = Image.fromarray(pixels[i])
        if image.size != size:
            image = image.resize(size, Image.Resampling.BICUBIC)
        return np.array(image)[..., None]

    return Source(
        length=len(pixels),
        image_shape=(*size, 1),
        example=example,
        fingerprint=fingerprint("digits", hash_arrays(pixels), data.image_size),
        labels=digits.target.astype(np.int32),
        content=lambda i: pixels[i].tobytes(),
    )
