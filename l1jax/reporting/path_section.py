"""A path of strengths as a section of an HTML page."""

from l1jax.reporting.html import paragraph, picture, section, table
from l1jax.reporting.run_files import JsonObject

CHOICES = {"chosen": "chosen", "minimum": "best score", "one_standard_error": "one standard error"}


def path_section(path: JsonObject, plot: bytes | None, samples: bytes | None) -> str:
    """Show what `python -m l1jax.select` measured and chose.

    Args:
        path: content of `path.json`, which someone may have changed.
        plot: PNG of its plot, or None.
        samples: PNG of samples along the path, or None.

    Returns:
        HTML; a sentence if the file does not hold a path.
    """
    try:
        parts = [_choice(path), _points(path), _pictures(plot, samples)]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        parts = [
            paragraph("path.json holds no path of strengths that this l1jax can read.", "warn")
        ]
    heading = "Strengths"
    if path.get("field"):
        heading = f"Values of {path['field']}"
    return section("path", heading, *parts)


def _choice(path: JsonObject) -> str:
    chosen = path["chosen"]
    field = path.get("field")
    owner = field or f"the {path['network']}"
    sentence = (
        f"Chosen for {owner}: {_strength(chosen['strength'], field)}, by "
        f"{_words(path['criterion'])}: {chosen['reason']}."
    )
    return paragraph(sentence) + paragraph(f"Protocol: {path['protocol']}.", "quiet")


def _points(path: JsonObject) -> str:
    points = path["points"]
    names = list(points[0]["scores"])
    names.sort(key=lambda name: name != path["criterion"])
    field = path.get("field")
    header = [field or "strength", "zeros", "channels alive", *map(_words, names), "choice"]
    rows = []
    for i, point in enumerate(points):
        marks = [
            words
            for choice, words in CHOICES.items()
            if path.get(choice) and path[choice]["index"] == i
        ]
        if point["trained"] < path["steps"]:
            marks.append(f"stopped at step {point['trained']:,}")
        alive = sum(counts[0] for counts in point["channels"].values())
        scores = [_score(point["scores"][name]) for name in names]
        rows.append(
            [
                _strength(point["strength"], field),
                f"{point['zeros']:.1%}",
                f"{alive:,.0f}",
                *scores,
                ", ".join(marks),
            ]
        )
    caption = "Each of them, with the standard errors of its scores over the folds"
    return table(caption, header, rows, frozenset([path["chosen"]["index"]]))


def _pictures(plot: bytes | None, samples: bytes | None) -> str:
    parts = []
    if plot is not None:
        alternative = "Plots of the score and of the zeros against the strength, as in the table"
        parts.append(picture(plot, alternative, "The score and the zeros along the path"))
    if samples is not None:
        alternative = "Generated samples of every strength, from the same latents"
        parts.append(picture(samples, alternative, "Samples of the same latents along the path"))
    return "".join(f'<div class="wide" tabindex="0">{part}</div>' for part in parts)


def _strength(strength: float, field: str | None) -> str:
    """Return a strength, or a value of another number, in words."""
    if field:
        return f"{strength:.6g}"
    if strength == 0:
        return "no penalty"
    return f"{strength:.3g}"


def _words(name: str) -> str:
    return str(name).replace("_", " ")


def _score(score: JsonObject) -> str:
    if score["mean"] is None:
        return "none"
    text = f"{score['mean']:.4g}"
    if score["standard_error"] is not None:
        text += f" ± {score['standard_error']:.1g}"
    return text
