"""What shows a run outside its work directory's own files, such as TensorBoard."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from l1jax.training.weight_histograms import Histogram


class Tracker(NamedTuple):
    """Where a run is shown. None of these functions raises: a run does not end for a tracker.

    Within a step, `metrics` is called last.

    Attributes:
        metrics: (step, finite numbers by name) → None.
        grid: (step, path of a PNG) → None; the picture of samples.
        page: (step, page with samples of text) → None.
        histograms: (step, histograms by name) → None; those of the networks' weights.
        alarm: (step, name of the alarm, sentence) → None.
    """

    metrics: Callable[[int, Mapping[str, float]], None]
    grid: Callable[[int, Path], None]
    page: Callable[[int, str], None]
    histograms: Callable[[int, Mapping[str, Histogram]], None]
    alarm: Callable[[int, str, str], None]
