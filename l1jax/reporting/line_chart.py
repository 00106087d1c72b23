"""Line charts as inline SVG, which need no script, no font and no network."""

import html
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

Point: TypeAlias = tuple[float, float]  # step and value
Series: TypeAlias = Mapping[str, Sequence[Point]]  # label → points with finite values

WIDTH = 480  # of the drawing, in units that the page scales to the width it has
HEIGHT = 220
LEFT = 62  # margin for the labels of the vertical axis
RIGHT = 12
TOP = 10
BOTTOM = 26
MAX_POINTS = 300  # of a line; longer ones are thinned out
NUM_COLOURS = 6  # that the style sheet has
NUM_TICKS = 4


class _Axis(NamedTuple):
    """A linear map from values to positions in the drawing."""

    low: float
    high: float
    start: float
    end: float

    def position(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def line_chart(title: str, series: Series) -> str:
    """Draw values against training steps.

    Args:
        title: what is drawn; also the name that a screen reader reads.
        series: label → points. Series without points are left out.

    Returns:
        A `<figure>` with the drawing and a legend that holds the last value of every line. It is
        empty if no series has a point.
    """
    drawn = {label: _thin_out(points) for label, points in series.items() if points}
    if not drawn:
        return ""
    steps = [step for points in drawn.values() for step, _ in points]
    values = [value for points in drawn.values() for _, value in points]
    horizontal = _Axis(*_widen(min(steps), max(steps)), LEFT, WIDTH - RIGHT)
    vertical = _Axis(*_widen(min(values), max(values)), HEIGHT - BOTTOM, TOP)
    lines = []
    legend = []
    for i, (label, points) in enumerate(drawn.items()):
        colour = f"c{i % NUM_COLOURS}"
        dashes = f"d{i // NUM_COLOURS % 3}"
        lines.append(_line(points, horizontal, vertical, f"{colour} {dashes}"))
        legend.append(
            '<li><svg class="key" viewBox="0 0 24 8" aria-hidden="true">'
            f'<path class="line {colour} {dashes}" d="M0 4H24"/></svg>{html.escape(label)} '
            f"<b>{format_number(points[-1][1])}</b></li>"
        )
    summary = "; ".join(_summary(label, points) for label, points in drawn.items())
    return (
        f'<figure class="chart"><figcaption>{html.escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{html.escape(f"{title} against the training step. {summary}")}">'
        f"{_grid(horizontal, vertical)}{''.join(lines)}</svg>"
        f'<ul class="legend">{"".join(legend)}</ul></figure>'
    )


def format_number(value: float) -> str:
    """Format a number for people, with about four digits."""
    if value == 0:
        return "0"
    if 1_000 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _line(points: Sequence[Point], horizontal: _Axis, vertical: _Axis, classes: str) -> str:
    positions = [
        f"{horizontal.position(step):.1f} {vertical.position(value):.1f}" for step, value in points
    ]
    if len(points) == 1:
        x, y = positions[0].split()
        return f'<circle class="dot {classes}" cx="{x}" cy="{y}" r="3"/>'
    return f'<path class="line {classes}" d="M{"L".join(positions)}"/>'


def _grid(horizontal: _Axis, vertical: _Axis) -> str:
    parts = []
    for value in _ticks(vertical.low, vertical.high):
        y = vertical.position(value)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" class="end">{_tick_label(value)}</text>'
        )
    for value in _ticks(horizontal.low, horizontal.high):
        x = horizontal.position(value)
        parts.append(
            f'<text x="{x:.1f}" y="{HEIGHT - 8}" class="middle">{_tick_label(value)}</text>'
        )
    return "".join(parts)


def _ticks(low: float, high: float) -> list[float]:
    """Return about four round numbers within the interval."""
    rough = (high - low) / NUM_TICKS
    magnitude = 10.0 ** math.floor(math.log10(rough))
    spacing = next(
        factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= 0.999 * rough
    )
    first = math.ceil(low / spacing - 1e-9)
    last = math.floor(high / spacing + 1e-9)
    return [
        round(i * spacing, 12) if spacing > 1e-9 else i * spacing for i in range(first, last + 1)
    ]


def _tick_label(value: float) -> str:
    if abs(value) >= 1e5:
        return f"{value:.3g}"
    if abs(value) >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.6g}"


def _widen(low: float, high: float) -> tuple[float, float]:
    """Return an interval that is not empty, so that a constant is drawn in the middle."""
    if high - low > 1e-9 * max(abs(low), abs(high)):
        return low, high
    margin = max(abs(low), abs(high)) / 2
    if margin == 0:
        margin = 0.5
    return low - margin, high + margin


def _thin_out(points: Sequence[Point]) -> list[Point]:
    """Keep at most `MAX_POINTS` points, evenly, the last one among them."""
    stride = math.ceil(len(points) / MAX_POINTS)
    kept = list(points[::-1][::stride])
    return kept[::-1]


def _summary(label: str, points: Sequence[Point]) -> str:
    values = [value for _, value in points]
    return (
        f"{label}: from {format_number(values[0])} to {format_number(values[-1])}, between "
        f"{format_number(min(values))} and {format_number(max(values))}"
    )
