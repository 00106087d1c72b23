"""The work directory: whose it is, what is in it, and who is writing to it."""

import dataclasses
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from l1jax.config import Config, InputError, differences, from_json, to_json
from l1jax.files import write_json
from l1jax.reading import UnreadableFileError, read_json

FILES = ("config.json", "metrics.jsonl", "classes.json", "rollback.json")
FOLDERS = ("checkpoints", "damaged", "samples", "tensorboard")
OWN = (*FILES, *FOLDERS)  # everything a run writes; nothing else in the directory is ever touched
LOCK = ".lock"
PATHS = ("path", "data_dir")  # of `data`
REMEDY = "restore it, give another --workdir, or --overwrite to delete that run and start over"


def read_config(directory: Path) -> Config | None:
    """The experiment of a work directory; None where no run has started.

    Raises:
        InputError: if `config.json` cannot be read or is not an experiment.
    """
    path = directory / "config.json"
    if not os.path.lexists(path):
        return None
    try:
        return from_json(read_json(path))
    except UnreadableFileError as error:
        raise InputError(
            f"{path} cannot be read as an experiment (it {error.reason}): {REMEDY}."
        ) from error
    except InputError as error:
        raise InputError(f"{path} is not an experiment of this l1jax: {error}") from error


def write_config(directory: Path, experiment: Config) -> None:
    """Write `config.json`, its paths such that they lead to the same data from any folder."""
    write_json(directory / "config.json", to_json(with_absolute_paths(experiment)))


def with_absolute_paths(experiment: Config) -> Config:
    """The experiment, the paths of its data absolute and `~` expanded; an empty one stays empty."""
    given = {name: getattr(experiment.data, name, "") for name in PATHS}
    absolute = {
        name: os.path.abspath(os.path.expanduser(path)) for name, path in given.items() if path
    }
    return dataclasses.replace(experiment, data=dataclasses.replace(experiment.data, **absolute))


def refuse_other_experiment(found: Config, wanted: Config, where: Path) -> None:
    """Refuse to go on with another experiment's work.

    Raises:
        InputError: naming every field that differs.
    """
    changed = differences(found, wanted)
    if changed:
        raise InputError(
            f"{where} belongs to another experiment ({'; '.join(changed)}): give another --workdir, the same settings, "
            "or --overwrite to delete that run and start over."
        )


def check_workdir(directory: Path, experiment: Config, *, resume: bool, overwrite: bool) -> None:
    """Refuse a work directory that this run may not use, before anything is written.

    Raises:
        InputError: if it is not a directory, cannot be written, holds another experiment, or holds
            any run although `resume` is off; `overwrite` lifts the last two.
    """
    if set("*?[") & set(
        str(directory.absolute())
    ):  # Orbax looks its files up by a pattern that starts with the path
        raise InputError(
            f"`--workdir` (={directory.absolute()}) must not contain any of * ? [ in its path."
        )
    try:
        os.stat(directory)
    except (FileNotFoundError, NotADirectoryError):
        pass  # to be made, or told below
    except OSError as error:  # too long a name, links in a circle
        raise InputError(
            f"`--workdir` (={directory}) cannot be used: {error.strerror or error}."
        ) from error
    existing = next(
        parent for parent in (directory, *directory.absolute().parents) if os.path.exists(parent)
    )
    if not existing.is_dir():
        raise InputError(f"`--workdir` (={directory}) must be a directory, and {existing} is none.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(
            f"`--workdir` (={directory}) must be writable: no permission to write in {existing}."
        )
    if overwrite:
        return
    present = [name for name in OWN if os.path.lexists(directory / name)]
    if present and not resume:
        raise InputError(
            f"`--no-resume` starts over only in an empty directory, and {directory} holds {', '.join(present)}: add "
            "--overwrite to delete that run, or give another --workdir."
        )
    found = read_config(directory)
    if found is not None:
        refuse_other_experiment(found, experiment, directory)
        remedy = "move it away, or give --overwrite to delete that run and start over"
        for name in present:
            kind, check = ("a file", stat.S_ISREG) if name in FILES else ("a folder", stat.S_ISDIR)
            _refuse_other_kind(directory / name, check, kind, remedy)
    elif present:
        raise InputError(
            f"{directory} holds {', '.join(present)} but no config.json: give another --workdir, or --overwrite to "
            "delete them."
        )


def _refuse_other_kind(path: Path, is_kind: Callable[[int], bool], kind: str, remedy: str) -> None:
    """Refuse a pipe, a device, a folder for a file or the other way round, before it is opened.

    Raises:
        InputError: if there is such a thing, or a link that leads nowhere.
    """
    if not os.path.lexists(path):
        return
    try:
        fits = is_kind(path.stat().st_mode)
    except OSError:
        fits = False
    if not fits:
        raise InputError(f"{path} must be {kind}, and is something else: {remedy}.")


@contextmanager
def open_workdir(directory: Path, experiment: Config, *, overwrite: bool) -> Iterator[None]:
    """Hold the directory against other processes and record the experiment in it.

    Raises:
        InputError: if another process is training in it, another experiment has come into it since it
            was checked, or it cannot be written.
    """
    with hold(directory):
        try:
            if overwrite:
                for name in OWN:
                    path = directory / name
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(
                        missing_ok=True
                    )
            elif found := read_config(directory):
                refuse_other_experiment(found, experiment, directory)
            write_config(
                directory, experiment
            )  # first: without it the rest would be taken for someone else's
            for name in ("checkpoints", "samples"):
                (directory / name).mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(
                f"`--workdir` (={directory}) must be writable: {error.strerror or error}."
            ) from error
        yield


@contextmanager
def hold(directory: Path) -> Iterator[None]:
    """Make the directory if need be, and hold it against other processes.

    Raises:
        InputError: if another process holds it, or it cannot be written.
    """
    _refuse_other_kind(directory / LOCK, stat.S_ISREG, "a file", "move it away")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = open(directory / LOCK, "a")  # noqa: SIM115 (held as long as the run)
    except OSError as error:
        raise InputError(
            f"`--workdir` (={directory}) must be writable: {error.strerror}."
        ) from error
    with lock:
        _hold(lock.fileno(), directory)
        yield


def _hold(descriptor: int, directory: Path) -> None:
    try:
        import fcntl
    except (
        ImportError
    ):  # Windows has no such lock; two runs in one directory are then the user's to avoid
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(
            f"`--workdir` (={directory}) is in use by another process: wait for it or give another."
        ) from None
    except OSError:  # a file system without locks, as some networks' are
        return
