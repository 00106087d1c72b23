"""Text in files, folders, archives and lines of JSON, and what is refused."""

import bz2
import gzip
import json
import lzma
import tarfile
import zipfile

import numpy as np
import pytest

from l1jax.config import ImageData, InputError, TextData, TopicsData
from l1jax.data import text_source
from l1jax.data.opening import open_source
from l1jax.data.text_files import find_text_error
from l1jax.data.text_source import open_corpus, open_text

TEXTS = {"a/1.txt": "one\n", "a/10.md": "tén\r\n", "b.txt": "two € 😀"}
FILES = {name: text.encode() for name, text in TEXTS.items()}
DOCUMENTS = [FILES[name] for name in sorted(FILES)]


def read(path, **options):
    corpus = open_corpus(TextData(str(path), **options))
    return [corpus.document(i) for i in range(corpus.num_documents)]


def write_folder(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def write_tar(path, root, mode="w"):
    with tarfile.open(path, mode) as tar:
        tar.add(root, "texts")
    return path


def write_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_a_folder_its_archives_and_its_lines_are_the_same_text(tmp_path):
    folder = write_folder(tmp_path / "folder", FILES | {".hidden.txt": b"no", "x.png": b"no"})
    lines = "".join(
        json.dumps({"id": i, "text": d.decode()}) + "\n\n" for i, d in enumerate(DOCUMENTS)
    )
    (tmp_path / "lines.jsonl").write_text(lines)
    (tmp_path / "lines.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    packed = write_folder(
        tmp_path / "packed", {f"{name}.xz": lzma.compress(d) for name, d in FILES.items()}
    )
    paths = [
        folder,
        write_tar(tmp_path / "a.tar", folder),
        write_tar(tmp_path / "a.tar.gz", folder, "w:gz"),
        write_zip(tmp_path / "a.zip", FILES),
        tmp_path / "lines.jsonl",
        tmp_path / "lines.jsonl.gz",
        packed,
    ]
    assert [read(path) for path in paths] == [DOCUMENTS] * len(paths)
    assert len({open_corpus(TextData(str(path))).fingerprint for path in paths}) == 1
    assert read(folder, suffixes=(".md",)) == [FILES["a/10.md"]]


@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress, bz2.compress])
def test_one_file_of_any_name_is_one_document(tmp_path, compress):
    (tmp_path / "play").write_bytes(compress(b"\xef\xbb\xbf" + DOCUMENTS[2]))
    assert read(tmp_path / "play") == [DOCUMENTS[2]]


def test_large_text_is_mapped_from_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(text_source, "LARGE_BYTES", 8)
    monkeypatch.setattr(text_source, "_CHUNK_BYTES", 3)  # divides characters
    text = b"\xef\xbb\xbf" + "ünd 😀 so weiter".encode()
    (tmp_path / "large.txt").write_bytes(text)
    folder = write_folder(tmp_path / "folder", FILES)
    for path, expected in ((tmp_path / "large.txt", [text[3:]]), (folder, DOCUMENTS)):
        corpus = open_corpus(TextData(str(path)))
        assert isinstance(corpus.content, np.memmap)
        assert read(path) == expected
    small_fingerprint = open_corpus(TextData(str(tmp_path / "large.txt"))).fingerprint
    monkeypatch.setattr(text_source, "LARGE_BYTES", 10**6)
    assert open_corpus(TextData(str(tmp_path / "large.txt"))).fingerprint == small_fingerprint


def test_topics_are_the_documentation_of_this_python():
    from pydoc_data.topics import topics

    training, held_out = open_text(TopicsData(), 0.1)
    assert training.num_documents + held_out.num_documents == len(topics)
    assert training.num_bytes + held_out.num_bytes == sum(len(t.encode()) for t in topics.values())
    assert open_text(TopicsData())[1] is None


