"""Two processes of a command that work together, forked from one that has done the imports."""

import multiprocessing
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import NamedTuple

from forked import live

SECONDS = 300  # for a run to end
NUM_DEVICES = 2  # of each process


class Pair(NamedTuple):
    """Two processes, and the files into which they say everything."""

    processes: list[ForkServerProcess]
    outputs: list[Path]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(
    folder: Path, *arguments: str, second: list[str] | None = None, command: str = "train"
) -> Pair:
    """Start both.

    Args:
        folder: for the files of what they say.
        arguments: of both.
        second: of the second process, instead.
        command: which they run.
    """
    folder.mkdir(exist_ok=True)
    address = ["--coordinator", f"127.0.0.1:{free_port()}", "--processes", "2"]
    context = multiprocessing.get_context("forkserver")
    processes = []
    outputs = []
    for index in range(2):
        given = list(arguments)
        if index == 1 and second is not None:
            given = second
        output = folder / f"process-{index}.out"
        output.unlink(missing_ok=True)
        process = context.Process(
            target=live,
            args=([*given, *address, "--process", str(index)], str(output), command, NUM_DEVICES),
        )
        process.start()
        processes.append(process)
        outputs.append(output)
    return Pair(processes, outputs)


def end(pair: Pair) -> tuple[list[int | None], list[str]]:
    """Return the exit statuses, negative for signals, and what both said."""
    statuses = []
    deadline = time.monotonic() + SECONDS
    for process in pair.processes:
        process.join(timeout=max(0.0, deadline - time.monotonic()))
        statuses.append(process.exitcode)
        if process.exitcode is None:
            process.kill()
            process.join()
        process.close()
    return statuses, [path.read_text() if path.exists() else "" for path in pair.outputs]


def until(pair: Pair, happened: Callable[[], object]) -> None:
    """Wait until something has happened, or a process has ended."""
    while all(process.is_alive() for process in pair.processes):
        with suppress(OSError):
            if happened():
                return
        time.sleep(0.001)
