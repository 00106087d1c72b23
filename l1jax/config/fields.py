"""What fields share: the error of bad input, and bounds."""

import math
from typing import Any

JsonObject = dict[str, Any]
"""A JSON object; its values are checked where they are read."""


class InputError(ValueError):
    """Something the user gave cannot be used; the message is one sentence that says what to do."""


def bounds(minimum: float, maximum: float = math.inf, *, open_maximum: bool = False) -> JsonObject:
    """Return field metadata: minimum ≤ value ≤ maximum.

    Args:
        minimum: the smallest value.
        maximum: the largest value.
        open_maximum: whether values must lie below the maximum.
    """
    return {"bounds": (minimum, maximum, open_maximum)}


def values_or(form: str, *values: str) -> JsonObject:
    """Return field metadata: the text is one of `values`, or has another form with a colon.

    Args:
        form: what it may be else, such as "FILE:COLUMN".
        values: the words that it may be.
    """
    return {"values": values, "form": form}


STRENGTH = bounds(0) | {"strength": True}
"""Field metadata of a penalty's strength: at least 0, and multiplied by a schedule or a search."""
OWN_DEFAULT = {"own_default": True}
"""Field metadata: another kind of dataclass has this field with its own default, and keeps that."""
