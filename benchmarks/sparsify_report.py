"""Tables and plot of `docs/guides/sparsify.md`, made from the runs that `sparsify.py` keeps."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from measure import RESULTS
from sparse_text_report import Runs, fill, scores

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "guides" / "sparsify.md"
PLOT = DOCS / "pictures" / "sparsify_ways.png"
METHODS = {  # as runs name them: their colour
    "L0 from the dense run": "tab:pink",
    "L0 from the start": "tab:purple",
    "magnitude pruning from the dense run": "tab:orange",
    "RigL from the start": "tab:red",
    "L1 from the dense run": "tab:blue",
    "channels from the dense run": "tab:green",
}
SHARES = ("80%", "90%", "95%")
CONTROL = "dense, trained on"
TABLES = {  # on the page: (data, steps of the dense run, steps from it)
    "ways": ("digits", 6_000, 4_000),
    "long": ("digits", 6_000, 24_000),
    "mnist": ("mnist", 4_000, 4_000),
}


def result_file(dataset: str, steps: int, more: int) -> Path:
    """Return where the runs of a setting are kept."""
    return RESULTS / f"sparsify-{dataset}-{steps}-{more}-cpu.json"


def distances(runs: Runs, name: str) -> np.ndarray:
    """Return the Fréchet distance of each seed of some runs."""
    return scores(runs, name, "frechet_distance")


def cell(values: np.ndarray, seeds: int) -> str:
    """Format mean ± standard deviation, and say how many seeds there are if some are missing.

    Args:
        values: of each seed.
        seeds: how many others have.
    """
    if not len(values):
        return "–"
    if len(values) == 1:
        return f"{values[0]:.1f} (1 seed)"
    count = f" ({len(values)} seeds)" if len(values) < seeds else ""
    return f"{values.mean():.1f} ± {values.std(ddof=1):.1f}{count}"


def table(runs: Runs, setting: dict[str, Any]) -> str:
    """Return Fréchet distances, a row for each way and a column for each share that it has.

    Args:
        runs: name → seed → scores.
        setting: the steps of the dense run, and those from it.
    """
    seeds = len(runs["dense"])
    shares = [share for share in SHARES if any(name.endswith(f", {share}") for name in runs)]
    heads = [share.replace("%", " % zeros") for share in shares]
    lines = [
        f"| way | {' | '.join(heads)} | processor time |",
        "|---" * (2 + len(shares)) + "|",
    ]
    for method in METHODS:
        names = [f"{method}, {share}" for share in shares]
        found = [distances(runs, name) for name in names]
        if not any(len(values) for values in found):
            continue
        seconds = np.concatenate([scores(runs, name, "processor_seconds") for name in names])
        cells = [*(cell(values, seeds) for values in found), f"{seconds.mean():.0f} s"]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    several = f", mean and standard deviation of {seeds} seeds where there is no other number"
    sentence = (
        f"Fréchet distances on a classifier's features{several if seeds > 1 else ''}. The dense "
        f"runs of {setting['steps']:,} steps have "
        f"{cell(distances(runs, 'dense'), seeds)}, and "
        f"{cell(distances(runs, CONTROL), seeds)} after "
        f"{setting['more']:,} more steps without zeros. The ways from a dense run have those "
        f"{setting['more']:,} steps, and the ways from the start have "
        f"{setting['steps'] + setting['more']:,}."
    )
    return "\n".join([sentence, "", *lines])


def draw(runs: Runs, path: Path) -> None:
    """Plot the Fréchet distance against the share of zeros, a line for each way."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 3.6), layout="constrained")
    for name, style in (("dense", "--"), (CONTROL, "-")):
        axis.axhline(
            distances(runs, name).mean(), color="black", linestyle=style, linewidth=1, label=name
        )
    for method, color in METHODS.items():
        points = {share: distances(runs, f"{method}, {share}") for share in SHARES}
        points = {share: values for share, values in points.items() if len(values)}
        if not points:
            continue
        axis.plot(list(points), [v.mean() for v in points.values()], color=color, label=method)
        for share, values in points.items():
            axis.plot([share] * len(values), values, "o", color=color, markersize=3)
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter("{x:.0f}")
    axis.yaxis.set_minor_formatter("{x:.0f}")
    axis.set_xlabel("zeros")
    axis.set_ylabel("Fréchet distance")
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def write_page() -> None:
    """Fill the tables of the page, and draw its plot."""
    page = PAGE.read_text(encoding="utf-8")
    for name, key in TABLES.items():
        record = json.loads(result_file(*key).read_text(encoding="utf-8"))
        page = fill(page, name, table(record["runs"], record["setting"]))
        if name == "ways":
            draw(record["runs"], PLOT)
    PAGE.write_text(page, encoding="utf-8")