BAD = {
    "empty": (b"", "has 0 bytes"),
    "binary": (b"\x89PNG\x00\x01" * 9, "its byte 4 is 0"),
    "latin": ("Größe".encode("latin-1"), "its byte 2 is not UTF-8"),
    "cut": ("Größe".encode()[:3], "ends inside a character"),
    "utf-16": ("text".encode("utf-16"), "it is UTF-16"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_text_is_named_or_left_out(name, tmp_path):
    content, reason = BAD[name]
    (tmp_path / "bad.txt").write_bytes(content)
    with pytest.raises(InputError, match=rf"^`data.path` .* 'bad.txt'.*{reason}.*\.$"):
        read(tmp_path / "bad.txt")
    write_folder(tmp_path, {"good.txt": b"good"})
    with pytest.raises(InputError, match=f"'bad.txt'.*{reason}.*--data.on-error skip"):
        read(tmp_path)
    assert read(tmp_path, on_error="skip") == [b"good"]
    (sentence,) = open_corpus(TextData(str(tmp_path), on_error="skip")).skipped
    assert reason in sentence
    if content:
        assert read(tmp_path, encoding="bytes") == [content, b"good"]
    (tmp_path / "good.txt").unlink()
    with pytest.raises(InputError, match="holds no document that can be used"):
        read(tmp_path, on_error="skip")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": 3}', "its 'text' is no string; name another by --data.jsonl-field"),
        ('{"body": "x"}', "it has no string 'text', but body"),
        ('["x"]', "it is not a JSON object"),
        ("{", "Expecting"),
        ("[" * 100_000, "recursion"),
        ('{"text": "\\ud800"}', "surrogates not allowed"),
        ('{"text": ""}', "has 0 bytes"),
    ],
)
def test_bad_lines_of_json_are_named(tmp_path, line, reason):
    (tmp_path / "x.jsonl").write_text('{"text": "good"}\n' + line + "\n")
    with pytest.raises(InputError, match=f"'x.jsonl line 2'.*{reason}"):
        read(tmp_path / "x.jsonl")
    assert read(tmp_path / "x.jsonl", on_error="skip") == [b"good"]


def test_paths_that_hold_no_text_say_what_to_give(tmp_path):
    def error(path, **options):
        with pytest.raises(InputError) as caught:
            read(path, **options)
        return str(caught.value)

    assert "is empty" in error("")
    assert "cannot be read" in error(tmp_path / "missing")
    assert "is an address on a network" in error("https://example.org/x.txt")
    (tmp_path / "x.csv").write_text("a,b")
    assert "--data.suffixes" in error(tmp_path)
    assert read(tmp_path, suffixes=(".csv",)) == [b"a,b"]
    np.save(tmp_path / "x.npy", np.zeros(3))
    assert "--data array" in error(tmp_path / "x.npy")
    (tmp_path / "x.jsonl").write_text("\n\n")
    assert "(it is empty)" in error(tmp_path / "x.jsonl")
    (tmp_path / "cut.txt.gz").write_bytes(gzip.compress(bytes(RANDOM))[:-20])
    assert "damaged or incomplete" in error(tmp_path / "cut.txt.gz")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/play.txt.gz").write_bytes(b"not compressed")
    assert "'play.txt.gz'" in error(tmp_path / "folder")


RANDOM = np.random.default_rng(0).integers(97, 123, 10_000, np.uint8)


def test_text_given_as_images_is_recognised(tmp_path):
    (tmp_path / "x.txt").write_text("text")
    for path in (tmp_path, tmp_path / "x.txt"):
        with pytest.raises(InputError, match="--data text"):
            open_source(ImageData(str(path)))


def test_a_character_may_be_divided_between_chunks():
    text = "a€😀".encode()
    for cut in range(len(text)):
        assert find_text_error([text[:cut], text[cut:]]) == ""
    assert find_text_error([b"ab", b"c\xff"]).startswith("its byte 3 is not UTF-8")
    assert find_text_error([b"a\xe2\x82", b"c"]).startswith("its byte 1 is not UTF-8")
