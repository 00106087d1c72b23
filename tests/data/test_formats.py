"""Which files are images, how their values are read, and what happens to other files."""

import io
import struct
import zlib

import numpy as np
import pytest
from image_files import (
    COLOUR,
    FILES,
    GREY,
    encode,
    input_error,
    open_images,
    open_single,
    pack,
    write_folder,
)
from PIL import Image

from l1jax.config import ImageData
from l1jax.data.decoding import MAX_PIXELS, decode
from l1jax.data.formats import HEIF_SUFFIXES, file_kind, image_suffixes
from l1jax.data.opening import open_examples
from l1jax.data.preprocessing import preprocess

LOSSLESS = {  # suffix → how Pillow writes it
    "apng": "PNG", "bmp": "BMP", "bw": "SGI", "dds": "DDS", "dib": "DIB", "gif": "GIF",
    "icb": "TGA", "im": "IM", "j2k": "JPEG2000", "jp2": "JPEG2000", "jpf": "JPEG2000",
    "jpx": "JPEG2000", "pcx": "PCX", "pgm": "PPM", "png": "PNG", "pnm": "PPM", "ppm": "PPM",
    "rgb": "SGI", "sgi": "SGI", "tga": "TGA", "tif": "TIFF", "tiff": "TIFF", "vda": "TGA",
    "vst": "TGA",
}  # fmt: skip
LOSSY = {
    "jfif": "JPEG",
    "jpe": "JPEG",
    "jpeg": "JPEG",
    "jpg": "JPEG",
    "avif": "AVIF",
    "webp": "WEBP",
    "mpo": "MPO",
}


@pytest.mark.parametrize("suffix", LOSSLESS)
@pytest.mark.parametrize("case", [str.lower, str.upper, str.title])
def test_suffixes_that_pillow_reads_are_images_in_any_case(tmp_path, suffix, case):
    pixels = GREY
    expected = np.repeat(GREY[..., None], 3, -1)
    if suffix == "dds":
        pixels = expected = COLOUR
    content = encode(pixels, LOSSLESS[suffix])
    np.testing.assert_array_equal(open_single(tmp_path, content, f"x.{case(suffix)}"), expected)


@pytest.mark.parametrize("suffix", LOSSY)
def test_lossy_formats_are_read(tmp_path, suffix):
    flat = np.full((16, 16, 3), 77, np.uint8)
    image = open_single(tmp_path, encode(flat, LOSSY[suffix]), f"x.{suffix}", image_size=16)
    np.testing.assert_allclose(image, flat, atol=3)


def test_every_suffix_that_pillow_opens_is_an_image_with_few_exceptions():
    Image.init()
    opened = {
        suffix for suffix, name in Image.EXTENSION.items() if name in Image.OPEN or name == "MPO"
    }
    exceptions = ".eps .ps .wmf .emf .mpg .mpeg .bufr .grib .h5 .hdf .iim".split()
    assert image_suffixes().keys() == (opened | set(HEIF_SUFFIXES)) - set(exceptions)
    assert file_kind("a.b/x.PnG") == "image"
    assert file_kind("x.cr2") == file_kind("x.EPS") == "other image"
    assert file_kind("x.tar.gz") == file_kind("x.ZIP") == "archive"
    for name in ("png", "x.txt", "a.png/x", "x.", "", "labels.csv"):
        assert file_kind(name) == ""


@pytest.mark.parametrize("kind", ["folder", "tar", "tar.xz", "zip"])
def test_images_of_every_class_are_found(tmp_path, kind):
    files = {
        "a/1.jpg": encode(COLOUR, "JPEG"),
        "b/1.jfif": encode(COLOUR, "JPEG"),
        "c/1.png": encode(COLOUR),
    }
    source = open_images(pack(tmp_path / "d", kind, files))
    assert source.classes == ("a", "b", "c")
    np.testing.assert_array_equal(source.labels, [0, 1, 2])
    assert not source.skipped


