"""Classes from tables and from WebDataset's files beside the images."""

import json

import numpy as np
import pytest
from image_files import encode, input_error, open_images, pack, tar_bytes, write_folder

from l1jax.config import ImageData, from_json, to_json
from l1jax.config.experiment import Config
from l1jax.training.workdir import with_absolute_paths

NAMES = [f"{i:06d}.jpg" for i in range(1, 7)]
SMILING = [1, -1, -1, 1, 1, -1]


def images(names=NAMES):
    return {name: encode(np.full((4, 4, 3), 40 * i, np.uint8)) for i, name in enumerate(names)}


def celeba(values=SMILING):
    """The attributes' file as CelebA has it: a count, names, and rows of one word more."""
    rows = [f"{name} -1 {value:2d}" for name, value in zip(NAMES, values, strict=True)]
    return "\n".join([str(len(NAMES)), "Bald Smiling ", *rows, ""])


def labelled(source):
    return [source.classes[label] for label in source.labels]


@pytest.mark.parametrize("column", ["Smiling", "smiling", "2"])
def test_celebas_attributes_are_classes(tmp_path, column):
    root = write_folder(tmp_path / "d", images())
    (tmp_path / "d" / "list_attr_celeba.txt").write_text(celeba())
    source = open_images(root, labels=f"list_attr_celeba.txt:{column}")
    expected = ["not Smiling", "Smiling"] if column != "2" else ["-1", "1"]
    wanted = [expected[value > 0] for value in SMILING]
    if column == "smiling":
        wanted = [word.lower() for word in wanted]
    assert labelled(source) == wanted
    assert source.length == 6


def test_a_table_lies_beside_the_archive_and_its_names_may_lack_folders(tmp_path):
    files = {f"img_align_celeba/{name}": content for name, content in images().items()}
    path = pack(tmp_path / "img_align_celeba", "zip", files)
    (tmp_path / "identity_CelebA.txt").write_text(
        "".join(
            f"{name} {identity}\n"
            for name, identity in zip(NAMES, [7, 70, 7, 9, 9, 7], strict=True)
        )
    )
    source = open_images(path, labels="identity_CelebA.txt:1")
    assert source.classes == ("7", "9", "70")  # by size, not by the alphabet
    assert labelled(source) == ["7", "70", "7", "9", "9", "7"]


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("id,filename,kind\n0,a/1.png,cat\n1,b/2.png,dog\n", "kind"),
        ('filename;kind\n"./a/1";cat\n"b\\2.png";dog\n', "kind"),
        ("\ufefffilename\tkind\na/1.png\tcat\n2.png\tdog\nx.png\tbird\n", "KIND"),
    ],
)
def test_tables_of_values_with_separators_are_read(tmp_path, table, column):
    root = write_folder(tmp_path / "d", images(["a/1.png", "b/2.png"]))
    (tmp_path / "t.csv").write_text(table, encoding="utf-8")
    source = open_images(root, labels=f"{tmp_path / 't.csv'}:{column}")
    assert source.classes == ("cat", "dog")
    assert labelled(source) == ["cat", "dog"]


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_webdatasets_files_are_classes(tmp_path, kind):
    files = images(["s/1.jpg", "s/2.jpg", "s/3.left.jpg"])
    files |= {"s/1.cls": b"12\n", "s/2.cls": b"3", "s/3.cls": b" 12 "}
    objects = [{"label": "cat"}, {"label": "dog"}, {"label": "cat"}]
    files |= {f"s/{i + 1}.json": json.dumps({"of": o}).encode() for i, o in enumerate(objects)}
    path = pack(tmp_path / "d", kind, files)
    source = open_images(path, labels="cls")
    assert source.classes == ("3", "12")
    assert labelled(source) == ["12", "3", "12"]
    assert labelled(open_images(path, labels="json:of.label")) == ["cat", "dog", "cat"]


def test_shards_are_one_data_set_with_their_classes(tmp_path):
    files = images() | {name.replace("jpg", "cls"): b"%d" % (i % 2) for i, name in enumerate(NAMES)}
    names = sorted(files)
    for i in range(3):
        part = {name: files[name] for name in names[4 * i : 4 * i + 4]}
        (tmp_path / f"train-{i:03d}.tar").write_bytes(tar_bytes(part))
    whole = open_images(write_folder(tmp_path / "d", files), labels="cls")
    for pattern in ("train-{000..002}.tar", "train-*.tar", "train-{000,001,002}.tar"):
        source = open_images(tmp_path / pattern, labels="cls")
        assert source.fingerprint == whole.fingerprint
        np.testing.assert_array_equal(source.labels, [0, 1, 0, 1, 0, 1])
        np.testing.assert_array_equal(source.example(4), whole.example(4))


