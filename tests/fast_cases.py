"""Cases of a test of which the fast suite runs only some, as others take the same way."""

from collections.abc import Iterable
from typing import Any

import pytest


def slow_except(cases: Iterable[Any], *fast: Any) -> list[Any]:
    """All cases, each given by one value, with those that are not `fast` marked as slow."""
    cases = list(cases)
    unknown = [case for case in fast if case not in cases]
    assert not unknown, f"no such cases: {unknown}"
    return [pytest.param(case, marks=() if case in fast else pytest.mark.slow) for case in cases]