@pytest.mark.parametrize("kind", ["folder", "tar", "tar.xz", "zip"])
@pytest.mark.parametrize("name", ["c/1.cr2", "c/1.SVG", "c/1.jxl", "c/1.eps"])
def test_an_image_of_a_format_that_is_not_read_is_named(tmp_path, kind, name):
    files = {"a/1.png": FILES["B.PNG"], "b/1.png": FILES["a0.png"], name: b"?" * 20}
    path = pack(tmp_path / "d", kind, files)
    input_error(lambda: open_images(path), repr(name), "does not read", "--data.on-error skip")
    source = open_images(path, on_error="skip")
    assert source.length == 2
    assert len(source.skipped) == 1
    assert name in source.skipped[0]


@pytest.mark.parametrize("kind", ["folder", "tar", "tar.xz", "zip"])
def test_an_archive_beside_images_is_named_and_does_not_stop(tmp_path, kind):
    files = FILES | {"c.zip": b"PK", "d/more.tar.gz": b"?", ".git/x.zip": b"?"}
    source = open_images(pack(tmp_path / "d", kind, files))
    assert source.fingerprint == open_images(pack(tmp_path / "e", kind)).fingerprint
    assert [sentence.split("the archive ")[1].split(",")[0] for sentence in source.skipped] == [
        "'c.zip'", "'d/more.tar.gz'"
    ]  # fmt: skip


def test_a_format_that_takes_anything_is_tried_only_for_its_suffix(tmp_path):
    content = encode(GREY, "TGA")
    with pytest.raises(ValueError, match="it is not PNG, JPEG"):
        decode(content, "x.png")
    np.testing.assert_array_equal(np.asarray(decode(content, "x.tga")), GREY)
    write_folder(tmp_path, {"x.jpg": encode(COLOUR, "JPEG2000"), "y.png": encode(COLOUR, "BMP")})
    source = open_images(tmp_path)  # on the web, suffixes are often wrong
    for i in range(2):
        np.testing.assert_array_equal(source.example(i), COLOUR)


def tiff(values, photometric, bits):
    """A grey TIFF of one row, written by hand."""
    content = values + b"\0" * (len(values) % 2)
    width = len(values) * 8 // bits
    tags = [
        (256, 3, 1, width), (257, 3, 1, 1), (258, 3, 1, bits), (259, 3, 1, 1),
        (262, 3, 1, photometric), (273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, 1),
        (279, 4, 1, len(values)),
    ]  # fmt: skip
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(content)) + content + directory + bytes(4)


@pytest.mark.parametrize(
    ("values", "photometric", "bits", "expected"),  # of the left pixel
    [
        (struct.pack("<2B", 200, 0), 0, 8, 55),  # white is zero
        (struct.pack("<2H", 200 * 257, 0), 0, 16, 55),
        (struct.pack("<2H", 65535, 0), 0, 16, 0),
        (struct.pack("<2H", 0, 65535), 0, 16, 255),
        (struct.pack("<2H", 200 * 257, 0), 1, 16, 200),
        (b"\xff\xf0\x00", 1, 12, 255),
        (b"\x80\x00\x00", 1, 12, 128),  # 2048 of 4095
        (b"\x40", 0, 4, 187),
    ],
)
def test_grey_tiffs_have_the_same_values_at_any_depth(values, photometric, bits, expected):
    assert preprocess(decode(tiff(values, photometric, bits)), 1, 1)[0, 0, 0] == expected


