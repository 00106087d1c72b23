"""A run as one HTML page that needs nothing else: no network, no script and no other file."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from l1jax.config import Config, MixtureData, Sound
from l1jax.reporting.configuration import (
    ConfigurationRow,
    configuration_rows,
    describe_origin,
)
from l1jax.reporting.curves import draw_main_charts, draw_other_charts
from l1jax.reporting.evaluation_section import evaluation_section
from l1jax.reporting.html import (
    bullets,
    code,
    escape,
    folded,
    paragraph,
    picture,
    player,
    section,
    table,
)
from l1jax.reporting.page_style import STYLE
from l1jax.reporting.path_section import path_section
from l1jax.reporting.run_files import JsonObject, Metrics, Page, Picture, to_text

POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"
"""Content security policy: the browser runs and loads nothing, even if a text were not escaped."""


class RunRecord(NamedTuple):
    """Everything that a page shows; plain data."""

    workdir: str
    """The run's folder, as the user named it."""
    experiment: Config
    metrics: Metrics
    alarms: Sequence[str]
    """Sentences about what looked wrong during the training."""
    rollbacks: Sequence[str]
    """Sentences about returns to an earlier checkpoint."""
    ending: str
    """Why a run with patience ended, in a sentence; empty for others."""
    samples: Sequence[Picture]
    pages: Sequence[Page]
    """Samples of text."""
    evaluation: JsonObject | None
    """What `python -m l1jax.evaluate` wrote, or None."""
    path: JsonObject | None
    """What `python -m l1jax.select` wrote, or None."""
    is_path: bool
    """Whether the folder belongs to `select`, whose path may not be complete yet."""
    path_plot: bytes | None
    """PNG of the path's plot."""
    path_samples: bytes | None
    """PNG of samples along the path."""
    versions: Mapping[str, str]
    """Package → version, of the process that makes the page."""
    device: str
    """The device of that process."""
    commands: str
    """Commands and comments that reproduce the run."""


def run_page(record: RunRecord) -> str:
    """Make the page.

    Args:
        record: what to show.

    Returns:
        HTML of the whole page, in which every text of the run is escaped.
    """
    experiment = record.experiment
    title = f"{_kind(experiment.model)} on {_kind(experiment.data).removesuffix('Data')}"
    if record.is_path:
        title = f"Strength path: {title}"
    body = [
        f"<header>\n<h1>{escape(title)}</h1>\n{_summary(record)}</header>\n<main>",
        _problems(record),
        path_section(record.path, record.path_plot, record.path_samples) if record.path else "",
        _samples(record),
        _curves(record.metrics),
        _zeros(record.metrics),
        _evaluation(record),
        _configuration(configuration_rows(experiment)),
        section("reproduce", "Reproduce", code(record.commands)),
        _versions(record),
        "</main>",
    ]
    content = "\n".join(part for part in body if part)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">\n'
        f"<title>{escape(title)} – l1jax</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n{content}\n</body>\n</html>\n"
    )


def _kind(part: object) -> str:
    return type(part).__name__


def _grid(items: Sequence[str], style: str = "grid") -> str:
    if not items:
        return ""
    return f'<div class="{style}">\n' + "\n".join(items) + "\n</div>"


def _summary(record: RunRecord) -> str:
    experiment = record.experiment
    penalty = experiment.generator.penalty
    settings = [to_text(value) for value in vars(penalty).values()]
    sentences = [
        f"Objective {_kind(experiment.objective)}; penalty of the generator "
        f"{_kind(penalty)}({', '.join(settings)}); batches of {experiment.batch_size:,}; seed "
        f"{experiment.seed}.",
        _progress(record),
    ]
    if experiment.origin is not None:
        sentences.append(f"It began from {describe_origin(experiment.origin)}.")
    return paragraph(" ".join(sentences)) + "\n" + paragraph(record.workdir, "quiet") + "\n"


def _progress(record: RunRecord) -> str:
    steps = record.experiment.steps
    if record.is_path:
        if record.path is None:
            return "The path is not complete yet."
        return f"Each run of the path takes {record.path.get('steps', steps):,} steps."
    if record.ending:
        return record.ending
    if not record.metrics.lines:
        return f"No metrics have been written yet, of {steps:,} steps."
    step = record.metrics.lines[-1].step
    if step >= steps:
        return f"The training is complete, at step {step:,}."
    return f"The training has come to step {step:,} of {steps:,}."


