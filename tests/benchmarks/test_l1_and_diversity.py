"""The study of L1 and diversity.

Its methods are what their names say, and its page shows its results.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import l1_and_diversity as study
import seeds
from l1_and_diversity_report import PAGE, fill, result_file, table
from l1_and_diversity_variants import VARIANTS

from l1jax.cli.experiment_file import load_experiment
from l1jax.training.keys import named_seed_key
from l1jax.training.task import make_task


@pytest.mark.parametrize("name", VARIANTS)
def test_every_method_makes_a_task_of_images_and_of_points(name):
    for experiment, shape in (("digits", (8, 8, 1)), ("gaussians", (1, 1, 2))):
        dense = study.dense(load_experiment(experiment), 4_000)
        task = make_task(VARIANTS[name].change(dense), shape)
        state = jax.eval_shape(task.init, named_seed_key(0, "parameters"))
        assert state.generator.params, "and it has a generator"


@pytest.mark.parametrize(
    ("name", "share"), [("magnitude pruning, 80 %", 0.8), ("RigL, 95 %", 0.95)]
)
def test_masks_end_at_the_share_of_their_name(name, share):
    experiment = study.dense(load_experiment("digits"), 400)
    params = {
        "dense": {"kernel": jax.random.normal(jax.random.key(0), (40, 50)), "bias": jnp.ones(50)}
    }
    tx = VARIANTS[name].wrap(optax.sgd(1e-3), experiment)
    state = tx.init(params)

    @jax.jit
    def step(params, state):
        updates, state = tx.update(jax.tree.map(jnp.ones_like, params), state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(400):
        params, state = step(params, state)
    assert np.mean(np.asarray(params["dense"]["kernel"]) == 0) == pytest.approx(share, abs=0.002)
    assert np.all(np.asarray(params["dense"]["bias"]) != 0)


@pytest.mark.slow
def test_a_study_that_was_stopped_goes_on_with_what_is_missing(tmp_path, monkeypatch, capsys):
    for module in (study, seeds):
        monkeypatch.setattr(module, "CHUNK", 2)
    small = replace(load_experiment("gaussians"), batch_size=8)
    small = replace(
        small, model=replace(small.model, generator_hidden=(8,), discriminator_hidden=(8,))
    )
    monkeypatch.setattr(study, "load_experiment", lambda name: small)
    monkeypatch.setattr(study, "POINTS", 100)
    output = tmp_path / "ring.json"
    flags = ["--data", "ring", "--steps", "4", "--seeds", "2", "--output", str(output), "--only"]
    study.main([*flags, "dense"])
    first = json.loads(output.read_text())["variants"]
    capsys.readouterr()
    study.main([*flags, "L1, metric prox, 80 %", "dense"])
    assert "dense {" not in capsys.readouterr().out
    both = json.loads(output.read_text())["variants"]
    assert list(both) == ["dense", "L1, metric prox, 80 %"]
    assert both["dense"] == first["dense"]
    assert {len(values) for scores in both.values() for values in scores.values()} == {2}
    assert first["dense"]["reverse_kl"][0] != first["dense"]["reverse_kl"][1]


def test_steps_that_are_no_whole_chunks_are_refused(capsys):
    with pytest.raises(SystemExit):
        study.main(["--data", "ring", "--steps", "1500"])
    assert "--steps (=1500) must be a multiple of 1000" in capsys.readouterr().err


@pytest.mark.parametrize("data", study.SUBJECTS)
def test_tables_on_the_page_are_those_of_the_kept_results(data):
    page = PAGE.read_text()
    kept = json.loads(result_file(data).read_text())
    assert fill(page, data, table(kept["variants"])) == page
    dense = kept["variants"]["dense"]["zeros"]
    assert dense == [0.0] * kept["seeds"]
