"""Read what a run has left in its folder, as far as it can be read: it may still be going."""

import json
import math
import re
import wave
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from PIL import Image

from l1jax.config import InputError
from l1jax.reading import check_input_file, parse_json, read_bytes, read_json

MAX_METRICS_BYTES = 16 * 2**30
MAX_LINE_BYTES = 16 * 2**20
MAX_LINES = 4_000  # of metrics that are held at once; of more, every second is dropped
MAX_PICTURE_BYTES = 32 * 2**20
MAX_SOUND_BYTES = 8 * 2**20
MAX_SAMPLES = 8  # pictures of samples on a page
MAX_PAGES = 4  # of samples of text
MAX_PAGE_BYTES = 2**20

JsonObject: TypeAlias = dict[str, Any]  # values that JSON can hold


class MetricsLine(NamedTuple):
    """One line of `metrics.jsonl`."""

    step: int
    values: Mapping[str, float]  # the finite ones


class Metrics(NamedTuple):
    """The content of `metrics.jsonl`."""

    lines: Sequence[MetricsLine]  # all, or every second, fourth, … of very many
    num_skipped: int  # training steps that were skipped because a loss or gradient was not finite
    num_unreadable: int  # damaged lines, which are left out


class Picture(NamedTuple):
    """A picture of samples."""

    step: int
    png: bytes
    wav: bytes | None = None  # their sound, if they are spectrograms


class Page(NamedTuple):
    """A page with samples of text."""

    step: int
    text: str


def read_metrics(path: Path, on_line: Callable[[MetricsLine], None]) -> Metrics:
    """Read the metrics of a run, without the lines that are damaged.

    A last line without its end is left out and not counted: it is being written, or a kill cut it.

    Args:
        path: `metrics.jsonl`, which may be missing.
        on_line: called with every line that can be read.

    Returns:
        What was read; no lines if there is no such file.

    Raises:
        InputError: if the path is a pipe, a device or a folder.
    """
    if not path.exists():
        return Metrics([], 0, 0)
    check_input_file(path, MAX_METRICS_BYTES, "move it away")
    lines: list[MetricsLine] = []
    last = None
    stride = 1
    num_read = 0
    num_skipped = 0
    num_unreadable = 0
    with path.open("rb") as file:
        while content := file.readline(MAX_LINE_BYTES):
            line = _parse_line(content)
            if line is None:
                num_unreadable += content.endswith(b"\n")
                continue
            on_line(line)
            num_skipped += int(line.values.get("skipped", 0))
            if num_read % stride == 0:
                lines.append(line)
            num_read += 1
            last = line
            if len(lines) >= MAX_LINES:
                lines = lines[::2]
                stride *= 2
    if last is not None and lines[-1] is not last:
        lines.append(last)
    return Metrics(lines, num_skipped, num_unreadable)


def _parse_line(content: bytes) -> MetricsLine | None:
    if not content.endswith(b"\n"):
        return None
    try:
        values = parse_json(content)
    except ValueError:
        return None
    if not isinstance(values, dict) or type(values.get("step")) is not int:
        return None
    finite = {}
    for name, value in values.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if name != "step" and is_number and math.isfinite(value):
            finite[name] = float(value)
    return MetricsLine(values["step"], finite)


def read_samples(folder: Path, max_pictures: int = MAX_SAMPLES) -> list[Picture]:
    """Read pictures of samples, evenly over the training, the first and the last among them.

    Pictures and sounds that cannot be read, because they are damaged for instance, are left out.

    Args:
        folder: the run's `samples`, which may be missing.
        max_pictures: the largest number of pictures; at least 2.
    """
    chosen = _spread_evenly(folder, "png", max_pictures)
    pictures = []
    for step, path in chosen:
        png = read_picture(path)
        if png is not None:
            pictures.append(Picture(step, png, read_sound(path.with_suffix(".wav"))))
    return pictures


def read_pages(folder: Path, max_pages: int = MAX_PAGES) -> list[Page]:
    """Read samples of text, as `read_samples` reads pictures.

    Args:
        folder: the run's `samples`, which may be missing.
        max_pages: the largest number of pages; at least 2.
    """
    pages = []
    for step, path in _spread_evenly(folder, "txt", max_pages):
        with suppress(InputError):
            content = read_bytes(path, MAX_PAGE_BYTES)
            pages.append(Page(step, content.decode("utf-8", "replace")))
    return pages


def _spread_evenly(folder: Path, suffix: str, most: int) -> list[tuple[int, Path]]:
    """Choose files of samples evenly over the training; return them with their steps."""
    if not folder.is_dir():
        return []
    steps = {}
    for path in folder.iterdir():
        match = re.fullmatch(rf"step_(\d{{1,12}})\.{suffix}", path.name)
        if match:
            steps[int(match[1])] = path
    in_order = sorted(steps)
    if len(in_order) > most:
        last = len(in_order) - 1
        in_order = [in_order[round(i * last / (most - 1))] for i in range(most)]
    return [(step, steps[step]) for step in in_order]


def read_picture(path: Path) -> bytes | None:
    """Read a PNG; None if it is missing, damaged or too large."""
    try:
        content = read_bytes(path, MAX_PICTURE_BYTES)
        with Image.open(BytesIO(content), formats=["PNG"]) as image:
            image.verify()
    except (InputError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return content


def read_sound(path: Path) -> bytes | None:
    """Read a WAV; None if it is missing, damaged or too large."""
    try:
        content = read_bytes(path, MAX_SOUND_BYTES)
        with wave.open(BytesIO(content)) as file:
            num_frames = file.getnframes()
            num_bytes = len(file.readframes(num_frames))
            is_whole = num_bytes == num_frames * file.getnchannels() * file.getsampwidth()
    except (InputError, OSError, EOFError, wave.Error):
        return None
    return content if is_whole else None


def read_object(path: Path) -> JsonObject | None:
    """Read a JSON file that holds an object; None if it is missing or cannot be read."""
    try:
        value = read_json(path)
    except InputError:
        return None
    return value if isinstance(value, dict) else None


def to_text(value: object) -> str:
    """Write a configuration's value on one line."""
    return json.dumps(value, ensure_ascii=False, default=str)
