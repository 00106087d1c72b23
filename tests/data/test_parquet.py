"""Images in Parquet files, as Hugging Face's `datasets` exports them."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from image_files import encode, input_error

from l1jax.config import ImageData
from l1jax.data.opening import open_examples, open_source

PIXELS = [np.full((4, 4, 3), 30 * i, np.uint8) for i in range(6)]
LABELS = [0, 2, 1, 2, 0, 2]
KINDS = ["JPEG", "PNG", "WEBP"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("L1JAX_CACHE_DIR", str(folder))
    return folder


def write(path, columns, names=None, **options):
    """A file with these columns, and the metadata that `datasets` writes."""
    table = pa.table(columns)
    if names:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        info = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": info})
    pq.write_table(table, path, **options)
    return path


def encoded(count=6):
    """Images as `datasets` stores them, of several formats."""
    kinds = [KINDS[i % 3] for i in range(count)]
    return [
        {"bytes": encode(pixels, kind), "path": f"{i}.{kind.lower()}"}
        for i, (pixels, kind) in enumerate(zip(PIXELS, kinds, strict=False))
    ]


def opened(path, **options):
    return open_source(ImageData(str(path), 4, 3, **options))


def test_an_export_of_datasets_has_its_images_and_classes(tmp_path):
    path = write(
        tmp_path / "train-00000-of-00001.parquet",
        {"image": encoded(), "label": LABELS},
        ["cat", "dog", "emu"],
        row_group_size=2,
    )
    source = opened(path, labels="column:label")
    assert source.length == 6
    assert source.classes == ("cat", "dog", "emu")
    np.testing.assert_array_equal(source.labels, LABELS)
    for i, pixels in enumerate(PIXELS):
        assert abs(source.example(i).astype(int) - pixels).max() <= 2  # JPEG and WebP lose a little
    assert opened(path).labels is None


def test_several_files_are_one_data_set(tmp_path):
    whole = write(tmp_path / "all.parquet", {"image": encoded(), "label": LABELS})
    for i in range(2):
        part = {"image": encoded()[3 * i : 3 * i + 3], "label": LABELS[3 * i : 3 * i + 3]}
        write(tmp_path / f"train-{i}.parquet", part)
    one = opened(whole, labels="column:label")
    source = opened(tmp_path / "train-*.parquet", labels="column:label")
    assert one.classes == source.classes == ("0", "1", "2")
    np.testing.assert_array_equal(source.labels, one.labels)
    for i in range(6):
        np.testing.assert_array_equal(source.example(i), one.example(i))


def test_a_column_of_bytes_alone_holds_images(tmp_path):
    content = [image["bytes"] for image in encoded()]
    path = write(tmp_path / "x.parquet", {"picture": content, "tag": list("abcabc")})
    source = opened(path, labels="column:tag")
    assert source.classes == ("a", "b", "c")
    np.testing.assert_array_equal(source.example(1), PIXELS[1])


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"label": LABELS}, ["one column of encoded images", "label"]),
        ({"a": [b"x"], "b": [b"y"]}, ["one column of encoded images", "a, b"]),
        ({"image": [{"bytes": None, "path": "a.png"}]}, ["has none in row 0"]),
        ({"image": [b""]}, ["has none in row 0"]),
    ],
)
def test_a_file_without_images_is_refused(tmp_path, cache, columns, words):
    schema = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))])
    path = tmp_path / "x.parquet"
    if columns.get("image", [0])[0].__class__ is dict:
        pq.write_table(pa.table(columns, schema=schema), path)
    else:
        write(path, columns)
    input_error(lambda: opened(path), "`data.path`", *words)
    assert not list(cache.glob("*.tar"))


def test_a_damaged_file_and_no_cache_are_refused(tmp_path):
    path = write(tmp_path / "x.parquet", {"image": encoded()})
    data = ImageData(str(path), 4, 3)
    input_error(lambda: open_examples(data, cache=False), "`data.path`", "leave --no-cache out")
    path.write_bytes(path.read_bytes()[:-20])
    input_error(lambda: open_source(data), "x.parquet", "damaged or incomplete")
