"""An evaluation as tables in the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from l1jax.reporting.class_tables import CAPTION, class_header, class_rows, describe_missing

JsonObject: TypeAlias = Mapping[str, Any]  # values that JSON can hold

MAX_CLASS_ROWS = 20  # of the table in the terminal
SCORE_LABELS = {
    "frechet_distance": "Fréchet ↓",
    "kernel_distance": "kernel ↓",
    "clip_distance": "CMMD ↓",
    "frechet_by_class": "by class ↓",
    "precision": "precision ↑",
    "density": "density ↑",
    "recall": "recall ↑",
    "coverage": "coverage ↑",
    "near_copies": "near copies ↓",
    "authenticity": "authenticity ↑",
    "novelty": "novelty",
    "inception_score": "inception ↑",
    "accuracy_score": "CAS ↑",
    "spectrum_distance": "spectrum, dB ↓",
    "path_length": "path length ↓",
}
READINGS = {
    "frechet_distance": "how far apart the sets are",
    "kernel_distance": "how far, unbiased; best 0",
    "clip_distance": "how far, as CLIP sees it",
    "frechet_by_class": "Fréchet within each class",
    "precision": "lying among the real ones",
    "density": "how deep there; best 1",
    "recall": "real variety reached",
    "coverage": "real ones with one nearby",
    "near_copies": "too near to training ones",
    "authenticity": "no copies; 0.5 is usual",
    "novelty": "distance to real; copies 0",
    "inception_score": "classes sure and varied",
    "accuracy_score": "real ones known from them",
    "spectrum_distance": "false or missing detail",
    "path_length": "change along the latents",
}
"""Score → what it says, in a few words."""
BASELINE = "real against real"


def show_evaluation(result: JsonObject, console: Console) -> None:
    """Print the result of `l1jax.evaluate`: scores, modes, zeros, and how they were taken."""
    features = result.get("features", {})
    if features:
        for table in _score_tables(heading(result), features, console):
            console.print(table)
        for name, scores in features.items():
            _print_plain(console, f"{name}: {scores['protocol']}")
        _print_plain(console, describe_numbers(features))
    for line in summary_lines(result):
        _print_plain(console, line)
    _print_classes(result.get("modes", {}).get("classes", []), console)
    if "zeros" in result:
        _print_zeros(result["zeros"], console)
    protocol = result["protocol"]
    _print_plain(console, f"real: {protocol['real']}; generated: {protocol['generated']}")


def heading(result: JsonObject) -> str:
    """Return the heading of a result's scores: the step of what drew the images, if it is known."""
    return f"Step {result['step']:,}" if "step" in result else "Scores"


def describe_numbers(features: Mapping[str, JsonObject]) -> str:
    """Say what stands behind ± and of which images the scores of real ones are."""
    scores = next(iter(features.values()))
    statistics = [scores[score] for score in SCORE_LABELS if score in scores]
    over_seeds = any(len(own["each"]) > 1 for own in statistics)
    text = "±: standard deviation over the seeds"
    if not over_seeds:
        text = "±: standard deviation, estimated from random parts of the images"
    real = scores.get("real_against_real")
    if not real or "num_real" not in real:
        return text
    text += (
        f"; real: {real['num_others']:,.0f} of the real images against the other "
        f"{real['num_real']:,.0f}"
    )
    if "frechet_distance_measured" in real:
        text += ", the Fréchet distance extrapolated to as many as are compared"
    return text


def _score_tables(
    heading: str, features: Mapping[str, JsonObject], console: Console
) -> list[Table]:
    """Make tables that hold the scores on as many kinds of features as the console has room for."""
    unlimited = console.options.update_width(10_000)
    tables: list[Table] = []
    in_last_table: dict[str, JsonObject] = {}
    for name, scores in features.items():
        wider = _score_table(heading, {**in_last_table, name: scores})
        is_room = console.measure(wider, options=unlimited).maximum <= console.width
        if in_last_table and is_room:
            tables[-1] = wider
            in_last_table[name] = scores
        else:
            tables.append(_score_table(heading, {name: scores}))
            in_last_table = {name: scores}
    return tables


def _score_table(heading: str, features: Mapping[str, JsonObject]) -> Table:
    """Make a table of scores, each above that of real images against other real ones."""
    table = Table(title=heading, title_justify="left", caption_justify="left")
    table.add_column("score, and what it says", no_wrap=True)
    for name, scores in features.items():
        title = features_title(name, scores).replace(", ", "\n").replace("held-out ", "held-out\n")
        table.add_column(title, justify="right", no_wrap=True)
    for score, label in SCORE_LABELS.items():
        if not any(score in scores for scores in features.values()):
            continue
        cells = []
        for scores in features.values():
            _, real = score_cells(scores, score)
            own = format_statistics(scores[score], 3) if score in scores else ""
            if real:
                own = f"{own}\n[dim]real {real}[/dim]"
            cells.append(own)
        table.add_row(f"{label}\n[dim]{READINGS[score]}[/dim]", *cells)
    return table


def features_title(name: str, scores: JsonObject) -> str:
    """Name a kind of features, for a classifier with the accuracy that its scores depend on."""
    if "accuracy" not in scores:
        return name
    title = f"{name}, held-out accuracy {scores['accuracy']:.3f}"
    if "classes" in scores:
        title += f", {scores['classes']} classes"
    return title


