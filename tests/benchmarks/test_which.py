"""The page on methods says what was measured, and its snippets run."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import pytest

import l1jax

ROOT = Path(__file__).parents[2]


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_figures_on_the_page_are_those_of_the_kept_result(monkeypatch):
    monkeypatch.setitem(sys.modules, "measure", load("measure"))
    which = load("which")
    page, record = which.PAGE.read_text(), json.loads(which.RESULT.read_text())
    assert which.fill(page, record) == page
    assert page.count("<!-- end -->") == len(which.tables(record)) + 2  # the costs, and the ages


def test_claims_of_the_page_hold_in_the_kept_result():
    record = json.loads((ROOT / "benchmarks" / "results" / "which-cpu.json").read_text())
    ends = {row["method"].strip("`"): row for row in record["fixed points"]}
    assert ends["chain(add_subgradient, adam)"]["zeros"] == 0
    for name in ("proximal_adam", "accelerated"):
        assert ends[name]["wrong"] == 0
        assert ends[name]["excess"] < 1e-9
    assert ends["chain(adam, proximal)"]["excess"] > 0.1
    behind, own = record["momentum"]
    assert round(behind["in_force"], 2) == 0.1
    assert round(own["in_force"], 2) == 1
    noise = {row["method"].strip("`"): row for row in record["noise"]}
    assert all(noise[name]["flips"] < 2 for name in ("regularized_dual_averaging", "rmda", "ramda"))
    assert all(noise[name]["flips"] > 5 for name in ("proximal_sgd", "proximal_adam"))
    assert all(noise[name]["wrong"] < noise["proximal_adam"]["wrong"] for name in ("rmda", "ramda"))
    wide, narrow = record["half precision"]
    assert narrow["zeros"] < wide["zeros"]


@pytest.mark.slow
def test_snippets_of_the_page_run():
    page = (ROOT / "docs" / "which.md").read_text()
    params = {"layer": {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3)}}
    scope = {"l1jax": l1jax, "optax": optax, "curvature": 1.0}
    exec(re.search(r"`(penalty = .*)`:", page)[1], scope)
    snippets = [
        line for line in re.findall(r"`((?:l1jax|optax)\.[^`]*\(.*\))`", page) if "penalty" in line
    ]
    assert len(snippets) == 5
    for snippet in snippets:
        tx = eval(snippet, scope)
        updates, state = tx.update(params, tx.init(params), params)
        assert jax.tree.structure(l1jax.solution(state, updates)) == jax.tree.structure(params)
    scope |= {"tx": tx, "opt_state": state, "params": params}
    exec(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], scope)