def png(bits, colour, row, transparent):
    """A PNG of one row of two pixels, written by hand."""

    def chunk(name, content):
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    header = struct.pack(">IIBBBBB", 2, 1, bits, colour, 0, 0, 0)
    data = zlib.compress(b"\0" + row)
    chunks = [
        chunk(b"IHDR", header),
        chunk(b"tRNS", transparent),
        chunk(b"IDAT", data),
        chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("bits", "colour", "row", "transparent", "expected"),
    [
        (8, 0, b"\x05\x06", struct.pack(">H", 5), 255),
        (8, 0, b"\x05\x06", struct.pack(">H", 6), 5),
        (16, 0, struct.pack(">2H", 1285, 4), struct.pack(">H", 1285), 255),
        # The neighbouring value, which rounds to the same 8 bits, is not transparent.
        (16, 0, struct.pack(">2H", 1285, 4), struct.pack(">H", 1284), 5),
        (16, 0, struct.pack(">2H", 1285, 4), struct.pack(">H", 5), 5),
        (4, 0, b"\x3f", struct.pack(">H", 3), 255),
        (4, 0, b"\x3f", struct.pack(">H", 15), 51),
        (2, 0, b"\x40", struct.pack(">H", 1), 255),
        (1, 0, b"\x40", struct.pack(">H", 0), 255),
        (8, 2, b"\x05\x05\x05\x01\x02\x03", struct.pack(">3H", 5, 5, 5), 255),
        (16, 2, struct.pack(">6H", *[1285] * 3, 1, 2, 3), struct.pack(">3H", *[1285] * 3), 255),
        (16, 2, struct.pack(">6H", *[1285] * 3, 1, 2, 3), struct.pack(">3H", 5, 5, 5), 5),
    ],
)
def test_a_transparent_value_becomes_white_at_any_depth(bits, colour, row, transparent, expected):
    image = decode(png(bits, colour, row, transparent))
    assert preprocess(image, 1, 1)[0, 0, 0] == expected


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_larger_images_can_be_allowed(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    path = write_folder(
        tmp_path, {"1.png": encode(Image.new("1", (30_000, 9_000))), "2.png": FILES["B.PNG"]}
    )
    input_error(
        lambda: open_images(path).example(0), "'1.png'", "limit", "--data.most-pixels 270000000 "
    )
    larger = open_images(path, most_pixels=270_000_000)
    assert Image.MAX_IMAGE_PIXELS == 270_000_000  # Pillow's own limit would refuse it
    assert decode((path / "1.png").read_bytes(), "1.png", 270_000_000).size == (30_000, 9_000)
    assert larger.fingerprint == open_images(path).fingerprint


def test_fewer_pixels_can_be_allowed(tmp_path):
    path = write_folder(
        tmp_path, {"1.png": encode(np.zeros((5, 5), np.uint8)), "2.png": FILES["B.PNG"]}
    )
    input_error(
        lambda: open_images(path, most_pixels=24).example(0),
        "5×5 pixels",
        "limit of 24 ",
        "--data.most-pixels 25 ",
    )
    assert open_images(path, most_pixels=25).example(0).shape == (4, 4, 3)
    source, _ = open_examples(
        ImageData(str(path), image_size=4, on_error="skip", most_pixels=24), cache=False
    )
    assert source.length == 1


def test_the_limit_that_the_error_proposes_is_just_enough():
    buffer = io.BytesIO()
    Image.new("1", (70_000, 3)).save(buffer, "PNG")
    with pytest.raises(ValueError, match=r"--data\.most-pixels") as caught:
        decode(buffer.getvalue())
    most = int(str(caught.value).split("--data.most-pixels ")[1].split()[0])
    assert most > MAX_PIXELS
    with pytest.raises(ValueError, match=r"--data\.most-pixels"):
        decode(buffer.getvalue(), "", most - 1024)
    assert decode(buffer.getvalue(), "", most).size == (70_000, 3)


def test_an_icon_that_holds_a_larger_image_than_it_claims_is_an_error():
    inner = encode(np.zeros((300, 300), np.uint8))
    header = struct.pack("<HHH", 0, 1, 1) + struct.pack(
        "<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22
    )
    with (
        pytest.warns(UserWarning, match="expected size"),
        pytest.raises(ValueError, match="300×300 pixels are over"),
    ):
        decode(header + inner, "x.ico", 1000)
