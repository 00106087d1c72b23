"""A path of strengths: as a table, as plots, and as the images along it."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped
from PIL import Image
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

LABELS = {
    "kernel_distance": "kernel distance ↓",
    "frechet_distance": "Fréchet distance ↓",
    "recall": "recall ↑",
    "coverage": "coverage ↑",
    "log_likelihood": "bound, nats ↑",
    "aic": "AIC ↓",
    "aicc": "AICc ↓",
    "bic": "BIC ↓",
    "ebic": "EBIC ↓",
}
SHORT = {
    "kernel_distance": "kernel ↓",
    "frechet_distance": "Fréchet ↓",
    "log_likelihood": "bound ↑",
}
MARKS = {"chosen": "chosen", "minimum": "best", "one_standard_error": "1 s.e."}
STYLES: dict[str, dict[str, Any]] = {
    "chosen": {"marker": "o", "markersize": 14, "color": "k", "markerfacecolor": "none"},
    "minimum": {"marker": "v", "markersize": 9, "color": "C1"},
    "one_standard_error": {"marker": "s", "markersize": 8, "color": "C2"},
}


def show_path(path: Mapping[str, Any], console: Console) -> None:
    """Print what `l1jax.select` found: a row for each strength, the chosen one marked, and why it is chosen."""
    points = path["points"]
    names = [
        path["criterion"],
        *(name for name in ("kernel_distance", "recall") if name != path["criterion"]),
    ]
    table = Table(
        title=f"Strengths of the {path['network']}'s penalty",
        title_justify="left",
        box=SIMPLE,
        padding=0,
    )
    for name in ("strength", " zeros", " alive"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in names:
        table.add_column(f" {SHORT.get(name, LABELS[name])}", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for i, point in enumerate(points):
        alive = sum(count for count, _ in point["channels"].values())
        cells = [f"{point['zeros']:.1%}", f"{alive:,.0f}"]
        cells += [_number(point["scores"][name], error=name == path["criterion"]) for name in names]
        marks = [words for key, words in MARKS.items() if path.get(key) and path[key]["index"] == i]
        if point["trained"] < path["steps"]:
            marks.append(f"left at {point['trained']:,}")
        table.add_row(
            _strength(point["strength"]),
            *cells,
            " " + ", ".join(marks),
            style="green" * ("chosen" in marks),
        )
    console.print(table)
    of = sum(count for _, count in points[0]["channels"].values())
    for line in (
        _why(path),
        f"alive: output channels that are not all zero, of {of:,.0f}",
        path["protocol"],
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _why(path: Mapping[str, Any]) -> str:
    """What was chosen and why, and where no penalty was chosen, what else could be asked for."""
    chosen, criterion = path["chosen"], path["criterion"]
    about_zeros = chosen["rule"] == "enough zeros"
    said = f"strength {_strength(chosen['strength'])}" if chosen["strength"] else "no penalty"
    said += f": {chosen['reason']}"
    if LABELS[criterion][-1] == "↑" and not about_zeros:
        said += f" (the score is the {criterion} with its sign changed)"
    if chosen["strength"] or about_zeros:
        return said
    others = [
        point for point in path["points"] if point["strength"] and point["trained"] >= path["steps"]
    ]
    if not any(point["scores"][criterion]["mean"] is not None for point in others):
        return f"{said}. No run with a penalty has a score: lower its learning rate, or take weaker strengths"
    well = "better" if chosen["rule"] == "minimum" else "well enough"
    return f"{said}. No penalty does {well} by this score: for zeros at their price, ask for --zeros 0.9, for instance"


def plot_path(path: Mapping[str, Any]) -> Image.Image:
    """The criterion and the zeros against the strength, and the criterion against the zeros; with standard errors."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    points, criterion = path["points"], path["criterion"]
    strengths, shown = (
        [point["strength"] for point in points],
        _positions([point["strength"] for point in points]),
    )
    scores = np.array([_value(point["scores"][criterion]["mean"]) for point in points])
    errors = np.nan_to_num(
        [_value(point["scores"][criterion]["standard_error"]) for point in points]
    )
    zeros = 100 * np.array([point["zeros"] for point in points])
    figure = Figure(figsize=(15, 4.6), layout="constrained")
    score_axes, zero_axes, both_axes = FigureCanvasAgg(figure).figure.subplots(1, 3)
    for axes, x, label in (
        (score_axes, shown, "strength"),
        (both_axes, zeros, "zeros, % of the penalised entries"),
    ):
        axes.errorbar(
            x, scores, errors, marker="o", markersize=4, capsize=3, color="tab:blue", linewidth=1
        )
        axes.set(xlabel=label, ylabel=LABELS[criterion])
        for key, style in STYLES.items():
            if path.get(key):
                i = path[key]["index"]
                axes.plot(x[i], scores[i], linestyle="none", label=MARKS[key], **style)
        axes.grid(alpha=0.3)
    score_axes.legend()
    zero_axes.plot(shown, zeros, "k-o", markersize=4, linewidth=2, label="zeros, all layers")
    for name in points[0]["channels"]:
        dead = [
            100 * (1 - point["channels"][name][0] / max(point["channels"][name][1], 1))
            for point in points
        ]
        zero_axes.plot(
            shown, dead, "--", linewidth=1, label=f"dead channels, {name.removesuffix('/kernel')}"
        )
    zero_axes.axvline(shown[path["chosen"]["index"]], color="k", linewidth=0.8, linestyle=":")
    zero_axes.set(xlabel="strength", ylabel="%", ylim=(-3, 103))
    zero_axes.legend(fontsize=7)
    zero_axes.grid(alpha=0.3)
    for axes in (score_axes, zero_axes):
        axes.set_xscale("log")
        if strengths[0] == 0:
            _name_dense(axes, shown)
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=110)
    return Image.open(written)


