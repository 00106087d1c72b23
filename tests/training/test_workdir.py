import json
import os
from pathlib import Path

import pytest

from l1jax.config import Config, ImageData, InputError, TfdsData
from l1jax.training import workdir as module
from l1jax.training.workdir import (
    ENTRIES,
    FILES,
    check_workdir,
    open_workdir,
    read_config,
    write_config,
)


def check(directory, experiment=None, resume=True, overwrite=False):
    check_workdir(directory, experiment or Config(), resume=resume, overwrite=overwrite)


def test_config_is_kept_as_plain_json(tmp_path):
    write_config(tmp_path, Config(seed=3))
    assert read_config(tmp_path) == Config(seed=3)
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_no_config_where_no_run_started(tmp_path):
    assert read_config(tmp_path) is None
    assert read_config(tmp_path / "nowhere") is None


def test_config_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    write_config(tmp_path, Config())
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match="Permission denied"):
        read_config(tmp_path)


def test_a_config_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    write_config(tmp_path, Config(seed=1))

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        write_config(tmp_path, Config(seed=2))
    assert read_config(tmp_path) == Config(seed=1)


@pytest.mark.parametrize("deep", ["", "a", "a/b/c"])
def test_new_and_empty_directories_are_fine(tmp_path, deep):
    check(tmp_path / deep)
    check(tmp_path / deep, resume=False)
    assert list(tmp_path.iterdir()) == []  # checking writes nothing


def test_a_relative_directory_is_fine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check(Path("a/b"))


