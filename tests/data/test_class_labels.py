"""Classes of folders, and labels as numbers."""

import json
import tarfile

import numpy as np
import pytest
from image_files import FILES, RNG, encode, input_error, open_images, pack, write_folder

from l1jax.config import ArrayData, DigitsData, ImageData, InputError, from_json, to_json
from l1jax.config.experiment import Config
from l1jax.data.class_labels import ClassCount, as_labels, class_counts, describe_classes
from l1jax.data.opening import open_examples, open_source
from l1jax.data.source import subset
from l1jax.training.input_checks import check_labels
from l1jax.training.run_data import write_classes

GREY = RNG.integers(0, 256, (3, 6, 6), dtype=np.uint8)


def images(*names):
    return {name: encode(np.full((4, 4, 3), i, np.uint8)) for i, name in enumerate(names)}


def folder(tmp_path, *names, **options):
    return open_images(write_folder(tmp_path, images(*names)), **options)


def classes_of(source):
    """The class of each image, by the value of its pixels: its place in the list of names."""
    shown = [int(source.example(i)[0, 0, 0]) for i in range(source.length)]
    return {image: source.classes[label] for image, label in zip(shown, source.labels, strict=True)}


NESTED = ("train/cat/1.png", "train/dog/1.png", "test/cat/2.png", "test/dog/2.png")


@pytest.mark.parametrize("kind", ["folder", "tar", "zip"])
def test_nested_class_folders_are_read_as_the_field_labels_says(tmp_path, kind):
    path = pack(tmp_path / "d", kind, images(*NESTED))
    innermost = classes_of(open_images(path, labels="innermost"))
    assert innermost == {0: "cat", 1: "dog", 2: "cat", 3: "dog"}
    folders = classes_of(open_images(path, labels="folders"))
    assert folders == {0: "train", 1: "train", 2: "test", 3: "test"}
    assert open_images(path, labels="none").labels is None
    assert classes_of(open_images(path, subfolder="train")) == {0: "cat", 1: "dog"}
    for labels in ("folders", "innermost", "none"):
        assert not open_images(path, labels=labels).label_ambiguity
    same = {open_images(path, labels=labels).fingerprint for labels in ("auto", "folders", "none")}
    assert len(same) == 1
    assert open_images(path, labels="innermost").fingerprint not in same  # other labels


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            NESTED,
            [
                "test, train",
                "--data.subfolder train",
                "--data.labels none",
                "--data.labels innermost",
            ],
        ),
        (
            ("Train/1.png", "Test/1.png"),
            ["Test, Train", "--data.subfolder Train", "--data.labels none"],
        ),
        (("train/1.png", "val/1.png", "x/1.png"), ["train, val", "--data.labels folders"]),
        (("cat/1.png", "dog/1.png", "validation/1.png"), ["the folders validation,"]),
        (
            ("training_set/1.png", "test_set/1.png"),
            ["test_set, training_set", "--data.subfolder training_set"],
        ),
        (
            ("00000/1.png", "01000/1.png", "69000/1.png"),
            ["00000, 01000", "1000 apart", "--data.labels none"],
        ),
        (("0/1.png", "10/1.png"), ["10 apart"]),
        (
            ("1.png", "cat/1.png", "cat/2.png", "dog/1.png"),
            ["1 image beside 2 class folders", "'1.png'", "on-error"],
        ),
        (
            ("1.png", "2.png", "cat/1.png", "dog/1.png"),
            ["2 images beside 2 class folders", "--data.labels none"],
        ),
    ],
)
def test_folders_that_may_not_be_classes_are_an_error_before_training(tmp_path, names, words):
    source = folder(tmp_path, *names)
    message = input_error(lambda: check_labels(0, source), "`data.path`", *words)
    assert ("innermost" in message) == (names is NESTED)
    check_labels(0, open_images(tmp_path, labels="none"))


