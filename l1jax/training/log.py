"""What training says: a progress bar or plain lines, `metrics.jsonl`, TensorBoard events."""

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from l1jax.files import atomic_write
from l1jax.reading import check_input_file, parse_json
from l1jax.training.tensorboard import open_events

LARGEST, LONGEST = 16 * 2**30, 16 * 2**20  # bytes of all metrics, and of a line of them
PLAIN_SECONDS = 10.0  # between lines where there is no terminal


class Log(NamedTuple):
    """Where training reports.

    metrics: (step, numbers by name) → None; written to disk at once.
    say: one sentence, on a line of its own.
    """

    metrics: Callable[[int, dict[str, float]], None]
    say: Callable[[str], None]


def cut_metrics(path: Path, step: int) -> int:
    """Drop the lines of `metrics.jsonl` beyond `step`, and those that cannot be read, as a kill leaves one.

    Returns:
        How many could not be read, but for a last one without its end.

    Raises:
        InputError: if it is no file, or larger than any run writes.
    """
    if not os.path.lexists(path):
        return 0
    check_input_file(path, LARGEST, "move it away, and run the same command again")
    unreadable = 0
    with atomic_write(path) as partial, path.open("rb") as lines, partial.open("wb") as kept:
        for line in iter(_line_reader(lines), b""):
            own = _step_of(line)
            if own is None:
                unreadable += line.endswith(b"\n")
            elif own <= step:
                kept.write(line)
    return unreadable


def _line_reader(lines: BinaryIO) -> Callable[[], bytes]:
    """Build () → the next line, empty at the end; of one that is longer than any of ours only the end."""

    def read() -> bytes:
        line = lines.readline(LONGEST)
        while len(line) == LONGEST and not line.endswith(b"\n"):
            line = b"\0" + lines.readline(LONGEST - 1)
        return line

    return read


def _step_of(line: bytes) -> int | None:
    """The step that a line is of; None where it cannot be read."""
    try:
        values = parse_json(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    step = values.get("step") if isinstance(values, dict) else None
    return step if type(step) is int else None


@contextmanager
def open_log(workdir: Path, first: int, steps: int, console: Console) -> Iterator[Log]:
    """Report a run that goes from step `first` to `steps`; what was logged beyond `first` is cut.

    Where metrics that were logged are gone or cannot be read, one sentence says so.

    Raises:
        InputError: if `metrics.jsonl` is no file, or larger than any run writes.
    """
    path = workdir / "metrics.jsonl"
    gone = first > 0 and not path.exists()
    unreadable = cut_metrics(path, first)
    show = open_progress(console, first, steps, _summary)
    with (
        path.open("a", encoding="utf-8") as lines,
        show as (update, say),
        open_events(workdir / "tensorboard", first, say) as write_events,
    ):
        if gone:
            say(
                f"{path} is gone, and with it the metrics up to step {first:,}; going on without them."
            )
        if unreadable:
            say(
                f"{path} is damaged: {unreadable:,} of its lines cannot be read and are left out; going on."
            )

        def metrics(step: int, values: dict[str, float]) -> None:
            finite = {name: value for name, value in values.items() if math.isfinite(value)}
            known = {name: finite.get(name) for name in values}  # JSON has no NaN
            lines.write(json.dumps({"step": step, **known}) + "\n")
            lines.flush()
            write_events(
                step, finite
            )  # TensorBoard draws no others, and tensorboardX warns of them
            update(step, values)

        yield Log(metrics, say)


Values = TypeVar("Values")
Summary = Callable[
    [Values], tuple[str, float | None]
]  # a few words, and the seconds per step if they are known
Progressing = Iterator[tuple[Callable[[int, Values], None], Callable[[str], None]]]


def open_progress(console: Console, first: int, steps: int, summary: Summary[Values]):
    """Show how far `steps` have come from `first` on: a bar on a terminal, elsewhere a line now and then.

    Gives (update, say): update(step, values) shows their summary and the time left, say(text) a line of its own.
    """
    return (_terminal if console.is_terminal else _plain)(console, first, steps, summary)


@contextmanager
def _terminal(
    console: Console, first: int, steps: int, summary: Summary[Values]
) -> Progressing[Values]:
    columns = (
        MofNCompleteColumn(),
        BarColumn(bar_width=None),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=console, expand=True) as progress:
        task = progress.add_task("compiling the first call …", total=steps, completed=first)
        yield (
            lambda step, values: progress.update(
                task, completed=step, description=summary(values)[0]
            ),
            lambda text: progress.console.print(
                text, markup=False, highlight=False, soft_wrap=True
            ),
        )


@contextmanager
def _plain(
    console: Console, first: int, steps: int, summary: Summary[Values]
) -> Progressing[Values]:
    shown = -math.inf

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    def update(step: int, values: Values) -> None:
        nonlocal shown
        if step < steps and time.monotonic() - shown < PLAIN_SECONDS:
            return
        shown, eta = time.monotonic(), ""
        text, seconds_per_step = summary(values)
        if seconds_per_step is not None:
            minutes, seconds = divmod(round((steps - step) * seconds_per_step), 60)
            eta = f"  ETA {minutes}:{seconds:02d}"
        say(f"step {step:,}/{steps:,}  {text}{eta}")
        console.file.flush()

    yield update, say


def _summary(values: dict[str, float]) -> tuple[str, float | None]:
    """The few numbers that tell how training goes."""
    parts = [
        f"{values['images_per_second']:,.0f} images/s"
        if "images_per_second" in values
        else "compiled"
    ]
    if "bound" in values:
        parts.append(f"bound {values['bound']:.4g} nats, divergence {values['divergence']:.3g}")
    for short, network in (("G", "generator"), ("D", "discriminator"), ("E", "encoder")):
        if f"{network}/sparsity" in values:
            loss = f"{values[f'{network}/loss']:.3g}, " if f"{network}/loss" in values else ""
            parts.append(f"{short} {loss}{100 * values[f'{network}/sparsity']:.1f} % zeros")
    if values.get("skipped"):
        parts.append(f"{values['skipped']:.0f} steps skipped")
    return "  ".join(parts), values.get("seconds_per_step")
