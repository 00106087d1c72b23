"""The process of a command: its exit status, its last words, and its name for messages."""

import io
import logging
import shlex
import shutil
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
from rich.console import Console

from l1jax.compilation import use_compilation_cache
from l1jax.config import InputError
from l1jax.streams import lasting_output

Main = Callable[[Sequence[str]], int]  # arguments → exit status


def run_command(main: Main, notice: str = "") -> None:
    """Run a command and exit with its status, or with 2 and one sentence if the input is wrong.

    Standard output may be a pipe, a terminal or a file that goes away. The command then continues
    and finishes its files.

    Args:
        main: the command, from arguments to exit status.
        notice: what standard error says when standard output is lost, for a command that
            then works for long.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without × shows a question mark
    with lasting_output(notice) as output:
        status = _run(main)
        output.flush()
    unwritten = output.lost is not None and not isinstance(output.lost, BrokenPipeError)
    if unwritten and not notice and status == 0:
        status = 1
    sys.exit(status)


def silence_threads() -> None:
    """Keep threads of other libraries from printing tracebacks after an error was reported."""
    threading.excepthook = sys.unraisablehook = lambda _: None


def shell_command(module: str, *arguments: str) -> str:
    """Return a command line that the user can copy, with the Python that runs this process."""
    python = sys.executable
    if shutil.which("python") == python:
        python = "python"
    elif Path(python).is_relative_to(Path.cwd()):
        python = str(Path(python).relative_to(Path.cwd()))
    return shlex.join([python, "-m", module, *arguments])


def _run(main: Main) -> int:
    """Run a command and return its exit status, after one sentence if it cannot do its work."""
    console = Console(stderr=True, emoji=False)
    # Orbax reads and writes with asyncio; its errors are raised and reported anyway.
    logging.getLogger("asyncio").disabled = True
    use_compilation_cache()
    try:
        return main(sys.argv[1:])
    except InputError as error:
        console.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        silence_threads()
        return 2
    except KeyboardInterrupt:
        console.print("stopped at once; the last checkpoint is unchanged.")
        return 130
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        console.print(
            "error: there is not enough memory: give a smaller batch size, network or image size.",
            highlight=False,
            soft_wrap=True,
        )
        silence_threads()
        return 1
    except BrokenPipeError:  # the reader of another stream that this process writes went away
        return 141
