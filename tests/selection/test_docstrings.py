"""The examples in docstrings and in the document run, and the latter's choices are sensible."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[2] / "docs" / "selection.md"


@pytest.mark.parametrize("name", ["strengths", "rules"])
def test_examples_in_docstrings(name):
    found = doctest.testmod(importlib.import_module(f"l1jax.selection.{name}"))
    assert found.failed == 0
    assert found.attempted > 0


@pytest.mark.slow
def test_the_documents_code_runs(capsys):
    names = {}
    for block in re.findall(
        r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL
    )[:3]:
        exec(block, names)
    assert names["simpler"].choice.strength > names["lasso"].choice.strength
    assert (names["sparse"].coefficients == 0).sum() > (names["lasso"].coefficients == 0).sum()
    grouped = names["grouped"].coefficients.reshape(5, 2) == 0
    assert (grouped[:, 0] == grouped[:, 1]).all()
    assert names["search"].best_score_ > 0.9
    unused = names["grouped_classifier"].coef_ == 0
    assert (unused.all(axis=0) == unused.any(axis=0)).all()
    best = names["path"].scores.mean(axis=1)
    assert best.min() < 0.6 < best[-1]  # of a variance of 1; nothing is left at the strongest
    assert "score" in capsys.readouterr().out
