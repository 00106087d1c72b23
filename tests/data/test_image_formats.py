"""How images of all formats become pixels."""

import numpy as np
import pytest
from image_files import (
    COLOUR,
    FILES,
    GREY,
    RNG,
    encode,
    input_error,
    open_images,
    open_single,
    pack,
)
from PIL import Image

from l1jax.data.decoding import decode


@pytest.mark.parametrize("suffix", ["png", "JPG", "jpeg", "bmp", "webp", "gif", "tif", "TIFF"])
def test_every_suffix_is_read(tmp_path, suffix):
    kind = {"jpg": "JPEG", "tif": "TIFF"}.get(suffix.lower(), suffix.upper())
    image = open_single(tmp_path, encode(np.full((4, 4, 3), 255, np.uint8), kind), f"x.{suffix}")
    np.testing.assert_array_equal(image, np.full((4, 4, 3), 255))


def test_the_centre_is_cropped_and_resized_by_lanczos(tmp_path):
    pixels = RNG.integers(0, 256, (11, 16, 3), dtype=np.uint8)
    content = encode(pixels)
    largest = Image.fromarray(pixels[:, 2:13]).resize((4, 4), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(open_single(tmp_path, content), np.asarray(largest))
    part = Image.fromarray(pixels[2:8, 5:11]).resize((4, 4), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(open_single(tmp_path, content, crop=6), np.asarray(part))
    np.testing.assert_array_equal(open_single(tmp_path, content, crop=4), pixels[3:7, 6:10])
    np.testing.assert_array_equal(
        open_single(tmp_path, content, image_size=11, crop=11), pixels[:, 2:13]
    )


def test_exif_orientation_is_applied_before_the_crop(tmp_path):
    pixels = np.full((8, 4), 10, np.uint8)
    pixels[:, 2:] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90° clockwise
    content = encode(pixels, "JPEG", exif=exif, quality=100, subsampling=0)
    image = open_single(tmp_path, content, "x.jpg", channels=1)[..., 0]
    np.testing.assert_allclose(image, np.rot90(pixels, -1)[:, 2:6], atol=2)


def test_grey_and_colour(tmp_path):
    luma = COLOUR @ np.array([299, 587, 114]) / 1000
    np.testing.assert_allclose(
        open_single(tmp_path, encode(COLOUR), channels=1)[..., 0], luma, atol=0.51
    )
    np.testing.assert_array_equal(open_single(tmp_path, encode(GREY), channels=1)[..., 0], GREY)
    np.testing.assert_array_equal(
        open_single(tmp_path, encode(GREY)), np.repeat(GREY[..., None], 3, -1)
    )
    bits = Image.fromarray(GREY > 127)
    np.testing.assert_array_equal(
        open_single(tmp_path, encode(bits), channels=1)[..., 0], np.where(GREY > 127, 255, 0)
    )


def test_palettes_and_cmyk(tmp_path):
    palette = Image.fromarray(GREY % 3, "L").convert("P")
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    np.testing.assert_array_equal(open_single(tmp_path, encode(palette)), np.eye(3)[GREY % 3] * 255)
    cyan = [Image.new("L", (4, 4), value) for value in (255, 0, 0, 0)]  # absorbs red
    ink = Image.merge("CMYK", cyan)
    expected = np.broadcast_to([0, 255, 255], (4, 4, 3))
    np.testing.assert_array_equal(open_single(tmp_path, encode(ink, "TIFF")), expected)
    assert open_single(tmp_path, encode(ink, "TIFF"), channels=1).shape == (4, 4, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_alpha_is_composited_over_white(tmp_path, channels):
    alpha = RNG.integers(0, 256, (4, 4, 1), dtype=np.uint8)
    if channels == 1:
        pixels = GREY[..., None]
        image = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(alpha[..., 0])])
    else:
        pixels = COLOUR
        image = Image.fromarray(np.concatenate([COLOUR, alpha], -1))
    content = encode(image)
    expected = pixels * (alpha / 255) + 255 * (1 - alpha / 255)
    np.testing.assert_allclose(open_single(tmp_path, content, channels=channels), expected, atol=1)


def test_transparent_palette_entries_become_white(tmp_path):
    palette = Image.fromarray(GREY % 2, "L").convert("P")
    palette.putpalette([255, 0, 0, 0, 255, 0])
    expected = np.where((GREY % 2)[..., None] == 0, 255, [0, 255, 0])
    np.testing.assert_array_equal(open_single(tmp_path, encode(palette, transparency=0)), expected)
    translucent = encode(palette, transparency=bytes([0, 255]))
    np.testing.assert_array_equal(open_single(tmp_path, translucent), expected)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_scaled_to_8(tmp_path, kind):
    values = RNG.integers(0, 65536, (4, 4), dtype=np.uint16)
    values[0, :2] = [0, 65535]
    expected = np.floor(values * (255 / 65535) + 0.5)
    np.testing.assert_array_equal(
        open_single(tmp_path, encode(values, kind), channels=1)[..., 0], expected
    )
    wide = encode(values.astype(np.int32), "TIFF")
    np.testing.assert_array_equal(
        open_single(tmp_path, wide), np.repeat(expected[..., None], 3, -1)
    )


@pytest.mark.parametrize("kind", ["folder", "tar", "tar.xz", "zip"])
def test_errors_about_images_name_them(tmp_path, kind):
    noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    files = {
        "0.jpg": encode(noise, "JPEG")[:2000],
        "1.png": b"garbage" * 9,
        "2.gif": encode(noise)[:3000],
        "3.png": b"GIF8",
    }
    source = open_images(pack(tmp_path / "data", kind, files))
    assert source.length == 4
    for i, name in enumerate(files):
        message = input_error(lambda i=i: source.example(i), "`data.path`", f"'{name}'", "remove")
        assert "BytesIO" not in message
    with pytest.raises(OSError, match="truncated"):
        decode(files["0.jpg"])
    path = pack(tmp_path / "empty", kind, FILES | {"a/zero.png": b""})
    input_error(lambda: open_images(path), "`data.path`", "'a/zero.png'", "0 bytes")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_decompression_bomb_is_an_error(tmp_path, monkeypatch):
    for limit in (100, 200):  # Pillow raises expected twice its limit, and warns expected the limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        input_error(
            lambda: open_single(tmp_path, encode(np.zeros((15, 15), np.uint8))),
            "'image.png'",
            "pixels",
        )
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 225)
    assert open_single(tmp_path, encode(np.zeros((15, 15), np.uint8))).shape == (4, 4, 3)


def test_values_without_a_known_range_are_an_error(tmp_path):
    input_error(
        lambda: open_single(tmp_path, encode(np.ones((4, 4), np.float32), "TIFF")),
        "'image.png'",
        "float",
    )
    input_error(
        lambda: open_single(tmp_path, encode(np.full((4, 4), 65536, np.int32), "TIFF")),
        "'image.png'",
        "16 bits",
    )
    input_error(
        lambda: open_single(tmp_path, encode(np.full((4, 4), -1, np.int32), "TIFF")),
        "'image.png'",
        "16 bits",
    )


def test_a_crop_larger_than_the_image_is_an_error(tmp_path):
    content = encode(np.zeros((5, 9), np.uint8))
    input_error(
        lambda: open_single(tmp_path, content, crop=6),
        "`data.crop` (=6)",
        "'image.png'",
        "9×5",
        "--data.crop",
    )


def test_a_format_that_is_never_read_is_not_tried(tmp_path):
    input_error(lambda: open_single(tmp_path, encode(COLOUR, "EPS")), "'image.png'", "PNG, JPEG")
