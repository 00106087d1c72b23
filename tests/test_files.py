"""Files that appear whole or not at all."""

import json
import os

import pytest

from l1jax.files import whole, write_json


@pytest.mark.parametrize("shared", [False, True])
def test_content_takes_the_name_at_the_end(tmp_path, shared):
    path = tmp_path / "file"
    path.write_text("old")
    with whole(path, shared) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
        assert (str(os.getpid()) in partial.name) == shared  # several processes have a place each
    assert path.read_text() == "new"
    assert [own.name for own in tmp_path.iterdir()] == ["file"]


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail():
        with whole(path) as partial:
            partial.write_text("ne")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert path.read_text() == "old"
    assert [own.name for own in tmp_path.iterdir()] == ["file"]


def test_values_are_written_as_json(tmp_path):
    write_json(tmp_path / "values.json", {"a": [1, None]})
    assert json.loads((tmp_path / "values.json").read_text()) == {"a": [1, None]}
