"""Which curves a page of a run shows: the metrics, sorted into charts."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from l1jax.reporting.line_chart import Point, line_chart
from l1jax.reporting.run_files import MetricsLine

NETWORKS = ("generator", "discriminator", "encoder")


class Chart(NamedTuple):
    """A chart and the metrics that it draws."""

    title: str
    names: Mapping[str, str]  # name of a metric → its label


def _of_networks(title: str, metric: str) -> Chart:
    return Chart(title, {f"{network}/{metric}": network for network in NETWORKS})


MAIN_CHARTS = (
    _of_networks("Loss", "loss"),
    Chart(
        "Evidence lower bound and divergence, nats", {"bound": "bound", "divergence": "divergence"}
    ),
    Chart(
        "Bits per byte of text (lower is better)",
        {
            "bits_per_byte": "batches",
            "held_out/bits_per_byte": "held-out documents",
            "training/bits_per_byte": "training documents",
        },
    ),
    Chart(
        "Kernel distance to real images (lower is better)", {"kernel_distance": "kernel distance"}
    ),
    Chart(
        "Fréchet distance on random features (lower is better)",
        {"evaluation/frechet_distance": "Fréchet distance"},
    ),
    Chart(
        "Precision, recall, density and coverage",
        {f"evaluation/{name}": name for name in ("precision", "recall", "density", "coverage")},
    ),
    Chart(
        "Fréchet distance on a classifier's features (lower is better)",
        {"evaluation/classifier/frechet_distance": "Fréchet distance"},
    ),
    Chart(
        "Precision, recall and coverage on a classifier's features",
        {f"evaluation/classifier/{name}": name for name in ("precision", "recall", "coverage")},
    ),
    _of_networks("Share of zeros among the penalised parameters", "sparsity"),
    Chart(
        "Discriminator's logits",
        {"discriminator/real_logit": "real images", "discriminator/fake_logit": "generated images"},
    ),
    Chart("Discriminator's accuracy", {"discriminator/accuracy": "accuracy"}),
    Chart(
        "Diversity of generated images relative to real ones", {"generator/diversity": "diversity"}
    ),
    _of_networks("Norm of the gradient", "gradient_norm"),
)
OTHER_CHARTS = (
    _of_networks("Strength of the penalty", "strength"),
    _of_networks("Learning rate", "learning_rate"),
    Chart(
        "Saturated outputs",
        {"generator/saturation": "generated images", "real/saturation": "real images"},
    ),
    Chart(
        "Outputs that are zero",
        {"generator/output_sparsity": "generated images", "real/output_sparsity": "real images"},
    ),
    Chart("Skipped steps in every line of metrics", {"skipped": "skipped steps"}),
    Chart("Images per second", {"images_per_second": "images per second"}),
    Chart("Tokens per second", {"tokens_per_second": "tokens per second"}),
)
LAYER_CHARTS = (
    ("Share of zeros by layer: {}", "{}/sparsity/"),
    ("Share of dead units by layer: {}", "{}/dead/"),
    ("Norm of the gradient by layer: {}", "{}/gradient_norm/"),
)
NOT_DRAWN = ("seconds_per_step",)  # images per second say the same


def draw_main_charts(lines: Sequence[MetricsLine]) -> list[str]:
    """Draw the curves that tell how training went.

    Returns:
        HTML of the charts that have a point.
    """
    return _draw(MAIN_CHARTS, lines)


def draw_other_charts(lines: Sequence[MetricsLine]) -> list[str]:
    """Draw all other curves: settings over time, every layer's, and metrics without a known chart.

    Returns:
        HTML of the charts that have a point.
    """
    names = sorted({name for line in lines for name in line.values})
    charts = [*OTHER_CHARTS, *_layer_charts(names)]
    drawn = {name for chart in (*MAIN_CHARTS, *charts) for name in chart.names}
    charts += [
        Chart(name, {name: name}) for name in names if name not in drawn and name not in NOT_DRAWN
    ]
    return _draw(charts, lines)


def _layer_charts(names: Sequence[str]) -> list[Chart]:
    charts = []
    for network in NETWORKS:
        for title, pattern in LAYER_CHARTS:
            prefix = pattern.format(network)
            layers = {name: name.removeprefix(prefix) for name in names if name.startswith(prefix)}
            charts.append(Chart(title.format(network), layers))
    return charts


def _draw(charts: Sequence[Chart], lines: Sequence[MetricsLine]) -> list[str]:
    points_of = _collect_points(lines)
    drawn = []
    for chart in charts:
        series = {label: points_of(name) for name, label in chart.names.items()}
        drawn.append(line_chart(chart.title, series))
    return [chart for chart in drawn if chart]


def _collect_points(lines: Sequence[MetricsLine]) -> Callable[[str], list[Point]]:
    """Build (name of a metric) → its points."""
    points: dict[str, list[Point]] = {}
    for line in lines:
        for name, value in line.values.items():
            points.setdefault(name, []).append((line.step, value))
    return lambda name: points.get(name, [])
