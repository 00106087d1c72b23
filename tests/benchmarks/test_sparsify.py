"""The table of ways to a sparse GAN shows what the runs have."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import sparsify
import sparsify_report as report
from flow_sparsity_methods import share_of_channels

from l1jax.cli.experiment import parse_experiment
from l1jax.config import L0, L1, GroupL0, GroupMcp
from l1jax.train import TrainOptions


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


def test_a_cell_with_fewer_seeds_than_others_says_how_many():
    assert report.cell(np.array([3.0, 6.0]), seeds=3) == "4.5 ± 2.1 (2 seeds)"
    assert report.cell(np.array([3.0, 6.0]), seeds=2) == "4.5 ± 2.1"
    assert report.cell(np.array([3.0]), seeds=1) == "3.0 (1 seed)"


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


@pytest.mark.parametrize("dataset", ["digits", "mnist"])
def test_the_flags_of_every_way_mean_what_its_name_says(dataset, tmp_path, monkeypatch):
    asked = []

    def read(arguments):
        options = parse_experiment(TrainOptions, arguments, "python -m l1jax.train")
        asked.append((options.from_source, options.experiment))
        return 0

    monkeypatch.setattr(sparsify.train, "main", read)
    setting = sparsify.Setting(dataset, "", tmp_path, steps=1_000, more=500)
    dense = str(sparsify.workdir_of(setting, "dense", 3))
    kinds = {"L0": L0, "L1": L1, "channels": {"digits": GroupMcp, "mnist": GroupL0}[dataset]}
    for name in sparsify.METHODS:
        sparsify.train_sparse(setting, name, 0.9, seed=3)
        source, experiment = asked.pop()
        way, _, start = name.partition(" from the ")
        assert (source, experiment.steps) == {"start": (None, 1_500), "dense run": (dense, 500)}[
            start
        ]
        assert experiment.seed == 3
        generator = experiment.generator
        if way == "channels":
            assert generator.penalty.groups == "input_channels"
        else:
            assert generator.sparsity_target == 0.9
        if way in kinds:
            assert type(generator.penalty) is kinds[way]
            assert generator.strength_schedule.warmup == experiment.steps / 2
            assert generator.debias_after == 0.6 * experiment.steps
        else:
            assert generator.penalty.strength == 0
            assert generator.method == {"magnitude pruning": "magnitude", "RigL": "rigl"}[way]
            share = {"magnitude pruning": 0.5, "RigL": 0.75}[way]
            assert generator.pruning.steps == share * experiment.steps
