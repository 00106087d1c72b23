"""Tables of `docs/flow_sparsity.md`, made from the runs that `flow_sparsity.py` keeps."""

import json
from pathlib import Path

import numpy as np
from flow_sparsity_methods import FLOW_ENTRIES, GAN_ENTRIES, METHODS, SHARES
from measure import RESULTS
from sparse_text_report import Runs, fill, scores

PAGE = Path(__file__).parent.parent / "docs" / "flow_sparsity.md"
ORDER = tuple(sorted(SHARES))
COLUMNS = {  # score: its head, and digits behind the point
    "frechet_distance": ("Fréchet distance ↓", 1),
    "coverage": ("coverage ↑", 2),
    "recall": ("recall ↑", 2),
    "precision": ("precision ↑", 2),
}
FEW = "_of_few_steps"


def result_file(dataset: str) -> Path:
    """Return where the runs on these data are kept."""
    return RESULTS / f"flow_sparsity_{dataset}-cpu.json"


def cell(values: np.ndarray, digits: int) -> str:
    """Format mean ± standard deviation over seeds, with their number if it is not three or more."""
    if not len(values):
        return "–"
    if len(values) == 1:
        return f"{values[0]:.{digits}f} (1 seed)"
    text = f"{values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f}"
    if len(values) == 2:
        text += " (2 seeds)"
    return text


def rows_table(heads: list[str], rows: list[list[str]]) -> str:
    """Return a table; a hint that nothing was measured if it has no rows."""
    if not rows:
        return "This has not been measured yet."
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def has_runs(runs: Runs, names: list[str]) -> bool:
    """Tell whether any of these variants has been run."""
    return any(runs.get(name) for name in names)


def methods_table(runs: Runs) -> str:
    """Return Fréchet distance and coverage, a row for each method and a column for each share."""
    rows = []
    for method in METHODS:
        names = [f"{method}, {share:.0%}" for share in ORDER]
        if has_runs(runs, names):
            rows.append([method, *(_pair(runs, name) for name in names)])
    heads = ["method", *(f"{share:.0%} zeros".replace("%", " %") for share in ORDER)]
    return f"Dense: {_pair(runs, 'dense')}. With zeros:\n\n{rows_table(heads, rows)}"


def _pair(runs: Runs, name: str) -> str:
    """Format the Fréchet distance of a variant and, in brackets, its coverage."""
    distances = scores(runs, name, "frechet_distance")
    if not len(distances):
        return "–"
    coverage = scores(runs, name, "coverage").mean()
    return f"{cell(distances, 1)}, coverage {coverage:.2f}"


def rates_table(runs: Runs) -> str:
    """Return Fréchet distances by the learning rate: held until the zeros stay, or falling."""
    names = ["dense"]
    names += [f"{method}, {share:.0%}" for share in ORDER for method in METHODS]
    rows = [
        [
            name.replace("%", " % zeros"),
            cell(scores(runs, name, "frechet_distance"), 1),
            cell(scores(runs, f"{name}, cosine", "frechet_distance"), 1),
        ]
        for name in names
        if has_runs(runs, [f"{name}, cosine"])
    ]
    return rows_table(["", "held, then falling", "falling from the start"], rows)


def lengths_table(by_steps: dict[str, Runs]) -> str:
    """Return Fréchet distances, a row for each variant that has several lengths of training."""
    lengths = sorted(by_steps, key=int)
    names = ["dense"]
    names += [f"{method}, {share:.0%}" for share in ORDER for method in METHODS]
    rows = []
    for name in names:
        found = [scores(by_steps[length], name, "frechet_distance") for length in lengths]
        if sum(len(values) > 0 for values in found) > 1:
            rows.append([name.replace("%", " % zeros"), *(cell(values, 1) for values in found)])
    return rows_table(["", *(f"{int(length):,} steps" for length in lengths)], rows)


def scopes_table(runs: Runs) -> str:
    """Return Fréchet distances by what has the share of zeros: all kernels together, or each."""
    rows = []
    for share in ORDER:
        for method in METHODS:
            name = f"{method}, {share:.0%}"
            if has_runs(runs, [f"{name}, leaf"]):
                found = (scores(runs, n, "frechet_distance") for n in (name, f"{name}, leaf"))
                rows.append([name.replace("%", " % zeros"), *(cell(v, 1) for v in found)])
    return rows_table(["", "all kernels together", "each kernel"], rows)


def gan_table(runs: Runs) -> str:
    """Return every score of flows and GANs with as many entries that are not zero."""
    pairs = [("dense", "GAN, dense")]
    pairs += [(f"L0, {share:.0%}", f"GAN, L0, {share:.0%}") for share in ORDER]
    rows = []
    for flow, gan in pairs:
        if not has_runs(runs, [gan]):
            continue
        title = flow.replace("%", " % zeros")
        rows.append(_all_scores(runs, flow, f"flow, {title}", ""))
        rows.append(_all_scores(runs, flow, f"the same, {FEW_EVALUATIONS} evaluations", FEW))
        rows.append(_all_scores(runs, gan, gan, ""))
        share = 0.0 if flow == "dense" else float(flow.split(", ")[1][:-1]) / 100
        of_gan = 1 - (1 - share) * FLOW_ENTRIES / GAN_ENTRIES
        rows[-1][0] = "GAN, dense" if not share else f"GAN, L0, {of_gan:.0%} zeros"
    heads = ["", "entries left", "kFLOPs an image", *(head for head, _ in COLUMNS.values())]
    return rows_table(heads, [[c.replace("% zeros", " % zeros") for c in row] for row in rows])


EVALUATIONS = 32  # of an image
FEW_EVALUATIONS = 10


def _all_scores(runs: Runs, name: str, title: str, end: str) -> list[str]:
    """Return a row of the GAN's table.

    Args:
        runs: name → seed → scores.
        name: of the variant.
        title: of the row.
        end: of the scores' names.
    """
    evaluations = FEW_EVALUATIONS if end else EVALUATIONS
    if name.startswith("GAN"):
        evaluations = 1
    entries = scores(runs, name, "entries_left").mean()
    flops = 2 * entries * evaluations / 1_000  # every entry is used once in an evaluation
    cells = [cell(scores(runs, name, s + end), digits) for s, (_, digits) in COLUMNS.items()]
    return [title, f"{entries:,.0f}", f"{flops:,.0f}", *cells]


def write_page() -> None:
    """Fill the tables of the page that have results."""
    page = PAGE.read_text(encoding="utf-8")
    path = result_file("digits")
    if path.exists():
        by_steps = json.loads(path.read_text(encoding="utf-8"))["runs"]
        runs = by_steps.get("6000", {})
        page = fill(page, "methods", methods_table(runs))
        page = fill(page, "rates", rates_table(runs))
        page = fill(page, "lengths", lengths_table(by_steps))
        page = fill(page, "scopes", scopes_table(runs))
        page = fill(page, "gan", gan_table(runs))
    path = result_file("mnist")
    if path.exists():
        by_steps = json.loads(path.read_text(encoding="utf-8"))["runs"]
        tables = [f"{steps} steps. {methods_table(runs)}" for steps, runs in by_steps.items()]
        page = fill(page, "mnist", "\n\n".join(tables))
    PAGE.write_text(page, encoding="utf-8")
