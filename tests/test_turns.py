"""Every slow test has its turn in CI, and the tests that are named in lists are there."""

import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from fast_cases import FIRST_CASES, mark_further_cases
from turns import TURNS, has_its_turn


@pytest.mark.parametrize("first", [0, 5, 1_795_000_000])
def test_each_runs_once_in_a_round_with_all_its_cases(first):
    names = [f"tests/test_a.py::test_{i}" for i in range(60)]
    turns = range(first, first + TURNS)
    assert all(sum(has_its_turn(name, turn) for turn in turns) == 1 for name in names)
    shares = [sum(has_its_turn(name, turn) for name in names) for turn in turns]
    assert min(shares) > 10
    for name in names:
        assert has_its_turn(f"{name}[a case]", first) == has_its_turn(name, first)


def test_the_tests_that_are_named_are_there():
    files = {
        path.stem: set(re.findall(r"def (test_\w+)\(", path.read_text(encoding="utf-8")))
        for path in Path(__file__).parent.rglob("test_*.py")
    }
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
