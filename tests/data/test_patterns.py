"""Several archives under one path."""

import pytest
from image_files import FILES, input_error, open_images, tar_bytes, write_folder, zip_bytes

from l1jax.data.patterns import expand_pattern, is_pattern


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("a-{008..011}.tar", ["a-008.tar", "a-009.tar", "a-010.tar", "a-011.tar"]),
        ("{x,y}/{1..2}", ["x/1", "x/2", "y/1", "y/2"]),
        ("{b,a,b}", ["b", "a"]),
    ],
)
def test_braces_stand_for_their_alternatives(pattern, wanted):
    assert expand_pattern(pattern) == wanted


def test_wildcards_stand_for_what_lies_there(tmp_path):
    for name in ("2.tar", "1.tar", "1.txt"):
        (tmp_path / name).touch()
    assert expand_pattern(f"{tmp_path}/*.tar") == [f"{tmp_path}/1.tar", f"{tmp_path}/2.tar"]
    (tmp_path / "a[1].tar").touch()
    assert not is_pattern(f"{tmp_path}/a[1].tar")  # a file of just that name


def test_names_that_come_twice_stay_apart(tmp_path):
    (tmp_path / "x.tar").write_bytes(tar_bytes({"k/1.png": FILES["a0.png"]}))
    (tmp_path / "y.zip").write_bytes(
        zip_bytes({"k/1.png": FILES["B.PNG"], "k/2.png": FILES["B.PNG"]})
    )
    source = open_images(tmp_path / "{x.tar,y.zip}", image_size=4)
    assert source.length == 3
    assert source.classes == ()  # an archive's name is no folder
    same = [bool((source.example(i) == source.example(2)).all()) for i in range(3)]
    assert sorted(same) == [False, True, True]


def test_a_folder_with_one_archive_is_that_archive(tmp_path):
    whole = open_images(write_folder(tmp_path / "d"))
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "photos.zip").write_bytes(zip_bytes())
    (tmp_path / "e" / "README.txt").write_text("photos")
    assert open_images(tmp_path / "e").fingerprint == whole.fingerprint
    (tmp_path / "e" / "more.zip").write_bytes(zip_bytes())
    input_error(lambda: open_images(tmp_path / "e"), "2 archives", "as a pattern", "*.zip'")


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("*.tar", ["must fit a file", "quotation marks"]),
        ("{0..9}.tar", ["0.tar", "cannot be read", "No such file"]),
        ("{0..999999}.tar", ["at most 100,000"]),
        ("{0..999}{0..999}", ["at most 100,000"]),
        ("{a,b}.txt", ["a.txt", "neither a folder nor a tar"]),
    ],
)
def test_a_pattern_that_leads_nowhere_is_refused(tmp_path, pattern, words):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("x")
    input_error(lambda: open_images(tmp_path / pattern), "`data.path`", *words)