def test_other_files_do_not_matter(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    check(tmp_path)
    check(tmp_path, resume=False)


def test_the_same_experiment_goes_on_and_may_be_longer(tmp_path):
    write_config(tmp_path, Config(steps=10))
    check(tmp_path, Config(steps=10))
    check(tmp_path, Config(steps=20, log_every=1))
    with pytest.raises(
        InputError, match=r"seed: 0 → 1; batch_size: 64 → 32|batch_size: 64 → 32; seed: 0 → 1"
    ):
        check(tmp_path, Config(steps=10, seed=1, batch_size=32))
    check(tmp_path, Config(seed=1), overwrite=True)


@pytest.mark.parametrize("name", ENTRIES)
def test_no_resume_and_whatever_a_run_wrote(tmp_path, name):
    (tmp_path / name).write_text("") if "." in name else (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=f"holds {name}: add --overwrite"):
        check(tmp_path, resume=False)
    with pytest.raises(
        InputError, match="no config.json" if name != "config.json" else "cannot be read"
    ):
        check(tmp_path)
    check(tmp_path, resume=False, overwrite=True)


def test_a_directory_is_made_and_marked(tmp_path):
    with open_workdir(tmp_path / "a/b", Config(), overwrite=False):
        assert read_config(tmp_path / "a/b") == Config()
        assert {"checkpoints", "samples"} <= {path.name for path in (tmp_path / "a/b").iterdir()}


def test_overwriting_deletes_the_run_and_nothing_else(tmp_path):
    for name in ENTRIES:
        (tmp_path / name).write_text("old") if "." in name else (tmp_path / name).mkdir()
    (tmp_path / "checkpoints" / "10").mkdir()
    (tmp_path / "evaluation.json").write_text('{"step": 10}')
    (tmp_path / "notes.txt").write_text("mine")
    with open_workdir(tmp_path, Config(seed=5), overwrite=True):
        pass
    assert read_config(tmp_path) == Config(seed=5)
    names = {path.name for path in tmp_path.iterdir()} - {".lock"}
    assert names == {"config.json", "checkpoints", "samples", "notes.txt"}
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_overwriting_does_not_follow_links(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "a.png").write_text("picture")
    run = tmp_path / "run"
    run.mkdir()
    (run / "samples").symlink_to(tmp_path / "precious")
    with open_workdir(run, Config(), overwrite=True):
        assert not (run / "samples").is_symlink()
    assert (tmp_path / "precious" / "a.png").read_text() == "picture"


def test_without_overwriting_everything_stays(tmp_path):
    with open_workdir(tmp_path, Config(), overwrite=False):
        (tmp_path / "metrics.jsonl").write_text("{}\n")
        (tmp_path / "checkpoints" / "10").mkdir()
    with open_workdir(tmp_path, Config(steps=20_000), overwrite=False):
        assert (tmp_path / "metrics.jsonl").read_text() == "{}\n"
        assert (tmp_path / "checkpoints" / "10").is_dir()
    assert read_config(tmp_path) == Config(steps=20_000)


def test_one_process_at_a_time(tmp_path):
    with (
        open_workdir(tmp_path, Config(), overwrite=False),
        pytest.raises(InputError, match="in use by another process"),
        open_workdir(tmp_path, Config(), overwrite=True),
    ):
        pass
    with open_workdir(tmp_path, Config(), overwrite=False):
        pass


def test_an_error_lets_go_of_the_directory(tmp_path):
    with pytest.raises(ZeroDivisionError), open_workdir(tmp_path, Config(), overwrite=False):
        raise ZeroDivisionError
    with open_workdir(tmp_path, Config(), overwrite=False):
        pass


def test_an_experiment_that_came_in_since_the_check_is_kept(tmp_path):
    check(tmp_path, Config(seed=2))
    write_config(tmp_path, Config(seed=1))  # another process, meanwhile
    with (
        pytest.raises(InputError, match="seed: 1 → 2"),
        open_workdir(tmp_path, Config(seed=2), overwrite=False),
    ):
        pass
    assert read_config(tmp_path) == Config(seed=1)


def test_a_kill_while_opening_leaves_what_can_be_resumed(tmp_path, monkeypatch):
    def killed(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_config", killed)
    with pytest.raises(KeyboardInterrupt), open_workdir(tmp_path, Config(), overwrite=False):
        pass
    check(tmp_path)
    check(tmp_path, resume=False)


def test_a_directory_that_cannot_be_made_or_written(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    for directory in (tmp_path / "new", tmp_path):
        with (
            pytest.raises(InputError, match="must be writable: Read-only file system"),
            open_workdir(directory, Config(), overwrite=False),
        ):
            pass


@pytest.mark.parametrize("name", ["br[ac]k", "a*", "what?"])
def test_a_path_that_orbax_would_take_for_a_pattern_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"must not contain any of \* \? \["):
        check_workdir(tmp_path / name, Config(), resume=True, overwrite=False)


def test_a_relative_path_is_kept_such_that_it_leads_to_the_data_from_anywhere(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    for given, kept in (
        (ImageData("pictures"), ImageData(str(tmp_path / "pictures"))),
        (ImageData("~/pictures"), ImageData("/home/someone/pictures")),
        (ImageData("/data/pictures"), ImageData("/data/pictures")),
        (ImageData(""), ImageData("")),
        (TfdsData("mnist", data_dir="sets"), TfdsData("mnist", data_dir=str(tmp_path / "sets"))),
    ):
        write_config(tmp_path, Config(data=given))
        assert read_config(tmp_path) == Config(data=kept)
        check(tmp_path, Config(data=given))


def other_kind(path):
    """Make what `path` must not be."""
    path.mkdir() if path.name in FILES else path.write_text("mine")


HOSTILE = {
    "the other kind": other_kind,
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
}


@pytest.mark.parametrize("name", ENTRIES)
@pytest.mark.parametrize("kind", HOSTILE)
def test_what_a_run_could_not_have_written_is_refused_and_can_be_overwritten(tmp_path, name, kind):
    write_config(tmp_path, Config())
    (tmp_path / name).unlink(missing_ok=True)
    HOSTILE[kind](tmp_path / name)
    with pytest.raises(InputError, match=f"{name} (must be|cannot be read)") as caught:
        check(tmp_path)
    assert "\n" not in str(caught.value)
    check(tmp_path, overwrite=True)
    with open_workdir(tmp_path, Config(), overwrite=True):
        assert read_config(tmp_path) == Config()


def test_a_lock_that_is_a_pipe_is_refused_and_no_wait(tmp_path):
    os.mkfifo(tmp_path / ".lock")
    with (
        pytest.raises(InputError, match=r"\.lock must be a file"),
        open_workdir(tmp_path, Config(), overwrite=False),
    ):
        pass


def test_a_partial_file_that_is_a_pipe_is_replaced(tmp_path):
    os.mkfifo(tmp_path / ".config.json.partial")
    write_config(tmp_path, Config(seed=3))
    assert read_config(tmp_path) == Config(seed=3)


def test_a_link_to_itself_is_refused(tmp_path):
    (tmp_path / "run").symlink_to("run")
    with pytest.raises(InputError, match="cannot be used: Too many levels of symbolic links"):
        check(tmp_path / "run")
