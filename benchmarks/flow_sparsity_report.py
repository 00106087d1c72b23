"""Tables of `docs/flow_sparsity.md`, made from the runs that `flow_sparsity.py` keeps."""

import json
from pathlib import Path

import numpy as np
from flow_sparsity_methods import METHODS, SHARES
from measure import RESULTS
from sparse_text_report import Runs, fill, scores

PAGE = Path(__file__).parent.parent / "docs" / "flow_sparsity.md"
ORDER = tuple(sorted(SHARES))
TABLE_STEPS = "6000"  # of the tables that compare runs of one length
NAMES = ("dense", *(f"{method}, {share:.0%}" for share in ORDER for method in METHODS))
COLUMNS = {  # score: its head, and digits behind the point
    "frechet_distance": ("Fréchet distance ↓", 1),
    "coverage": ("coverage ↑", 2),
    "recall": ("recall ↑", 2),
    "precision": ("precision ↑", 2),
}
EVALUATIONS = {"": 32, "_of_few_steps": 10}
"""End of a score's name → evaluations of the network for an image."""


def result_file(dataset: str) -> Path:
    """Return where the runs on these data are kept."""
    return RESULTS / f"flow_sparsity_{dataset}-cpu.json"


def cell(values: np.ndarray, digits: int) -> str:
    """Format mean ± standard deviation over seeds, and how many these are if they are few."""
    if not len(values):
        return "–"
    if len(values) == 1:
        return f"{values[0]:.{digits}f} (1 seed)"
    text = f"{values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f}"
    return text + " (2 seeds)" * (len(values) == 2)


def title(name: str) -> str:
    """Name a variant in a table."""
    return name.replace("%", " % zeros")


def table(heads: list[str], rows: list[list[str]]) -> str:
    """Return a table, or that nothing was measured if it has no rows."""
    if not rows:
        return "This has not been measured yet."
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def distances(runs: Runs, name: str) -> str:
    """Format the Fréchet distance of a variant."""
    return cell(scores(runs, name, "frechet_distance"), 1)


def distance_and_coverage(runs: Runs, name: str) -> str:
    """Format the Fréchet distance and the coverage of a variant."""
    if not runs.get(name):
        return "–"
    coverage = scores(runs, name, "coverage").mean()
    return f"{distances(runs, name)}, coverage {coverage:.2f}"


def methods_table(runs: Runs) -> str:
    """Return distance and coverage, a row for each method and a column for each share."""
    rows = []
    for method in METHODS:
        names = [f"{method}, {share:.0%}" for share in ORDER]
        if any(runs.get(name) for name in names):
            rows.append([method, *(distance_and_coverage(runs, name) for name in names)])
    heads = ["method", *(title(f"{share:.0%}") for share in ORDER)]
    return f"Dense: {distance_and_coverage(runs, 'dense')}. With zeros:\n\n{table(heads, rows)}"


def changes_table(runs: Runs, change: str, heads: tuple[str, str]) -> str:
    """Return Fréchet distances without and with a change, a row for each that was measured.

    Args:
        runs: name → seed → scores.
        change: the end of a changed variant's name.
        heads: of the columns without and with it.
    """
    rows = []
    for name in NAMES:
        changed = f"{name}, {change}"
        if runs.get(changed):
            rows.append([title(name), distances(runs, name), distances(runs, changed)])
    return table(["", *heads], rows)


def lengths_table(by_steps: dict[str, Runs]) -> str:
    """Return Fréchet distances, a row for each variant that has several lengths of training."""
    lengths = sorted(by_steps, key=int)
    rows = []
    for name in NAMES:
        measured = [length for length in lengths if by_steps[length].get(name)]
        if len(measured) > 1:
            cells = [distances(by_steps[length], name) for length in lengths]
            rows.append([title(name), *cells])
    return table(["", *(f"{int(length):,} steps" for length in lengths)], rows)


def gan_table(runs: Runs) -> str:
    """Return every score of flows, and of GANs with as many entries that are not zero."""
    rows = []
    for name in ("dense", *(f"L0, {share:.0%}" for share in ORDER)):
        gan = f"GAN, {name}"
        if not runs.get(gan):
            continue
        for end, evaluations in EVALUATIONS.items():
            own = f"flow, {title(name)}, {evaluations} evaluations"
            rows.append([own, *all_scores(runs, name, end, evaluations)])
        zeros = scores(runs, gan, "zeros").mean()
        own = f"GAN, L0, {100 * zeros:.0f} % zeros" if zeros else "GAN, dense"
        rows.append([own, *all_scores(runs, gan, "", 1)])
    heads = ["", "entries left", "kFLOPs an image", *(head for head, _ in COLUMNS.values())]
    return table(heads, rows)


def all_scores(runs: Runs, name: str, end: str, evaluations: int) -> list[str]:
    """Return the cells of a row of the GAN's table.

    Args:
        runs: name → seed → scores.
        name: of the variant.
        end: of the scores' names.
        evaluations: of the network for an image.
    """
    entries = scores(runs, name, "entries_left").mean()
    flops = 2 * entries * evaluations  # dense layers use every entry once in an evaluation
    cells = [cell(scores(runs, name, s + end), digits) for s, (_, digits) in COLUMNS.items()]
    return [f"{entries:,.0f}", f"{flops / 1_000:,.0f}", *cells]


def read_runs(dataset: str) -> dict[str, Runs]:
    """Read the kept runs by their number of steps; none if there is no result."""
    path = result_file(dataset)
    if not path.exists():
        return {}
    return json.loads(path.read_text(encoding="utf-8"))["runs"]


def write_page() -> None:
    """Fill the tables of the page that have results."""
    page = PAGE.read_text(encoding="utf-8")
    digits = read_runs("digits")
    runs = digits.get(TABLE_STEPS, {})
    rates = ("held, then falling", "falling from the start")
    page = fill(page, "methods", methods_table(runs))
    page = fill(page, "rates", changes_table(runs, "cosine", rates))
    page = fill(page, "lengths", lengths_table(digits))
    page = fill(page, "scopes", changes_table(runs, "leaf", ("all kernels", "each kernel")))
    page = fill(page, "gan", gan_table(runs))
    mnist = [f"{n} steps. {methods_table(runs)}" for n, runs in read_runs("mnist").items()]
    if mnist:
        page = fill(page, "mnist", "\n\n".join(mnist))
    PAGE.write_text(page, encoding="utf-8")
