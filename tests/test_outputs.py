"""What is said before any work where an output cannot be."""

import os
from pathlib import Path

import pytest

from l1jax.config import InputError
from l1jax.outputs import check_output_file, check_output_folder, names_a_folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("v1.0/", True),
        ("a/b/", True),
        (".", True),
        ("a/..", True),
        ("v1.0", False),
        ("a/.b", False),
        ("a..", False),
    ],
)
def test_a_path_that_ends_in_a_slash_is_a_folders(value, wanted):
    assert names_a_folder(value) is wanted


@pytest.mark.parametrize("value", ["numbers.json", "numbers-0.003", "~/numbers", "there"])
def test_a_file_may_be_new_or_there(value, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    Path("there").write_text("old")
    assert check_output_file(value) == Path(value).expanduser()
    assert os.listdir() == ["there"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "`--output` is empty"),
        ("folder", "`--output` (=folder) must be a file, and is a folder"),
        ("new/", "`--output` (=new/) must be a file, and is a folder"),
        ("no/file", "`--output` (=no/file) must be in a folder that exists: make "),
        ("file/file", "`--output` (=file/file) must be in a folder that exists: make "),
        ("pipe", "`--output` (=pipe) must be a new or an ordinary file"),
        ("dangling", "`--output` (=dangling) must be a new or an ordinary file"),
        ("x" * 252, "must be writable: File name too long"),
        ("/proc/file", "`--output` (=/proc/file) must be writable: "),
    ],
)
def test_what_can_be_no_file_is_refused(value, words):
    Path("folder").mkdir()
    Path("file").write_text("")
    os.mkfifo("pipe")
    Path("dangling").symlink_to("nowhere")
    before = sorted(os.listdir())
    with pytest.raises(InputError) as caught:
        check_output_file(value)
    assert words in str(caught.value)
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("full", "`--output` (=full) must be a new or an empty folder"),
        ("file", "`--output` (=file) must be a new or an empty folder"),
        ("link", "`--output` (=link) must be a new or an empty folder"),
        ("no/folder", "must be in a folder that exists: make "),
        ("/proc/folder", "`--output` (=/proc/folder) must be writable: "),
        (".", "`--output` (=.) must be a new folder, and is the current one"),
    ],
)
def test_what_can_be_no_new_folder_is_refused(value, words):
    Path("full").mkdir()
    Path("full/mine").write_text("")
    Path("file").write_text("")
    Path("empty").mkdir()
    Path("link").symlink_to("empty")
    with pytest.raises(InputError) as caught:
        check_output_folder(Path(value))
    assert words in str(caught.value)
    for good in ("empty", "new", "v1.0"):
        check_output_folder(Path(good))


def test_a_folder_that_cannot_be_listed_is_refused(monkeypatch):
    def forbidden(self):
        raise PermissionError(13, "Permission denied")

    Path("closed").mkdir()
    monkeypatch.setattr(Path, "iterdir", forbidden)
    with pytest.raises(
        InputError, match=r"`--output` \(=closed\) must be readable: Permission denied"
    ):
        check_output_folder(Path("closed"))
