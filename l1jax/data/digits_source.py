"""scikit-learn's handwritten digits as a source."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float64
from PIL import Image

from l1jax import config
from l1jax.data.source import Pixels, Source, fingerprint, hash_arrays


def open_digits(data: config.DigitsData) -> Source:
    """Open the 1,797 digits of 8×8 pixels; another size is made by bicubic interpolation."""
    table = _read_table()
    pixels = np.rint(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
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
        labels=table[:, -1].astype(np.int32),
        content=lambda i: pixels[i].tobytes(),
    )


def _read_table() -> Float64[np.ndarray, "digits columns"]:
    """Return the 64 pixels of each digit, from 0 to 16, and behind them its class.

    To import scikit-learn takes longer than all else that opening the digits does, so its file is
    read without it where that file is.
    """
    package = find_spec("sklearn")
    folders = package.submodule_search_locations if package else None
    for folder in folders or []:
        path = Path(folder, "datasets", "data", "digits.csv.gz")
        if path.is_file():
            return np.loadtxt(path, delimiter=",")
    from sklearn.datasets import load_digits

    digits = cast(Any, load_digits())
    return np.column_stack([digits.data, digits.target])
