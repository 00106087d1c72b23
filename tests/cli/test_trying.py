"""`--try` makes a small version of any experiment, and says what it changes."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from l1jax import train
from l1jax.build import example_shape
from l1jax.cli.experiment_file import experiments_folder, load_experiment
from l1jax.cli.trying import scale_down
from l1jax.config import Dit, InputError
from l1jax.training.keys import named_seed_key
from l1jax.training.patience import first_counted_step
from l1jax.training.task import make_task

NAMES = sorted(path.stem for path in experiments_folder().glob("*.py"))
WITH_NETWORKS = (
    "imagenet32_r3",
    "text_sparse",
    "cifar10",
    "mnist_channels",
    "stacked_mnist",
    "flow_mnist",
)


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_becomes_small_and_keeps_its_proportions(name):
    full = load_experiment(name)
    small, changes = scale_down(full)
    is_large = getattr(full.data, "image_size", 32) > 32  # those are of 64 pixels
    assert small.steps == min(full.steps, 100 if is_large else 200)
    assert small.batch_size <= max(8, full.model.packing if hasattr(full.model, "packing") else 8)
    scale = small.steps / full.steps
    assert abs(first_counted_step(small) - scale * first_counted_step(full)) <= 20
    assert small.sample_every <= 50
    assert small.data == full.data
    assert small.objective.__class__ is full.objective.__class__
    if full.steps > 200:
        assert f"steps: {full.steps} → {small.steps}" in changes


@pytest.mark.parametrize("name", WITH_NETWORKS)
def test_the_small_networks_fit_together(name):
    small, _ = scale_down(load_experiment(name))
    task = make_task(small, example_shape(small.data))
    state = jax.eval_shape(task.init, named_seed_key(0, "parameters"))
    assert sum(leaf.size for leaf in jax.tree.leaves(state.generator.params)) < 500_000


def test_a_published_diffusion_transformer_becomes_small():
    full = replace(load_experiment("flow_digits"), model=Dit())
    small, changes = scale_down(full)
    task = make_task(small, example_shape(small.data))
    state = jax.eval_shape(task.init, named_seed_key(0, "parameters"))
    assert sum(leaf.size for leaf in jax.tree.leaves(state.generator.params)) < 500_000
    assert "model.width: 384 → 48" in changes


def test_ramps_end_at_the_same_share_of_the_run():
    full = load_experiment("ffhq64_r3")
    small, _ = scale_down(full)
    assert small.objective.gamma_ramp.steps == small.steps == 100
    assert small.objective.gamma_ramp.end == full.objective.gamma_ramp.end
    assert small.objective.augment.ramp.steps == 100
    assert small.generator.b2_ramp.steps == small.ema_ramp.steps == 100
    images = 100 * small.batch_size / (full.steps * full.batch_size)
    np.testing.assert_allclose(small.ema_ramp.end, full.ema_ramp.end * images)


@pytest.mark.slow
@pytest.mark.usefixtures("one_device")
def test_the_command_trains_it_in_another_folder_and_says_what_it_changed(tmp_path, capsys):
    workdir = tmp_path / "run"
    flags = ["--workdir", str(workdir), "--try", "--steps", "4", "--batch-size", "64"]
    assert train.main([*flags, "--objective.r1", "0", "--objective.r2", "0"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "batch_size: 64 → 8" in said
    assert not workdir.exists()
    config = json.loads((tmp_path / "run-try" / "config.json").read_text())
    assert (config["batch_size"], config["steps"]) == (8, 4)
    assert config["model"]["generator_hidden"] == [64, 64]


def test_trained_networks_do_not_become_smaller(tmp_path):
    with pytest.raises(InputError, match=r"`--from` \(=.*\) does not go with --try"):
        train.main(["--config", "digits", "--from", str(tmp_path), "--try"])