def summary_lines(result: JsonObject) -> list[str]:
    """Describe what a result holds besides scores on features: modes, likelihood, remarks."""
    lines = []
    if modes := result.get("modes"):
        lines.append(f"modes reached: {format_statistics(modes['modes'])} of {modes['of']:,}")
        if "high_quality" in modes:
            share = format_statistics(modes["high_quality"])
            lines.append(f"within three standard deviations of a mode: {share}")
        divergence = format_statistics(modes["reverse_kl"])
        line = f"reverse divergence of the modes' shares: {divergence} nats"
        if "accuracy" in modes:
            line += f", classes by a classifier of held-out accuracy {modes['accuracy']:.4f}"
        if "accuracy_on_held_out" in modes:
            line += f", {modes['accuracy_on_held_out']:.4f} on the images that training never saw"
        lines.append(line)
        if "conditional_accuracy" in modes:
            accuracy = format_statistics(modes["conditional_accuracy"])
            line = f"read as the class that was asked for: {accuracy}"
            if "conditional_accuracy_of_sound" in modes:
                of_sound = format_statistics(modes["conditional_accuracy_of_sound"])
                line += f"; from their sound: {of_sound}"
            lines.append(line)
        lines += describe_missing(modes.get("missing", []))
    if images := result.get("images"):
        similarity = format_statistics(images["ms_ssim"])
        lines.append(
            f"multi-scale similarity of pairs: {similarity}, of real ones "
            f"{images['ms_ssim_of_real']:.3g}"
        )
    if sound := result.get("sound"):
        lines += _sound_lines(sound)
    if bound := result.get("likelihood"):
        found = f"{bound['nats']:.4g} ± {bound['standard_error']:.1g} nats"
        if "bits_per_dimension" in bound:
            found += f", {bound['bits_per_dimension']:.4g} bits/dim"
        if bound.get("is_bound", True):  # older evaluations have that of a VAE alone
            found = f"at least {found}"
        lines.append(f"log-likelihood {found} ({bound['protocol']})")
    return [*lines, *result.get("remarks", [])]


def _sound_lines(sound: JsonObject) -> list[str]:
    """Describe how fast sound is made, and how near it is to the training clips."""
    line = (
        f"sound: {sound['milliseconds_per_clip']:.3g} ms a clip, {sound['clips']} at once, "
        f"{sound['real_time_factor']:.0f} × real time"
    )
    if compact := sound.get("compact"):
        line += (
            f"; without the dead channels {compact['milliseconds_per_clip']:.3g} ms, "
            f"{compact['real_time_factor']:.0f} × real time"
        )
    lines = [line]
    if nearest := sound.get("nearest_training_clip"):
        lines.append(
            f"nearest training clip: {nearest['of_drawn']:.3g} from drawn clips, "
            f"{nearest['of_real']:.3g} from real ones (medians of the root mean square of the "
            "logarithms' difference)"
        )
    return lines


def _print_classes(classes: Sequence[JsonObject], console: Console) -> None:
    if not classes:
        return
    table = Table(title=CAPTION, title_justify="left")
    first, *others = class_header(classes)
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    for row in class_rows(classes)[:MAX_CLASS_ROWS]:
        table.add_row(*map(escape, row))
    console.print(table)
    if len(classes) > MAX_CLASS_ROWS:
        left = len(classes) - MAX_CLASS_ROWS
        _print_plain(console, f"{left:,} more classes are in evaluation.json and the report")


def _print_zeros(zeros: JsonObject, console: Console) -> None:
    table = Table(title="Zeros", title_justify="left")
    table.add_column("kernel")
    for name in ("entries", "zeros", "dead outputs", "FLOPs", "left"):
        table.add_column(name, justify="right")
    for layer in zeros["layers"]:
        table.add_row(*zeros_cells(layer))
    console.print(table)
    parameters = f"{zeros['effective_parameters']:,} of {zeros['parameters']:,} parameters"
    size = f"{zeros['compressed_bytes']:,} of {zeros['bytes']:,} bytes"
    _print_plain(
        console,
        f"kernels: {zeros['kernels']:.2%} zeros; {parameters} are left, and {size} with a bitmask",
    )


def zeros_cells(layer: JsonObject) -> list[str]:
    """Format a layer's zeros: its name, entries, zeros, dead outputs, FLOPs, and FLOPs left."""
    return [
        str(layer["path"]).removesuffix("/kernel"),
        f"{layer['entries']:,}",
        f"{layer['zeros'] / max(layer['entries'], 1):.1%}",
        f"{layer['dead_outputs']:,} of {layer['outputs']:,}",
        f"{layer['flops']:,}",
        f"{layer['effective_flops'] / max(layer['flops'], 1):.1%}",
    ]


def score_cells(scores: JsonObject, score: str) -> tuple[str, str]:
    """Format a score on some features, and the same score of real images against others."""
    if score not in scores:
        return "", ""
    old = scores.get("between_real_halves", {})  # of files from before
    real = scores.get("real_against_real", old).get(score)
    if real is None:
        return format_statistics(scores[score]), ""
    return format_statistics(scores[score]), f"{real:.3g}"


def format_statistics(statistics: JsonObject, digits: int = 4) -> str:
    """Format a mean and its deviation over the seeds."""
    text = f"{statistics['mean']:.{digits}g}"
    if statistics["deviation"] is not None:
        text += f" ± {statistics['deviation']:.1g}"
    return text


def _print_plain(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False)
