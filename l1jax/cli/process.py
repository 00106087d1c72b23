"""The process of a command: its exit status, its last words, and its name for messages."""

import io
import logging
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

import jax
from rich.console import Console

import l1jax
from l1jax.compilation import use_compilation_cache
from l1jax.config import InputError
from l1jax.processes.agreement import (
    LEADER,
    SharedError,
    gather,
    is_leader,
    num_processes,
    shared_errors,
)
from l1jax.processes.announced_errors import mark_as_printed
from l1jax.processes.loss import end_at_once_if_shared, end_if_shared
from l1jax.processes.start import (
    check_same_arguments,
    check_same_versions,
    start_processes,
    stop_processes,
)
from l1jax.streams import lasting_output

Main = Callable[[Sequence[str]], int]  # arguments → exit status


def run_command(main: Main, notice: str = "", *, is_shared: bool = False) -> None:
    """Run a command and exit with its status, or with 2 and one sentence if the input is wrong.

    Standard output may be a pipe, a terminal or a file that goes away. The command then continues
    and finishes its files.

    Args:
        main: the command, from arguments to exit status.
        notice: what standard error says when standard output is lost, for a command that
            then works for long.
        is_shared: whether several processes can run the command together.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without × shows a question mark
    connection_error = None
    if is_shared:
        connection_error = _connect()
    with lasting_output(notice) as output:
        status = _run(main, connection_error)
        output.flush()
    unwritten = output.lost is not None and not isinstance(output.lost, BrokenPipeError)
    if unwritten and not notice and status == 0:
        status = 1
    sys.exit(status)


def silence_threads() -> None:
    """Keep threads of other libraries from printing tracebacks after an error was reported."""
    threading.excepthook = sys.unraisablehook = lambda _: None


def _report_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print an uncaught error, but not those of writes that end after Orbax gave them up."""
    if str(error) != "Event loop is closed":
        sys.__excepthook__(kind, error, trace)


def shell_command(module: str, *arguments: str) -> str:
    """Return a command line that the user can copy, with the Python that runs this process."""
    python = sys.executable
    if shutil.which("python") == python:
        python = "python"
    elif Path(python).is_relative_to(Path.cwd()):
        python = str(Path(python).relative_to(Path.cwd()))
    return shlex.join([python, "-m", module, *arguments])


def stop_status(number: int) -> int:
    """Return the exit status of a command that a signal has stopped.

    SIGUSR1 is a warning of SIGTERM, which launchers send before a time limit, and counts as it.
    """
    if number == getattr(signal, "SIGUSR1", None):
        number = signal.SIGTERM
    return 128 + number


def _connect() -> InputError | None:
    """Connect this process with others that run the command; return what stands in the way."""
    try:
        start_processes(sys.argv[1:])
    except InputError as error:
        return error
    return None


def _run(main: Main, connection_error: InputError | None) -> int:
    """Run a command and return its exit status, after one sentence if it cannot do its work."""
    console = Console(stderr=True, emoji=False)
    if connection_error is not None:
        if getattr(connection_error, "index", 0) == 0:  # else process 0 says it
            console.print(
                f"error: {connection_error}", markup=False, highlight=False, soft_wrap=True
            )
        return 2
    # Orbax reads and writes with asyncio; its errors are raised and reported anyway.
    logging.getLogger("asyncio").disabled = True
    sys.excepthook = _report_uncaught
    use_compilation_cache()
    try:
        with shared_errors():
            check_same_versions(l1jax.__version__)
            check_same_arguments(sys.argv[1:])
            status = main(sys.argv[1:])
            gather(None)  # all have come to the end
        stop_processes()
        return status
    except InputError as error:
        if is_leader():
            where = ""
            if isinstance(error, SharedError) and error.process != LEADER:
                where = f"process {error.process} of {num_processes()}: "
            console.print(f"error: {where}{error}", markup=False, highlight=False, soft_wrap=True)
            mark_as_printed()
        silence_threads()
        stop_processes()
        return 2
    except KeyboardInterrupt:
        console.print("stopped at once; the last checkpoint is unchanged.")
        end_if_shared(130)
        return 130
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
            end_at_once_if_shared(error)
            raise
        console.print(
            "error: there is not enough memory: give a smaller batch size, network or image size.",
            highlight=False,
            soft_wrap=True,
        )
        silence_threads()
        end_if_shared(1)
        return 1
    except BrokenPipeError:  # the reader of another stream that this process writes went away
        return 141
    except Exception as error:
        end_at_once_if_shared(error)
        raise
