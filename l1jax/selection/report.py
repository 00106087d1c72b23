"""Report a path that was trained: all numbers as plain values, plots, and images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import jax
import numpy as np
from jaxtyping import Float, Integer

from l1jax.data.byte_tokens import decode, sample_page, to_text
from l1jax.files import atomic_write, write_json
from l1jax.reporting import save_image
from l1jax.reporting.strength_path import path_samples, plot_path, point_title
from l1jax.selection.fold_scores import SIGNS
from l1jax.selection.path_run import PathResult
from l1jax.selection.plan import Plan
from l1jax.selection.rules import ScoreSummary, summarize_scores
from l1jax.selection.score_table import INFORMATION_CRITERIA, PathPoint, has_score, score_table

Json: TypeAlias = dict[str, Any]  # plain values; `path.json` holds them


def path_report(plan: Plan, result: PathResult) -> Json:
    """Return all numbers of a path as plain values, as they are shown, plotted and written."""
    choices = result.choices
    sparser = choices.one_standard_error
    device = jax.devices()[0]
    return {
        "network": plan.network,
        "field": None if plan.grid is None else plan.grid.field,
        "criterion": plan.rule.criterion,
        "steps": plan.steps,
        "chosen": choices.chosen._asdict(),
        "minimum": choices.minimum._asdict() if plan.grid is None else None,
        "one_standard_error": None if sparser is None else sparser._asdict(),
        "protocol": protocol(plan, result),
        "examples": result.size.examples,
        "parameters": result.size.parameters,
        "versions": {"jax": jax.__version__, "numpy": np.__version__},
        "device": f"{len(jax.devices())} × {device.device_kind}",
        "points": point_rows(plan, result),
    }


def protocol(plan: Plan, result: PathResult) -> str:
    """Return a sentence that says how the scores were computed."""
    num_folds = result.run.feed.num_folds
    noun = result.data.noun
    information = plan.rule.criterion in INFORMATION_CRITERIA
    if num_folds > 1:
        words = f"{num_folds} folds, each held out in turn"
    elif information:
        words = f"scored by the training {noun}"
    else:
        words = f"scored by the held-out {noun}"
    words += f"; {result.run.scorer.protocol}"
    if plan.experiment.patience:
        words += "; each strength at its best checkpoint by the mean of the criterion"
    if information:
        words += "; degrees of freedom: non-zeros of the generator, an upper bound"
    return words


def point_rows(plan: Plan, result: PathResult) -> list[Json]:
    """Return the numbers of each strength, with all scores and their standard errors."""
    names = [name for name in SIGNS if has_score(result.points, name)]
    if plan.rule.criterion in INFORMATION_CRITERIA:
        names.append(plan.rule.criterion)
    # The tables change the sign of scores of which higher is better; the report restores it.
    tables = {
        name: SIGNS.get(name, 1) * score_table(result.points, name, result.size) for name in names
    }
    summaries = {name: summarize_scores(table) for name, table in tables.items()}

    def row(index: int, point: PathPoint) -> Json:
        return {
            "strength": point.strength,
            "trained": point.trained,
            "zeros": point.zeros,
            "channels": mean_channels(point),
            "nonzeros": float(np.mean([fold.nonzeros for fold in point.folds])),
            "scores": {
                name: score_row(tables[name][index], summaries[name], index) for name in names
            },
        }

    return [row(index, point) for index, point in enumerate(result.points)]


def score_row(scores: Float[np.ndarray, " folds"], summary: ScoreSummary, index: int) -> Json:
    """Return the mean, the standard error and each fold's score of one strength.

    Args:
        scores: of the folds.
        summary: of all strengths.
        index: of the strength.
    """
    return {
        "mean": finite_or_none(summary.mean[index]),
        "standard_error": finite_or_none(summary.standard_error[index]),
        "each": [finite_or_none(score) for score in scores],
    }


def mean_channels(point: PathPoint) -> dict[str, list[float]]:
    """Return the live output channels of each layer, and all of them: means over the folds."""
    layers = point.folds[0].channels
    return {
        layer: np.mean([fold.channels[layer] for fold in point.folds], axis=0).tolist()
        for layer in layers
    }


def finite_or_none(value: float) -> float | None:
    """Return the number, or None if it is not finite, because JSON has no NaN."""
    return float(value) if np.isfinite(value) else None


def write_report(workdir: Path, report: Json, result: PathResult) -> None:
    """Write `path.json`, `path.png`, and `samples.png` or, of text, `samples.txt`.

    Args:
        workdir: where to write.
        report: the numbers, from `path_report`.
        result: for the samples.
    """
    write_json(workdir / "path.json", report)
    save_image(plot_path(report), workdir / "path.png")
    samples = np.stack([point.folds[0].samples for point in result.points])
    titles = [point_title(row, report["field"]) for row in report["points"]]
    chosen = result.choices.chosen.index
    if result.data.noun == "text":
        write_page(workdir / "samples.txt", samples, titles)
        return
    save_image(path_samples(samples, titles, chosen), workdir / "samples.png")


def write_page(
    path: Path, samples: Integer[np.ndarray, "strengths count tokens"], titles: Sequence[str]
) -> None:
    """Write samples of text, those of each strength under its title.

    Args:
        path: of the page.
        samples: tokens.
        titles: of the strengths.
    """
    parts = []
    for own, title in zip(samples, titles, strict=True):
        heading = title.replace("\n", ", ")
        parts.append(f"════ {heading} ════\n{sample_page(to_text(decode(row)) for row in own)}")
    with atomic_write(path) as partial:
        partial.write_text("".join(parts), encoding="utf-8")
