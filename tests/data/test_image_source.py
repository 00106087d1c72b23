"""Images of folders and archives as a source: order, fingerprint, damage, classes."""

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
from image_files import (
    FILES,
    NAMES,
    PIXELS,
    RNG,
    encode,
    input_error,
    open_images,
    pack,
    tar_bytes,
    write_folder,
    zip_bytes,
)
from PIL import Image

from l1jax.config import ArrayData, ImageData, InputError
from l1jax.data.opening import open_source
from l1jax.data.preprocessing import to_pixels
from l1jax.data.source import subset


@pytest.mark.parametrize("kind", ["folder", "tar", "tar.gz", "tar.xz", "tar.bz2", "zip"])
def test_every_container_gives_the_same_images_in_order_of_name(tmp_path, kind):
    source = open_images(pack(tmp_path / "data", kind))
    assert (source.length, source.image_shape) == (6, (4, 4, 3))
    for i, name in enumerate(NAMES):
        np.testing.assert_array_equal(source.example(i), PIXELS[name])
    hashes = [hashlib.sha256(FILES[name]).digest() for name in NAMES]
    contents = hashlib.sha256(b"".join(hashes)).hexdigest()
    entries = [*([name, len(FILES[name])] for name in NAMES), contents]
    expected = hashlib.sha256(json.dumps([entries, 4, 3, 0]).encode()).hexdigest()
    assert source.fingerprint == expected


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
@pytest.mark.parametrize("name", ["../x/out.png", "a/../../out.png"])
def test_nothing_is_written_next_to_an_archive(tmp_path, kind, name):
    path = pack(tmp_path / "data", kind, {name: FILES["B.PNG"], **FILES})
    input_error(lambda: open_images(path), "`data.path`", "out.png'", "leads out of the archive")
    source = open_images(path, on_error="skip")
    source.example(0)
    assert os.listdir(tmp_path) == ["data"]
    assert source.length == 6
    assert len(source.skipped) == 1


def test_folders_that_all_share_do_not_change_the_fingerprint(tmp_path):
    inside = open_images(write_folder(tmp_path / "up/faces"))
    above = open_images(tmp_path / "up")
    (tmp_path / "t.tar").write_bytes(tar_bytes(prefix="./up/faces/"))
    (tmp_path / "absolute.tar").write_bytes(tar_bytes(prefix="/faces/"))
    packed = open_images(tmp_path / "t.tar")
    absolute = open_images(tmp_path / "absolute.tar")
    (tmp_path / "mixed.tar").write_bytes(
        tar_bytes({"/a/x.png": FILES["B.PNG"], "b.png": FILES["B.PNG"]})
    )
    assert open_images(tmp_path / "mixed.tar").length == 2
    assert inside.fingerprint == above.fingerprint == packed.fingerprint == absolute.fingerprint
    np.testing.assert_array_equal(packed.example(1), PIXELS[NAMES[1]])


def test_the_fingerprint_follows_names_sizes_and_preprocessing_but_not_time(tmp_path):
    first = open_images(write_folder(tmp_path / "a")).fingerprint
    write_folder(tmp_path / "b")
    os.utime(tmp_path / "b/a0.png", (1, 1))
    assert open_images(tmp_path / "b").fingerprint == first
    others = [
        open_images(tmp_path / "b", **change)
        for change in ({"image_size": 2}, {"channels": 1}, {"crop": 2})
    ]
    (tmp_path / "b/a0.png").write_bytes(FILES["a0.png"] + b"0")
    others.append(open_images(tmp_path / "b"))
    (tmp_path / "b/a0.png").write_bytes(FILES["a0.png"])
    (tmp_path / "b/a0.png").rename(tmp_path / "b/a1.png")
    others.append(open_images(tmp_path / "b"))
    assert len({first, *(source.fingerprint for source in others)}) == 6


@pytest.mark.parametrize("kind", ["folder", "tar", "tar.xz", "zip"])
def test_hidden_and_other_files_are_skipped(tmp_path, kind):
    extra = dict.fromkeys([".hidden.png", ".git/x.png", "a/._1.png", "notes.txt", "png"], b"?")
    assert open_images(pack(tmp_path / "data", kind, FILES | extra)).length == len(FILES)


