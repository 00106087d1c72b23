"""What shows a run outside its work directory's own files, such as TensorBoard."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from l1jax.terminal import Say
from l1jax.training.weight_histograms import Histogram


class Tracker(NamedTuple):
    """Where a run is shown. None of these functions raises: a run does not end for a tracker.

    Within a step, `metrics` is called last.

    Attributes:
        metrics: (step, finite numbers by name) → None.
        grid: (step, path of a PNG) → None; the picture of samples.
        sound: (step, path of a WAV) → None; clips of samples.
        page: (step, page with samples of text) → None.
        histograms: (step, histograms by name) → None; those of the networks' weights.
        alarm: (step, name of the alarm, sentence) → None.
    """

    metrics: Callable[[int, Mapping[str, float]], None]
    grid: Callable[[int, Path], None]
    sound: Callable[[int, Path], None]
    page: Callable[[int, str], None]
    histograms: Callable[[int, Mapping[str, Histogram]], None]
    alarm: Callable[[int, str, str], None]


# (number of steps so far, say) → what shows the run from there on
OpenTracker = Callable[[int, Say], AbstractContextManager[Tracker]]


def join_trackers(trackers: Sequence[Tracker]) -> Tracker:
    """Return a tracker that passes everything on to each of these."""

    def metrics(step: int, values: Mapping[str, float]) -> None:
        for tracker in trackers:
            tracker.metrics(step, values)

    def grid(step: int, path: Path) -> None:
        for tracker in trackers:
            tracker.grid(step, path)

    def sound(step: int, path: Path) -> None:
        for tracker in trackers:
            tracker.sound(step, path)

    def page(step: int, text: str) -> None:
        for tracker in trackers:
            tracker.page(step, text)

    def histograms(step: int, values: Mapping[str, Histogram]) -> None:
        for tracker in trackers:
            tracker.histograms(step, values)

    def alarm(step: int, name: str, sentence: str) -> None:
        for tracker in trackers:
            tracker.alarm(step, name, sentence)

    return Tracker(metrics, grid, sound, page, histograms, alarm)
