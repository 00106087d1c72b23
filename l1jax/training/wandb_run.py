"""Which Weights & Biases run belongs to a work directory, and whether one can be logged."""

import importlib
import os
import re
import secrets
from pathlib import Path
from typing import Any, NamedTuple

from l1jax.config import InputError
from l1jax.files import write_json
from l1jax.reading import UnreadableFileError, read_json
from l1jax.training.rollback import read_rollback

WANDB_FILE = "wandb.json"  # in the work directory
OLDEST_VERSION = (0, 31)
MAX_REASON_LENGTH = 200
REMEDY = "restore it, or delete it to begin another wandb run"


class WandbRun(NamedTuple):
    """Which wandb run belongs to a work directory.

    Attributes:
        project: as it was given, `project` or `entity/project`.
        id: of the wandb run.
        rollbacks: how often the run had gone back to a checkpoint when the wandb run began.
    """

    project: str
    id: str
    rollbacks: int


def check_wandb(project: str, workdir: Path, *, overwrite: bool) -> None:
    """Raise, before anything is trained, unless a run can be logged.

    Args:
        project: `project` or `entity/project`.
        workdir: of the run.
        overwrite: whether the run in it is deleted.

    Raises:
        MissingExtraError: if the package is missing.
        InputError: if the name is not one, the package is too old, nobody is logged in, or the run
            belongs to another project.
    """
    name = r"[^/\\#?%:\s]{1,128}"
    if not re.fullmatch(f"({name}/)?{name}", project):
        raise InputError(f"`--wandb` (={project!r}) must be project or entity/project.")
    wandb = import_wandb()
    version = tuple(map(int, re.findall(r"\d+", wandb.__version__)[:2]))
    if version < OLDEST_VERSION:
        raise InputError(
            f"`--wandb` needs wandb {OLDEST_VERSION[0]}.{OLDEST_VERSION[1]} or newer, and finds "
            f"{wandb.__version__}: pip install --upgrade 'l1jax[wandb]'."
        )
    settings = wandb.setup(wandb.Settings(silent=True)).settings
    if settings.mode == "online" and not _is_logged_in(wandb):
        raise InputError(
            f"`--wandb` (={project}) needs you to be logged in: run wandb login, or set "
            "WANDB_MODE=offline to keep the logs here, and try again."
        )
    if not overwrite:
        read_wandb_run(workdir, project)


def import_wandb() -> Any:
    """Import the package.

    Raises:
        MissingExtraError: if it is missing.
    """
    return importlib.import_module("wandb")


def _is_logged_in(wandb: Any) -> bool:
    try:
        return wandb.login(prompt=False, verify=False)
    except Exception as error:  # wandb's own, for a key that cannot be one
        raise InputError(
            f"`--wandb` cannot use your login ({describe_error(error)}): run wandb login, then try "
            "again."
        ) from error


def read_wandb_run(workdir: Path, project: str) -> WandbRun | None:
    """Read which wandb run belongs to a work directory; None if there is none yet.

    Raises:
        InputError: if the file cannot be read, or names a run of another project.
    """
    path = workdir / WANDB_FILE
    if not os.path.lexists(path):
        return None
    try:
        values: Any = read_json(path)
        run = WandbRun(**values)
    except UnreadableFileError as error:
        raise InputError(f"{path} cannot be read (it {error.reason}): {REMEDY}.") from error
    except TypeError as error:
        raise InputError(f"{path} names no wandb run: {REMEDY}.") from error
    is_usable = (
        isinstance(run.project, str)
        and isinstance(run.id, str)
        and re.fullmatch(r"[\w-]{1,64}", run.id, re.ASCII)
        and type(run.rollbacks) is int
    )
    if not is_usable:
        raise InputError(f"{path} names no wandb run: {REMEDY}.")
    if run.project != project:
        raise InputError(
            f"`--wandb` (={project}) must be {run.project}, where this run is logged ({path}): "
            "give that, or delete the file to begin a wandb run in another project."
        )
    return run


def choose_wandb_run(workdir: Path, project: str) -> WandbRun:
    """Return the wandb run of a work directory, another one after a rollback; note it down."""
    run = read_wandb_run(workdir, project)
    rollback = read_rollback(workdir)
    rollbacks = 0 if rollback is None else rollback.count
    if run is not None and run.rollbacks == rollbacks:
        return run
    run_id = secrets.token_hex(4)
    if run is None:
        run_id = os.environ.get("WANDB_RUN_ID", run_id)  # which wandb's sweeps set
    run = WandbRun(project, run_id, rollbacks)
    write_json(workdir / WANDB_FILE, run._asdict())
    return run


def describe_error(error: Exception) -> str:
    """Return the reason in one line."""
    reason = " ".join(str(error).split()) or type(error).__name__
    if len(reason) > MAX_REASON_LENGTH:
        reason = reason[:MAX_REASON_LENGTH] + " …"
    return reason.rstrip(".")
