"""The page of sparse flows shows what the runs have, and variants have the zeros that they name."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import flow_sparsity_methods as methods
import flow_sparsity_report as report


def run(distance, zeros=0.0, entries=1_000):
    scores = {"frechet_distance": distance, "coverage": 0.9, "recall": 0.8, "precision": 0.7}
    few = {f"{name}_of_few_steps": value + 1 for name, value in scores.items()}
    return {**scores, **few, "zeros": zeros, "entries_left": entries}


RUNS = {
    "dense": {"0": run(2.0), "1": run(4.0), "2": run(6.0)},
    "dense, cosine": {"0": run(5.0)},
    "L0, 80%": {"0": run(3.0), "1": run(6.0)},
    "GAN, L0, 80%": {"0": run(9.0, zeros=0.6333)},
}


def test_the_tables_have_mean_and_deviation_and_say_what_is_missing():
    lines = report.methods_table(RUNS).splitlines()
    assert lines[0] == "Dense: 4.0 ± 2.0, coverage 0.90. With zeros:"
    assert lines[2] == "| method | 50 % zeros | 80 % zeros | 95 % zeros |"
    deviation = np.std([3.0, 6.0], ddof=1)
    assert lines[4:] == [f"| L0 | – | 4.5 ± {deviation:.1f} (2 seeds), coverage 0.90 | – |"]
    rates = report.changes_table(RUNS, "cosine", ("held", "falling")).splitlines()
    assert rates[2:] == ["| dense | 4.0 ± 2.0 | 5.0 (1 seed) |"]
    assert report.changes_table(RUNS, "leaf", ("", "")) == "This has not been measured yet."
    lengths = report.lengths_table({"12000": {"dense": {"0": run(1.0)}}, "6000": RUNS})
    assert lengths.splitlines()[0] == "|  | 6,000 steps | 12,000 steps |"
    assert lengths.splitlines()[2:] == ["| dense | 4.0 ± 2.0 | 1.0 (1 seed) |"]


def test_a_gan_stands_beside_the_flow_with_its_evaluations():
    rows = report.gan_table(RUNS).splitlines()[2:]
    assert [row.split(" | ")[:3] for row in rows] == [
        ["| flow, L0, 80 % zeros, 32 evaluations", "1,000", "64"],
        ["| flow, L0, 80 % zeros, 10 evaluations", "1,000", "20"],
        ["| GAN, L0, 63 % zeros", "1,000", "2"],
    ]
    assert "5.5" in rows[1]
    assert "9.0 (1 seed)" in rows[2]


@pytest.mark.parametrize(("share", "outer"), [(0.5, 0.0), (0.95, 0.3)])
def test_channels_leave_that_share_of_the_entries(share, outer):
    left = 1 - methods.share_of_channels(share, outer)
    np.testing.assert_allclose(outer * left + (1 - outer) * left**2, 1 - share, rtol=1e-12)


def test_every_variant_of_the_tables_is_one_that_is_trained():
    assert set(report.NAMES) <= set(methods.variants("digits"))
    experiment = methods.experiment_of(methods.variants("digits")["GAN, L0, 80%"], "digits", "", 10)
    entries = (1 - experiment.generator.sparsity_target) * methods.GAN_ENTRIES
    assert entries == pytest.approx(0.2 * methods.FLOW_ENTRIES, rel=1e-3)
