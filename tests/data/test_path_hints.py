"""Messages about paths that are given to the wrong kind of data."""

import gzip
import io
import struct
import zipfile

import numpy as np
import pytest
from image_files import COLOUR, FILES, encode, input_error, open_images, write_folder, zip_bytes

from l1jax.config import ArrayData, IdxData, ImageData, StackedData
from l1jax.data.opening import open_source
from l1jax.train import main

STACK = np.random.default_rng(0).integers(0, 256, (7, 28, 28), np.uint8)


def idx(array):
    return struct.pack(f">HBB{array.ndim}i", 0, 8, array.ndim, *array.shape) + array.tobytes()


def arrays(**values):
    buffer = io.BytesIO()
    np.savez(buffer, **values)
    return buffer.getvalue()


def one_array(values):
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


IDX = {
    "train-images-idx3-ubyte": idx(STACK),
    "train-labels-idx1-ubyte": idx(np.arange(7, dtype=np.uint8)),
}
WITH_DOT = "train-images.idx3-ubyte.gz"
ARCHIVES = {"a.zip": b"", "b/c.tar.gz": b"", "d.7z": b"", "e.rar": b""}


@pytest.mark.parametrize(
    ("files", "path", "words"),
    [
        ({"a.npz": arrays(images=STACK)}, "a.npz", ["looks like NumPy's file", "--data array"]),
        ({"a": arrays(images=STACK)}, "a", ["looks like NumPy's file", "--data array"]),
        ({"a.npy": one_array(STACK)}, "a.npy", ["looks like NumPy's file", "--data array"]),
        ({"a": one_array(STACK)}, "a", ["looks like NumPy's file", "--data array"]),
        ({"a/good.npz": arrays(images=STACK)}, "a", ["--data array --data.path", "a/good.npz"]),
        (IDX, "train-images-idx3-ubyte", ["MNIST's files", "--data idx", "folder"]),
        ({WITH_DOT: gzip.compress(b"")}, WITH_DOT, ["--data idx"]),
        (IDX, "", ["MNIST's files", "--data idx"]),
        ({"cat.png": FILES["B.PNG"]}, "cat.png", ["a single image", "give the folder"]),
        ({"cat.jfif": encode(COLOUR, "JPEG")}, "cat.jfif", ["a single image"]),
        ({"x.7z": b"7z"}, "x.7z", ["a .7z archive", "unpack it"]),
        ({"x.h5": b"x"}, "x.h5", ["a .h5 file", "a .npz"]),
        ({"data.mdb": b"x", "lock.mdb": b""}, "", ["a database of LMDB", "into a tar or a folder"]),
        (ARCHIVES, "", ["4 archives ('a.zip', 'b/c.tar.gz', 'd.7z', …)", "unpack"]),
        ({"a/features.json": b"", "a/dataset_info.json": b""}, "a", ["--data tfds"]),
        ({"a/notes.txt": b""}, "a", ["holds no images", "a folder of text: give --data text"]),
    ],
)  # fmt: skip
def test_other_data_given_as_images(tmp_path, files, path, words):
    write_folder(tmp_path, files)
    input_error(lambda: open_images(tmp_path / path), "`data.path`", *words)


def test_a_zip_of_arrays_and_an_image_is_one_of_images(tmp_path):
    (tmp_path / "a.zip").write_bytes(zip_bytes({"x.npy": b"", "1.png": FILES["B.PNG"]}))
    assert open_images(tmp_path / "a.zip").length == 1


@pytest.mark.parametrize(
    ("files", "path", "words"),
    [
        ({"a/1.png": FILES["B.PNG"]}, "a", ["looks like a folder", "--data image"]),
        (
            {"a/x.npz": b"", "a/y.npy": b""},
            "a",
            ["folder with NumPy's files", "--data.path", "a/x.npz"],
        ),
        (IDX, "", ["a folder of MNIST's files", "--data idx"]),
        (IDX, "train-images-idx3-ubyte", ["MNIST's files", "--data idx"]),
        ({"a.zip": zip_bytes()}, "a.zip", ["looks like an archive", "--data image"]),
        ({"archive": zip_bytes()}, "archive", ["looks like an archive", "--data image"]),
        ({"1.png": FILES["B.PNG"]}, "1.png", ["a single image", "--data image"]),
        ({"x.h5": b"?"}, "x.h5", ["a .h5 file", "numpy.savez"]),
    ],
)
def test_other_data_given_as_an_array(tmp_path, files, path, words):
    write_folder(tmp_path, files)
    location = str(tmp_path / path)
    input_error(
        lambda: open_source(ArrayData(location)),
        "`data.path`",
        "must be a .npz or .npy file",
        *words,
    )


