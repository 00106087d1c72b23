"""The group lasso benchmark, on images of which the useful pixels are known."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import structured_sparsity
from structured_sparsity_report import at_equal_accuracy, zero_groups_at


@pytest.mark.parametrize(
    ("accuracy", "share"),
    [(0.95, None), (0.9, 0.2), (0.86, 0.36), (0.85, 0.4), (0.8, 0.6), (0.75, 0.7), (0.5, 0.8)],
)
def test_zero_groups_at_an_accuracy_are_read_off_the_line_between_two_strengths(accuracy, share):
    found = zero_groups_at(accuracy, [0.9, 0.85, 0.85, 0.7], [0.2, 0.4, 0.4, 0.8])
    assert found == (
        None
        if share is None
        else pytest.approx(np.interp(accuracy, [0.7, 0.85, 0.9], [0.8, 0.4, 0.2]))
    )
    if share is not None:
        assert found == pytest.approx(share, abs=0.07)


def test_zero_groups_at_an_accuracy_are_the_most_where_the_line_passes_it_twice():
    assert zero_groups_at(0.85, [0.8, 0.9, 0.8], [0.1, 0.2, 0.7]) == pytest.approx(0.45)


def test_methods_are_compared_at_accuracies_below_the_best_of_all():
    def method(accuracies, zero_groups):
        path = [{"accuracy": {"mean": np.mean(row)}} for row in accuracies]
        return {"path": path, "accuracies": accuracies, "zero_groups": zero_groups}

    methods = {
        "a": method([[0.90, 0.92], [0.88, 0.90]], [[0.0, 0.1], [0.4, 0.5]]),
        "b": method([[0.9025, 0.9035], [0.88, 0.88]], [[0.3, 0.3], [0.6, 0.6]]),
    }
    rows = at_equal_accuracy(methods)
    assert [row["accuracy"] for row in rows] == pytest.approx([0.9075, 0.905, 0.9])
    assert [row["a"] for row in rows[:2]] == [None, None]  # its first seed ends at 0.9
    assert rows[2]["a"] == pytest.approx({"mean": 0.25, "sd": 0.25 * 2**0.5})
    assert rows[2]["b"]["mean"] == pytest.approx(
        0.3 + 0.3 * np.mean([0.0025 / 0.0225, 0.0035 / 0.0235])
    )


def write_mnist(folder, rng):
    """Make ten classes, told by which of ten pixels is lit.

    Ten more pixels are noise and the others are never lit.
    """
    for part, n in (("train", 3000), ("t10k", 1000)):
        labels = rng.integers(0, 10, n).astype(np.uint8)
        images = np.zeros((n, 28, 28), np.uint8)
        images[np.arange(n), 14, labels] = 255
        images[:, 20, :10] = rng.integers(0, 256, (n, 10))
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
            (folder / f"{part}-{kind}-ubyte").write_bytes(header + array.tobytes())


@pytest.mark.slow
def test_the_useful_pixels_are_found(tmp_path, monkeypatch, capsys):
    write_mnist(tmp_path, np.random.default_rng(0))
    problem = structured_sparsity.PROBLEMS["logistic"]._replace(strengths=(3e-3, 1e-2), epochs=20)
    monkeypatch.setattr(structured_sparsity, "PROBLEMS", {"logistic": problem})
    monkeypatch.setattr(structured_sparsity, "LEARNING_RATES", {"RAMDA": 1e-2})
    monkeypatch.setattr(structured_sparsity, "MULTIPLES", (10.0, 1e9))
    monkeypatch.setattr(structured_sparsity, "HELD_OUT", 1000)
    monkeypatch.setattr(structured_sparsity, "OPTIMUM_STEPS", 200)
    output, plot = tmp_path / "result.json", tmp_path / "plot.png"
    structured_sparsity.main(
        ["--data", str(tmp_path), "--seeds", "2", "--output", str(output), "--plot", str(plot)]
    )
    record = json.loads(output.read_text())
    result = record["problems"]["logistic"]
    assert result["optimum"]["zero_groups"] == [774 / 784] * 2
    (method,) = result["methods"].values()
    assert method["learning_rate"] == pytest.approx(0.1)  # the other one diverges
    for point in method["path"]:
        assert point["accuracy"]["mean"] == 1
        assert point["zero_groups"]["mean"] == pytest.approx(774 / 784)
        assert point["zero_entries"]["mean"] == pytest.approx(774 / 784)
        assert point["missed_zeros"]["mean"] == point["false_zeros"]["mean"] == 0
        assert point["restless"]["mean"] == point["flips"]["mean"] == 0
    assert "98.7 ± 0.0 %" in capsys.readouterr().out
    assert plot.read_bytes()[1:4] == b"PNG"
