"""IDX files, and stacked digits made of them."""

import gzip
import struct

import numpy as np
import pytest

from l1jax.config import IdxData, InputError, StackedData
from l1jax.data.opening import open_source

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (7, 28, 28), np.uint8)
LABELS = np.array([3, 0, 9, 1, 1, 4, 7], np.uint8)


def idx(array, dimensions=None, kind=8):
    """An IDX file whose header claims `dimensions`, by default the true ones."""
    shape = dimensions or array.shape
    return struct.pack(f">HBB{len(shape)}i", 0, kind, len(shape), *shape) + array.tobytes()


@pytest.fixture
def folder(tmp_path):
    """The four files of MNIST, two of them gzipped.

    The test split is the training split in reverse order.
    """
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(IMAGES)))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS))
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(IMAGES[::-1]))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS[::-1])))
    return tmp_path


def examples(source):
    return np.stack([source.example(i) for i in range(source.length)])


def test_both_splits_are_read_gzipped_or_not(folder):
    train = open_source(IdxData(str(folder), "train"))
    test = open_source(IdxData(str(folder), "test"))
    np.testing.assert_array_equal(examples(train), IMAGES[..., None])
    np.testing.assert_array_equal(train.labels, LABELS)
    np.testing.assert_array_equal(examples(test), IMAGES[::-1, ..., None])
    np.testing.assert_array_equal(test.labels, LABELS[::-1])
    assert train.image_shape == (28, 28, 1)
    assert train.fingerprint != test.fingerprint
    assert open_source(IdxData(str(folder), image_size=32)).example(0).shape == (32, 32, 1)


def test_stacked_digits_are_three_digits_with_their_number(folder):
    source = open_source(StackedData(str(folder), count=300))
    assert source.image_shape == (28, 28, 3)
    assert source.length == 300
    for i in range(300):
        image = source.example(i)
        digits = [int(digit) for digit in f"{source.labels[i]:03d}"]
        for channel, digit in enumerate(digits):
            same = [n for n in range(7) if np.array_equal(IMAGES[n], image[..., channel])]
            assert len(same) == 1
            assert LABELS[same[0]] == digit
    assert len(np.unique(source.labels)) > 50  # of 6³ = 216 that these seven digits make
    again = open_source(StackedData(str(folder), count=300, draw_seed=0))
    other = open_source(StackedData(str(folder), count=300, draw_seed=1))
    np.testing.assert_array_equal(again.labels, source.labels)
    assert not np.array_equal(other.labels, source.labels)
    assert other.fingerprint != source.fingerprint


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("train-images-idx3-ubyte.gz", gzip.compress(idx(IMAGES))[:-9], "cannot be read"),
        (
            "train-images-idx3-ubyte.gz",
            gzip.compress(idx(IMAGES)[:-1]),
            "does not hold as many values as its header",
        ),
        (
            "train-images-idx3-ubyte.gz",
            idx(IMAGES) + b"1",
            "does not hold as many values as its header",
        ),
        (
            "train-images-idx3-ubyte.gz",
            idx(IMAGES, (7, -28, -28)),
            "does not hold as many values as its header",
        ),
        (
            "train-images-idx3-ubyte.gz",
            idx(IMAGES, kind=13),
            "must be an IDX file of unsigned bytes",
        ),
        ("train-images-idx3-ubyte.gz", b"", "must be an IDX file of unsigned bytes"),
        (
            "train-images-idx3-ubyte.gz",
            b"\0\0\x08\xff" + bytes(100),
            "does not hold as many values as its header",
        ),
        ("train-labels-idx1-ubyte", idx(LABELS[:5]), "must hold as many train images as labels"),
        (
            "train-labels-idx1-ubyte",
            None,
            "must be a folder with train-labels-idx1-ubyte or train-labels-idx1-ubyte.gz",
        ),
    ],
)
def test_a_damaged_file_is_one_sentence_with_its_name(folder, name, content, words):
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        open_source(IdxData(str(folder)))
    assert str(folder) in str(caught.value)


def test_a_file_over_the_limit_is_not_read(folder):
    with (folder / "train-images-idx3-ubyte.gz").open("wb") as file:
        file.truncate(20 * 10**9)
    with pytest.raises(InputError, match="must have at most"):
        open_source(IdxData(str(folder)))


def test_stacking_labels_beyond_9_is_an_error(folder):
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(LABELS + 5))
    with pytest.raises(InputError, match="must hold the ten digits, and has a label 14"):
        open_source(StackedData(str(folder)))
