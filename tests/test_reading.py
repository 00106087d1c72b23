"""Files that someone else may have made are checked before they are opened."""

import os

import pytest

from l1jax.reading import (
    UnreadableFileError,
    check_input_file,
    parse_json,
    read_bytes,
    read_json,
    sha256,
)


def test_a_file_is_read_up_to_its_limit(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b'{"a": [1, 2.5]}')
    check_input_file(path, 15)
    assert read_bytes(path, 15) == b'{"a": [1, 2.5]}'
    assert read_json(path) == {"a": [1, 2.5]}
    with pytest.raises(
        UnreadableFileError, match=r"file` \(=15 bytes\) must have at most 14 bytes.*: move it\.$"
    ):
        read_bytes(path, 14, "move it")


NOT_A_FILE = "must be a file, and is a folder, a pipe or a device"
TOO_LARGE = (
    "(=20,000,000,000 bytes) must have at most 67,108,864 bytes, which is more than it can need"
)


def make_sparse_file(path):
    with path.open("wb") as file:
        file.truncate(20 * 10**9)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "is missing"),
        (lambda path: path.symlink_to("nowhere"), "is missing"),
        (lambda path: path.mkdir(), NOT_A_FILE),
        (os.mkfifo, NOT_A_FILE),
        (lambda path: path.symlink_to("/dev/zero"), NOT_A_FILE),
        (make_sparse_file, TOO_LARGE),
    ],
)
def test_what_is_not_a_file_of_a_possible_size_is_not_opened(tmp_path, make, reason):
    path = tmp_path / "file"
    make(path)
    with pytest.raises(UnreadableFileError) as caught:
        read_json(path, remedy="restore it")
    assert caught.value.reason == reason
    assert str(caught.value) == f"`{path}` {reason}: restore it."


@pytest.mark.parametrize("read", [read_json, sha256])
def test_a_file_without_permission_is_an_error(tmp_path, monkeypatch, read):
    path = tmp_path / "file"
    path.write_bytes(b"{}")

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(UnreadableFileError, match="cannot be read: Permission denied"):
        read(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[" * 100_000, "it is nested deeper than 100 levels"),
        (b"[" * 101 + b"]" * 101, "it is nested deeper than 100 levels"),
        (b'{"a": 1e400}', "the number 1e400 is too large"),
        (b"\xff", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (b"{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (b"", "Expecting value: line 1 column 1 (char 0)"),
    ],
)
def test_json_that_is_not_ours_is_an_error(content, reason):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (its words are the point)
        parse_json(content)
    assert str(caught.value) == reason


def test_json_may_be_nested_100_levels_deep():
    assert parse_json(b"[" * 100 + b"]" * 100) is not None
