"""An evaluation as a section of an HTML page."""

from collections.abc import Mapping, Sequence

from l1jax.reporting.class_tables import CAPTION, class_header, class_rows
from l1jax.reporting.evaluation_tables import (
    BASELINE,
    READINGS,
    SCORE_LABELS,
    describe_numbers,
    features_title,
    score_cells,
    summary_lines,
    zeros_cells,
)
from l1jax.reporting.html import bullets, folded, paragraph, section, table
from l1jax.reporting.run_files import JsonObject

HEADING = "Evaluation"


def evaluation_section(result: JsonObject) -> str:
    """Show what `python -m l1jax.evaluate` measured, with its protocol.

    Args:
        result: content of `evaluation.json`, which someone may have changed.

    Returns:
        HTML; a sentence if the file does not hold an evaluation.
    """
    try:
        # The remarks of images are warnings, those of text describe it.
        remarks = result.get("remarks", []) if "features" in result else []
        others = result | {"remarks": []} if remarks else result
        parts = [
            _protocol(result),
            bullets(remarks, "warn"),
            _scores(result.get("features", {})),
            bullets(summary_lines(others)),
            _classes(result.get("modes", {}).get("classes", [])),
            _zeros(result["zeros"]) if "zeros" in result else "",
        ]
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError):
        parts = [paragraph("evaluation.json holds no evaluation that this l1jax can read.", "warn")]
    return section("evaluation", HEADING, *parts)


def _protocol(result: JsonObject) -> str:
    protocol = result["protocol"]
    step = f"At step {result['step']:,}. " if "step" in result else ""
    latents = ""
    if "latents" in protocol:
        latents = f", from latents that are {protocol['latents']}"
    sentence = (
        f"{step}Real: {protocol['real']}. Generated: {protocol['generated']}{latents}. Device: "
        f"{protocol['device']}."
    )
    versions = ", ".join(f"{name} {version}" for name, version in protocol["versions"].items())
    return paragraph(sentence) + paragraph(f"Versions: {versions}.", "quiet")


def _scores(features: Mapping[str, JsonObject]) -> str:
    if not features:
        return ""
    header = ["score"]
    for name, scores in features.items():
        header += [features_title(name, scores), BASELINE]
    rows = []
    for score, label in SCORE_LABELS.items():
        if any(score in scores for scores in features.values()):
            row = [f"{label}: {READINGS[score]}"]
            for scores in features.values():
                row += score_cells(scores, score)
            rows.append(row)
    caption = f"Scores on each kind of features. {describe_numbers(features)}"
    protocols = [f"{name}: {scores['protocol']}" for name, scores in features.items()]
    return table(caption, header, rows) + folded("What the features are", bullets(protocols))


def _classes(classes: Sequence[JsonObject]) -> str:
    return table(CAPTION, class_header(classes), class_rows(classes))


def _zeros(zeros: JsonObject) -> str:
    rows = [zeros_cells(layer) for layer in zeros["layers"]]
    header = ("layer", "entries", "zeros", "dead outputs", "FLOPs per example", "FLOPs left")
    sentence = (
        f"{zeros['kernels']:.2%} of the kernels' entries are zero. "
        f"{zeros['effective_parameters']:,} of {zeros['parameters']:,} parameters are left, and "
        f"{zeros['compressed_bytes']:,} of {zeros['bytes']:,} bytes if zeros are stored as a "
        "bitmask."
    )
    return table("Zeros of the averaged generator", header, rows) + paragraph(sentence)
