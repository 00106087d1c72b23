"""The table of ways to a sparse GAN shows what the runs have."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import sparsify
import sparsify_report as report
from flow_sparsity_methods import share_of_channels


def run(distance, seconds=10.0):
    return {"frechet_distance": distance, "processor_seconds": seconds}


RUNS = {
    "dense": {"0": run(2.0), "1": run(4.0)},
    "dense, trained on": {"0": run(1.0), "1": run(2.0)},
    "L0 from the dense run, 80%": {"0": run(3.0, 20.0), "1": run(6.0, 30.0)},
    "RigL from the start, 95%": {"0": run(9.0)},
}


def test_the_table_has_mean_and_deviation_and_says_what_is_missing(tmp_path):
    lines = report.table(RUNS, {"steps": 6_000, "more": 4_000}).splitlines()
    deviation = np.std([2.0, 4.0], ddof=1)
    assert f"6,000 steps have 3.0 ± {deviation:.1f}, and 1.5 ± 0.7 after 4,000 more" in lines[0]
    assert lines[2] == "| way | 80 % zeros | 95 % zeros | processor time |"
    assert lines[4:] == [
        "| L0 from the dense run | 4.5 ± 2.1 | – | 25 s |",
        "| RigL from the start | – | 9.0 (1 seed) | 10 s |",
    ]
    report.draw(RUNS, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size


def test_every_way_has_a_row():
    assert set(sparsify.METHODS) == set(report.METHODS)
    assert {f"{share:.0%}" for share in sparsify.SHARES} == set(report.SHARES)


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize(
    ("dataset", "hidden", "kernels"),  # a kernel: its other entries, and the hidden sides
    [
        ("digits", [256, 256], [(64, [0]), (1, [0, 1]), (64, [1])]),
        ("mnist", [64, 32], [(64 * 49, [0]), (16, [0, 1]), (16, [1])]),
    ],
)
def test_channels_leave_that_share_of_the_entries(dataset, hidden, kernels, share):
    def entries(kept):
        channels = [kept * count for count in hidden]
        return sum(other * np.prod([channels[i] for i in sides]) for other, sides in kernels)

    removed = share_of_channels(share, sparsify.SUBJECTS[dataset].outer)
    assert entries(1 - removed) / entries(1) == pytest.approx(1 - share, abs=1e-9)
