"""Suggestions for names that were mistyped."""

import difflib
from collections.abc import Sequence


def suggest(name: str, names: Sequence[str]) -> str:
    """Return the end of an error message that suggests names similar to a wrong one.

    Names that differ only in what stands before the dot (`--b1`, `--generator.b1`) come first; if
    there are none, similarly spelled ones are suggested.

    Args:
        name: the wrong name.
        names: the right ones.

    Returns:
        Text such as "; the nearest: --seed", or nothing if no name is similar.
    """
    similar = [known for known in names if known.endswith(f".{name.lstrip('-')}")]
    if not similar:
        similar = difflib.get_close_matches(name, names)
    if not similar:
        return ""
    return f"; the nearest: {', '.join(similar)}"
