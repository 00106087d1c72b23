"""What training reports: progress, `metrics.jsonl`, samples, TensorBoard events."""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Float32
from PIL import Image
from rich.console import Console

from l1jax.files import atomic_write
from l1jax.reading import check_input_file, parse_json
from l1jax.reporting import save_image
from l1jax.reporting.sound import write_wav
from l1jax.terminal import Say
from l1jax.training.progress import open_progress
from l1jax.training.tensorboard import open_events
from l1jax.training.tracker import OpenTracker, join_trackers
from l1jax.training.weight_histograms import Histogram

MAX_FILE_BYTES = 16 * 2**30  # of all metrics
MAX_LINE_BYTES = 16 * 2**20
ABBREVIATIONS = {"G": "generator", "D": "discriminator", "E": "encoder"}


class Log(NamedTuple):
    """Where training reports.

    Attributes:
        metrics: (step, numbers by name) → None; written to disk at once. Within a step, it is
            called last.
        grid: (step, picture of samples) → None; saved as `samples/step_*.png`.
        sound: (step, clip, samples per second) → None; saved as `samples/step_*.wav`.
        page: (step, page with samples of text) → None; saved as `samples/step_*.txt`.
        histograms: (step, histograms by name) → None; those of the networks' weights.
        alarm: (step, name of the alarm, sentence) → None; printed.
        say: prints one sentence on a line of its own.
    """

    metrics: Callable[[int, dict[str, float]], None]
    grid: Callable[[int, Image.Image], None]
    sound: Callable[[int, Float32[np.ndarray, " samples"], int], None]
    page: Callable[[int, str], None]
    histograms: Callable[[int, Mapping[str, Histogram]], None]
    alarm: Callable[[int, str, str], None]
    say: Say


@contextmanager
def open_log(
    workdir: Path,
    first_step: int,
    last_step: int,
    console: Console,
    open_tracker: OpenTracker | None = None,
) -> Iterator[Log]:
    """Report a run; what was logged beyond its first step is cut.

    If metrics that were logged are missing or cannot be read, one sentence says so.

    Args:
        workdir: of the run.
        first_step: number of steps so far.
        last_step: number of steps at the end.
        console: for progress.
        open_tracker: for what shows the run besides TensorBoard.

    Raises:
        InputError: if `metrics.jsonl` is no file, or larger than any run writes.
    """
    path = workdir / "metrics.jsonl"
    is_missing = first_step > 0 and not path.exists()
    num_unreadable = cut_metrics(path, first_step)
    with (
        path.open("a", encoding="utf-8") as lines,
        open_progress(console, first_step, last_step, summarize_metrics) as (update, say),
        ExitStack() as stack,
    ):
        if is_missing:
            say(
                f"{path} is gone, and with it the metrics up to step {first_step:,}; going on "
                "without them."
            )
        if num_unreadable:
            say(
                f"{path} is damaged: {num_unreadable:,} of its lines cannot be read and are left "
                "out; going on."
            )

        trackers = [stack.enter_context(open_events(workdir / "tensorboard", first_step, say))]
        if open_tracker is not None:
            trackers.append(stack.enter_context(open_tracker(first_step, say)))
        tracker = join_trackers(trackers)

        def write_metrics(step: int, values: dict[str, float]) -> None:
            finite = {name: value for name, value in values.items() if math.isfinite(value)}
            # JSON has no NaN: null stands for it. TensorBoard draws finite numbers only.
            row = {"step": step} | {name: finite.get(name) for name in values}
            lines.write(json.dumps(row) + "\n")
            lines.flush()
            tracker.metrics(step, finite)
            update(step, values)

        def save_grid(step: int, picture: Image.Image) -> None:
            picture_path = workdir / "samples" / f"step_{step:06d}.png"
            save_image(picture, picture_path)
            tracker.grid(step, picture_path)

        def save_sound(step: int, clip: Float32[np.ndarray, " samples"], sample_rate: int) -> None:
            sound_path = workdir / "samples" / f"step_{step:06d}.wav"
            write_wav(clip, sample_rate, sound_path)
            tracker.sound(step, sound_path)

        def save_page(step: int, page: str) -> None:
            page_path = workdir / "samples" / f"step_{step:06d}.txt"
            with atomic_write(page_path) as partial:
                partial.write_text(page, encoding="utf-8")
            tracker.page(step, page)

        def report_alarm(step: int, name: str, sentence: str) -> None:
            say(f"step {step:,}: {sentence}")
            tracker.alarm(step, name, sentence)

        yield Log(
            metrics=write_metrics,
            grid=save_grid,
            sound=save_sound,
            page=save_page,
            histograms=tracker.histograms,
            alarm=report_alarm,
            say=say,
        )


def make_silent_log() -> Log:
    """Make the log of a process that reports nothing, because another one does."""
    return Log(
        metrics=lambda step, values: None,
        grid=lambda step, picture: None,
        sound=lambda step, clip, sample_rate: None,
        page=lambda step, page: None,
        histograms=lambda step, weights: None,
        alarm=lambda step, name, sentence: None,
        say=lambda text: None,
    )


def summarize_metrics(values: dict[str, float]) -> tuple[str, float | None]:
    """Return the few numbers that show how training goes, and the seconds per step."""
    parts = ["compiled"]
    for noun in ("images", "tokens"):
        if f"{noun}_per_second" in values:
            parts = [f"{values[f'{noun}_per_second']:,.0f} {noun}/s"]
    if "bits_per_byte" in values:
        parts.append(f"{values['bits_per_byte']:.3f} bits per byte")
    if "bound" in values:
        parts.append(f"bound {values['bound']:.4g} nats, divergence {values['divergence']:.3g}")
    for letter, network in ABBREVIATIONS.items():
        if f"{network}/sparsity" in values:
            numbers = f"{100 * values[f'{network}/sparsity']:.1f} % zeros"
            if f"{network}/loss" in values:
                numbers = f"{values[f'{network}/loss']:.3g}, {numbers}"
            parts.append(f"{letter} {numbers}")
    if values.get("skipped"):
        parts.append(f"{values['skipped']:.0f} steps skipped")
    return "  ".join(parts), values.get("seconds_per_step")


def cut_metrics(path: Path, last_step: int) -> int:
    """Drop the lines of `metrics.jsonl` beyond a step, and those that cannot be read.

    Returns:
        The number of lines that could not be read. A last line without its end is not counted,
        because a process that is killed leaves one.

    Raises:
        InputError: if it is no file, or larger than any run writes.
    """
    if not os.path.lexists(path):
        return 0
    check_input_file(path, MAX_FILE_BYTES, "move it away, and run the same command again")
    num_unreadable = 0
    with atomic_write(path) as partial, path.open("rb") as old, partial.open("wb") as new:
        for line in _read_lines(old):
            step = _parse_step(line)
            if step is None:
                num_unreadable += line.endswith(b"\n")
            elif step <= last_step:
                new.write(line)
    return num_unreadable


def _read_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield each line; of a line that is longer than a run writes, only the end, marked by \\0."""
    while line := file.readline(MAX_LINE_BYTES):
        while len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            line = b"\0" + file.readline(MAX_LINE_BYTES - 1)
        yield line


def _parse_step(line: bytes) -> int | None:
    """Return the step of a line, or None if it cannot be read."""
    if not line.endswith(b"\n"):
        return None
    try:
        values = parse_json(line)
    except ValueError:
        return None
    if not isinstance(values, dict):
        return None
    step = values.get("step")
    if type(step) is not int:  # True is an instance of int
        return None
    return step
