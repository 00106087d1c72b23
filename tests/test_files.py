"""Files and folders that appear whole or not at all."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from l1jax import files
from l1jax.files import atomic_folder, atomic_write, write_json

KILLED = """
import importlib.util, sys, time
from pathlib import Path
spec = importlib.util.spec_from_file_location("files", sys.argv[1])
files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(files)
with files.atomic_folder(Path(sys.argv[2])) as partial:
    (partial / "00000.png").write_text("half of them")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("shared", [False, True])
def test_content_takes_the_name_at_the_end(tmp_path, shared):
    path = tmp_path / "file"
    path.write_text("old")
    with atomic_write(path, shared) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
        assert (str(os.getpid()) in partial.name) == shared  # several processes have a place each
    assert path.read_text() == "new"
    assert [own.name for own in tmp_path.iterdir()] == ["file"]


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail():
        with atomic_write(path) as partial:
            partial.write_text("ne")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert path.read_text() == "old"
    assert [own.name for own in tmp_path.iterdir()] == ["file"]


def test_values_are_written_as_json(tmp_path):
    write_json(tmp_path / "values.json", {"a": [1, None]})
    assert json.loads((tmp_path / "values.json").read_text()) == {"a": [1, None]}


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_takes_its_name_at_the_end(tmp_path, there):
    folder = tmp_path / "images-0.003"
    if there:
        folder.mkdir()
    with atomic_folder(folder) as partial:
        (partial / "a").write_text("a")
        assert not folder.exists() or not any(folder.iterdir())
    assert (folder / "a").read_text() == "a"
    (tmp_path / "usual").mkdir()
    assert folder.stat().st_mode == (tmp_path / "usual").stat().st_mode
    (tmp_path / "usual").rmdir()
    assert [own.name for own in tmp_path.iterdir()] == ["images-0.003"]


def test_a_folder_that_fails_leaves_nothing(tmp_path):
    def fail():
        with atomic_folder(tmp_path / "images") as partial:
            (partial / "a").write_text("a")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_not_replaced(tmp_path):
    folder = tmp_path / "images"

    def late():
        with atomic_folder(folder):
            folder.mkdir()
            (folder / "mine").write_text("precious")

    with pytest.raises(OSError, match="not empty"):
        late()
    assert [own.name for own in tmp_path.iterdir()] == ["images"]
    assert [own.name for own in folder.iterdir()] == ["mine"]


def test_a_killed_process_leaves_no_folder_and_the_next_one_cleans_up(tmp_path):
    folder = tmp_path / "images"
    other = tmp_path / ".images-2.abc.partial"
    other.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, files.__file__, str(folder)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"writing\n"
    with atomic_folder(folder) as partial:  # the other one still writes, and keeps what it has
        (own,) = set(tmp_path.iterdir()) - {other, partial}
        assert (own / "00000.png").exists()
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    folder.rmdir()
    assert own.exists()
    for _ in range(100):  # until the kernel has let go of the lock
        with atomic_folder(folder) as partial:
            (partial / "a").write_text("a")
        if not own.exists():
            break
        (folder / "a").unlink()
        time.sleep(0.05)
    assert sorted(tmp_path.iterdir()) == [other, folder]
    assert [path.name for path in folder.iterdir()] == ["a"]
