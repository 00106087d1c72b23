"""Every slow test has its turn in CI."""

import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

from fast_cases import FIRST_CASES, mark_further_cases
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
    with_fast_cases = [
        whose_turn_it_is(NAMES, turn, {"tests/test_a.py::test_many"})[1] for turn in range(TURNS)
    ]
    assert sum(with_fast_cases) == 1


def test_the_tests_that_are_named_are_there():
    files = {
        path.stem: set(re.findall(r"def (test_\w+)\(", path.read_text(encoding="utf-8")))
        for path in Path(__file__).parent.rglob("test_*.py")
    }
    assert sorted(set(LONGEST) - set().union(*files.values())) == []
    cases = [name.split("::") for name in FIRST_CASES]
    assert [(file, test) for file, test in cases if test not in files[file]] == []


def test_further_cases_are_slow():
    name, fast = next(iter(FIRST_CASES.items()))
    file, _, test = name.partition("::")
    marked = []
    seen = Counter()
    for i in range(fast + 2):
        item = SimpleNamespace(
            path=Path(f"{file}.py"), originalname=test, add_marker=lambda _, i=i: marked.append(i)
        )
        mark_further_cases(item, seen)
    assert marked == [fast, fast + 1]