def test_links_in_a_folder_are_followed(tmp_path):
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
    input_error(lambda: open_images(tmp_path / "t"), "`data.path`", "soft.png", "link")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_of_two_members_of_one_name_the_later_remains_if_skipping_is_allowed(tmp_path, kind):
    if kind == "tar":
        with tarfile.open(tmp_path / "t", "w") as tar:
            for name in ("B.PNG", "a0.png"):
                member = tarfile.TarInfo("x.png")
                member.size = len(FILES[name])
                tar.addfile(member, io.BytesIO(FILES[name]))
    else:
        with zipfile.ZipFile(tmp_path / "t", "w") as archive:
            for name in ("B.PNG", "a0.png"):
                archive.writestr("x.png", FILES[name])
    input_error(
        lambda: open_images(tmp_path / "t"), "`data.path`", "'x.png'", "another of its name"
    )
    source = open_images(tmp_path / "t", on_error="skip")
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


def test_paths_that_cannot_be_opened_are_an_error(tmp_path):
    input_error(lambda: open_images(""), "`data.path` is empty", "--data.path FOLDER_OR_ARCHIVE")
    input_error(lambda: open_images(tmp_path / "nope"), "`data.path`", "nope", "No such file")
    input_error(lambda: open_images("\0"), "`data.path`")
    (tmp_path / "text.txt").write_text("not images" * 200)
    input_error(
        lambda: open_images(tmp_path / "text.txt"),
        "text.txt",
        "neither a folder nor a tar nor a zip",
    )
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for a writer
    input_error(
        lambda: open_images(tmp_path / "pipe"), "pipe'", "neither a folder nor a tar nor a zip"
    )
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/x.png").symlink_to("gone")
    input_error(lambda: open_images(tmp_path / "broken"), "`data.path`", "x.png", "No such file")


@pytest.mark.parametrize("kind", ["folder", "tar", "tar.gz", "zip"])
def test_data_without_images_are_an_error(tmp_path, kind):
    (tmp_path / "empty").mkdir()
    input_error(lambda: open_images(tmp_path / "empty"), "`data.path`", "holds no images", ".png")
    input_error(
        lambda: open_images(pack(tmp_path / "data", kind, {"a/readme.md": b"x"})),
        "data'",
        "holds no images",
    )


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path, monkeypatch):
    write_folder(tmp_path)
    scandir = os.scandir

    def deny(path):  # as for anyone but root, for whom chmod does nothing
        if os.path.basename(path) == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)
    input_error(
        lambda: open_images(tmp_path),
        "`data.path`",
        "'a/b'",
        "Permission denied",
        "--data.on-error skip",
    )


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.xz", "tar.bz2", "zip"])
@pytest.mark.parametrize("keep", [0.02, 0.5, 0.97])
def test_an_archive_that_was_cut_short_is_an_error(tmp_path, kind, keep):
    files = {f"{i}.png": RNG.bytes(1000) for i in range(20)}
    path = pack(tmp_path / "data", kind, files)
    content = path.read_bytes()
    if kind == "tar":  # less the padding, which may be missing
        content = content[: 20 * 1536 + 1024]
    path.write_bytes(content[: int(keep * len(content))])
    if (kind, keep) == ("tar", 0.97):
        assert len(path.read_bytes()) % 512  # inside the last image
    input_error(lambda: open_images(path), "`data.path`", "data'", "damaged or incomplete", "again")