def path_samples(
    samples: Shaped[np.ndarray, "strengths count height width channels"],
    titles: Sequence[str],
    chosen: int,
) -> Image.Image:
    """Images of the same latents along the path, a row for each strength; of points, a plot for each."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from l1jax.reporting.grid import image_grid

    points = samples.dtype != np.uint8
    columns = min(len(samples), 4) if points else 1
    rows = math.ceil(len(samples) / columns)
    width, height = (3.2, 3.2) if points else (0.75 * samples.shape[1] + 2, 0.85)
    figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
    grid = FigureCanvasAgg(figure).figure.subplots(rows, columns, squeeze=False)
    reach = (
        1.05 * np.abs(samples[np.isfinite(samples)]).max(initial=1e-6) if points else 1
    )  # NaN where it diverged
    for i, axes in enumerate(grid.flat):
        axes.set_axis_off()
        if i >= len(samples):
            continue
        weight = "bold" if i == chosen else "normal"
        if points:
            axes.scatter(*samples[i].reshape(-1, 2).T, s=2, linewidths=0)
            axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
            axes.set_title(titles[i], fontsize=9, fontweight=weight)
        else:
            picture = np.asarray(image_grid(samples[i], columns=samples.shape[1]))
            axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            place = {"transform": axes.transAxes, "ha": "right", "va": "center", "fontsize": 9}
            axes.text(
                -0.01, 0.5, titles[i] + (" ●" if i == chosen else ""), fontweight=weight, **place
            )
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=110)
    return Image.open(written)


def point_title(point: Mapping[str, Any]) -> str:
    """What a strength is called beside its images."""
    return f"{_strength(point['strength'])}\n{point['zeros']:.1%} zeros"


def _strength(strength: float) -> str:
    return f"{strength:.3g}" if strength else "dense"


def _positions(strengths: Sequence[float]) -> list[float]:
    """Where strengths are on a logarithmic axis: 0 a step to the left of the weakest."""
    positive = [strength for strength in strengths if strength > 0]
    step = positive[1] / positive[0] if len(positive) > 1 else 10.0
    return [strength if strength > 0 else positive[0] / step for strength in strengths]


def _name_dense(axes: Any, shown: Sequence[float]) -> None:
    place = {"rotation": 90, "ha": "right", "va": "top", "transform": axes.get_xaxis_transform()}
    axes.text(shown[0] / 1.15, 0.98, "dense", **place)
    axes.axvspan(shown[0] / 1.15, shown[0] * 1.15, color="0.92", zorder=0)


def _number(score: Mapping[str, Any], error: bool) -> str:
    if score["mean"] is None:
        return "none"
    deviation = score["standard_error"] if error else None
    number = (
        f"{score['mean']:,.0f}"
        if abs(score["mean"]) >= 10_000
        else f"{score['mean']:{'.4g' if error else '.3g'}}"
    )
    return number + ("" if deviation is None else f" ± {deviation:.1g}")


def _value(number: float | None) -> float:
    return math.nan if number is None else number
