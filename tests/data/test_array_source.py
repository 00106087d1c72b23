"""Images in NumPy's files."""

import io
import os
import zipfile

import numpy as np
import pytest
from image_files import RNG, input_error
from PIL import Image

from l1jax.config import ArrayData
from l1jax.data.opening import open_source
from l1jax.data.source import take

GREY = RNG.integers(0, 256, (7, 6, 6), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (7, 6, 6, 3), dtype=np.uint8)
LABELS = np.array([3, 0, 9, 1, 1, 4, 7])


def open_arrays(path, image_size=6, channels=1, **options):
    return open_source(ArrayData(str(path), image_size, channels, **options))


def all_images(source):
    return take(source, np.arange(source.length))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("images", [GREY, GREY[..., None], np.asfortranarray(GREY)])
def test_images_and_labels_of_an_npz(tmp_path, save, images):
    save(tmp_path / "a.npz", images=images, labels=LABELS)
    source = open_arrays(tmp_path / "a.npz")
    assert (source.length, source.image_shape) == (7, (6, 6, 1))
    np.testing.assert_array_equal(all_images(source)[..., 0], GREY)
    np.testing.assert_array_equal(source.example(3)[..., 0], GREY[3])
    np.testing.assert_array_equal(source.labels, LABELS)
    assert source.labels.dtype == np.int32


def test_other_names_no_labels_and_an_npy(tmp_path):
    np.savez(tmp_path / "a.npz", x=COLOUR, y=LABELS)
    np.save(tmp_path / "b.npy", COLOUR)
    named = open_arrays(tmp_path / "a.npz", channels=3, images="x", labels="y")
    bare = open_arrays(tmp_path / "a.npz", channels=3, images="x")
    single = open_arrays(tmp_path / "b.npy", channels=3)
    np.testing.assert_array_equal(named.labels, LABELS)
    assert bare.labels is None
    assert single.labels is None
    assert bare.fingerprint == single.fingerprint != named.fingerprint
    for source in (named, bare, single):
        np.testing.assert_array_equal(all_images(source), COLOUR)


def test_images_of_another_size_or_kind_are_cropped_resized_and_converted(tmp_path):
    np.save(tmp_path / "wide.npy", COLOUR[:, :4])
    source = open_arrays(tmp_path / "wide.npy", 3, 1)
    expected = (
        Image.fromarray(COLOUR[2][:4, 1:5]).convert("L").resize((3, 3), Image.Resampling.LANCZOS)
    )
    np.testing.assert_array_equal(source.example(2)[..., 0], np.asarray(expected))
    np.save(tmp_path / "grey.npy", GREY)
    np.testing.assert_array_equal(
        all_images(open_arrays(tmp_path / "grey.npy", 6, 3)), np.repeat(GREY[..., None], 3, -1)
    )


def test_the_fingerprint_is_of_pixels_labels_and_preprocessing(tmp_path):
    cases = [
        (GREY, LABELS, 6),
        (GREY, LABELS, 5),
        (GREY, LABELS[::-1], 6),
        (255 - GREY, LABELS, 6),
    ]
    fingerprints = set()
    for images, labels, size in cases:
        np.savez(tmp_path / "a.npz", images=images, labels=labels)
        fingerprints.add(open_arrays(tmp_path / "a.npz", size).fingerprint)
    assert len(fingerprints) == 4


class Malicious:
    """Exits when it is unpickled."""

    def __reduce__(self):
        return exec, ("raise SystemExit('unpickled')",)


@pytest.mark.parametrize("malicious", ["npy", "npz", "labels", "pickle"])
def test_nothing_is_unpickled(tmp_path, malicious):
    import pickle

    objects = np.array([Malicious()] * 7)
    path = tmp_path / "a.npz"
    if malicious == "npy":
        with path.open("wb") as file:
            np.save(file, objects)
    elif malicious == "pickle":
        path.write_bytes(pickle.dumps(objects))
    elif malicious == "labels":
        np.savez(path, images=GREY, labels=objects)
    else:
        np.savez(path, images=objects, labels=objects)
    input_error(lambda: open_arrays(path), "`data.path`", "a.npz", "without objects")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": GREY.astype(np.int64)}, ["`data.images`", "int64", "uint8", "convert"]),
        ({"images": GREY / 1000}, ["0.255", "not certain", "--data.floats unit"]),
        ({"images": np.where(GREY, np.nan, 0.0)}, ["finite pixels"]),
        ({"images": np.moveaxis(COLOUR, -1, 1)}, ["channels last", "(7, 3, 6, 6)"]),
        ({"images": GREY[0]}, ["(6, 6)"]),
        ({"images": GREY[:0]}, ["at least one image"]),
        ({"x": GREY}, ["`data.images` (='images')", "which has x", "--data.images"]),
        ({"images": GREY, "labels": LABELS[1:]}, ["`data.labels`", "each of its 7 images", "(6,)"]),
        ({"images": GREY, "labels": LABELS / 2}, ["`data.labels`", "float64"]),
        ({"images": GREY, "labels": LABELS - 5}, ["`data.labels`", "from 0 on"]),
    ],
)
def test_arrays_that_are_not_images_and_labels(tmp_path, arrays, words):
    np.savez(tmp_path / "a.npz", **arrays)
    input_error(lambda: open_arrays(tmp_path / "a.npz"), *words)


def npy(array, shape=None):
    """A .npy file whose header claims `shape`, by default the true one."""
    buffer = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": shape or array.shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + array.tobytes()


def npz(content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK",
        b"\x93NUMPY",
        b"no array" * 100,
        npy(GREY)[:-1],
        npy(GREY, (10**15, 6, 6)),
        npy(GREY, (-7, 6, 6)),
        npz(npy(GREY))[:-30],
        npz(npy(GREY, (10**15, 6, 6))),
        npz(npy(GREY, (-7, 6, 6))),
        npz(b"no array"),
    ],
    ids=range(11),
)
def test_a_damaged_file_is_one_sentence_with_its_name(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    input_error(
        lambda: open_arrays(tmp_path / "a.npz"),
        "`data.path`",
        "a.npz",
        "must be a whole .npz or .npy",
    )


def test_paths_that_cannot_be_opened_and_bombs_are_errors(tmp_path, monkeypatch):
    input_error(lambda: open_arrays(""), "`data.path` is empty", "--data.path FILE")
    input_error(lambda: open_arrays(tmp_path / "gone.npz"), "gone.npz", "No such file")
    input_error(lambda: open_arrays(tmp_path), "`data.path`", "looks like a folder")
    os.mkfifo(tmp_path / "pipe.npz")
    input_error(
        lambda: open_arrays(tmp_path / "pipe.npz"), "`data.path`", "is a folder, a pipe or a device"
    )
    monkeypatch.setattr("l1jax.data.file_listing.MAX_FILE_BYTES", 1000)
    (tmp_path / "bomb.npz").write_bytes(npz(npy(np.zeros((2**18, 4, 4), np.uint8))))
    input_error(
        lambda: open_arrays(tmp_path / "bomb.npz"), "bomb.npz", "grows beyond", "numpy.savez"
    )
