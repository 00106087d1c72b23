"""Every slow test has its turn in CI."""

import re
from pathlib import Path

from turns import LONGEST, TURNS, whose_turn_it_is

LONG = f"tests/test_a.py::{LONGEST[0]}"
NAMES = [
    "tests/test_a.py::test_one",
    "tests/test_a.py::test_many[1]",
    *(f"tests/test_a.py::test_many[{i}]" for i in range(2, 40)),
    f"{LONG}[1]",
    f"{LONG}[2]",
]


def test_each_runs_once_in_a_round_and_first_cases_always():
    rounds = [whose_turn_it_is(NAMES, turn) for turn in range(5, 5 + TURNS)]
    times = [sum(chosen) for chosen in zip(*rounds, strict=True)]
    assert times == [TURNS, TURNS, *[1] * 40]
    assert all(chosen[-1] == chosen[-2] for chosen in rounds)
    assert all(5 < sum(chosen) < 30 for chosen in rounds)
    assert whose_turn_it_is(NAMES, 0) == whose_turn_it_is(NAMES, TURNS)


def test_the_longest_are_tests_that_there_are():
    files = Path(__file__).parent.rglob("test_*.py")
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    defined = set(re.findall(r"def (test_\w+)\(", text, re.MULTILINE))
    assert sorted(set(LONGEST) - defined) == []
