"""What the command that compacts a run says and writes."""

import json
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest

from l1jax import compact, train
from l1jax.build import image_shape
from l1jax.cli.experiment_file import load_experiment
from l1jax.config import InputError
from l1jax.training.saved_run import SavedRun
from l1jax.training.task import make_task

pytestmark = pytest.mark.usefixtures("one_device")


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    """A run of a few steps that leaves no zeros."""
    workdir = tmp_path_factory.mktemp("runs") / "dense"
    flags = [
        "--config=dense_generator",
        "--steps=10",
        "--log-every=10",
        "--model.hidden=16",
        "--generator.penalty.strength=0",
    ]
    assert train.main([f"--workdir={workdir}", *flags]) == 0
    return workdir


def pretend(monkeypatch, name, change=lambda leaf: leaf, **model):
    """Let the command find an untrained generator of this experiment, its parameters changed."""
    experiment = load_experiment(name)
    experiment = replace(experiment, model=replace(experiment.model, **model))
    task = make_task(experiment, image_shape(experiment.data))
    state = jax.jit(task.init)(jax.random.key(0))
    state = state._replace(average=jax.tree.map(change, state.average))
    monkeypatch.setattr(compact, "load_run", lambda *_: SavedRun(experiment, task, state, 10))


def compacted(workdir, output, *flags):
    assert compact.main([f"--workdir={workdir}", f"--output={output}", "--batch=4", *flags]) == 0


@pytest.mark.slow
def test_where_nothing_is_zero_there_is_nothing_to_remove(dense, tmp_path, capsys):
    (tmp_path / "out").mkdir()  # a new folder or an empty one, as of the other commands
    evaluation = {
        "step": 10,
        "protocol": {"real": "64 images", "generated": "64 of it"},
        "remarks": ["Noise."],
    }
    (dense / "evaluation.json").write_text(json.dumps(evaluation))
    compacted(dense, f"{tmp_path / 'out'}/")
    said = capsys.readouterr().out
    assert "nothing to remove" in said
    error, rounding = re.search(
        r"from exact ones is (\S+) of the largest value; that .* is (\S+)\.$", said, re.M
    ).groups()
    assert error == rounding  # the very same computation
    assert (
        json.loads((tmp_path / "out" / "config.json").read_text())["notes"]["evaluation"]
        == evaluation
    )
    card = (tmp_path / "out" / "README.md").read_text()
    assert "at step 10. Real: 64 images." in card
    assert "- Noise." in card


@pytest.mark.slow
def test_a_generator_of_zeros_is_constant_in_bfloat16_too(monkeypatch, tmp_path, capsys):
    pretend(monkeypatch, "digits", jnp.zeros_like, dtype="bfloat16")
    compacted(tmp_path, tmp_path / "out")
    assert "the output is constant: zeros cut all latents off" in capsys.readouterr().out


@pytest.mark.slow
def test_what_went_is_tabulated(monkeypatch, tmp_path, capsys):
    def without_half(leaf):
        return leaf.at[..., : leaf.shape[-1] // 2].set(0) if leaf.shape == (64, 256) else leaf

    pretend(monkeypatch, "digits", without_half, dtype="bfloat16")
    compacted(tmp_path, tmp_path / "out")
    said = capsys.readouterr().out
    row = next(line for line in said.splitlines() if "hidden_0" in line)
    assert row.replace("│", " ").split() == ["hidden_0", "256", "128", "50%"]
    assert "× smaller" in said


def test_what_is_not_the_same_is_not_written(monkeypatch, tmp_path):
    def wrong(*arguments, **options):
        smaller = real(*arguments, **options)
        return smaller._replace(params=jax.tree.map(lambda leaf: leaf * 1.01, smaller.params))

    real = compact.compact
    pretend(monkeypatch, "digits")
    monkeypatch.setattr(compact, "compact", wrong)
    with pytest.raises(InputError, match="makes other images"):
        compacted(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_bad_input_is_told_and_leaves_nothing(dense, tmp_path):
    there = tmp_path / "there"
    there.mkdir()
    (there / "mine").write_text("precious")
    for flags, said in (
        ([f"--output={there}"], "must be a new or an empty folder"),
        ([f"--output={tmp_path / 'no' / 'out'}"], "must be in a folder that exists"),
        (
            [f"--output={tmp_path / 'out'}", "--step=7"],
            r"`--step` \(=7\) must be one of the checkpoints",
        ),
        ([f"--output={tmp_path / 'out'}", f"--workdir={there}"], "must hold a training run"),
        ([f"--output={tmp_path / 'out'}", "--batch=0"], "must be at least 1"),
        (["--output="], "`--output` is empty"),
    ):
        with pytest.raises(InputError, match=said):
            compact.main([f"--workdir={dense}", *flags])
    assert [path.name for path in there.iterdir()] == ["mine"]
    assert not (tmp_path / "out").exists()


def test_weights_that_are_not_finite_are_refused(monkeypatch, tmp_path):
    pretend(monkeypatch, "digits", lambda leaf: leaf.at[0].set(jnp.inf))
    with pytest.raises(
        InputError, match=r"The generator of step 10 has [\d,]+ weights that are NaN or infinite"
    ):
        compacted(tmp_path, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_points_are_compacted_too(monkeypatch, tmp_path, capsys):
    pretend(monkeypatch, "gaussians")
    compacted(tmp_path, tmp_path / "out")
    assert "the same points" in capsys.readouterr().out
