"""Images resized beside the packages whose protocols they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from cleanfid.resize import build_resizer
from fidelity import resized
from PIL import Image

from l1jax.evaluation.resizing import (
    resize_as_pillow,
    resize_as_pytorch,
    resize_as_tensorflow,
    resize_clean,
)

RNG = np.random.default_rng(0)
SIZES = pytest.mark.parametrize(
    ("height", "width"),
    [(28, 28), (32, 33), (64, 64), (75, 97), (299, 299), (300, 298), (512, 320)],
)


def pictures(height, width):
    """One of noise, one of black and white pixels alone, which overshoots most."""
    noise = RNG.integers(0, 256, (2, height, width, 3)).astype(np.uint8)
    noise[1] = np.where(noise[1] > 127, 255, 0)
    return noise


@SIZES
@pytest.mark.parametrize("size", [224, 299])
def test_pillows_resizing_has_pillows_bits(height, width, size):
    x = pictures(height, width)
    expected = [
        np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))
        for image in x
    ]
    found = jax.jit(resize_as_pillow, static_argnums=1)(jnp.asarray(x), size)
    np.testing.assert_array_equal(found, np.stack(expected))


@SIZES
def test_the_clean_resizing_is_clean_fids(height, width):
    x = pictures(height, width)
    expected = np.stack([build_resizer("clean")(image) for image in x])
    assert expected.max() == 255
    np.testing.assert_allclose(resize_clean(jnp.asarray(x), 299), expected, atol=2e-4)  # of 255


@SIZES
def test_pytorchs_resizing_is_pytorchs(height, width):
    x = pictures(height, width)
    channels_first = torch.tensor(x.transpose(0, 3, 1, 2)).float()
    y = torch.nn.functional.interpolate(channels_first, (299, 299), mode="bilinear")
    expected = y.numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(resize_as_pytorch(jnp.asarray(x), 299), expected, atol=1e-2)
    cleans = np.stack([build_resizer("legacy_pytorch")(image) for image in x])
    np.testing.assert_allclose(expected, cleans, atol=1e-4)


@SIZES
def test_tensorflows_resizing_is_torch_fidelitys(height, width):
    x = pictures(height, width)
    np.testing.assert_allclose(resize_as_tensorflow(jnp.asarray(x), 299), resized(x), atol=1e-3)


def test_tensorflows_resizing_has_no_half_pixel_centres():
    ramp = np.arange(8, dtype=np.uint8)[None, :, None, None].repeat(8, 2)
    expected = np.minimum(np.arange(299) * 8 / 299, 7)
    of_rows = resize_as_tensorflow(jnp.asarray(ramp), 299)[0, :, 0, 0]
    of_columns = resize_as_tensorflow(jnp.asarray(ramp.swapaxes(1, 2)), 299)[0, 5, :, 0]
    np.testing.assert_allclose(of_rows, expected, atol=1e-4)
    np.testing.assert_allclose(of_columns, expected, atol=1e-4)
