"""Runs that an earlier version of l1jax wrote still open, and training goes on from them."""

import dataclasses
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from rich.console import Console

from l1jax.training.run import run_experiment
from l1jax.training.saved_run import load_run
from l1jax.training.workdir import read_config

pytestmark = pytest.mark.usefixtures("one_device")

# Each was trained for four steps, without sample grids: together they use most kinds of state.
RUNS = sorted((Path(__file__).parent / "runs_of_version_0_1_0").glob("*.tar.xz"))


LONGEST = ("gan", "vae", "dual_averaging")  # to compile


def unpacked(archive, folder):
    shutil.unpack_archive(archive, folder, filter="data")
    return folder / name_of(archive)


def name_of(archive):
    return archive.name.removesuffix(".tar.xz")


def test_there_are_runs_to_open():
    assert len(RUNS) == 4


@pytest.mark.parametrize("archive", RUNS, ids=name_of)
def test_a_checkpoint_is_restored_bit_for_bit(archive, tmp_path):
    """`restore` compares the stored hashes of names and bits, and raises if they differ."""
    sentences = []
    run = load_run(unpacked(archive, tmp_path), None, sentences.append)
    assert run.step == int(run.state.step) == 4
    assert sentences == []
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(run.state.average))


@pytest.mark.slow
@pytest.mark.parametrize(
    "archive",
    [
        pytest.param(
            run, id=name_of(run), marks=pytest.mark.slow if name_of(run) in LONGEST else ()
        )
        for run in RUNS
    ],
)
def test_training_goes_on(archive, tmp_path):
    sentences = []
    workdir = unpacked(archive, tmp_path)
    experiment = dataclasses.replace(read_config(workdir), steps=6)
    outcome = run_experiment(
        experiment, workdir, Console(quiet=True), sentences.append, resume=True, overwrite=False
    )
    assert (outcome.first_step, outcome.end.step) == (4, 6)
    assert load_run(workdir, None, sentences.append).step == 6