@pytest.mark.parametrize(
    "names",
    [
        ("cat/1.png", "dog/1.png"),
        ("bus/1.png", "car/1.png", "train/1.png"),  # a vehicle
        ("0/1.png", "1/1.png", "2/1.png", "10/1.png"),
        ("1.png", "2.png"),
        ("1.png", "thumbnails/1.png"),  # one folder makes no classes
        ("cat/train/1.png", "dog/train/1.png"),
    ],
)
def test_folders_that_are_clearly_classes_or_not_are_no_error(tmp_path, names):
    source = folder(tmp_path, *names)
    assert not source.label_ambiguity
    assert (source.labels is None) == ("1.png" in names)


@pytest.mark.parametrize("labels", ["folders", "innermost"])
def test_an_image_beside_class_folders_is_an_error_if_classes_are_wanted(tmp_path, labels):
    path = write_folder(tmp_path, images("cat/1.png", "cat/2.png", "dog/1.png", "stray.png"))
    input_error(
        lambda: open_images(path, labels=labels),
        "'stray.png'",
        "1 image beside 2 class folders",
        "skip",
    )


@pytest.mark.parametrize("labels", ["auto", "folders", "innermost"])
def test_an_image_beside_class_folders_is_skipped_if_that_is_allowed(tmp_path, labels):
    path = write_folder(tmp_path, images("cat/1.png", "cat/2.png", "dog/1.png", "stray.png"))
    source = open_images(path, labels=labels, on_error="skip")
    assert classes_of(source) == {0: "cat", 1: "cat", 2: "dog"}
    assert not source.label_ambiguity
    assert len(source.skipped) == 1
    assert "'stray.png'" in source.skipped[0]
    kept, _ = open_examples(
        ImageData(str(path), image_size=4, labels=labels, on_error="skip"), cache=False
    )
    assert kept.classes == ("cat", "dog")


def test_most_of_the_images_are_never_skipped(tmp_path):
    path = write_folder(tmp_path, images("1.png", "2.png", "3.png", "cat/1.png", "dog/1.png"))
    source = open_images(path, on_error="skip")
    assert source.length == 5
    assert "--data.on-error" not in input_error(
        lambda: check_labels(0, source), "3 images beside 2 class folders"
    )
    input_error(
        lambda: open_images(path, on_error="skip", labels="folders"),
        "3 images beside 2 class folders",
    )


@pytest.mark.parametrize("labels", ["folders", "innermost"])
def test_a_single_class_folder_is_an_error_if_classes_are_wanted(tmp_path, labels):
    input_error(
        lambda: folder(tmp_path, "x/1.png", "x/2.png", labels=labels),
        f"`data.labels` (={labels})",
        "none",
    )


def test_an_older_configuration_opens_with_the_same_classes(tmp_path):
    values = to_json(Config(data=ImageData(str(tmp_path), image_size=4)))
    for field in ("labels", "most_pixels"):
        del values["data"][field]
    data = from_json(json.loads(json.dumps(values))).data
    write_folder(tmp_path, images("cat/1.png", "dog/1.png"))
    assert classes_of(open_source(data)) == {0: "cat", 1: "dog"}


def test_classes_are_counted_and_described(tmp_path):
    source = folder(tmp_path / "a", "cat/1.png", "cat/2.png", "dog/1.png")
    assert class_counts(source) == [ClassCount(0, "cat", 2), ClassCount(1, "dog", 1)]
    assert describe_classes(source) == "2 classes, with their counts of images: 0 cat 2, 1 dog 1"
    assert class_counts(subset(source, np.array([2]))) == [
        ClassCount(0, "cat", 0),
        ClassCount(1, "dog", 1),
    ]
    digits = describe_classes(open_source(DigitsData()))
    # The counts are those of scikit-learn's documentation.
    assert digits.startswith("10 classes, with their counts of images: 0 178, 1 182, ")
    many = folder(tmp_path / "b", *(f"c{i:02}/1.png" for i in range(12)))
    assert describe_classes(many).endswith("9 c09 1, … to 11 c11 1")
    assert describe_classes(folder(tmp_path / "c", "1.png")) == ""


