"""Tables and plot of `docs/sparse_text.md`, made from the runs that `sparse_text.py` keeps."""

import json
from pathlib import Path
from typing import Any

import numpy as np

PAGE = Path(__file__).parent.parent / "docs" / "sparse_text.md"
METHODS = {  # as variants name them: their colour
    "L0": "tab:pink",
    "magnitude pruning": "tab:orange",
    "L1": "tab:blue",
    "L1 of 4 × 4 blocks": "tab:purple",
}
SHARES = ("50%", "80%", "95%")
SCOPES = {"global": ", global", "group": "", "leaf": ", leaf"}  # scope: the end of a variant's name
Runs = dict[str, dict[str, Any]]


def scores(runs: Runs, variant: str, name: str = "bits_per_byte") -> np.ndarray:
    """Return a score of each seed of a variant, of length 0 if there is no run of it."""
    return np.array([own[name] for own in runs.get(variant, {}).values()])


def cell(values: np.ndarray) -> str:
    """Format mean ± standard deviation over seeds."""
    if not len(values):
        return "–"
    if len(values) == 1:
        return f"{values[0]:.3f} (1 seed)"
    return f"{values.mean():.3f} ± {values.std(ddof=1):.3f}"


def main_table(runs: Runs) -> str:
    """Return bits per byte, a row for each method and a column for each share."""
    shares = [s for s in SHARES if any(len(scores(runs, f"{m}, {s}")) for m in METHODS)]
    lines = [
        f"| method | {' | '.join(share.replace('%', ' % zeros') for share in shares)} |",
        "|---" * (1 + len(shares)) + "|",
    ]
    for method in METHODS:
        cells = [cell(scores(runs, f"{method}, {share}")) for share in shares]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    dense = cell(scores(runs, "dense"))
    return "\n".join([f"Dense: {dense} bits per byte. With zeros:", "", *lines])


def scope_table(runs: Runs) -> str:
    """Return bits per byte at 95 % zeros, a row for each method and a column for each scope."""
    lines = [f"| method | {' | '.join(SCOPES)} |", "|---" * (1 + len(SCOPES)) + "|"]
    for method in ("L0", "magnitude pruning", "L1"):
        names = [f"{method}, 95%{end}" for end in SCOPES.values()]
        cells = []
        for name in names:
            blocks = [block_zeros(runs, name, block) for block in ("block_0", "block_1")]
            extra = ""
            if all(len(zeros) for zeros in blocks):
                means = " and ".join(f"{100 * zeros.mean():.1f}" for zeros in blocks)
                extra = f" ({means} %)"
            cells.append(cell(scores(runs, name)) + extra)
        if any(len(scores(runs, name)) for name in names):
            lines.append(f"| {method} | {' | '.join(cells)} |")
    if len(lines) == 2:
        return "This has not been measured yet."
    return "\n".join(lines)


def block_zeros(runs: Runs, variant: str, block: str) -> np.ndarray:
    """Return the share of zeros in the kernels of a block, each kernel by its size, per seed."""
    sizes = {"attention": 64 * 64, "feed_forward": 64 * 176}
    shares = []
    for own in runs.get(variant, {}).values():
        kernels = own["zeros_by_kernel"].items()
        chosen = [(path.split("/")[1], share) for path, share in kernels if path.startswith(block)]
        weights = [sizes[part] for part, _ in chosen]
        shares.append(np.average([share for _, share in chosen], weights=weights))
    return np.array(shares)


def fill(page: str, name: str, text: str) -> str:
    """Return the page with one of its tables replaced."""
    begin = f"<!-- {name} -->\n"
    before, rest = page.split(begin)
    return f"{before}{begin}\n{text}\n\n{rest[rest.index(f'<!-- end of {name} -->') :]}"


def draw(runs: Runs, path: Path) -> None:
    """Plot bits per byte against the share of zeros, a line for each method."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
    dense = scores(runs, "dense")
    if len(dense):
        axis.axhline(dense.mean(), color="black", linewidth=1, label="dense")
    for method, color in METHODS.items():
        points = {
            float(share[:-1]): scores(runs, f"{method}, {share}")
            for share in SHARES
            if len(scores(runs, f"{method}, {share}"))
        }
        if not points:
            continue
        means = [values.mean() for values in points.values()]
        axis.plot(list(points), means, color=color, label=method)
        for share, values in points.items():
            axis.plot([share] * len(values), values, "o", color=color, markersize=3)
    axis.set_xlim(40, 100)
    axis.set_xlabel("zeros, %")
    axis.set_ylabel("held-out bits per byte")
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def write_page(result: Path) -> None:
    """Fill the tables of the page, and draw its plot."""
    runs: Runs = json.loads(result.read_text())["runs"]
    page = PAGE.read_text()
    page = fill(page, "methods", main_table(runs))
    page = fill(page, "scopes", scope_table(runs))
    PAGE.write_text(page)
    draw(runs, PAGE.with_suffix(".png"))
