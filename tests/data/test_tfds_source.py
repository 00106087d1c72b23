"""Sets that TFDS has prepared."""

import gc
import hashlib
import json
import os
import shutil

import numpy as np
import pytest
from image_files import encode, input_error
from PIL import Image

from l1jax.config import TfdsData
from l1jax.data.opening import open_source


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Sets of 7 examples written without TensorFlow.

    `encoded` holds encoded images of 6×8, of which the last is damaged; `arrays` and `floats` hold
    the same as arrays; `bare` holds none. Returned are the folder, the images and the labels.
    """
    gc.collect()  # what other tests left cannot be finalized while TFDS makes imports lazy
    import tensorflow_datasets as tfds

    folder = tmp_path_factory.mktemp("tfds")
    images = np.random.default_rng(1).integers(0, 256, (7, 6, 8, 3), dtype=np.uint8)
    encoded = tfds.features.Image(shape=(None, None, 3))
    array = tfds.features.Tensor(shape=(6, 8, 3), dtype=np.uint8)
    real = tfds.features.Tensor(shape=(6, 8, 3), dtype=np.float32)
    files = [encode(image) for image in images]
    files[6] = files[6][:90]
    contents = {
        "encoded": (encoded, files.__getitem__),
        "arrays": (array, lambda i: images[i]),
        "floats": (real, lambda i: images[i].astype(np.float32)),
        "bare": (None, None),
    }
    for name, (feature, value) in contents.items():
        features = {"label": tfds.features.ClassLabel(num_classes=7)}
        if feature is not None:
            features["image"] = feature

        class Written(tfds.core.GeneratorBasedBuilder, skip_registration=True):
            VERSION = tfds.core.Version("1.0.0")

            def _info(self, features=features):
                return tfds.core.DatasetInfo(
                    builder=self, features=tfds.features.FeaturesDict(features)
                )

            def _split_generators(self, dl_manager):
                return {"train": self._generate_examples()}

            def _generate_examples(self, value=value):
                for i in range(7):
                    record = {"label": i}
                    if value is not None:
                        record["image"] = value(i)
                    yield i, record

        Written.name = f"l1jax_{name}"
        Written(data_dir=folder, file_format="array_record").download_and_prepare()
    labels = [
        int(example["label"])
        for example in tfds.data_source("l1jax_bare:1.0.0", data_dir=folder, split="train")
    ]
    return folder, images, labels


def open_tfds(folder, name, split="train", **options):
    return open_source(TfdsData(name, split, str(folder), **{"image_size": 4, **options}))


@pytest.mark.parametrize("name", ["l1jax_encoded", "l1jax_arrays:1.0.0"])
def test_tfds_images_are_cropped_and_resized(written, name):
    folder, images, labels = written
    source = open_tfds(folder, name)
    assert (source.length, source.image_shape) == (7, (4, 4, 3))
    for i, label in enumerate(labels):
        if label != 6:
            expected = Image.fromarray(images[label][:, 1:7]).resize(
                (4, 4), Image.Resampling.LANCZOS
            )
            np.testing.assert_array_equal(source.example(i), np.asarray(expected))
    grey = open_tfds(folder, name, channels=1, crop=4).example(labels.index(2))
    expected = np.asarray(Image.fromarray(images[2][1:5, 2:6]).convert("L"))
    np.testing.assert_array_equal(grey[..., 0], expected)


def test_tfds_parts_and_fingerprints(written):
    folder = written[0]
    whole = open_tfds(folder, "l1jax_encoded")
    part = open_tfds(folder, "l1jax_encoded", "train[2:5]")
    assert part.length == 3
    np.testing.assert_array_equal(part.example(0), whole.example(2))
    others = [open_tfds(folder, "l1jax_arrays"), open_tfds(folder, "l1jax_encoded", crop=4)]
    assert len({source.fingerprint for source in [whole, part, *others]}) == 4
    expected = json.dumps([["l1jax_encoded/1.0.0", "train", 7], 4, 3, 0]).encode()
    assert whole.fingerprint == hashlib.sha256(expected).hexdigest()


def test_tfds_labels_are_read_on_request(written):
    folder, _, labels = written
    for name in ("l1jax_encoded", "l1jax_arrays"):
        assert open_tfds(folder, name).labels is None
        source = open_tfds(folder, name, labels=True)
        np.testing.assert_array_equal(source.labels, labels)
        assert source.labels.dtype == np.int32


def test_tfds_images_are_cached_until_the_files_change(written, tmp_path):
    source = open_tfds(written[0], "l1jax_arrays")
    copy = shutil.copytree(written[0], tmp_path / "copy")
    assert source.stamp is not None
    for file in copy.rglob("*.array_record*"):
        os.utime(file, (1, 1))
    other = open_tfds(copy, "l1jax_arrays")
    assert other.fingerprint == source.fingerprint
    assert other.stamp != source.stamp


def test_tfds_names_that_cannot_be_opened_are_an_error(written, tmp_path):
    folder = written[0]
    input_error(lambda: open_tfds(folder, ""), "`data.name` is empty", "--data.name")
    input_error(
        lambda: open_tfds(folder, "l1jax_nope"),
        "`data.name` (='l1jax_nope')",
        "neither known",
        "--data.path FOLDER",
    )
    input_error(
        lambda: open_tfds(folder, "no name"), "`data.name` (='no name')", "--data.path FOLDER"
    )
    input_error(
        lambda: open_tfds(folder, "l1jax_encoded:2.0.0"), "`data.name` (='l1jax_encoded:2.0.0')"
    )
    how = (
        "`tfds.builder('mnist'",
        'file_format="array_record").download_and_prepare()`',
        "l1jax[tfds]",
        "--data.path",
    )
    input_error(
        lambda: open_tfds(tmp_path, "mnist"),
        "`data.name` (='mnist')",
        "not prepared",
        str(tmp_path),
        *how,
    )


@pytest.mark.parametrize(
    "split", ["nope", "train[:", "", "train[9:12]", "train[5:2]", "train[3:3]"]
)
def test_tfds_splits_that_do_not_exist_are_an_error(written, split):
    input_error(
        lambda: open_tfds(written[0], "l1jax_encoded", split), f"`data.split` (={split!r})", "must"
    )


@pytest.mark.parametrize("name", ["l1jax_bare", "l1jax_floats"])
def test_tfds_sets_without_usable_images_are_an_error(written, name):
    input_error(
        lambda: open_tfds(written[0], name),
        f"(={name!r})",
        "`image`",
        "label",
        "--data.path FOLDER",
    )


def test_tfds_sets_in_another_file_format_are_an_error(written, tmp_path):
    source = written[0] / "l1jax_encoded/1.0.0"
    target = tmp_path / "l1jax_encoded/1.0.0"
    target.mkdir(parents=True)
    for file in source.iterdir():
        content = file.read_bytes()
        name = file.name.replace("array_record", "tfrecord")
        (target / name).write_bytes(content.replace(b"array_record", b"tfrecord"))
    input_error(
        lambda: open_tfds(tmp_path, "l1jax_encoded"),
        "(='l1jax_encoded')",
        "tfrecord",
        "array_record",
        "data_dir",
    )
    (target / "dataset_info.json").write_text("{")
    input_error(lambda: open_tfds(tmp_path, "l1jax_encoded"), "(='l1jax_encoded')", "JSON")


def test_tfds_errors_name_the_example(written):
    folder, _, labels = written
    damaged = labels.index(6)
    whole = labels.index(0)
    source = open_tfds(folder, "l1jax_encoded")
    input_error(
        lambda: source.example(damaged),
        "`data.name` (='l1jax_encoded')",
        f"'train, example {damaged}'",
        "remove",
    )
    input_error(
        lambda: open_tfds(folder, "l1jax_encoded", crop=7).example(whole),
        "`data.crop` (=7)",
        "8×6",
    )


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([2**32, 2**32 + 1, 7], ["4294967297", "2,147,483,647"]),
        ([-1, -1, -1], ["-1", "from 0 on"]),  # as the test splits of some sets have
        ([0.5, 1.0, 2.0], ["float64"]),
        (["cat", "dog", "cat"], ["return_inverse"]),
        ([3, 1, 2], []),
    ],
)
def test_tfds_labels_that_do_not_fit_are_an_error(tmp_path, values, words):
    import tensorflow_datasets as tfds

    kinds = {
        int: tfds.features.Scalar(np.int64),
        float: tfds.features.Scalar(np.float64),
        str: tfds.features.Text(),
    }
    kind = kinds[type(values[0])]

    class Written(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {"image": tfds.features.Image(shape=(None, None, 3)), "label": kind}
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for i, value in enumerate(values):
                yield i, {"image": encode(np.full((4, 4, 3), i, np.uint8)), "label": value}

    Written.name = "l1jax_labels"
    Written(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    if words:
        input_error(
            lambda: open_tfds(tmp_path, "l1jax_labels", labels=True),
            "`data.name`",
            "`label`",
            *words,
        )
        return
    source = open_tfds(tmp_path, "l1jax_labels", labels=True)
    label_of = {int(source.example(i)[0, 0, 0]): int(source.labels[i]) for i in range(3)}
    assert label_of == dict(enumerate(values))