@pytest.mark.parametrize(
    "size", [5 * 1536, 5 * 1536 + 100, 5 * 1536 + 600, 20 * 1536, 20 * 1536 + 512]
)
def test_a_tar_cut_short_is_not_taken_for_a_smaller_one(tmp_path, size):
    content = tar_bytes({f"{i}.png": RNG.bytes(1000) for i in range(20)})
    (tmp_path / "t").write_bytes(content[:size])
    input_error(lambda: open_images(tmp_path / "t"), "`data.path`", "incomplete", "again")
    (tmp_path / "t").write_bytes(lzma.compress(content[:size]))
    input_error(lambda: open_images(tmp_path / "t"), "`data.path`", "incomplete", "again")


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.xz", "tar.bz2"])
def test_a_damaged_tar_is_an_error(tmp_path, kind):
    path = pack(tmp_path / "data", kind, {f"{i}.png": RNG.bytes(1000) for i in range(20)})
    content = bytearray(path.read_bytes())
    position = len(content) // 2
    if kind == "tar":
        position = 10 * 1536 + 3  # in the header of an image
    content[position : position + 4] = b"\xff" * 4
    path.write_bytes(content)
    input_error(lambda: open_images(path), "`data.path`", "damaged")


def test_damage_inside_a_zip_names_the_image(tmp_path):
    content = bytearray(
        zip_bytes({"a.png": FILES["a0.png"], "b.png": FILES["B.PNG"]}, zipfile.ZIP_STORED)
    )
    position = content.find(FILES["B.PNG"]) + 45
    content[position] ^= 255
    (tmp_path / "z").write_bytes(content)
    source = open_images(tmp_path / "z")
    np.testing.assert_array_equal(source.example(0), PIXELS["a0.png"])
    input_error(lambda: source.example(1), "`data.path`", "'b.png'", "CRC")


def test_a_file_that_vanishes_is_named(tmp_path):
    source = open_images(write_folder(tmp_path))
    (tmp_path / "a0.png").unlink()
    input_error(lambda: source.example(5), "`data.path`", "'a0.png'", "No such file")


def test_other_pixels_in_files_of_the_same_names_and_sizes_change_the_fingerprint(tmp_path):
    fingerprints = []
    for i in range(2):
        (tmp_path / str(i)).mkdir()
        for name in "ab":
            Image.fromarray(np.full((4, 4), 100 * i, np.uint8)).save(
                tmp_path / str(i) / f"{name}.bmp"
            )
        fingerprints.append(open_images(tmp_path / str(i)).fingerprint)
    assert fingerprints[0] != fingerprints[1]


def test_class_folders_are_labels_and_a_subfolder_can_be_chosen(tmp_path):
    for split, name, value in [
        ("train", "b/1.png", 10),
        ("train", "a/2.png", 20),
        ("test", "c/3.png", 30),
    ]:
        path = tmp_path / split / name
        path.parent.mkdir(parents=True)
        Image.new("L", (4, 4), value).save(path)
    source = open_source(ImageData(str(tmp_path), image_size=4, channels=1, subfolder="train"))
    values = [source.example(i)[0, 0, 0] for i in range(source.length)]
    assert dict(zip(values, source.labels, strict=True)) == {20: 0, 10: 1}
    whole = open_source(ImageData(str(tmp_path), image_size=4, channels=1))
    values = [whole.example(i)[0, 0, 0] for i in range(whole.length)]
    assert dict(zip(values, whole.labels, strict=True)) == {10: 1, 20: 1, 30: 0}
    flat = open_source(ImageData(str(tmp_path / "test" / "c"), image_size=4, channels=1))
    assert flat.labels is None
    with pytest.raises(
        InputError, match=r"`data.subfolder` \(='val'\) must be a folder .* which has test, train"
    ):
        open_source(ImageData(str(tmp_path), image_size=4, channels=1, subfolder="val"))


def test_a_picture_is_the_image_before_its_preprocessing(tmp_path):
    pixels = RNG.integers(0, 256, (5, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.save(tmp_path / "b.npy", pixels[None])
    for data in (ImageData(str(tmp_path), 4), ArrayData(str(tmp_path / "b.npy"), 4)):
        source = subset(open_source(data), np.array([0, 0]))
        assert source.image_shape == (4, 4, 3)
        np.testing.assert_array_equal(to_pixels(source.picture(1), 3), pixels)
        grey = np.asarray(Image.fromarray(pixels).convert("L"))
        np.testing.assert_array_equal(to_pixels(source.picture(1), 1)[..., 0], grey)
