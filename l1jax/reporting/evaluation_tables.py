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
    "precision": "precision ↑",
    "recall": "recall ↑",
    "density": "density ↑",
    "coverage": "coverage ↑",
    "novelty": "novelty",
    "inception_score": "inception ↑",
}


def show_evaluation(result: JsonObject, console: Console) -> None:
    """Print the result of `l1jax.evaluate`: scores, modes, zeros, and how they were taken."""
    features = result.get("features", {})
    if features:
        for table in _score_tables(heading(result), features, console):
            console.print(table)
        for name, scores in features.items():
            _print_plain(console, f"{name}: {scores['protocol']}")
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
    """Make a table of scores, each beside that of the real images' halves."""
    table = Table(title=heading, title_justify="left")
    table.add_column("", no_wrap=True)
    for name, scores in features.items():
        title = features_title(name, scores).replace(", ", "\n")
        table.add_column(title, justify="right", no_wrap=True)
        table.add_column("real halves", justify="right", style="dim", no_wrap=True)
    for score, label in SCORE_LABELS.items():
        if any(score in scores for scores in features.values()):
            cells = []
            for scores in features.values():
                cells += score_cells(scores, score)
            table.add_row(label, *cells)
    return table


def features_title(name: str, scores: JsonObject) -> str:
    """Name a kind of features, for a classifier with the accuracy that its scores depend on."""
    if "accuracy" in scores:
        return f"{name}, held-out accuracy {scores['accuracy']:.3f}"
    return name


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
        lines.append(
            f"log-likelihood at least {bound['nats']:.4g} ± {bound['standard_error']:.1g} nats, "
            f"{bound['bits_per_dimension']:.4g} bits/dim ({bound['protocol']})"
        )
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
    """Format a score on some features, and the same score of the real images' halves."""
    if score not in scores:
        return "", ""
    real = scores.get("between_real_halves", {}).get(score)
    if real is None:
        return format_statistics(scores[score]), ""
    return format_statistics(scores[score]), f"{real:.3g}"


def format_statistics(statistics: JsonObject) -> str:
    """Format a mean and its deviation over the seeds."""
    text = f"{statistics['mean']:.4g}"
    if statistics["deviation"] is not None:
        text += f" ± {statistics['deviation']:.1g}"
    return text


def _print_plain(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False)
