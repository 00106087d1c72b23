"""The end of a run that has lost one of its processes: one sentence, and no wall of text.

JAX's coordination service notices within `HEARTBEAT_SECONDS` that a process is gone. It then aborts
the others from C++, after printing a stack trace. So the output of compiled libraries, and of child
processes, goes into a file while processes work together, and the signal of the abort is answered
by the sentence. If the reason is another one, the end of that file is printed.
"""

import ctypes
import os
import re
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, NamedTuple, NoReturn

from l1jax.processes import announced_errors

HEARTBEAT_SECONDS = 30
# How long to wait, after an error of the transport, for the service to name who is gone.
PATIENCE_SECONDS = HEARTBEAT_SECONDS + 15.0
STATUS = 75  # "temporary failure, try again": EX_TEMPFAIL of sysexits.h
NEWCOMER_SECONDS = 5.0  # between two looks for a process that was started again
TAIL_BYTES = 16 * 1024
TAIL_LINES = 30
LAST_WORDS_SECONDS = 3.0  # in which process 0 tells the others who is gone
# Variables by which a user asks to see what compiled libraries say.
VERBOSE = ("TF_CPP_VMODULE", "NCCL_DEBUG")
DUPLICATE = re.compile(r"ALREADY_EXISTS.*newer incarnation")
RESTARTED = re.compile(r"(\d+) unexpectedly tried to connect with a different incarnation")
GONE = re.compile(r"unhealthy[^\n]*:\s*((?:\d+\s*[\n,]\s*)+)")
COMMUNICATION = re.compile(
    r"gloo|nccl|\bmpi\b|coordination|heartbeat|barrier|unavailable|deadline_exceeded|socket|"
    r"connection|aborted|cancelled",
    re.IGNORECASE,
)
# Gloo aborts when a message is cut off, which may be before the service knows who is gone.
TRANSPORT = re.compile(r"gloo|enforce fail", re.IGNORECASE)
CHandler = ctypes.CFUNCTYPE(None, ctypes.c_int)


class _Watch(NamedTuple):
    """How this process learns of a loss and tells it.

    Attributes:
        native_output: what compiled libraries print; None if they print as usual.
        handler: of the signal; kept, because ctypes would free it.
        unconnected_sentence: the sentence for a process that has not found the others yet.
        index: of this process.
        count: of all processes; 0 as long as they have not found each other.
    """

    native_output: IO[bytes] | None
    handler: Any
    unconnected_sentence: str
    index: int = 0
    count: int = 0


def _default_remedy() -> str:
    return "start all processes again"


_watch: _Watch | None = None
_remedy: Callable[[], str] = _default_remedy
_is_ending = threading.Lock()


def watch(unconnected_sentence: str) -> None:
    """End this process with a sentence when JAX's coordination service aborts it.

    Args:
        unconnected_sentence: the sentence as long as the processes have not found each other.
    """
    global _watch
    native_output = None
    if not any(name in os.environ for name in VERBOSE):
        native_output = _divert_native_output()
    handler = CHandler(_answer_abort)
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    libc.signal(signal.SIGABRT, ctypes.cast(handler, ctypes.c_void_p))
    _watch = _Watch(native_output, handler, unconnected_sentence)


def watch_connected(index: int, count: int) -> None:
    """Watch for the loss of processes from now on, when all have found each other.

    Args:
        index: of this process.
        count: of all processes.
    """
    global _watch
    assert _watch is not None
    _watch = _watch._replace(index=index, count=count)
    if count > 1 and _watch.native_output is not None:
        threading.Thread(target=_look_for_newcomers, daemon=True).start()


@contextmanager
def remedy_for_loss(describe: Callable[[], str]) -> Iterator[None]:
    """Say what to do if a process is lost in this block, such as from which step a run resumes.

    Args:
        describe: () → the remedy, as the end of a sentence. Called when it is needed.
    """
    global _remedy
    previous = _remedy
    _remedy = describe
    yield
    _remedy = previous  # kept after an error: the process may be about to end because of it


def is_communication_error(error: BaseException) -> bool:
    """Return whether an error may come from the loss of a process."""
    return _is_shared() and COMMUNICATION.search(str(error)) is not None


def end_if_shared(status: int) -> None:
    """End this process at once if others work with it, which it would else wait for.

    Args:
        status: its exit status.
    """
    if _is_shared():
        sys.stderr.flush()
        os._exit(status)


