"""The tables of `docs/overfitting.md`, made from what `overfitting.py` keeps."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from measure import RESULTS
from sparse_text_report import fill

PAGE = Path(__file__).parent.parent / "docs" / "overfitting.md"
DATASETS = ("digits", "mnist")
PLAIN = "none"


def result_file(dataset: str) -> Path:
    """Return where the results on these data are kept."""
    return RESULTS / f"overfitting_{dataset}-cpu.json"


class Outcome(NamedTuple):
    """What a way comes to, an entry for each seed; its settings are chosen by validation.

    Attributes:
        end: nats per test image after the last step, with the best setting at that step.
        stopped: nats per test image at the best step of the best setting.
        gap: nats per training image more than per test image, after the last step.
        zeros: share of the kernels' entries, after the last step.
        settings: [strength, dropout rate] chosen for the end.
    """

    end: np.ndarray
    stopped: np.ndarray
    gap: np.ndarray
    zeros: np.ndarray
    settings: list[list[float]]


def outcome(found: dict[str, Any]) -> Outcome:
    """Choose a way's settings by the validation part, for each seed alone.

    Args:
        found: nats of each part, seeds × settings × times, and zeros, as the benchmark keeps them.
    """
    train, validation, test = (np.asarray(found[name]) for name in ("train", "validation", "test"))
    zeros = np.asarray(found["zeros"])
    seeds = np.arange(len(test))
    at_end = validation[:, :, -1].argmax(1)
    best = validation.reshape(len(seeds), -1).argmax(1)
    setting, time = np.unravel_index(best, validation.shape[1:])
    return Outcome(
        end=test[seeds, at_end, -1],
        stopped=test[seeds, setting, time],
        gap=train[seeds, at_end, -1] - test[seeds, at_end, -1],
        zeros=zeros[seeds, at_end],
        settings=[found["settings"][chosen] for chosen in at_end],
    )


def interval(values: np.ndarray) -> str:
    """Format the mean with the half-width of its 95 % interval by Student's distribution."""
    from scipy import stats

    if len(values) < 2:
        return f"{values.mean():.1f}"
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return f"{values.mean():.1f} ± {half:.1f}"


def holm(p_values: np.ndarray) -> np.ndarray:
    """Return Holm's corrected p-values (Holm 1979)."""
    order = np.argsort(p_values)
    factors = len(p_values) - np.arange(len(p_values))
    corrected = np.empty_like(p_values)
    corrected[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1)
    return corrected


def table(ways: dict[str, dict[str, Any]]) -> str:
    """Return a row for each way, and its difference from stopping a plain training early.

    Args:
        ways: name → what was found, "none" among them.
    """
    from scipy import stats

    outcomes = {name: outcome(found) for name, found in ways.items()}
    plain = outcomes[PLAIN]
    others = [name for name in outcomes if name != PLAIN]
    p_values = np.array(
        [stats.ttest_rel(outcomes[name].end, plain.stopped).pvalue for name in others]
    )
    corrected = dict(zip(others, holm(p_values), strict=True))
    lines = [
        "| way | at the end | stopped early | gap | zeros | end − plain stopped early | p |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, own in outcomes.items():
        difference, p = "", ""
        if name != PLAIN:
            difference = interval(own.end - plain.stopped)
            p = f"{corrected[name]:.3f}"
        lines.append(
            f"| {name} | {interval(own.end)} | {interval(own.stopped)} | {interval(own.gap)} | "
            f"{own.zeros.mean():.0%} | {difference} | {p} |"
        )
    return "\n".join(lines)


def write_page() -> None:
    """Fill the tables of the page from the results that are there."""
    page = PAGE.read_text(encoding="utf-8")
    for dataset in DATASETS:
        path = result_file(dataset)
        if not path.exists():
            continue
        sizes = json.loads(path.read_text(encoding="utf-8"))["sizes"]
        tables = [
            f"{int(size):,} training images:\n\n{table(ways)}" for size, ways in sizes.items()
        ]
        page = fill(page, dataset, "\n\n".join(tables))
    PAGE.write_text(page, encoding="utf-8")
