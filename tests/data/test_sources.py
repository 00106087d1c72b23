import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import tarfile
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from l1jax.config import DigitsData, ImageData, InputError, TfdsData
from l1jax.data.images import decode
from l1jax.data.sources import open_source

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (4, 4), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (4, 4, 3), dtype=np.uint8)
NAMES = ["B.PNG", "a/1.png", "a/10.png", "a/b/x.png", "a/é 2.png", "a0.png"]  # in the order of code points
PIXELS = {name: RNG.integers(0, 256, (4, 4, 3), dtype=np.uint8) for name in NAMES}


def encode(pixels, kind="PNG", **options):
    buffer = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(buffer, kind, **options)
    return buffer.getvalue()


FILES = {name: encode(PIXELS[name]) for name in reversed(NAMES)}


def write_folder(root, files=FILES):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def tar_bytes(files=FILES, prefix=""):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size, member.mtime = len(content), 1
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def zip_bytes(files=FILES, compression=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def pack(path, kind, files=FILES):
    """Write the files as a folder or as an archive."""
    if kind == "folder":
        return write_folder(path, files)
    packers = {"tar": bytes, "tar.gz": gzip.compress, "tar.xz": lzma.compress, "tar.bz2": bz2.compress}
    path.write_bytes(zip_bytes(files) if kind == "zip" else packers[kind](tar_bytes(files)))
    return path


def open_images(path, image_size=4, **options):
    return open_source(ImageData(str(path), image_size=image_size, **options))


def only(folder, content, name="image.png", **options):
    """The one image of a folder that holds `content`."""
    write_folder(folder, {name: content})
    return open_images(folder, **options).example(0)


def refusal(call, *words):
    """The one sentence of the InputError that `call` raises; it must hold all of `words`."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


# Digits


def test_digits_are_scikit_learns_in_bytes():
    from sklearn.datasets import load_digits

    source = open_source(DigitsData())
    expected = [[round(value * 255 / 16) for value in row] for row in load_digits().images[5].tolist()]
    assert source.length == 1797
    assert source.image_shape == (8, 8, 1)
    assert source.example(5).dtype == np.uint8
    np.testing.assert_array_equal(source.example(5)[..., 0], expected)
    everything = np.stack([source.example(i) for i in range(source.length)])
    assert (everything.min(), everything.max()) == (0, 255)


def test_digits_are_enlarged_smoothly():
    small, large = open_source(DigitsData()), open_source(DigitsData(image_size=32))
    assert large.image_shape == (32, 32, 1)
    assert small.fingerprint != large.fingerprint
    expected = Image.fromarray(small.example(3)[..., 0]).resize((32, 32), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(large.example(3)[..., 0], np.asarray(expected))


# Folders and archives


@pytest.mark.parametrize("kind", ["folder", "tar", "tar.gz", "tar.xz", "tar.bz2", "zip"])
def test_every_container_gives_the_same_images_in_order_of_name(tmp_path, kind):
    source = open_images(pack(tmp_path / "data", kind))
    assert (source.length, source.image_shape) == (6, (4, 4, 3))
    for i, name in enumerate(NAMES):
        np.testing.assert_array_equal(source.example(i), PIXELS[name])
    contents = hashlib.sha256(b"".join(hashlib.sha256(FILES[name]).digest() for name in NAMES)).hexdigest()
    entries = [*([name, len(FILES[name])] for name in NAMES), contents]
    expected = hashlib.sha256(json.dumps([entries, 4, 3, 0]).encode()).hexdigest()
    assert source.fingerprint == expected


def test_nothing_is_written_next_to_an_archive(tmp_path):
    source = open_images(pack(tmp_path / "data", "tar", {"../x/out.png": FILES["B.PNG"], **FILES}))
    source.example(0)
    assert os.listdir(tmp_path) == ["data"]
    assert source.length == 6  # what begins with a dot is hidden, ".." too


def test_folders_that_all_share_do_not_change_the_fingerprint(tmp_path):
    inside, above = open_images(write_folder(tmp_path / "up/faces")), open_images(tmp_path / "up")
    (tmp_path / "t.tar").write_bytes(tar_bytes(prefix="./up/faces/"))
    (tmp_path / "absolute.tar").write_bytes(tar_bytes(prefix="/faces/"))
    packed, absolute = open_images(tmp_path / "t.tar"), open_images(tmp_path / "absolute.tar")
    (tmp_path / "mixed.tar").write_bytes(tar_bytes({"/a/x.png": FILES["B.PNG"], "b.png": FILES["B.PNG"]}))
    assert open_images(tmp_path / "mixed.tar").length == 2
    assert inside.fingerprint == above.fingerprint == packed.fingerprint == absolute.fingerprint
    np.testing.assert_array_equal(packed.example(1), PIXELS[NAMES[1]])


def test_the_fingerprint_follows_names_sizes_and_preprocessing_but_not_time(tmp_path):
    first = open_images(write_folder(tmp_path / "a")).fingerprint
    write_folder(tmp_path / "b")
    os.utime(tmp_path / "b/a0.png", (1, 1))
    assert open_images(tmp_path / "b").fingerprint == first
    others = [open_images(tmp_path / "b", **change) for change in ({"image_size": 2}, {"channels": 1}, {"crop": 2})]
    (tmp_path / "b/a0.png").write_bytes(FILES["a0.png"] + b"0")
    others.append(open_images(tmp_path / "b"))
    (tmp_path / "b/a0.png").write_bytes(FILES["a0.png"])
    (tmp_path / "b/a0.png").rename(tmp_path / "b/a1.png")
    others.append(open_images(tmp_path / "b"))
    assert len({first, *(source.fingerprint for source in others)}) == 6


@pytest.mark.parametrize("kind", ["folder", "tar", "tar.xz", "zip"])
def test_hidden_and_other_files_are_skipped(tmp_path, kind):
    extra = {".hidden.png": b"?", ".git/x.png": b"?", "a/._1.png": b"?", "notes.txt": b"?", "png": b"?"}
    assert open_images(pack(tmp_path / "data", kind, FILES | extra)).length == len(FILES)


def test_links_are_followed_once(tmp_path):
    write_folder(tmp_path / "far", {"x.png": FILES["B.PNG"]})
    write_folder(tmp_path / "data", {"a.png": FILES["a/1.png"]})
    (tmp_path / "data/b").symlink_to(tmp_path / "far")
    (tmp_path / "data/c.png").symlink_to(tmp_path / "far/x.png")
    (tmp_path / "far/loop").symlink_to(tmp_path / "data")
    source = open_images(tmp_path / "data")
    assert source.length == 3
    for i, name in enumerate(["a/1.png", "B.PNG", "B.PNG"]):
        np.testing.assert_array_equal(source.example(i), PIXELS[name])


@pytest.mark.parametrize("packer", [bytes, lzma.compress])
def test_links_inside_a_tar_are_followed(tmp_path, packer):
    write_folder(tmp_path / "d", {"a/x.png": FILES["B.PNG"]})
    (tmp_path / "d/a/hard.png").hardlink_to(tmp_path / "d/a/x.png")
    (tmp_path / "d/a/soft.png").symlink_to("x.png")
    with tarfile.open(tmp_path / "t", "w") as tar:
        tar.add(tmp_path / "d", "")
    (tmp_path / "t").write_bytes(packer((tmp_path / "t").read_bytes()))
    source = open_images(tmp_path / "t")
    assert source.length == 3
    assert source.fingerprint == open_images(tmp_path / "d").fingerprint
    for i in range(3):
        np.testing.assert_array_equal(source.example(i), PIXELS["B.PNG"])
    with tarfile.open(tmp_path / "t", "w") as tar:
        tar.add(tmp_path / "d/a/soft.png", "soft.png")
    refusal(lambda: open_images(tmp_path / "t"), "`data.path`", "soft.png", "link")


def test_a_later_member_of_the_same_name_replaces_the_earlier(tmp_path):
    with tarfile.open(tmp_path / "t", "w") as tar:
        for name in ("B.PNG", "a0.png"):
            member = tarfile.TarInfo("x.png")
            member.size = len(FILES[name])
            tar.addfile(member, io.BytesIO(FILES[name]))
    source = open_images(tmp_path / "t")
    assert source.length == 1
    np.testing.assert_array_equal(source.example(0), PIXELS["a0.png"])


@pytest.mark.parametrize("kind", ["folder", "tar", "tar.xz", "zip"])
def test_examples_can_be_read_from_many_threads(tmp_path, kind):
    files = {f"{i:03}.png": encode(np.full((64, 64), i, np.uint8)) for i in range(100)}
    source = open_images(pack(tmp_path / "data", kind, files), image_size=64, channels=1)
    barrier = threading.Barrier(8)

    def read(offset):
        barrier.wait()
        return all((source.example(i) == i).all() for i in np.roll(np.arange(100), offset).tolist())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(0, 80, 10)))


# Preprocessing


@pytest.mark.parametrize("suffix", ["png", "JPG", "jpeg", "bmp", "webp", "gif", "tif", "TIFF"])
def test_every_suffix_is_read(tmp_path, suffix):
    kind = {"jpg": "JPEG", "tif": "TIFF"}.get(suffix.lower(), suffix.upper())
    image = only(tmp_path, encode(np.full((4, 4, 3), 255, np.uint8), kind), f"x.{suffix}")
    np.testing.assert_array_equal(image, np.full((4, 4, 3), 255))


def test_the_centre_is_cropped_and_resized_by_lanczos(tmp_path):
    pixels = RNG.integers(0, 256, (11, 16, 3), dtype=np.uint8)
    content = encode(pixels)
    largest = Image.fromarray(pixels[:, 2:13]).resize((4, 4), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(only(tmp_path, content), np.asarray(largest))
    part = Image.fromarray(pixels[2:8, 5:11]).resize((4, 4), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(only(tmp_path, content, crop=6), np.asarray(part))
    np.testing.assert_array_equal(only(tmp_path, content, crop=4), pixels[3:7, 6:10])
    np.testing.assert_array_equal(only(tmp_path, content, image_size=11, crop=11), pixels[:, 2:13])


def test_exif_orientation_is_applied_before_the_crop(tmp_path):
    pixels = np.full((8, 4), 10, np.uint8)
    pixels[:, 2:] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90° clockwise
    content = encode(pixels, "JPEG", exif=exif, quality=100, subsampling=0)
    image = only(tmp_path, content, "x.jpg", channels=1)[..., 0]
    np.testing.assert_allclose(image, np.rot90(pixels, -1)[:, 2:6], atol=2)


def test_grey_and_colour(tmp_path):
    luma = COLOUR @ np.array([299, 587, 114]) / 1000
    np.testing.assert_allclose(only(tmp_path, encode(COLOUR), channels=1)[..., 0], luma, atol=0.51)
    np.testing.assert_array_equal(only(tmp_path, encode(GREY), channels=1)[..., 0], GREY)
    np.testing.assert_array_equal(only(tmp_path, encode(GREY)), np.repeat(GREY[..., None], 3, -1))
    bits = Image.fromarray(GREY > 127)
    np.testing.assert_array_equal(only(tmp_path, encode(bits), channels=1)[..., 0], np.where(GREY > 127, 255, 0))


def test_palettes_and_cmyk(tmp_path):
    palette = Image.fromarray(GREY % 3, "L").convert("P")
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    np.testing.assert_array_equal(only(tmp_path, encode(palette)), np.eye(3)[GREY % 3] * 255)
    ink = Image.merge("CMYK", [Image.new("L", (4, 4), v) for v in (255, 0, 0, 0)])  # cyan: all but red
    np.testing.assert_array_equal(only(tmp_path, encode(ink, "TIFF")), np.broadcast_to([0, 255, 255], (4, 4, 3)))
    assert only(tmp_path, encode(ink, "TIFF"), channels=1).shape == (4, 4, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_alpha_is_composited_over_white(tmp_path, channels):
    alpha = RNG.integers(0, 256, (4, 4, 1), dtype=np.uint8)
    over = (COLOUR * (alpha / 255) + 255 * (1 - alpha / 255)) if channels == 3 else None
    if over is None:
        over = GREY[..., None] * (alpha / 255) + 255 * (1 - alpha / 255)
        content = encode(Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(alpha[..., 0])]))
    else:
        content = encode(np.concatenate([COLOUR, alpha], -1))
    np.testing.assert_allclose(only(tmp_path, content, channels=channels), over, atol=1)


def test_transparent_palette_entries_become_white(tmp_path):
    palette = Image.fromarray(GREY % 2, "L").convert("P")
    palette.putpalette([255, 0, 0, 0, 255, 0])
    expected = np.where((GREY % 2)[..., None] == 0, 255, [0, 255, 0])
    np.testing.assert_array_equal(only(tmp_path, encode(palette, transparency=0)), expected)
    translucent = encode(palette, transparency=bytes([0, 255]))
    np.testing.assert_array_equal(only(tmp_path, translucent), expected)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_scaled_to_8(tmp_path, kind):
    values = RNG.integers(0, 65536, (4, 4), dtype=np.uint16)
    values[0, :2] = 0, 65535
    expected = np.floor(values * (255 / 65535) + 0.5)
    np.testing.assert_array_equal(only(tmp_path, encode(values, kind), channels=1)[..., 0], expected)
    wide = encode(values.astype(np.int32), "TIFF")
    np.testing.assert_array_equal(only(tmp_path, wide), np.repeat(expected[..., None], 3, -1))


# Bad input


def test_bad_paths(tmp_path):
    refusal(lambda: open_images(""), "`data.path` is empty", "--data.path FOLDER_OR_ARCHIVE")
    refusal(lambda: open_images(tmp_path / "nope"), "`data.path`", "nope", "No such file")
    refusal(lambda: open_images("\0"), "`data.path`")
    (tmp_path / "text.txt").write_text("not images" * 200)
    refusal(lambda: open_images(tmp_path / "text.txt"), "text.txt", "neither a folder nor a tar nor a zip")
    os.mkfifo(tmp_path / "pipe")  # which must not be waited for
    refusal(lambda: open_images(tmp_path / "pipe"), "pipe'", "neither a folder nor a tar nor a zip")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/x.png").symlink_to("gone")
    refusal(lambda: open_images(tmp_path / "broken"), "`data.path`", "x.png", "No such file")


@pytest.mark.parametrize("kind", ["folder", "tar", "tar.gz", "zip"])
def test_no_images(tmp_path, kind):
    (tmp_path / "empty").mkdir()
    refusal(lambda: open_images(tmp_path / "empty"), "`data.path`", "holds no images", ".png")
    refusal(lambda: open_images(pack(tmp_path / "data", kind, {"a/readme.md": b"x"})), "data'", "holds no images")


def test_a_folder_that_cannot_be_listed(tmp_path, monkeypatch):
    write_folder(tmp_path)
    scandir = os.scandir

    def deny(path):  # as for anyone but root, for whom chmod does nothing
        if os.path.basename(path) == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)
    refusal(lambda: open_images(tmp_path), "`data.path`", "/a/b'", "Permission denied", "permissions")


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.xz", "tar.bz2", "zip"])
@pytest.mark.parametrize("keep", [0.02, 0.5, 0.97])
def test_an_archive_cut_short(tmp_path, kind, keep):
    files = {f"{i}.png": RNG.bytes(1000) for i in range(20)}
    path = pack(tmp_path / "data", kind, files)
    content = path.read_bytes()
    if kind == "tar":  # less the padding, which may be missing
        content = content[: 20 * 1536 + 1024]
    path.write_bytes(content[: int(keep * len(content))])
    if (kind, keep) == ("tar", 0.97):
        assert len(path.read_bytes()) % 512  # inside the last image
    refusal(lambda: open_images(path), "`data.path`", "data'", "damaged or incomplete", "again")


@pytest.mark.parametrize("size", [5 * 1536, 5 * 1536 + 100, 5 * 1536 + 600, 20 * 1536, 20 * 1536 + 512])
def test_a_tar_cut_short_is_not_taken_for_a_smaller_one(tmp_path, size):
    content = tar_bytes({f"{i}.png": RNG.bytes(1000) for i in range(20)})
    (tmp_path / "t").write_bytes(content[:size])
    refusal(lambda: open_images(tmp_path / "t"), "`data.path`", "incomplete", "again")
    (tmp_path / "t").write_bytes(lzma.compress(content[:size]))
    refusal(lambda: open_images(tmp_path / "t"), "`data.path`", "incomplete", "again")


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.xz", "tar.bz2"])
def test_a_damaged_tar(tmp_path, kind):
    path = pack(tmp_path / "data", kind, {f"{i}.png": RNG.bytes(1000) for i in range(20)})
    content = bytearray(path.read_bytes())
    place = 10 * 1536 + 3 if kind == "tar" else len(content) // 2
    content[place : place + 4] = b"\xff" * 4
    path.write_bytes(content)
    refusal(lambda: open_images(path), "`data.path`", "damaged")


def test_damage_inside_a_zip_names_the_image(tmp_path):
    content = bytearray(zip_bytes({"a.png": FILES["a0.png"], "b.png": FILES["B.PNG"]}, zipfile.ZIP_STORED))
    place = content.find(FILES["B.PNG"]) + 45
    content[place] ^= 255
    (tmp_path / "z").write_bytes(content)
    source = open_images(tmp_path / "z")
    np.testing.assert_array_equal(source.example(0), PIXELS["a0.png"])
    refusal(lambda: source.example(1), "`data.path`", "'b.png'", "CRC")


@pytest.mark.parametrize("kind", ["folder", "tar", "tar.xz", "zip"])
def test_bad_images_are_named(tmp_path, kind):
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
        message = refusal(lambda i=i: source.example(i), "`data.path`", f"'{name}'", "remove")
        assert "BytesIO" not in message
    with pytest.raises(OSError, match="truncated"):
        decode(files["0.jpg"])
    path = pack(tmp_path / "empty", kind, FILES | {"a/zero.png": b""})
    refusal(lambda: open_images(path), "`data.path`", "'a/zero.png'", "0 bytes")


def test_a_file_that_vanishes_is_named(tmp_path):
    source = open_images(write_folder(tmp_path))
    (tmp_path / "a0.png").unlink()
    refusal(lambda: source.example(5), "`data.path`", "'a0.png'", "No such file")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    for limit in (100, 200):  # Pillow raises over twice its limit, and warns over the limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        refusal(lambda: only(tmp_path, encode(np.zeros((15, 15), np.uint8))), "'image.png'", "pixels")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 225)
    assert only(tmp_path, encode(np.zeros((15, 15), np.uint8))).shape == (4, 4, 3)


def test_values_without_a_known_range_are_refused(tmp_path):
    refusal(lambda: only(tmp_path, encode(np.ones((4, 4), np.float32), "TIFF")), "'image.png'", "float")
    refusal(lambda: only(tmp_path, encode(np.full((4, 4), 65536, np.int32), "TIFF")), "'image.png'", "16 bits")
    refusal(lambda: only(tmp_path, encode(np.full((4, 4), -1, np.int32), "TIFF")), "'image.png'", "16 bits")


def test_a_crop_larger_than_the_image_is_refused(tmp_path):
    content = encode(np.zeros((5, 9), np.uint8))
    refusal(lambda: only(tmp_path, content, crop=6), "`data.crop` (=6)", "'image.png'", "9×5", "--data.crop")


def test_formats_beyond_the_listed_are_not_tried(tmp_path):
    refusal(lambda: only(tmp_path, encode(COLOUR, "EPS")), "'image.png'", "PNG, JPEG")


# TFDS


@pytest.fixture(scope="module")
def tfds_dir(tmp_path_factory):
    """A set written without TensorFlow: 7 encoded images of 6×8, the same as arrays in `arrays`, none in `bare`."""
    import tensorflow_datasets as tfds

    folder = tmp_path_factory.mktemp("tfds")
    images = np.random.default_rng(1).integers(0, 256, (7, 6, 8, 3), dtype=np.uint8)
    encoded = tfds.features.Image(shape=(None, None, 3))
    array = tfds.features.Tensor(shape=(6, 8, 3), dtype=np.uint8)
    real = tfds.features.Tensor(shape=(6, 8, 3), dtype=np.float32)
    contents = {
        "encoded": (encoded, lambda i: encode(images[i]) if i != 6 else encode(images[i])[:90]),
        "arrays": (array, lambda i: images[i]),
        "floats": (real, lambda i: images[i].astype(np.float32)),
        "bare": (None, None),
    }
    for name, (feature, value) in contents.items():
        features = {"label": tfds.features.ClassLabel(num_classes=7)} | ({"image": feature} if feature else {})

        class Written(tfds.core.GeneratorBasedBuilder, skip_registration=True):
            VERSION = tfds.core.Version("1.0.0")

            def _info(self, features=features):
                return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

            def _split_generators(self, dl_manager):
                return {"train": self._generate_examples()}

            def _generate_examples(self, value=value):
                for i in range(7):
                    yield i, {"label": i} | ({"image": value(i)} if value else {})

        Written.name = f"l1jax_{name}"
        Written(data_dir=folder, file_format="array_record").download_and_prepare()
    labels = [int(example["label"]) for example in tfds.data_source("l1jax_bare:1.0.0", data_dir=folder, split="train")]
    return folder, images, labels


def open_tfds(folder, name, split="train", **options):
    return open_source(TfdsData(name, split, str(folder), **{"image_size": 4, **options}))


@pytest.mark.parametrize("name", ["l1jax_encoded", "l1jax_arrays:1.0.0"])
def test_tfds_images_are_cropped_and_resized(tfds_dir, name):
    folder, images, labels = tfds_dir
    source = open_tfds(folder, name)
    assert (source.length, source.image_shape) == (7, (4, 4, 3))
    for i, label in enumerate(labels):
        if label != 6:
            expected = Image.fromarray(images[label][:, 1:7]).resize((4, 4), Image.Resampling.LANCZOS)
            np.testing.assert_array_equal(source.example(i), np.asarray(expected))
    grey = open_tfds(folder, name, channels=1, crop=4).example(labels.index(2))
    expected = np.asarray(Image.fromarray(images[2][1:5, 2:6]).convert("L"))
    np.testing.assert_array_equal(grey[..., 0], expected)


def test_tfds_parts_and_fingerprints(tfds_dir):
    folder = tfds_dir[0]
    whole, part = open_tfds(folder, "l1jax_encoded"), open_tfds(folder, "l1jax_encoded", "train[2:5]")
    assert part.length == 3
    np.testing.assert_array_equal(part.example(0), whole.example(2))
    others = [open_tfds(folder, "l1jax_arrays"), open_tfds(folder, "l1jax_encoded", crop=4)]
    assert len({source.fingerprint for source in [whole, part, *others]}) == 4
    expected = json.dumps([["l1jax_encoded/1.0.0", "train", 7], 4, 3, 0]).encode()
    assert whole.fingerprint == hashlib.sha256(expected).hexdigest()


def test_tfds_bad_names(tfds_dir, tmp_path):
    folder = tfds_dir[0]
    refusal(lambda: open_tfds(folder, ""), "`data.name` is empty", "--data.name")
    refusal(
        lambda: open_tfds(folder, "l1jax_nope"), "`data.name` (='l1jax_nope')", "neither known", "--data.path FOLDER"
    )
    refusal(lambda: open_tfds(folder, "no name"), "`data.name` (='no name')", "--data.path FOLDER")
    refusal(lambda: open_tfds(folder, "l1jax_encoded:2.0.0"), "`data.name` (='l1jax_encoded:2.0.0')")
    how = ("`tfds.builder('mnist'", 'file_format="array_record").download_and_prepare()`', "l1jax[tfds]", "--data.path")
    refusal(lambda: open_tfds(tmp_path, "mnist"), "`data.name` (='mnist')", "not prepared", str(tmp_path), *how)


@pytest.mark.parametrize("split", ["nope", "train[:", "", "train[9:12]", "train[5:2]", "train[3:3]"])
def test_tfds_bad_splits(tfds_dir, split):
    refusal(lambda: open_tfds(tfds_dir[0], "l1jax_encoded", split), f"`data.split` (={split!r})", "must")


@pytest.mark.parametrize("name", ["l1jax_bare", "l1jax_floats"])
def test_tfds_without_usable_images(tfds_dir, name):
    refusal(lambda: open_tfds(tfds_dir[0], name), f"(={name!r})", "`image`", "label", "--data.path FOLDER")


def test_tfds_in_another_file_format(tfds_dir, tmp_path):
    source = tfds_dir[0] / "l1jax_encoded/1.0.0"
    target = tmp_path / "l1jax_encoded/1.0.0"
    target.mkdir(parents=True)
    for file in source.iterdir():
        content = file.read_bytes()
        name = file.name.replace("array_record", "tfrecord")
        (target / name).write_bytes(content.replace(b"array_record", b"tfrecord"))
    refusal(lambda: open_tfds(tmp_path, "l1jax_encoded"), "(='l1jax_encoded')", "tfrecord", "array_record", "data_dir")
    (target / "dataset_info.json").write_text("{")
    refusal(lambda: open_tfds(tmp_path, "l1jax_encoded"), "(='l1jax_encoded')", "JSON")


def test_tfds_bad_examples_are_named(tfds_dir):
    folder, _, labels = tfds_dir
    i = labels.index(6)
    source = open_tfds(folder, "l1jax_encoded")
    refusal(lambda: source.example(i), "`data.name` (='l1jax_encoded')", f"'train, example {i}'", "remove")
    refusal(lambda: open_tfds(folder, "l1jax_encoded", crop=7).example(0 if i else 1), "`data.crop` (=7)", "8×6")


def test_other_pixels_in_files_of_the_same_names_and_sizes_are_other_images(tmp_path):
    fingerprints = []
    for i in range(2):
        (tmp_path / str(i)).mkdir()
        for name in "ab":
            Image.fromarray(np.full((4, 4), 100 * i, np.uint8)).save(tmp_path / str(i) / f"{name}.bmp")
        fingerprints.append(open_images(tmp_path / str(i)).fingerprint)
    assert fingerprints[0] != fingerprints[1]


def test_class_folders_are_labels_and_a_subfolder_can_be_chosen(tmp_path):
    for split, name, value in [("train", "b/1.png", 10), ("train", "a/2.png", 20), ("test", "c/3.png", 30)]:
        path = tmp_path / split / name
        path.parent.mkdir(parents=True)
        Image.new("L", (4, 4), value).save(path)
    source = open_source(ImageData(str(tmp_path), image_size=4, channels=1, subfolder="train"))
    values = [source.example(i)[0, 0, 0] for i in range(source.length)]
    assert dict(zip(values, source.labels, strict=True)) == {20: 0, 10: 1}
    whole = open_source(ImageData(str(tmp_path), image_size=4, channels=1))
    assert sorted(zip([whole.example(i)[0, 0, 0] for i in range(3)], whole.labels, strict=True)) == [
        (10, 1),
        (20, 1),
        (30, 0),
    ]
    assert open_source(ImageData(str(tmp_path / "test" / "c"), image_size=4, channels=1)).labels is None
    with pytest.raises(InputError, match=r"`data.subfolder` \(='val'\) must be a folder .* which has test, train"):
        open_source(ImageData(str(tmp_path), image_size=4, channels=1, subfolder="val"))