def test_a_work_directory_holds_the_classes_names(tmp_path):
    source = folder(tmp_path / "a", "cat/1.png", "cat/2.png", "dog/1.png")
    write_classes(tmp_path, source)
    assert json.loads((tmp_path / "classes.json").read_text()) == [
        {"label": 0, "name": "cat", "count": 2}, {"label": 1, "name": "dog", "count": 1}
    ]  # fmt: skip
    write_classes(tmp_path, source._replace(labels=None))
    assert not (tmp_path / "classes.json").exists()


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([2**32, 2**32 + 1, 7], ["4294967297", "2,147,483,647"]),
        ([2**31, 0, 1], ["2147483648", "2,147,483,647"]),
        (np.array([2**63 + 5, 0, 1], np.uint64), ["9223372036854775813", "2,147,483,647"]),
        ([0, -1, 1], ["-1", "from 0 on"]),
        (np.array([0, 1, -(2**40)]), ["-1099511627776"]),
        ([0.0, 1.0, 2.0], ["float64", "`labels.astype(int)`"]),
        ([0.5, 1.0, 2.0], ["float64", "return_inverse"]),
        ([float("nan"), 1.0, 2.0], ["float64"]),
        ([True, False, True], ["bool", "`labels.astype(int)`"]),
        (["cat", "dog", "cat"], ["<U3", "return_inverse"]),
        ([b"cat", b"dog", b"cat"], ["|S3", "return_inverse"]),
        ([1j, 0, 0], ["complex128"]),
        (np.array(["2020", "2021", "2022"], "datetime64[Y]"), ["datetime64"]),
        ([[0], [1], [2]], ["(3, 1)", "`labels.ravel()`"]),
        (np.eye(3, dtype=int), ["(3, 3)", "`labels.argmax(1)`"]),
        ([0, 1], ["(2,)", "each of its 3 images"]),
        (np.array(7), ["()"]),
    ],
)
def test_labels_that_do_not_fit_are_an_error(tmp_path, labels, words):
    np.savez(tmp_path / "a.npz", images=GREY, labels=labels)
    words = ["`data.path`", "`data.labels` (='labels')", *words]
    input_error(lambda: open_source(ArrayData(str(tmp_path / "a.npz"), 6, 1)), *words)


def test_labels_that_are_objects_are_an_error_and_not_unpickled(tmp_path):
    np.savez(tmp_path / "a.npz", images=GREY, labels=np.array([1, "a", None], object))
    input_error(
        lambda: open_source(ArrayData(str(tmp_path / "a.npz"), 6, 1)),
        "`data.path`",
        "without objects",
    )


@pytest.mark.parametrize(
    "dtype", [np.int8, np.uint8, np.int16, ">i2", np.uint32, np.int64, np.uint64]
)
def test_labels_of_any_integer_type_are_read(tmp_path, dtype):
    np.savez(tmp_path / "a.npz", images=GREY, labels=np.array([2, 0, 100], dtype))
    source = open_source(ArrayData(str(tmp_path / "a.npz"), 6, 1))
    assert source.labels.dtype == np.int32
    assert source.labels.tolist() == [2, 0, 100]
    assert as_labels([2**31 - 1, 0], 2, "", "").tolist() == [2**31 - 1, 0]


def test_labels_from_1_on_are_recognized(tmp_path):
    np.savez(tmp_path / "a.npz", images=GREY, labels=[1, 2, 3])
    source = open_source(ArrayData(str(tmp_path / "a.npz"), 6, 1))
    input_error(
        lambda: check_labels(3, source),
        "`model.classes` (=3)",
        "at least 4",
        "numbered from 1",
        "save them less 1",
    )
    check_labels(4, source)
    with pytest.raises(InputError) as caught:
        check_labels(2, source._replace(labels=source.labels - 1))
    assert "numbered from 1" not in str(caught.value)


def test_a_tar_with_a_leading_dot_has_class_folders(tmp_path):
    write_folder(tmp_path / "x", {"cat/1.png": FILES["B.PNG"], "dog/1.png": FILES["a0.png"]})
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        tar.add(tmp_path / "x", ".")
    assert open_images(tmp_path / "t.tar").classes == ("cat", "dog")
