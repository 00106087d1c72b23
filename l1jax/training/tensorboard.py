"""TensorBoard events, written as metrics come.

Other writers use a thread, which may die of a full disk while training waits for it.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

WriteEvents = Callable[[int, Mapping[str, float]], None]  # (step, finite numbers by name) → None


@contextmanager
def open_events(folder: Path, first_step: int, say: Callable[[str], None]) -> Iterator[WriteEvents]:
    """Append events to a folder; TensorBoard no longer shows those beyond the first step.

    If events can no longer be written, one sentence says so, and nothing more is written.

    Args:
        folder: made if it does not exist.
        first_step: number of steps so far.
        say: called with the sentence.

    Yields:
        (step, finite numbers by name) → None.

    Raises:
        OSError: if no event can be written at all.
    """
    from tensorboardX.proto import event_pb2  # imports torch where that is installed
    from tensorboardX.record_writer import RecordWriter
    from tensorboardX.summary import scalar

    messages: Any = event_pb2  # its classes are made at run time
    folder.mkdir(exist_ok=True)
    # Each file needs a name of its own.
    name = f"{time.time():.0f}.{socket.gethostname()}.{os.getpid()}.{time.monotonic_ns()}"
    writer = RecordWriter(str(folder / f"events.out.tfevents.{name}"))

    def append(**content: object) -> None:
        event = messages.Event(wall_time=time.time(), **content)
        writer.write(event.SerializeToString())
        writer.flush()

    append(file_version="brain.Event:2")
    append(step=first_step + 1, session_log={"status": messages.SessionLog.START})
    has_failed = False

    def write_events(step: int, values: Mapping[str, float]) -> None:
        nonlocal has_failed
        if has_failed:
            return
        rows = [row for name, value in values.items() for row in scalar(name, value).value]
        try:
            append(step=step, summary={"value": rows})
        except OSError as error:
            has_failed = True
            say(
                f"{folder} could not be written ({error.strerror or error}): from step {step:,} "
                "on it has no events."
            )

    try:
        yield write_events
    finally:
        with suppress(OSError):
            writer.close()
