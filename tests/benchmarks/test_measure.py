"""The timing and the record that all benchmarks share."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SPEC = importlib.util.spec_from_file_location("benchmarks_measure", BENCHMARKS / "measure.py")
assert SPEC
assert SPEC.loader
measure = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(measure)


def test_functions_are_timed_in_turn_and_the_order_alternates(monkeypatch):
    calls, clock = [], [0.0]
    monkeypatch.setattr(measure.time, "perf_counter", lambda: clock[0])

    def work(name, cost):
        calls.append(name)
        clock[0] += cost * (1 + len(calls))

    functions = {"a": lambda: work("a", 1.0), "b": lambda: work("b", 2.0)}
    seconds = measure.alternate(functions, pairs=4, warmup=1)
    assert "".join(calls) == "ba" + "ab" + "ba" + "ab" + "ba"
    np.testing.assert_allclose(
        seconds["a"], [4, 7, 8, 11]
    )  # 1 + the number of the call, the warm-up's two first
    np.testing.assert_allclose(seconds["b"], [10, 12, 18, 20])


def test_ratios_are_taken_round_by_round():
    drift = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    found = measure.ratio(drift * [1, 2, 3, 4, 5], drift)
    assert found == {"median": 3.0, "low": 2.0, "high": 4.0}


def test_the_kept_result_says_where_it_comes_from(tmp_path):
    path = measure.write_result(
        tmp_path / "new" / "result.json", "python benchmarks/x.py", {"rows": [1.5]}
    )
    record = json.loads(path.read_text())
    head = subprocess.run(
        ["git", "-C", str(BENCHMARKS), "rev-parse", "HEAD"], capture_output=True, text=True
    )
    assert record["rows"] == [1.5]
    assert record["command"] == "python benchmarks/x.py"
    environment = record["environment"]
    assert environment["versions"]["jax"] == jax.__version__
    assert environment["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    assert environment["devices"] == jax.device_count()
    assert environment["commit"].rstrip("+") == (head.stdout.strip()[:12] or "unknown")


def test_a_checkout_without_git_has_the_commit_that_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "__file__", str(tmp_path / "measure.py"))
    monkeypatch.delenv("L1JAX_COMMIT", raising=False)
    assert measure._commit() == "unknown"
    monkeypatch.setenv("L1JAX_COMMIT", "0123abcd")
    assert measure._commit() == "0123abcd"
