"""The benchmark of the transformations: rows of peers that are missing, rows that fail."""

import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def transforms(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    spec = importlib.util.spec_from_file_location("transforms", BENCHMARKS / "transforms.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_each_row_is_compared_with_its_own_optimiser(transforms):
    result = transforms.measure_updates("tiny", 1, "^proximal_(adam, l1$|rmsprop)")
    rows = result["rows"]
    assert result["parameters"] == 2 * 8 * 16 + 8 + 16
    baselines = {name: row["baseline"] for name, row in rows.items()}
    assert baselines == {
        "proximal_adam, l1": "optax.adam",
        "proximal_rmsprop, group_l1, one step per group": "optax.rmsprop",
    }
    assert rows["proximal_adam, l1"]["ratio"]["median"] > 0


@pytest.mark.slow
def test_a_missing_peer_is_named_and_anything_else_fails(transforms, monkeypatch):
    monkeypatch.setitem(sys.modules, "jaxopt", None)  # import fails
    rows = transforms.measure_updates("tiny", 1, "jaxopt prox_lasso")["rows"]
    assert rows == {"adam → jaxopt prox_lasso": {"missing": "jaxopt"}}
    transforms.show({"tree": "tiny", "parameters": 280, "rows": rows})

    def fail(threshold, params, grads):
        raise ValueError("broken")

    monkeypatch.setattr(transforms, "torch_row", fail)
    with pytest.raises(ValueError, match="broken"):
        transforms.measure_updates("tiny", 1, "softshrink")
