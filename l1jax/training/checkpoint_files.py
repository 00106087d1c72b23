"""The files of a checkpoint: damage is found before Orbax opens them."""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

from l1jax.config import InputError
from l1jax.reading import (
    MAX_JSON_BYTES,
    UnreadableFileError,
    check_input_file,
    read_bytes,
    read_json,
)
from l1jax.terminal import Say

MANIFEST = "files.sha256"
SIZES = "sizes.json"
# Not in the manifest: itself, and what Orbax writes after it.
UNHASHED = {MANIFEST, "_CHECKPOINT_METADATA", "commit_success.txt"}
META = "meta/metadata"
METRICS = "metrics/metrics"
MAX_STEP = 2**31 - 1
MAX_ARRAY_BYTES = 2**63  # of an array's file
HASH_LENGTH = 64  # characters of a sha256; two spaces and the name follow in the manifest


def looks_like_step(name: str) -> bool:
    """Return whether a person or Orbax could take a folder's name for a step, in any script."""
    return name.strip().isdigit()


def is_step(name: str) -> bool:
    """Return whether a run could have written a folder of this name."""
    return re.fullmatch("0|[1-9][0-9]{0,9}", name) is not None and int(name) <= MAX_STEP


def write_manifest(folder: Path) -> None:
    """Write the size and sha256 of every file of the checkpoint being finished.

    Orbax reports a truncated or missing file by many errors from its threads, and a flipped bit
    not at all. With the manifest, which appears together with the checkpoint, both are known
    before Orbax is asked. `sha256sum --check` reads it too.
    """
    for path in folder.glob("*.orbax-checkpoint-tmp*"):
        sizes = {_name(file, path): file.stat().st_size for file in _hashed_files(path)}
        (path / SIZES).write_text(json.dumps(sizes), encoding="utf-8")
        lines = [f"{sha}  {name}\n" for name, sha in _hashes(path).items()]
        (path / MANIFEST).write_text("".join(lines), encoding="utf-8")


def find_damage(path: Path) -> str | None:
    """Say what is wrong with a checkpoint's name and files.

    Returns:
        A phrase, or None if all is as it was written, or the checkpoint has just been deleted.

    Raises:
        InputError: if it may not be read, which is no damage.
    """
    if not is_step(path.name):
        return "its name is no step of a run"
    try:
        reason = _find_unreadable(path) or _find_changed(path) or _find_other_step(path)
    except (OSError, UnreadableFileError) as error:
        if isinstance(error, PermissionError) or isinstance(error.__cause__, PermissionError):
            raise InputError(f"checkpoint {path} must be readable: Permission denied.") from error
        reason = brief(error)
    if not os.path.lexists(path):
        return None
    return reason


def describe_other_step(state_step: object, step: int) -> str | None:
    """Say that the checkpoint named `step` holds another step's state; None if it does not."""
    if state_step == step:
        return None
    return f"it holds the state of step {str(state_step)[:20]}"


def _find_other_step(path: Path) -> str | None:
    """Compare the name with the step in the metadata, which first versions did not store."""
    step = int(path.name)
    return describe_other_step(read_json(path / META).get("step", step), step)


def _find_changed(path: Path) -> str | None:
    """Compare the files with the manifest, if there is one."""
    if not os.path.lexists(path / MANIFEST):
        return None
    try:
        lines = read_bytes(path / MANIFEST, MAX_JSON_BYTES).decode().splitlines()
    except UnicodeDecodeError:
        lines = []
    written = {line[HASH_LENGTH + 2 :]: line[:HASH_LENGTH] for line in lines}
    if not {META, METRICS} <= written.keys():
        return f"{MANIFEST} is not whole"
    resized = _find_other_size(path)
    if resized is not None:
        return f"{resized} is not as it was written"
    present = _hashes(path)
    changed = [name for name, sha in written.items() if present.get(name) != sha]
    if changed:
        return f"{changed[0]} is not as it was written"
    return None


def _find_other_size(path: Path) -> str | None:
    """Return the name of a file that has grown or shrunk, without reading the files.

    Hashing a file that has become very large takes minutes. Checkpoints written before sizes were
    stored have none, and one whose sizes are damaged is found by its hashes.
    """
    if not os.path.lexists(path / SIZES):
        return None
    try:
        sizes = read_json(path / SIZES)
    except UnreadableFileError:
        return SIZES
    if not isinstance(sizes, dict):
        return SIZES
    for file in _hashed_files(path):
        name = _name(file, path)
        if name in sizes and file.stat().st_size != sizes[name]:
            return name
    return None


def _find_unreadable(path: Path) -> str | None:
    """Try to read everything but the arrays."""
    if not path.is_dir():
        return "it is no folder"
    for name, required_key in ((META, "digest"), (METRICS, "score")):
        try:
            values = read_json(path / name)
        except UnreadableFileError as error:
            if isinstance(error.__cause__, PermissionError):
                raise
            values = None
        if not isinstance(values, dict) or required_key not in values:
            return f"{name} cannot be read"
    for file in path.rglob("*"):
        if file.is_dir():
            continue
        max_bytes = MAX_ARRAY_BYTES
        if file.name in UNHASHED:
            max_bytes = MAX_JSON_BYTES
        try:
            check_input_file(file, max_bytes)  # Orbax would wait for a pipe
        except UnreadableFileError as error:
            return f"{file.relative_to(path)} {error.reason}"
    return None


def _hashed_files(path: Path) -> list[Path]:
    files = [file for file in path.rglob("*") if file.is_file() and file.name not in UNHASHED]
    return sorted(files)


def _name(file: Path, path: Path) -> str:
    return str(file.relative_to(path))


def _hashes(path: Path) -> dict[str, str]:
    hashes = {}
    for file in _hashed_files(path):
        with file.open("rb") as opened:
            hashes[_name(file, path)] = hashlib.file_digest(opened, "sha256").hexdigest()
    return hashes


def set_aside(path: Path, reason: str, say: Say) -> None:
    """Move a damaged or useless checkpoint to `damaged/` in the work directory.

    Args:
        path: of the checkpoint.
        reason: what is wrong with it, as the predicate of a sentence.
        say: called with that sentence.
    """
    target = path.parent.parent / "damaged" / path.name
    while os.path.lexists(target):
        target = target.with_name(target.name + "_")
    target.parent.mkdir(exist_ok=True)
    shutil.move(path, target)
    say(f"checkpoint {path} {reason}: moved to {target}; going on from an older one.")


def brief(error: BaseException) -> str:
    """Return the first line of an error, shortened to 160 characters."""
    line = (str(error) or type(error).__name__).strip().splitlines()[0]
    if len(line) < 160:
        return line
    return line[:157] + "…"