def test_images_without_a_class_stop_or_are_left_out(tmp_path):
    root = write_folder(tmp_path / "d", images())
    (tmp_path / "t.csv").write_text("image,kind\n000001.jpg,a\n000002.jpg,b\n000003.jpg,\n")
    labels = f"{tmp_path / 't.csv'}:kind"
    input_error(
        lambda: open_images(root, labels=labels),
        "4 of the 6 images",
        "'000003.jpg'",
        "--data.on-error skip",
    )
    source = open_images(root, labels=labels, on_error="skip")
    assert labelled(source) == ["a", "b"]
    assert len(source.skipped) == 4
    assert "no class" in source.skipped[0]


@pytest.mark.parametrize(
    ("table", "column", "words"),
    [
        ("image,kind\na.png,x\n", "sort", ["has kind", "FILE:NUMBER, counted from 0"]),
        ("image,kind\n000001.jpg,x\n000001.jpg,y\n", "kind", ["'x' and 'y'", "one class"]),
        ("image,kind\n", "kind", ["header and a row", "1 lines"]),
        (b"\xff\xfe\x00", "kind", ["cannot be read", "UTF-8"]),
        (None, "kind", ["No such file", "FILE:COLUMN"]),
        ("image,kind\n" + "".join(f"{n},0.{i}\n" for i, n in enumerate(NAMES)), "kind", ["'0.0'"]),
    ],
)
def test_a_table_that_does_not_help_is_refused(tmp_path, table, column, words):
    root = write_folder(tmp_path / "d", images())
    path = tmp_path / "t.csv"
    if table is not None:
        path.write_bytes(table if isinstance(table, bytes) else table.encode())
    input_error(lambda: open_images(root, labels=f"{path}:{column}"), "`data.labels`", *words)


def test_a_row_that_fits_two_images_is_refused(tmp_path):
    root = write_folder(tmp_path / "d", images(["a/1.png", "b/1.png"]))
    (tmp_path / "t.csv").write_text("image,kind\n1.png,x\n")
    input_error(
        lambda: open_images(root, labels=f"{tmp_path / 't.csv'}:kind"),
        "`data.labels`",
        "row '1.png' fits 'a/1.png' and 'b/1.png'",
    )


def test_classes_stay_with_their_archive_where_names_come_twice(tmp_path):
    """Also where the archives themselves have one name, and an image another suffix."""
    for i, folder in enumerate(("x", "y", "z")):
        (tmp_path / folder).mkdir()
        suffix = "jpg" if i < 2 else "png"
        pixels = np.full((4, 4, 3), 90 * i, np.uint8)
        part = {f"0.{suffix}": encode(pixels), "0.cls": b"%d" % i}
        (tmp_path / folder / "0.tar").write_bytes(tar_bytes(part))
    source = open_images(tmp_path / "*" / "0.tar", labels="cls")
    assert source.length == 3
    for i in range(3):
        assert source.example(i)[0, 0, 0] == 90 * int(source.classes[source.labels[i]])


def test_a_broken_label_is_named(tmp_path):
    root = write_folder(tmp_path / "d", images(["1.png"]) | {"1.json": b'{"a": 3}'})
    input_error(lambda: open_images(root, labels="json:b"), "'1.json' has no 'b', only a.")
    input_error(lambda: open_images(root, labels="json:a.c"), "'1.json' has no 'c' in 3.")
    (root / "1.json").write_text("{")
    input_error(lambda: open_images(root, labels="json:a"), "'1.json'", "JSONDecodeError", "repair")
    (tmp_path / "t.csv").write_text("image,kind\n1.png,a\n")
    table = str(tmp_path / "t.csv")
    said = "which has kind: write FILE:COLUMN"
    input_error(lambda: open_images(root, labels=table), said)
    input_error(lambda: open_images(root, labels=f"{table}:b"), said)


def test_other_classes_are_another_data_set_and_the_tables_path_becomes_absolute(
    tmp_path, monkeypatch
):
    root = write_folder(tmp_path / "d", images())
    (tmp_path / "t.csv").write_text(
        "image,a,b\n" + "".join(f"{name},{i % 2},{i // 3}\n" for i, name in enumerate(NAMES))
    )
    prints = {
        open_images(root, labels=labels).fingerprint
        for labels in ("none", f"{tmp_path}/t.csv:a", f"{tmp_path}/t.csv:b")
    }
    assert len(prints) == 3
    monkeypatch.chdir(tmp_path)
    experiment = Config(data=ImageData(path="d", labels="t.csv:a"))
    absolute = with_absolute_paths(experiment).data
    assert (absolute.path, absolute.labels) == (str(tmp_path / "d"), f"{tmp_path}/t.csv:a")
    assert from_json(to_json(experiment)) == experiment
