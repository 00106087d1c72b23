"""Show a path of strengths: as a table, as plots, and as the images along it.

A path may be one of the values of another number instead, its `field`, such as γ.
"""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Shaped
from PIL import Image
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

# Plain values: the report that `l1jax.select` writes as `path.json`, or a part of it.
Report: TypeAlias = Mapping[str, Any]
Axes: TypeAlias = Any  # of matplotlib, which is imported only where something is drawn

LABELS = {
    "bits_per_byte": "bits per byte ↓",
    "kernel_distance": "kernel distance ↓",
    "frechet_distance": "Fréchet distance ↓",
    "recall": "recall ↑",
    "coverage": "coverage ↑",
    "log_likelihood": "log-likelihood, nats ↑",
    "aic": "AIC ↓",
    "aicc": "AICc ↓",
    "bic": "BIC ↓",
    "ebic": "EBIC ↓",
}
SHORT = {
    "kernel_distance": "kernel ↓",
    "frechet_distance": "Fréchet ↓",
    "log_likelihood": "likelihood ↑",
}
SHOWN = ("bits_per_byte", "kernel_distance", "recall")  # beside the criterion
MARKS = {"chosen": "chosen", "minimum": "best", "one_standard_error": "1 s.e."}
STYLES: dict[str, dict[str, Any]] = {
    "chosen": {"marker": "o", "markersize": 14, "color": "k", "markerfacecolor": "none"},
    "minimum": {"marker": "v", "markersize": 9, "color": "C1"},
    "one_standard_error": {"marker": "s", "markersize": 8, "color": "C2"},
}


