"""TensorBoard events, written as metrics come: no thread that could die of a full disk, and training wait for it."""

import os
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
    from tensorboardX.event_file_writer import EventsWriter  # imports torch where that is installed
    from tensorboardX.proto import event_pb2
    from tensorboardX.summary import scalar

    messages: Any = event_pb2  # its classes are made at run time
    folder.mkdir(exist_ok=True)
    own = f".{os.getpid()}.{time.monotonic_ns()}"  # tensorboardX's names are the same within a second
    writer = EventsWriter(str(folder / "events"), own)
    begun = messages.Event(wall_time=time.time(), step=first + 1, session_log={"status": messages.SessionLog.START})
    writer.write_event(begun)
    writer.flush()
    lost = False

    def write(step: int, values: Mapping[str, float]) -> None:
        nonlocal lost
        if lost:
            return
        event = messages.Event(wall_time=time.time(), step=step)
        for name, value in values.items():
            event.summary.value.extend(scalar(name, value).value)
        try:
            writer.write_event(event)
            writer.flush()
        except OSError as error:
            lost = True
            say(f"{folder} could not be written ({error.strerror or error}): from step {step:,} on it has no events.")

    try:
        yield write
    finally:
        with suppress(OSError):
            writer.close()
