"""The classes of generated images as rows of a table, and a sentence on those that are missing."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

JsonObject: TypeAlias = Mapping[str, Any]  # values that JSON can hold

CAPTION = "Classes, as the classifier reads them"
MAX_NAMED = 10  # missing classes that a sentence names


def class_header(classes: Sequence[JsonObject]) -> list[str]:
    """Return the headings of the rows of `class_rows`; empty without classes."""
    if not classes:
        return []
    header = ["class", "real", "generated"]
    if "asked" in classes[0]:
        header += ["read as asked", "else most often as"]
    return header


def class_rows(classes: Sequence[JsonObject]) -> list[list[str]]:
    """Format of each class its share of real and of generated images, and how it is read.

    Args:
        classes: as `class_balance` returns them.
    """
    names = [_name(own) for own in classes]
    rows = []
    for i, own in enumerate(classes):
        each = own["generated"]
        row = [names[i], f"{own['real']:.1%}", f"{sum(each) / len(each):.1%}"]
        if "asked" in own:
            row += _read_cells(own, i, names)
        rows.append(row)
    return rows


def describe_missing(missing: Sequence[str]) -> list[str]:
    """Return a sentence that names the classes that are missing; none if none is."""
    if not missing:
        return []
    named = ", ".join(missing[:MAX_NAMED])
    if len(missing) > MAX_NAMED:
        named += f" and {len(missing) - MAX_NAMED:,} more"
    noun = "class" if len(missing) == 1 else "classes"
    return [f"missing {noun}, which no generated image of any seed is read as: {named}"]


def _read_cells(own: JsonObject, i: int, names: Sequence[str]) -> list[str]:
    if not own["asked"]:
        return ["none asked for", ""]
    others = [0 if k == i else count for k, count in enumerate(own["read_as"])]
    most = max(others)
    other = ""
    if most:
        other = f"{names[others.index(most)]}, {most / own['asked']:.1%}"
    return [f"{own['right']:.1%}", other]


def _name(own: JsonObject) -> str:
    """Name a class by its number, and by its name if that is another one."""
    if own["name"] == str(own["label"]):
        return own["name"]
    return f"{own['label']} {own['name']}"
