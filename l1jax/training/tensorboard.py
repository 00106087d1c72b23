"""TensorBoard events, written as metrics come: no thread that could die of a full disk, and training wait for it."""

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

Write = Callable[[int, Mapping[str, float]], None]


@contextmanager
def open_events(folder: Path, first: int, say: Callable[[str], None]) -> Iterator[Write]:
    """Append events to a folder, which is made; those beyond step `first` are no longer shown.

    Gives (step, finite numbers by name) → None. Where they can no longer be written, one sentence says so, and
    nothing more is written.

    Raises:
        OSError: if no event can be written at all.
    """
    from tensorboardX.proto import event_pb2  # imports torch where that is installed
    from tensorboardX.record_writer import RecordWriter
    from tensorboardX.summary import scalar

    messages: Any = event_pb2  # its classes are made at run time
    folder.mkdir(exist_ok=True)
    own = f"{time.time():.0f}.{socket.gethostname()}.{os.getpid()}.{time.monotonic_ns()}"  # each file its own name
    writer = RecordWriter(str(folder / f"events.out.tfevents.{own}"))

    def append(**content: Any) -> None:
        writer.write(messages.Event(wall_time=time.time(), **content).SerializeToString())
        writer.flush()

    append(file_version="brain.Event:2")
    append(step=first + 1, session_log={"status": messages.SessionLog.START})
    lost = False

    def write(step: int, values: Mapping[str, float]) -> None:
        nonlocal lost
        if lost:
            return
        rows = [row for name, value in values.items() for row in scalar(name, value).value]
        try:
            append(step=step, summary={"value": rows})
        except OSError as error:
            lost = True
            say(
                f"{folder} could not be written ({error.strerror or error}): from step {step:,} on it has no events."
            )

    try:
        yield write
    finally:
        with suppress(OSError):
            writer.close()