def _problems(record: RunRecord) -> str:
    metrics = record.metrics
    sentences = [*record.alarms, *record.rollbacks]
    if metrics.num_skipped:
        sentences.append(
            f"{metrics.num_skipped:,} steps were skipped, because their loss or gradient was not "
            "finite."
        )
    if metrics.num_unreadable:
        sentences.append(
            f"metrics.jsonl is damaged: {metrics.num_unreadable:,} of its lines cannot be read and "
            "are left out here."
        )
    if not sentences and metrics.lines:
        return section("alarms", "Alarms", paragraph("None; no step was skipped.", "quiet"))
    return section("alarms", "Alarms", bullets(sentences, "warn"))


def _samples(record: RunRecord) -> str:
    pictures = [_sample(sample, record.experiment) for sample in record.samples]
    pages = [
        folded(f"Step {page.step:,}, from the same random numbers at every step", code(page.text))
        for page in reversed(record.pages)
    ]
    if pages:
        return section("samples", "Samples", *pages)
    if not pictures and not record.is_path:
        return section("samples", "Samples", paragraph("No samples have been written.", "quiet"))
    style = "grid small"
    if isinstance(record.experiment.data, Sound):
        style = "grid"  # wide enough for the players
    return section("samples", "Samples", _grid(pictures, style))


def _sample(sample: Picture, experiment: Config) -> str:
    """Show the picture of samples of one step, and play their sound if there is one."""
    noun = "images"
    if isinstance(experiment.data, MixtureData):
        noun = "points"
    elif isinstance(experiment.data, Sound):
        noun = "spectrograms"
    sound = ""
    if sample.wav is not None:
        sound = player(sample.wav, f"Sound of the first row at step {sample.step:,}")
    return picture(
        sample.png,
        f"Generated {noun} at step {sample.step:,}, from the same latents at every step",
        f"Step {sample.step:,}",
        sound,
    )


def _zeros(metrics: Metrics) -> str:
    """Show each layer's share of zeros at the last line of metrics."""
    if not metrics.lines:
        return ""
    last = metrics.lines[-1]
    rows = []
    for name, share in last.values.items():
        network, separator, layer = name.partition("/sparsity/")
        if separator:
            rows.append([layer.removesuffix("/kernel"), network, f"{share:.2%}"])
    caption = f"Zeros among the penalised parameters of the trained weights, at step {last.step:,}"
    return section("zeros", "Zeros per layer", table(caption, ("layer", "network", "zeros"), rows))


def _evaluation(record: RunRecord) -> str:
    if record.is_path:
        return ""
    if record.evaluation is None:
        sentence = "This run has not been evaluated: python -m l1jax.evaluate does it."
        return section("evaluation", "Evaluation", paragraph(sentence, "quiet"))
    return evaluation_section(record.evaluation)


def _curves(metrics: Metrics) -> str:
    others = draw_other_charts(metrics.lines)
    summary = f"{len(others)} more curves: every layer, learning rates, outputs, speed"
    return section(
        "curves",
        "Training curves",
        _grid(draw_main_charts(metrics.lines)),
        folded(summary, _grid(others)),
    )


def _configuration(rows: Sequence[ConfigurationRow]) -> str:
    changed = [
        [row.name, to_text(row.value), to_text(row.default)] for row in rows if not row.is_default
    ]
    everything = [[row.name, to_text(row.value)] for row in rows]
    first = table("Fields that differ from their defaults", ("field", "value", "default"), changed)
    if not first:
        first = paragraph("Every field has its default.")
    rest = folded(
        f"All {len(rows)} fields", table("The whole configuration", ("field", "value"), everything)
    )
    return section("configuration", "Configuration", f'<div class="texts">{first}{rest}</div>')


def _versions(record: RunRecord) -> str:
    rows = [[name, version] for name, version in record.versions.items()]
    rows.append(["device", record.device])
    return section(
        "versions",
        "Versions",
        f'<div class="texts">{table("Where this page was made", ("what", "value"), rows)}</div>',
    )
