"""The work directory: which experiment it belongs to, what is in it, and who writes to it."""

import dataclasses
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from l1jax.config import Config, InputError, Origin, differences, from_json, to_json
from l1jax.files import write_json
from l1jax.reading import UnreadableFileError, read_json

FILES = (
    "config.json",
    "metrics.jsonl",
    "classes.json",
    "rollback.json",
    "best.json",
    "wandb.json",
    "origin.safetensors",
)
FOLDERS = ("checkpoints", "damaged", "samples", "tensorboard", "wandb")
ENTRIES = (*FILES, *FOLDERS)  # everything training writes, except the lock
EVALUATION = "evaluation.json"  # written by l1jax.evaluate about the run, and deleted with it
LOCK = ".lock"
PATH_FIELDS = ("path", "data_dir")  # of the configuration of the data
REMEDY = "restore it, give another --workdir, or --overwrite to delete that run and start over"


def read_config(directory: Path) -> Config | None:
    """Read the experiment of a work directory; None if no run has started in it.

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
    """Write `config.json`, with paths that lead to the same data from any folder."""
    write_json(directory / "config.json", to_json(with_absolute_paths(experiment)))


def with_absolute_paths(experiment: Config) -> Config:
    """Make the paths of the data absolute and expand `~`; an empty path stays empty."""
    given = {name: getattr(experiment.data, name, "") for name in PATH_FIELDS}
    absolute = {
        name: os.path.abspath(os.path.expanduser(path)) for name, path in given.items() if path
    }
    file, colon, column = str(getattr(experiment.data, "labels", "")).rpartition(":")
    if colon and os.path.isfile(os.path.expanduser(file)):  # else it lies in the data's folder
        absolute["labels"] = f"{os.path.abspath(os.path.expanduser(file))}:{column}"
    return dataclasses.replace(experiment, data=dataclasses.replace(experiment.data, **absolute))


def refuse_other_experiment(stored: Config, wanted: Config, path: Path) -> None:
    """Refuse to resume another experiment.

    Args:
        stored: the experiment that was trained.
        wanted: the experiment that is to be trained.
        path: where the stored one was found.

    Raises:
        InputError: naming every field that differs.
    """
    _refuse_other_origin(stored.origin, wanted.origin, path)
    changed = differences(stored, wanted)
    if changed:
        raise InputError(
            f"{path} belongs to another experiment ({'; '.join(changed)}): give another "
            "--workdir, the same settings, or --overwrite to delete that run and start over."
        )


def _refuse_other_origin(stored: Origin | None, wanted: Origin | None, path: Path) -> None:
    """Refuse to resume a run that began from other weights, with a sentence of its own."""

    def describe(origin: Origin | None) -> str:
        if origin is None:
            return "weights that it drew"
        return f"{origin.source} at step {origin.step:,} ({origin.fingerprint[:12]})"

    if getattr(stored, "fingerprint", None) != getattr(wanted, "fingerprint", None):
        raise InputError(
            f"{path} belongs to a run that began from {describe(stored)}, and this one begins from "
            f"{describe(wanted)}: give another --workdir, the same `--from`, or --overwrite to "
            "delete that run and start over."
        )


def check_workdir(directory: Path, experiment: Config, *, resume: bool, overwrite: bool) -> None:
    """Refuse a work directory that this run may not use, before anything is written.

    Args:
        directory: the work directory, which need not exist.
        experiment: that is to be trained in it.
        resume: whether an existing run of this experiment may be resumed.
        overwrite: whether an existing run may be deleted.

    Raises:
        InputError: if it is not a directory, cannot be written, holds another experiment, or
            holds any run although `resume` is off; `overwrite` lifts the last two.
    """
    _check_usable(directory)
    if overwrite:
        return
    present = [name for name in ENTRIES if os.path.lexists(directory / name)]
    if present and not resume:
        raise InputError(
            f"`--no-resume` starts over only in an empty directory, and {directory} holds "
            f"{', '.join(present)}: add --overwrite to delete that run, or give another --workdir."
        )
    stored = read_config(directory)
    if stored is not None:
        refuse_other_experiment(stored, experiment, directory)
        remedy = "move it away, or give --overwrite to delete that run and start over"
        for name in present:
            if name in FILES:
                _require_kind(directory / name, stat.S_ISREG, "a file", remedy)
            else:
                _require_kind(directory / name, stat.S_ISDIR, "a folder", remedy)
    elif present:
        raise InputError(
            f"{directory} holds {', '.join(present)} but no config.json: give another --workdir, "
            "or --overwrite to delete them."
        )


def _check_usable(directory: Path) -> None:
    """Refuse a path at which no work directory can be.

    Raises:
        InputError: if it is not a directory, or cannot be made or written.
    """
    # Orbax looks its files up by a pattern that starts with the path.
    if set("*?[") & set(str(directory.absolute())):
        raise InputError(
            f"`--workdir` (={directory.absolute()}) must not contain any of * ? [ in its path."
        )
    try:
        os.stat(directory)
    except (FileNotFoundError, NotADirectoryError):
        pass  # the first is made later, the second is refused below
    except OSError as error:  # a name that is too long, or links in a circle
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


def _require_kind(path: Path, is_kind: Callable[[int], bool], kind: str, remedy: str) -> None:
    """Refuse a pipe, a device, a folder for a file or a file for a folder, before it is opened.

    Args:
        path: of a file or folder that need not exist.
        is_kind: mode of `os.stat` → whether it is as required.
        kind: what is required, for the error.
        remedy: what the user can do, for the error.

    Raises:
        InputError: if there is something else, or a link that leads nowhere.
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
    """Lock the directory against other processes and record the experiment in it.

    Args:
        directory: made if it does not exist.
        experiment: that is trained in it.
        overwrite: whether an existing run is deleted.

    Raises:
        InputError: if another process is training in it, another experiment has come into it
            since it was checked, or it cannot be written.
    """
    with hold(directory):
        try:
            if overwrite:
                _delete_run(directory)
            elif stored := read_config(directory):
                refuse_other_experiment(stored, experiment, directory)
            # First of all: without it, the rest would look like someone else's.
            write_config(directory, experiment)
            for name in ("checkpoints", "samples"):
                (directory / name).mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(
                f"`--workdir` (={directory}) must be writable: {error.strerror or error}."
            ) from error
        yield


def _delete_run(directory: Path) -> None:
    """Delete what training wrote, and the evaluation of it; nothing else is touched."""
    evaluation = directory / EVALUATION
    if evaluation.is_symlink() or evaluation.is_file():
        evaluation.unlink()  # first: config.json must not belong to another run than it
    for name in ENTRIES:
        path = directory / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def hold(directory: Path) -> Iterator[None]:
    """Make the directory if it does not exist, and lock it against other processes.

    Raises:
        InputError: if another process has locked it, or it cannot be written.
    """
    _require_kind(directory / LOCK, stat.S_ISREG, "a file", "move it away")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = open(directory / LOCK, "a")  # noqa: SIM115 (open as long as the run)
    except OSError as error:
        raise InputError(
            f"`--workdir` (={directory}) must be writable: {error.strerror}."
        ) from error
    with lock:
        _lock(lock.fileno(), directory)
        yield


def _lock(descriptor: int, directory: Path) -> None:
    try:
        import fcntl
    except ImportError:
        return  # Windows has no such lock; there, users must not start two runs in one directory
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(
            f"`--workdir` (={directory}) is in use by another process: wait for it or give another."
        ) from None
    except OSError:
        return  # some network file systems have no locks
