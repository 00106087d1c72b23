"""What several processes cannot do together is refused, before anything is exchanged."""

import dataclasses

import pytest

from l1jax.cli.experiment_file import load_experiment
from l1jax.config import InputError
from l1jax.training import shared_run


def test_several_processes_do_not_map_with_pmap(monkeypatch):
    experiment = dataclasses.replace(load_experiment("digits"), parallel="pmap")
    shared_run.check_processes(experiment)  # one process may
    monkeypatch.setattr(shared_run, "num_processes", lambda: 2)
    with pytest.raises(InputError, match=r"`parallel` \(=pmap\) must be shard_map for 2 processes"):
        shared_run.check_processes(experiment)
