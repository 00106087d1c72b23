"""An error of one process ends the others, too, while they wait for something else.

Processes tell each other of errors where they agree on something. One that is inside a barrier of
Orbax, a collective operation or a compilation does not listen then. So JAX's coordination service
keeps the error, each process looks for it there, and all have some seconds to end by themselves.
"""

import json
import os
import sys
import threading
from contextlib import suppress
from typing import NamedTuple

from l1jax.processes.coordination import keep, look_up

NAME = "error"  # under which the service keeps it
LOOK_SECONDS = 2.0  # between two looks
SECONDS_TO_END = 8.0
SECONDS_TO_HEAR = 4.0  # that process 0 stays longer, whose service tells the others
STATUS = 2


class _Listener(NamedTuple):
    """A process that looks for errors.

    Attributes:
        index: of this process.
        count: of all processes.
        stop: set when it is to look no more.
    """

    index: int
    count: int
    stop: threading.Event


_listener: _Listener | None = None
_is_printed = threading.Event()
_is_told = threading.Event()


def listen(index: int, count: int) -> None:
    """Look for errors of other processes from now on.

    Args:
        index: of this process.
        count: of all processes.
    """
    global _listener
    _listener = _Listener(index, count, threading.Event())
    if count > 1:
        threading.Thread(target=_look, args=(_listener,), daemon=True).start()


def stop_listening() -> None:
    """Look no more; the connection is about to be released."""
    if _listener is not None:
        _listener.stop.set()


def announce(text: str) -> None:
    """Let all processes end with an error within some seconds, this one included.

    Process 0 prints it, unless `mark_as_printed` was called before.
    """
    if _listener is None:
        return
    message = json.dumps([_listener.index, text])
    with suppress(Exception):  # another one was faster, or the service is gone
        keep(NAME, message)
    _end_soon(_listener, _listener.index, text)


def mark_as_printed() -> None:
    """Note that this process has printed the error with which it ends."""
    _is_printed.set()


def is_told() -> bool:
    """Return whether this process is about to end because of an error of any process."""
    return _is_told.is_set()


def _look(listener: _Listener) -> None:
    while not listener.stop.wait(LOOK_SECONDS):
        with suppress(Exception):  # there is none, or the service is gone
            process, text = json.loads(look_up(NAME))
            _end_soon(listener, process, text)
            return


def _end_soon(listener: _Listener, process: int, text: str) -> None:
    """Start to wait before this process ends.

    Args:
        listener: of this process.
        process: whose error it is.
        text: of the error.
    """
    _is_told.set()
    seconds = SECONDS_TO_END
    if listener.index == 0:
        seconds += SECONDS_TO_HEAR
    timer = threading.Timer(seconds, _end, [listener, process, text])
    timer.daemon = True
    timer.start()


def _end(listener: _Listener, process: int, text: str) -> None:
    if listener.index == 0 and not _is_printed.is_set():
        where = ""
        if process != 0:
            where = f"process {process} of {listener.count}: "
        with suppress(OSError, ValueError):  # nobody reads it any more
            print(f"error: {where}{text}", file=sys.stderr, flush=True)
    os._exit(STATUS)
