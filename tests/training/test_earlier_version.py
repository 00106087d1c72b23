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


@pytest.fixture(params=RUNS, ids=lambda path: path.name.removesuffix(".tar.xz"))
def workdir(request, tmp_path):
    shutil.unpack_archive(request.param, tmp_path, filter="data")
    return tmp_path / request.param.name.removesuffix(".tar.xz")


def test_there_are_runs_to_open():
    assert len(RUNS) == 4


def test_a_checkpoint_is_restored_bit_for_bit_and_training_goes_on(workdir):
    """`restore` compares the stored hashes of names and bits, and raises if they differ."""
    sentences = []
    run = load_run(workdir, None, sentences.append)
    assert run.step == int(run.state.step) == 4
    assert sentences == []
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(run.state.average))

    experiment = dataclasses.replace(read_config(workdir), steps=6)
    outcome = run_experiment(
        experiment, workdir, Console(quiet=True), sentences.append, resume=True, overwrite=False
    )
    assert (outcome.first_step, outcome.end.step) == (4, 6)
    assert load_run(workdir, None, sentences.append).step == 6
