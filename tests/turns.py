"""Slow tests take turns in CI, so that it ends well within an hour on two cores."""

from zlib import crc32

TURNS = 3
"""Each slow test runs in one of so many runs in a row; each behaviour has a fast test, too."""


def has_its_turn(name: str, turn: int) -> bool:
    """Say whether a test runs this time, with all its cases.

    Args:
        name: FILE::TEST or FILE::TEST[CASE].
        turn: any whole number; `TURNS` numbers in a row are the turns of all tests.
    """
    test, _, _ = name.partition("[")
    return crc32(test.encode()) % TURNS == turn % TURNS