@pytest.mark.parametrize(
    ("files", "path", "words"),
    [
        (
            IDX,
            "train-images-idx3-ubyte",
            ["it is one of these files", "the folder that they are in"],
        ),
        ({f"{name}/{name}": content for name, content in IDX.items()}, "", ["into one folder"]),
        ({"a/1.png": FILES["B.PNG"]}, "a", ["looks like a folder", "--data image"]),
        ({"a.npz": arrays(images=STACK)}, "a.npz", ["NumPy's file", "--data array"]),
        ({}, "gone", ["give --data.path FOLDER"]),
    ],
)
@pytest.mark.parametrize("kind", [IdxData, StackedData])
def test_other_data_given_as_mnist(tmp_path, kind, files, path, words):
    write_folder(tmp_path, files)
    location = str(tmp_path / path)
    input_error(
        lambda: open_source(kind(location)),
        "`data.path`",
        "must be a folder with train-images-idx3-ubyte",
        *words,
    )


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnists_files_may_have_a_dot_for_the_dash(tmp_path, suffix):
    compress = {"": bytes, ".gz": gzip.compress}[suffix]
    files = {
        name.replace("-idx", ".idx") + suffix: compress(content) for name, content in IDX.items()
    }
    write_folder(tmp_path, files)
    source = open_source(IdxData(str(tmp_path)))
    assert source.labels.tolist() == list(range(7))
    np.testing.assert_array_equal(source.example(3)[..., 0], STACK[3])


@pytest.mark.parametrize("kind", [ImageData, ArrayData, IdxData, StackedData])
@pytest.mark.parametrize(
    "address", ["https://x.org/a.zip", "s3://b/a", "gs://b/a", "hf://datasets/a/b", "hdfs:/a"]
)
def test_a_network_address_is_an_error(kind, address):
    input_error(
        lambda: open_source(kind(address)),
        f"`data.path` (={address!r})",
        "address on a network",
        "download",
    )


def encrypted(content):
    """A zip whose members say that they are encrypted."""
    content = bytearray(content)
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        position = content.find(mark)
        while position >= 0:
            content[position + flags] |= 1
            position = content.find(mark, position + 4)
    return bytes(content)


def test_an_encrypted_zip_is_an_error(tmp_path):
    (tmp_path / "a.zip").write_bytes(encrypted(zip_bytes(compression=zipfile.ZIP_STORED)))
    message = input_error(
        lambda: open_images(tmp_path / "a.zip"), "a.zip", "it is encrypted", "its password"
    )
    assert "on-error" not in message


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (
            np.zeros((16, 16, 3), np.uint8),
            ["one image with 3 channels", "`images[None]`", "16 grey images of"],
        ),
        (np.zeros((16, 16, 1), np.uint8), ["one image with 1 channel;", "`images[None]`"]),
        (np.zeros((16, 16, 4), np.uint8), ["one image with 4 channels"]),
        (np.zeros((16, 16), np.uint8), ["one grey image", "`images[None]`"]),
        (np.zeros((2, 3, 16, 16), np.uint8), ["channels first", "`numpy.moveaxis(images, 1, -1)`"]),
        (np.zeros((2, 16, 16, 4), np.uint8), ["transparency", "`images[..., :3]`"]),
        (np.zeros((2, 16, 16, 3), np.float32), ["from 0 to 0", "--data.floats unit"]),
        (np.zeros((2, 16, 16), bool), ["bool", "`255 * images.astype(numpy.uint8)`"]),
        (np.zeros((2, 16, 16), np.int64), ["int64", "`images.astype(numpy.uint8)`"]),
    ],
)  # fmt: skip
def test_errors_about_arrays_say_how_to_make_images(tmp_path, images, words):
    np.save(tmp_path / "a.npy", images)
    np.savez(tmp_path / "a.npz", images=images)
    for name in ("a.npy", "a.npz"):
        input_error(
            lambda name=name: open_source(ArrayData(str(tmp_path / name))), "`data.images`", *words
        )


def test_the_proposed_conversions_work(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    np.save(tmp_path / "a.npy", image[None])
    source = open_source(ArrayData(str(tmp_path / "a.npy"), 16))
    assert source.length == 1
    np.testing.assert_array_equal(source.example(0), image)
    np.save(tmp_path / "a.npy", image[..., None])
    assert open_source(ArrayData(str(tmp_path / "a.npy"), 3, 1)).length == 16


@pytest.mark.parametrize("name", ["lables", "label"])
def test_a_mistyped_name_of_the_labels_is_an_error(tmp_path, name):
    np.savez(tmp_path / "a.npz", images=STACK, labels=np.arange(7))
    path = str(tmp_path / "a.npz")
    input_error(
        lambda: open_source(ArrayData(path, 28, 1, labels=name)),
        f"`data.labels` (={name!r})",
        "images, labels",
    )
    np.savez(tmp_path / "a.npz", images=STACK)
    assert open_source(ArrayData(path, 28, 1)).labels is None  # by default they may be missing
    flags = "--data image --data.path x --data.labels lables --workdir run".split()
    input_error(lambda: main(flags), "lables", "folders", "innermost", "none")