def show_path(path: Report, console: Console) -> None:
    """Print a row for each strength, and which strength is chosen and why.

    Args:
        path: the report that `l1jax.select` writes as `path.json`.
        console: where to print.
    """
    points = path["points"]
    criterion = path["criterion"]
    names = [criterion]
    others = [name for name in SHOWN if name in points[0]["scores"]]
    names += [name for name in others if name != criterion]
    table = Table(
        title=_title(path),
        title_justify="left",
        box=SIMPLE,
        padding=0,
    )
    for name in (_noun(path), " zeros", " alive"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in names:
        table.add_column(f" {SHORT.get(name, LABELS[name])}", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for i, point in enumerate(points):
        alive = sum(count for count, _ in point["channels"].values())
        cells = [f"{point['zeros']:.1%}", f"{alive:,.0f}"]
        cells += [_number(point["scores"][name], error=name == criterion) for name in names]
        marks = [words for key, words in MARKS.items() if path.get(key) and path[key]["index"] == i]
        if point["trained"] < path["steps"]:
            marks.append(f"stopped at {point['trained']:,}")
        table.add_row(
            _strength(point["strength"], path.get("field")),
            *cells,
            " " + ", ".join(marks),
            style="green" if "chosen" in marks else "",
        )
    console.print(table)
    num_channels = sum(count for _, count in points[0]["channels"].values())
    for line in (
        _why(path),
        f"alive: output channels that are not all zero, of {num_channels:,.0f}",
        path["protocol"],
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _why(path: Report) -> str:
    """Return which strength is chosen and why, and what to try if it is no penalty."""
    chosen = path["chosen"]
    criterion = path["criterion"]
    field = path.get("field")
    about_zeros = chosen["rule"] == "enough zeros"
    sentence = "no penalty"
    if field:
        sentence = f"{field} {_strength(chosen['strength'], field)}"
    elif chosen["strength"]:
        sentence = f"strength {_strength(chosen['strength'], None)}"
    sentence += f": {chosen['reason']}"
    if LABELS[criterion][-1] == "↑" and not about_zeros:
        sentence += f" (the score is the {criterion} with its sign changed)"
    if field or chosen["strength"] or about_zeros:
        return sentence
    finished = [
        point for point in path["points"] if point["strength"] and point["trained"] >= path["steps"]
    ]
    if all(point["scores"][criterion]["mean"] is None for point in finished):
        return (
            f"{sentence}. No run with a penalty has a score: lower its learning rate, or take "
            "weaker strengths"
        )
    well = "better" if chosen["rule"] == "minimum" else "well enough"
    return (
        f"{sentence}. No penalty does {well} by this score: to accept a worse score for zeros, ask "
        "for --zeros 0.9, for instance"
    )


def plot_path(path: Report) -> Image.Image:
    """Plot the criterion and the zeros against the strength, and the criterion against the zeros.

    The bars are standard errors.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    points = path["points"]
    strengths = [point["strength"] for point in points]
    positions = _positions(strengths)
    zeros = [100 * point["zeros"] for point in points]
    figure = Figure(figsize=(15, 4.6), layout="constrained")
    score_axes, zero_axes, both_axes = FigureCanvasAgg(figure).figure.subplots(1, 3)
    _plot_scores(score_axes, path, positions, _noun(path))
    _plot_scores(both_axes, path, zeros, "zeros, % of the penalised entries")
    score_axes.legend()
    _plot_zeros(zero_axes, path, positions)
    for axes in (score_axes, zero_axes):
        axes.set_xscale("log")
        if strengths[0] == 0:
            _name_dense(axes, positions, _strength(0, path.get("field")))
    return _draw(figure)


def _plot_scores(axes: Axes, path: Report, x: Sequence[float], label: str) -> None:
    criterion = path["criterion"]
    rows = [point["scores"][criterion] for point in path["points"]]
    scores = np.array([_value(row["mean"]) for row in rows])
    errors = np.nan_to_num([_value(row["standard_error"]) for row in rows])
    axes.errorbar(
        x, scores, errors, marker="o", markersize=4, capsize=3, color="tab:blue", linewidth=1
    )
    axes.set(xlabel=label, ylabel=LABELS[criterion])
    for key, style in STYLES.items():
        if path.get(key):
            index = path[key]["index"]
            axes.plot(x[index], scores[index], linestyle="none", label=MARKS[key], **style)
    axes.grid(alpha=0.3)


def _plot_zeros(axes: Axes, path: Report, positions: Sequence[float]) -> None:
    points = path["points"]
    zeros = [100 * point["zeros"] for point in points]
    axes.plot(positions, zeros, "k-o", markersize=4, linewidth=2, label="zeros, all layers")
    for layer in points[0]["channels"]:
        counts = [point["channels"][layer] for point in points]
        dead = [100 * (1 - alive / max(count, 1)) for alive, count in counts]
        label = f"dead channels, {layer.removesuffix('/kernel')}"
        axes.plot(positions, dead, "--", linewidth=1, label=label)
    chosen = positions[path["chosen"]["index"]]
    axes.axvline(chosen, color="k", linewidth=0.8, linestyle=":")
    axes.set(xlabel=_noun(path), ylabel="%", ylim=(-3, 103))
    axes.legend(fontsize=7)
    axes.grid(alpha=0.3)


def path_samples(
    samples: Shaped[np.ndarray, "strengths count height width channels"],
    titles: Sequence[str],
    chosen: int,
) -> Image.Image:
    """Draw images of the same latents along the path, a row for each strength.

    Points get a plot for each strength instead.

    Args:
        samples: images, or points as images of one pixel.
        titles: of the strengths.
        chosen: index of the chosen strength, which is marked.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    are_points = samples.dtype != np.uint8
    if are_points:
        columns = min(len(samples), 4)
        width = height = 3.2
    else:
        columns = 1
        width = 0.75 * samples.shape[1] + 2
        height = 0.85
    rows = math.ceil(len(samples) / columns)
    figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
    grid = FigureCanvasAgg(figure).figure.subplots(rows, columns, squeeze=False)
    finite = samples[np.isfinite(samples)]  # where training diverged, samples are not
    limit = float(1.05 * np.abs(finite).max(initial=1e-6))
    for index, axes in enumerate(grid.flat):
        axes.set_axis_off()
        if index >= len(samples):
            continue
        if are_points:
            _draw_points(axes, samples[index], titles[index], limit, chosen=index == chosen)
        else:
            _draw_images(axes, samples[index], titles[index], chosen=index == chosen)
    return _draw(figure)


def _draw_points(
    axes: Axes, points: Shaped[np.ndarray, "..."], title: str, limit: float, *, chosen: bool
) -> None:
    axes.scatter(*points.reshape(-1, 2).T, s=2, linewidths=0)
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    axes.set_title(title, fontsize=9, fontweight="bold" if chosen else "normal")


def _draw_images(
    axes: Axes, images: Shaped[np.ndarray, "..."], title: str, *, chosen: bool
) -> None:
    from l1jax.reporting.grid import image_grid

    picture = np.asarray(image_grid(images, columns=len(images)))
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    weight = "normal"
    if chosen:
        weight = "bold"
        title += " ●"
    placement = {"transform": axes.transAxes, "ha": "right", "va": "center", "fontsize": 9}
    axes.text(-0.01, 0.5, title, fontweight=weight, **placement)


def _draw(figure: Any) -> Image.Image:
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=110)
    return Image.open(written)


def point_title(point: Report, field: str | None = None) -> str:
    """Return what a strength, or a value of the path's `field`, is called beside its images."""
    return f"{_strength(point['strength'], field)}\n{point['zeros']:.1%} zeros"


def _title(path: Report) -> str:
    if path.get("field"):
        return f"Values of {path['field']}"
    return f"Strengths of the {path['network']}'s penalty"


def _noun(path: Report) -> str:
    """Return what the points of a path differ by."""
    return (path.get("field") or "strength").rpartition(".")[2]


def _strength(strength: float, field: str | None) -> str:
    if field:
        return f"{strength:.6g}"
    return f"{strength:.3g}" if strength else "dense"


def _positions(strengths: Sequence[float]) -> list[float]:
    """Return where strengths are on a logarithmic axis: 0 is a step to the left of the weakest."""
    positive = [strength for strength in strengths if strength > 0]
    step = positive[1] / positive[0] if len(positive) > 1 else 10.0
    return [strength if strength > 0 else positive[0] / step for strength in strengths]


def _name_dense(axes: Axes, positions: Sequence[float], name: str) -> None:
    placement = {
        "rotation": 90,
        "ha": "right",
        "va": "top",
        "transform": axes.get_xaxis_transform(),
    }
    axes.text(positions[0] / 1.15, 0.98, name, **placement)
    axes.axvspan(positions[0] / 1.15, positions[0] * 1.15, color="0.92", zorder=0)


def _number(score: Report, error: bool) -> str:
    mean = score["mean"]
    if mean is None:
        return "none"
    if abs(mean) >= 10_000:
        number = f"{mean:,.0f}"
    elif error:
        number = f"{mean:.4g}"
    else:
        number = f"{mean:.3g}"
    if error and score["standard_error"] is not None:
        number += f" ± {score['standard_error']:.1g}"
    return number


def _value(number: float | None) -> float:
    return math.nan if number is None else number
