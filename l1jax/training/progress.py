"""Progress of a run: a bar on a terminal, elsewhere a line every few seconds."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Generic, NamedTuple, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from l1jax.terminal import Say, make_say

PLAIN_SECONDS = 10.0  # between lines where there is no terminal

Values = TypeVar("Values")
# values → a few words about them, and the seconds per step if they are known
Summary = Callable[[Values], tuple[str, float | None]]


class Progress(NamedTuple, Generic[Values]):
    """What `open_progress` gives.

    Attributes:
        update: (step, values) → None; shows the summary of the values and the time left.
        say: prints one sentence on a line of its own.
    """

    update: Callable[[int, Values], None]
    say: Say


def open_progress(
    console: Console, first_step: int, last_step: int, summary: Summary[Values]
) -> AbstractContextManager[Progress[Values]]:
    """Show how far a run has come.

    Args:
        console: where it is shown.
        first_step: number of steps at the beginning.
        last_step: number of steps at the end.
        summary: values → a few words about them, and the seconds per step if they are known.
    """
    if console.is_terminal:
        return _bar(console, first_step, last_step, summary)
    return _lines(console, last_step, summary)


@contextmanager
def _bar(
    console: Console, first_step: int, last_step: int, summary: Summary[Values]
) -> Iterator[Progress[Values]]:
    columns = (
        MofNCompleteColumn(),
        BarColumn(bar_width=None),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.description}", markup=False),
    )
    with RichProgress(*columns, console=console, expand=True) as bar:
        task = bar.add_task("compiling the first call …", total=last_step, completed=first_step)

        def update(step: int, values: Values) -> None:
            text, _ = summary(values)
            bar.update(task, completed=step, description=text)

        yield Progress(update, make_say(bar.console))


@contextmanager
def _lines(
    console: Console, last_step: int, summary: Summary[Values]
) -> Iterator[Progress[Values]]:
    say = make_say(console)
    last_time = -math.inf

    def update(step: int, values: Values) -> None:
        nonlocal last_time
        if step < last_step and time.monotonic() - last_time < PLAIN_SECONDS:
            return
        last_time = time.monotonic()
        text, seconds_per_step = summary(values)
        if seconds_per_step is not None:
            minutes, seconds = divmod(round((last_step - step) * seconds_per_step), 60)
            text += f"  ETA {minutes}:{seconds:02d}"
        say(f"step {step:,}/{last_step:,}  {text}")
        console.file.flush()

    yield Progress(update, say)
