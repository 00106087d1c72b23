"""The table of `docs/sparse_sound.md`, from the result that `sparse_sound.py` keeps."""

import json
from pathlib import Path
from typing import Any

import numpy as np

PAGE = Path(__file__).parent.parent / "docs" / "sparse_sound.md"
BEGIN = "<!-- table -->\n"
END = "<!-- end of table -->"
COLUMNS = {  # score: its head, and digits behind the point
    "zeros": ("zeros, %", 1),
    "flops_left": ("FLOPs left, %", 1),
    "accuracy": ("read as asked, % ↑", 1),
    "accuracy_of_sound": ("from its sound, % ↑", 1),
    "frechet_classifier": ("Fréchet, classifier ↓", 2),
    "frechet_random": ("Fréchet, random ↓", 3),
}
PERCENT = ("zeros", "flops_left", "accuracy", "accuracy_of_sound")


def statistics(values: list[float], digits: int) -> str:
    """Format a mean and its deviation over the seeds, if there are several."""
    text = f"{np.mean(values):.{digits}f}"
    if len(values) > 1:
        text += f" ± {np.std(values, ddof=1):.{digits}f}"
    return text


def table(result: dict[str, Any]) -> str:
    """Return the table: the recordings' two halves, then each method and share of zeros.

    Seeds for which a row is missing are left out.
    """
    heads = ["", *(head for head, _ in COLUMNS.values())]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    real = result["between_real_halves"] | {"accuracy": result["classifier_accuracy"]}
    lines.append(f"| {' | '.join(['recordings', *_cells([real])])} |")
    seeds_of_rows = [set(seeds) for seeds in result["rows"].values()]
    complete = sorted(set.intersection(*seeds_of_rows))
    for name, seeds in result["rows"].items():
        lines.append(f"| {' | '.join([name, *_cells([seeds[seed] for seed in complete])])} |")
    return "\n".join(lines)


def _cells(rows: list[dict[str, float]]) -> list[str]:
    """Format each column over the seeds; a score that was not measured has an empty cell."""
    cells = []
    for score, (_, digits) in COLUMNS.items():
        factor = 100 if score in PERCENT else 1
        values = [factor * row[score] for row in rows if score in row]
        cells.append(statistics(values, digits) if values else "")
    return cells


def write_page(path: Path) -> None:
    """Replace the table in the page.

    Args:
        path: of the kept result.
    """
    result = json.loads(path.read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    after = rest[rest.index(END) :]
    PAGE.write_text(f"{before}{BEGIN}\n{table(result)}\n\n{after}", encoding="utf-8")
