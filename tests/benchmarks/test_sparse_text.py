"""The page of sparse language models shows what the runs have."""

import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import sparse_text
import sparse_text_report as report


def run(bits, attention=0.0, feed_forward=0.0):
    kernels = {
        f"block_{i}/{part}/kernel": share
        for i in range(2)
        for part, share in (("attention/query", attention), ("feed_forward/up", feed_forward))
    }
    return {"bits_per_byte": bits, "zeros_by_kernel": kernels}


RUNS = {
    "dense": {"0": run(2.0), "1": run(2.2)},
    "L0, 95%": {"0": run(3.0, 1.0, 0.0)},
}


def test_the_tables_have_mean_and_deviation_and_say_what_is_missing():
    lines = report.main_table(RUNS).splitlines()
    deviation = np.std([2.0, 2.2], ddof=1)
    assert lines[0] == f"Dense: 2.100 ± {deviation:.3f} bits per byte. With zeros:"
    assert lines[2] == "| method | 95 % zeros |"
    assert lines[4] == "| L0 | 3.000 (1 seed) |"
    assert lines[5] == "| magnitude pruning | – |"
    of_attention = 100 * 64 / (64 + 176)  # the block's kernels have 64 and 176 columns
    row = report.scope_table(RUNS).splitlines()[2]
    assert row == f"| L0 | – | 3.000 (1 seed) ({of_attention:.1f} and {of_attention:.1f} %) | – |"


def test_every_variant_of_the_tables_is_one_that_is_trained():
    names = {f"{method}, {share}" for method in report.METHODS for share in report.SHARES}
    assert names | {"dense"} <= set(sparse_text.variants())
    ends = report.SCOPES.values()
    assert {f"L0, 95%{end}" for end in ends} <= set(sparse_text.variants())
