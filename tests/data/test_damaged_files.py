"""Damaged and hostile files.

None may lead to a traceback, hang, take a gibibyte of memory or write outside the cache.
"""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from damaged_files import MODES, corrupt, png
from image_files import encode
from PIL import Image

from l1jax.data.decoding import MAX_PIXELS, decode
from l1jax.data.jpeg import decode_plain
from l1jax.data.preprocessing import preprocess

PROGRAM = Path(__file__).with_name("damaged_files.py")


def listing(folder):
    return {path for path in folder.rglob("*") if not path.is_dir()}


@pytest.mark.slow
def test_300_damaged_files_are_read_or_raise_an_error_of_one_sentence(tmp_path):
    work = tmp_path / "work"
    cache = tmp_path / "cache"
    work.mkdir()
    environment = os.environ | {
        "L1JAX_CACHE_DIR": str(cache),
        "TMPDIR": str(tmp_path / "tmp"),
        "HOME": str(tmp_path),
    }
    (tmp_path / "tmp").mkdir()
    command = [sys.executable, PROGRAM, tmp_path / "cases", "300"]
    ended = subprocess.run(
        command, cwd=work, env=environment, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, ended.stderr
    errors, read_in_part, read, peak, longest = map(float, ended.stdout.split())
    assert errors + read_in_part + read == 300
    assert errors > 100
    assert read_in_part > 10
    assert read > 10
    assert peak < 1024  # MiB, the interpreter and JAX included
    assert longest < 30  # seconds
    outside = listing(tmp_path) - listing(cache) - listing(tmp_path / "cases")
    assert not outside
    written = {
        path.relative_to(tmp_path / "cases").parts[1] for path in listing(tmp_path / "cases")
    }
    # What the archives would have put next to themselves.
    assert not any("up" in name or "root" in name for name in written)
    assert not Path("/etc/root.png").exists()


@pytest.mark.parametrize("mode", MODES["JPEG"])
@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"quality": 100, "subsampling": 0}, {"exif": b"Exif\0\0"}],
)
def test_plain_jpegs_are_decoded_to_pillows_pixels(mode, options):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (37, 53, 3), np.uint8)).convert(mode)
    content = encode(image, "JPEG", **options)
    plain = decode_plain(content, MAX_PIXELS)
    assert (plain is None) == (mode == "CMYK" or "exif" in options)
    if plain is not None:
        np.testing.assert_array_equal(
            np.asarray(plain), np.asarray(Image.open(io.BytesIO(content)))
        )
    assert decode_plain(content, 37 * 53 - 1) is None


def test_a_damaged_jpeg_is_decoded_to_pillows_pixels_or_not_at_all():
    rng = np.random.default_rng(0)
    decoded = 0
    smooth = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8)).resize((40, 40))
    for _ in range(1500):
        content = corrupt(encode(smooth.convert(rng.choice(["L", "RGB"])), "JPEG"), rng)
        plain = decode_plain(content, MAX_PIXELS)
        if plain is not None:
            decoded += 1
            with Image.open(io.BytesIO(content)) as image:
                np.testing.assert_array_equal(np.asarray(plain), np.asarray(image))
    assert decoded > 200


def test_a_large_image_is_converted_in_bands():
    pixels = np.random.default_rng(0).integers(0, 256, (1500, 1400, 4), np.uint8)
    image = Image.fromarray(pixels)
    square = image.crop((0, 50, 1400, 1450))
    expected = Image.alpha_composite(Image.new("RGBA", square.size, "white"), square).convert("RGB")
    np.testing.assert_array_equal(preprocess(image, 1400, 3), np.asarray(expected))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    "size", [(8193, 8193), (2**15, 2**15), (2**31 - 1, 2**31 - 1), (1, 2**16 + 1), (2**17, 1)]
)
def test_a_claim_of_too_many_pixels_raises_before_it_costs_anything(size):
    with pytest.raises((ValueError, Image.DecompressionBombError), match=r"pixels|limit"):
        decode(png(*size, 8, 2, b""))