def end_at_once_if_shared(error: BaseException) -> None:
    """End this process after an error that nobody expected, if others work with it.

    Without that it would wait for them as it ends, and they for it.
    """
    if not _is_shared():
        return
    if is_communication_error(error):
        end_as_lost(error)
    traceback.print_exception(error)
    print_native_output()
    os._exit(1)


def print_native_output() -> None:
    """Print the last lines of compiled libraries and child processes, if they are hidden."""
    lines = _read_native_output().splitlines()[-TAIL_LINES:]
    if lines:
        _print("\n".join(lines))


def end_as_lost(error: BaseException) -> NoReturn:
    """End this process after an error of the transport, with a sentence that names who is gone.

    The coordination service knows who that is, so it is waited for. If it has nothing to say, the
    error itself is the reason.
    """
    time.sleep(PATIENCE_SECONDS)  # the abort ends the process while it sleeps
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    _end(f"the connection to another process is lost ({reason})", prints_it=True)


def _look_for_newcomers() -> None:
    """End this process when a lost one is started again while the others still run.

    The coordination service takes the newcomer for the lost one, and would let all wait.
    """
    while not RESTARTED.search(_read_native_output()):
        time.sleep(NEWCOMER_SECONDS)
    _answer_abort(signal.SIGABRT)


def _is_shared() -> bool:
    return _watch is not None and _watch.count > 1


def _answer_abort(number: int) -> None:
    """Answer SIGABRT, in whichever thread raised it."""
    assert _watch is not None
    if announced_errors.is_told():  # process 0 says it, and may have ended before this one
        os._exit(announced_errors.STATUS)
    if not _watch.count:
        sentence = _watch.unconnected_sentence
        if DUPLICATE.search(_read_native_output()):
            sentence = "another process has the number of this one: give each its own --process."
        _print(f"error: {sentence}")
        os._exit(2)
    if _watch.native_output is None:  # the reason was printed
        _end("another process is gone", prints_it=True)
    text = _read_native_output()
    gone = _find_gone(text)
    if gone is None and TRANSPORT.search(text):
        time.sleep(PATIENCE_SECONDS)
        gone = _find_gone(_read_native_output())
    if gone is None:
        print_native_output()
        os._exit(128 + number)
    survivors = [process for process in range(_watch.count) if process not in gone]
    names = " and ".join(f"process {process} of {_watch.count}" for process in sorted(gone))
    verb = "is" if len(gone) == 1 else "are"
    prints_it = _watch.index == min(survivors, default=_watch.index)
    if _watch.index == 0:
        time.sleep(LAST_WORDS_SECONDS)
    _end(f"{names} {verb} gone", prints_it=prints_it)


def _end(what_happened: str, *, prints_it: bool) -> NoReturn:
    """Print the sentence once, and end without waiting for anyone."""
    if not _is_ending.acquire(blocking=False):
        threading.Event().wait()  # another thread is about to end the process
    try:
        remedy = _remedy()
    except OSError:
        remedy = _default_remedy()
    if prints_it:
        _print(f"error: {what_happened}: {remedy}.")
    os._exit(STATUS)


def _print(text: str) -> None:
    with suppress(OSError, ValueError):  # nobody reads it any more
        print(text, file=sys.stderr, flush=True)


def _find_gone(text: str) -> set[int] | None:
    """Find in what the coordination service says which processes are gone; None if none is."""
    reported = GONE.findall(text)
    if reported:
        return {int(number) for number in re.findall(r"\d+", reported[-1])}
    restarted = RESTARTED.findall(text)
    if restarted:
        return {int(restarted[-1])}
    if "coordination service" in text and re.search(r"leader|Socket closed|UNAVAILABLE", text):
        return {0}
    return None


def _divert_native_output() -> IO[bytes]:
    """Let compiled libraries print into a file, and Python where it printed before."""
    native_output = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        stream.flush()
        kept = os.fdopen(os.dup(descriptor), "w", 1, encoding=stream.encoding, errors=stream.errors)
        setattr(sys, name, kept)
        os.dup2(native_output.fileno(), descriptor)
    return native_output


def _read_native_output() -> str:
    if _watch is None or _watch.native_output is None:
        return ""
    file = _watch.native_output
    size = os.fstat(file.fileno()).st_size
    start = max(0, size - TAIL_BYTES)
    return os.pread(file.fileno(), TAIL_BYTES, start).decode(errors="replace")
