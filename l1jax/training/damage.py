"""What is wrong with a checkpoint's files, seen before Orbax opens them; damaged ones are set aside."""

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from l1jax.config import InputError
from l1jax.reading import (
    MAX_JSON_BYTES,
    UnreadableFileError,
    check_input_file,
    read_bytes,
    read_json,
)

MANIFEST = "files.sha256"
UNGUARDED = {
    MANIFEST,
    "_CHECKPOINT_METADATA",
    "commit_success.txt",
}  # Orbax's last words, written after it
META, METRICS = "meta/metadata", "metrics/metrics"
LAST = 2**31 - 1  # step of a run
LARGEST = 2**63  # bytes of an array's file


def looks_like_step(name: str) -> bool:
    """Whether a person or Orbax could take a folder's name for a step: digits of any script."""
    return name.strip().isdigit()


def is_step(name: str) -> bool:
    """Whether a name is that of a step as a run writes it."""
    return re.fullmatch("0|[1-9][0-9]{0,9}", name) is not None and int(name) <= LAST


def write_manifest(folder: Path) -> None:
    """Write the sha256 of every file of the checkpoint being finished, as `sha256sum --check` reads it.

    Orbax tells a cut or missing file by a shower of errors from its threads, and a flipped bit not at
    all; with the manifest, which appears together with the checkpoint, both are known before it is asked.
    """
    for path in folder.glob("*.orbax-checkpoint-tmp*"):
        lines = [f"{sha}  {name}\n" for name, sha in _hashes(path).items()]
        (path / MANIFEST).write_text("".join(lines), encoding="utf-8")


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint's name and files; None if they are as written, or it is gone by now.

    Raises:
        InputError: if it may not be read, which is no damage.
    """
    if not is_step(path.name):
        return "its name is no step of a run"
    try:
        reason = _unreadable(path) or _changed(path) or _misnamed(path)
    except (OSError, UnreadableFileError) as error:
        if isinstance(error, PermissionError) or isinstance(error.__cause__, PermissionError):
            raise InputError(f"checkpoint {path} must be readable: Permission denied.") from error
        reason = brief(error)
    return reason if os.path.lexists(path) else None


def other_step(own: Any, step: int) -> str | None:
    """What is wrong with a state of the step `own` in the checkpoint of `step`; None if nothing is."""
    return None if own == step else f"it holds the state of step {str(own)[:20]}"


def _misnamed(path: Path) -> str | None:
    """Whether a checkpoint has another step's name, as far as its metadata tell: older ones do not."""
    step = int(path.name)
    return other_step(read_json(path / META).get("step", step), step)


def _changed(path: Path) -> str | None:
    """Which file differs from the manifest; None if none does, or there is no manifest."""
    if not os.path.lexists(path / MANIFEST):
        return None
    try:
        written = read_bytes(path / MANIFEST, MAX_JSON_BYTES).decode().splitlines()
    except UnicodeDecodeError:
        written = []
    if not {META, METRICS} <= {line[66:] for line in written}:
        return f"{MANIFEST} is not whole"
    found = _hashes(path)
    names = [line[66:] for line in written if found.get(line[66:]) != line[:64]]
    return f"{names[0]} is not as it was written" if names else None


def _unreadable(path: Path) -> str | None:
    """What cannot be read of a checkpoint, apart from its arrays."""
    if not path.is_dir():
        return "it is no folder"
    for name, wanted in ((META, "digest"), (METRICS, "score")):
        try:
            values = read_json(path / name)
        except UnreadableFileError as error:
            if isinstance(error.__cause__, PermissionError):
                raise
            values = None
        if not isinstance(values, dict) or wanted not in values:
            return f"{name} cannot be read"
    for own in path.rglob("*"):
        if own.is_dir():
            continue
        try:  # a pipe would keep Orbax waiting
            check_input_file(own, MAX_JSON_BYTES if own.name in UNGUARDED else LARGEST)
        except UnreadableFileError as error:
            return f"{own.relative_to(path)} {error.reason}"
    return None


def _hashes(path: Path) -> dict[str, str]:
    hashes = {}
    for file in sorted(p for p in path.rglob("*") if p.is_file() and p.name not in UNGUARDED):
        with file.open("rb") as opened:
            hashes[str(file.relative_to(path))] = hashlib.file_digest(opened, "sha256").hexdigest()
    return hashes


def set_aside(path: Path, reason: str, say: Callable[[str], None]) -> None:
    """Move a checkpoint that is damaged or useless to the work directory's `damaged/`, and say so."""
    target = path.parent.parent / "damaged" / path.name
    while os.path.lexists(target):
        target = target.with_name(target.name + "_")
    target.parent.mkdir(exist_ok=True)
    shutil.move(path, target)
    say(f"checkpoint {path} {reason}: moved to {target}; going on from an older one.")


def brief(error: BaseException) -> str:
    """The first line of an error, shortened."""
    line = (str(error) or type(error).__name__).strip().splitlines()[0]
    return line if len(line) < 160 else line[:157] + "…"
