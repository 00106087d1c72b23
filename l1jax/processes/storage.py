"""Storage that all processes share, of which some may see changes late."""

import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from l1jax.config import InputError
from l1jax.processes.agreement import gather, lead, num_processes

SECONDS = 20.0  # in which all processes must see what process 0 has written
INTERVAL = 0.1  # seconds between two looks
TOKEN = ".shared"  # name of the file by which storage is recognised


def wait_until(happened: Callable[[], bool]) -> None:
    """Wait until something has happened, but not for longer than `SECONDS`."""
    deadline = time.monotonic() + SECONDS
    while not happened() and time.monotonic() < deadline:
        time.sleep(INTERVAL)


def is_readable(path: Path) -> bool:
    """Return whether a file can be read here, at once or within `SECONDS`."""
    wait_until(lambda: os.access(path, os.R_OK))
    return os.access(path, os.R_OK)


def check_shared_storage(folder: Path) -> None:
    """Refuse a folder that is another one on another machine.

    Args:
        folder: into which process 0 can write.

    Raises:
        InputError: naming the first process that does not see what process 0 writes.
    """
    if num_processes() == 1:
        return
    path = folder / TOKEN

    def write_token() -> str:
        token = secrets.token_hex()
        path.write_text(token)
        return token

    token = lead(write_token)
    wait_until(lambda: _read(path) == token)
    blind = [process for process, seen in enumerate(gather(_read(path))) if seen != token]
    lead(lambda: path.unlink(missing_ok=True))
    if blind:
        raise InputError(
            f"`--workdir` (={folder}) must be on storage that all processes share: process "
            f"{blind[0]} of {num_processes()} does not see what process 0 wrote there."
        )


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
