"""Tables and plot of `docs/l1_and_diversity.md`.

They are made from the results that `l1_and_diversity.py` keeps.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from measure import RESULTS

PAGE = Path(__file__).parent.parent / "docs" / "l1_and_diversity.md"
COLUMNS = {  # score: its head, and digits behind the point
    "zeros": ("zeros, %", 1),
    "frechet_distance": ("Fréchet ↓", 2),
    "kernel_distance": ("kernel ↓", 3),
    "precision": ("precision ↑", 2),
    "recall": ("recall ↑", 2),
    "coverage": ("coverage ↑", 2),
    "ms_ssim": ("MS-SSIM", 2),
    "modes": ("modes ↑", 1),
    "high_quality": ("high quality ↑", 3),
    "reverse_kl": ("KL ↓", 4),
}
FAMILIES = {  # what a variant's name begins with: its colour
    "dense": "black",
    "L1": "tab:blue",
    "L½": "deepskyblue",
    "L0": "tab:pink",
    "elastic net": "tab:olive",
    "group": "tab:purple",
    "L2": "tab:grey",
    "magnitude": "tab:orange",
    "RigL": "tab:red",
    "dropout": "tab:green",
}
Scores = dict[str, list[float]]


def result_file(data: str) -> Path:
    """Where the results of some data are kept."""
    return RESULTS / f"l1_and_diversity-{data}-{jax.default_backend()}.json"


def table(variants: dict[str, Scores]) -> str:
    """Mean ± deviation of each score, a row for each variant."""
    columns = [name for name in COLUMNS if name in next(iter(variants.values()))]
    heads = ("variant", *(COLUMNS[name][0] for name in columns))
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for variant, scores in variants.items():
        cells = []
        for name in columns:
            each, digits = (
                np.asarray(scores[name]) * (100 if name == "zeros" else 1),
                COLUMNS[name][1],
            )
            cells.append(f"{each.mean():.{digits}f} ± {each.std(ddof=1):.{digits}f}")
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines)


def fill(page: str, data: str, text: str) -> str:
    """The page with the table of some data replaced."""
    begin, end = f"<!-- {data} -->\n", f"<!-- end of {data} -->"
    before, rest = page.split(begin)
    return f"{before}{begin}\n{text}\n\n{rest[rest.index(end) :]}"


def draw(results: dict[str, dict[str, Any]], path: Path) -> None:
    """Plot recall and distance against the share of zeros, a column for each data set.

    For points the share of high quality takes the place of recall.
    """
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    figure, axes = plt.subplots(
        2, len(results), figsize=(3.2 * len(results), 6), squeeze=False, layout="constrained"
    )
    for column, (data, result) in zip(axes.T, results.items(), strict=True):
        scores = next(iter(result["variants"].values()))
        shown = (
            ("recall", "frechet_distance") if "recall" in scores else ("high_quality", "reverse_kl")
        )
        for axis, name in zip(column, shown, strict=True):
            for variant, own in result["variants"].items():
                family = next(family for family in FAMILIES if variant.startswith(family))
                gentle = "o" if "slowly" in variant or family != "L1" else "x"
                x, y = 100 * np.mean(own["zeros"]), np.mean(own[name])
                axis.plot(x, y, gentle, color=FAMILIES[family], label=family)
            axis.set_ylabel(COLUMNS[name][0])
            axis.set_yscale("log" if name in ("frechet_distance", "reverse_kl") else "linear")
        column[0].set_title(data)
        column[1].set_xlabel("zeros, %")
    handles = [
        Line2D([], [], marker="o", linestyle="", color=color, label=name)
        for name, color in FAMILIES.items()
    ]
    handles.append(
        Line2D([], [], marker="x", linestyle="", color=FAMILIES["L1"], label="L1, not slowly")
    )
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def write_page(subjects: Iterable[str]) -> None:
    """Fill the tables of the data that have a result, and draw the plot."""
    results = {
        data: json.loads(result_file(data).read_text())
        for data in subjects
        if result_file(data).exists()
    }
    page = PAGE.read_text()
    for data, result in results.items():
        page = fill(page, data, table(result["variants"]))
    PAGE.write_text(page)
    draw(results, PAGE.with_suffix(".png"))
