"""Photos of telephones, which the extra `heif` reads."""

import numpy as np
import pillow_heif
from image_files import input_error, open_images
from PIL import Image

from l1jax.data import formats


def test_a_heic_photo_is_an_image_like_others(tmp_path):
    pillow_heif.register_heif_opener()
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    pixels = np.broadcast_to(ramp[:, None, None], (64, 64, 3))
    Image.fromarray(pixels.copy()).save(tmp_path / "IMG_1.HEIC", quality=95)
    Image.fromarray(pixels.copy()).save(tmp_path / "IMG_2.png")
    source = open_images(tmp_path, image_size=64)
    assert source.length == 2
    assert abs(source.example(0).astype(int) - source.example(1)).max() <= 4


def test_without_the_extra_the_message_names_it(tmp_path, monkeypatch):
    suffixes = {name: kind for name, kind in formats.image_suffixes().items() if kind != "HEIF"}
    monkeypatch.setattr(formats, "image_suffixes", lambda: suffixes)
    (tmp_path / "IMG_1.HEIC").write_bytes(b"x")
    input_error(lambda: open_images(tmp_path), "IMG_1.HEIC", "pip install 'l1jax[heif]'")
