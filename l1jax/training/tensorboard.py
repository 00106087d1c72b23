"""TensorBoard events, written as metrics come.

Other writers use a thread, which may die of a full disk while training waits for it.
"""

import io
import os
import socket
import sys
import time
import wave
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from PIL import Image

from l1jax.training.tracker import Tracker
from l1jax.training.weight_histograms import Histogram

NUM_CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}  # of Pillow's modes, as TensorBoard wants them


@contextmanager
def open_events(folder: Path, first_step: int, say: Callable[[str], None]) -> Iterator[Tracker]:
    """Append events to a folder; TensorBoard no longer shows those beyond the first step.

    If events can no longer be written, one sentence says so, and nothing more is written.

    Args:
        folder: made if it does not exist.
        first_step: number of steps so far.
        say: called with the sentence.

    Yields:
        What writes the events.

    Raises:
        OSError: if no event can be written at all.
    """
    with _torch_left_out():
        from tensorboardX.proto import event_pb2
        from tensorboardX.record_writer import RecordWriter
        from tensorboardX.summary import scalar, text

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

    def append_rows(step: int, make_rows: Callable[[], list[Any]]) -> None:
        nonlocal has_failed
        if has_failed:
            return
        try:
            append(step=step, summary={"value": make_rows()})
        except OSError as error:
            has_failed = True
            say(
                f"{folder} could not be written ({error.strerror or error}): from step {step:,} "
                "on it has no events."
            )

    def write_metrics(step: int, values: Mapping[str, float]) -> None:
        append_rows(
            step,
            lambda: [row for name, value in values.items() for row in scalar(name, value).value],
        )

    def write_grid(step: int, path: Path) -> None:
        append_rows(step, lambda: [{"tag": "samples", "image": _image(path.read_bytes())}])

    def write_sound(step: int, path: Path) -> None:
        append_rows(step, lambda: [{"tag": "sound", "audio": _audio(path.read_bytes())}])

    def write_page(step: int, page: str) -> None:
        # TensorBoard shows Markdown, in which indented lines are kept as they are.
        indented = "".join(f"    {line}\n" for line in page.splitlines())
        append_rows(step, lambda: list(text("samples", indented).value))

    def write_histograms(step: int, histograms: Mapping[str, Histogram]) -> None:
        append_rows(
            step,
            lambda: [
                {"tag": name, "histo": _histogram(histogram)}
                for name, histogram in histograms.items()
            ],
        )

    def write_alarm(step: int, name: str, sentence: str) -> None:
        append_rows(step, lambda: list(text(f"alarms/{name}", sentence).value))

    try:
        yield Tracker(
            metrics=write_metrics,
            grid=write_grid,
            sound=write_sound,
            page=write_page,
            histograms=write_histograms,
            alarm=write_alarm,
        )
    finally:
        with suppress(OSError):
            writer.close()


@contextmanager
def _torch_left_out() -> Iterator[None]:
    """Let tensorboardX believe that there is no PyTorch, unless it has been imported already.

    It would import it wherever it is installed, which takes seconds and hundreds of megabytes, for
    tensors that it never gets from here.
    """
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = cast(ModuleType, None)  # so an import of it raises ImportError
    try:
        yield
    finally:
        del sys.modules["torch"]


def _image(png: bytes) -> dict[str, Any]:
    """Return the fields of an image summary."""
    with Image.open(io.BytesIO(png)) as image:
        return {
            "width": image.width,
            "height": image.height,
            "colorspace": NUM_CHANNELS[image.mode],
            "encoded_image_string": png,
        }


def _audio(wav: bytes) -> dict[str, Any]:
    """Return the fields of an audio summary."""
    with wave.open(io.BytesIO(wav)) as file:
        return {
            "sample_rate": float(file.getframerate()),
            "num_channels": file.getnchannels(),
            "length_frames": file.getnframes(),
            "encoded_audio_string": wav,
            "content_type": "audio/wav",
        }


def _histogram(histogram: Histogram) -> dict[str, Any]:
    """Return the fields of a histogram summary, whose bins are given by their upper ends."""
    return {
        "min": histogram.edges[0],
        "max": histogram.edges[-1],
        "num": histogram.counts.sum(),
        "sum": histogram.total,
        "sum_squares": histogram.total_squares,
        "bucket_limit": histogram.edges[1:],
        "bucket": histogram.counts,
    }
