"""`--from`: what is taken from a trained source, what is refused, and what a resumed run needs."""

import dataclasses
import json
import shutil
from contextlib import closing
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fast_cases import slow_except

from l1jax import export, report, select, train
from l1jax.build import example_shape
from l1jax.config import (
    L1,
    Config,
    DenseGenerator,
    DigitsData,
    FlowMatching,
    FlowMlp,
    InputError,
    MeanFlow,
    MlpGan,
    NextToken,
    Optimizer,
    Origin,
    Reconstruction,
    TonesData,
    TopicsData,
    Transformer,
    Vae,
    Variational,
)
from l1jax.serialization.trained_source import open_source
from l1jax.training.checkpoint import open_checkpoints
from l1jax.training.origin import (
    added_weights,
    check_origin,
    fit_weights,
    named_weights,
    read_origin,
    write_origin,
)
from l1jax.training.origin_request import Request, is_asked_for
from l1jax.training.saved_run import load_run
from l1jax.training.state import NetworkWeights
from l1jax.training.task import make_task
from l1jax.training.workdir import read_config, write_config

pytestmark = pytest.mark.usefixtures("one_device")

TINY = {"steps": 4, "log_every": 2, "sample_every": 4, "checkpoint_every": 2, "batch_size": 16}
GAN = Config(
    model=MlpGan(latent_size=3, generator_hidden=(6,), discriminator_hidden=(5,), norm="batch"),
    **TINY,
)
FAMILIES = {
    "gan": GAN,
    "conditional gan": dataclasses.replace(GAN, model=dataclasses.replace(GAN.model, classes=10)),
    "sound": dataclasses.replace(GAN, data=TonesData(count=16, mels=8, frames=12)),
    "vae": Config(
        model=Vae(latent_size=3, hidden=(6,)),
        objective=Variational(),
        discriminator=None,
        encoder=Optimizer(),
        **TINY,
    ),
    "dense": Config(
        model=DenseGenerator(latent_size=3, hidden=(6,)),
        objective=Reconstruction(),
        discriminator=None,
        **TINY,
    ),
    "text": Config(
        data=TopicsData(window=16),
        model=Transformer(context=12, width=8, heads=2, layers=1),
        objective=NextToken(),
        discriminator=None,
        **TINY,
    ),
}


def shaken(tree, seed):
    """The same tree with other floating numbers, so that no array equals one that is drawn."""
    leaves, treedef = jax.tree.flatten(tree)
    rng = np.random.default_rng(seed)
    return treedef.unflatten(
        leaf + jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype)
        if jnp.issubdtype(leaf.dtype, jnp.floating)
        else leaf
        for leaf in leaves
    )


def save_run(workdir, experiment, step=7, seed=0):
    """A work directory with one checkpoint, of a state that nobody trained."""
    (workdir / "checkpoints").mkdir(parents=True)
    write_config(workdir, experiment)
    task = make_task(experiment, example_shape(experiment.data))
    state = jax.jit(task.init)(jax.random.key(1))
    state = state._replace(
        step=jnp.asarray(step, jnp.int32),
        generator=shaken(state.generator, seed),
        average=shaken(state.average, seed + 1),
    )
    for place, name in enumerate(("discriminator", "encoder")):
        if hasattr(state, name):
            network = getattr(state, name)
            params = shaken(network.params, 2 + place)
            state = state._replace(**{name: network._replace(params=params)})
    with closing(open_checkpoints(workdir, experiment, "data", print)) as checkpoints:
        checkpoints.save(step, state, 0.0)
        checkpoints.wait()
    return state


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of each family, and its state."""
    folder = tmp_path_factory.mktemp("runs")
    states = {
        name: save_run(folder / name.replace(" ", "_"), experiment)
        for name, experiment in FAMILIES.items()
    }
    return folder, states


def assert_same(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("name", slow_except(FAMILIES, "gan", "vae"))
def test_a_state_begins_with_the_averaged_generator_and_its_trained_opponent(name, runs):
    folder, states = runs
    experiment = FAMILIES[name]
    source = open_source(Request(str(folder / name.replace(" ", "_"))), print)
    sparse = dataclasses.replace(
        experiment, generator=Optimizer(algorithm="rmda", penalty=L1(1e-3)), seed=experiment.seed
    )
    task = make_task(sparse, example_shape(sparse.data))
    template = jax.eval_shape(task.init, jax.random.key(0))
    weights = fit_weights(source.tensors, template, source.origin.networks, "source")
    state = jax.jit(task.init)(jax.random.key(5), dict(weights))
    trained = states[name]
    assert int(state.step) == 0
    assert source.origin.step == 7
    assert_same(state.generator.params, trained.average.params)
    assert_same(state.generator.batch_stats, trained.average.batch_stats)
    assert_same(tuple(state.average), tuple(trained.average))
    for second in {"discriminator", "encoder"} & set(state._fields):
        assert_same(getattr(state, second)[:2], getattr(trained, second)[:2])
        assert second in source.origin.networks
    # Dual averaging measures from where it begins: an optimiser of drawn weights would be wrong.
    fresh = jax.jit(task.init)(jax.random.key(5))
    assert not np.array_equal(
        jax.tree.leaves(fresh.generator.params)[0], jax.tree.leaves(state.generator.params)[0]
    )


def test_a_generator_alone_meets_a_new_discriminator(runs):
    folder, _ = runs
    source = open_source(Request(str(folder / "gan"), networks="generator"), print)
    assert source.origin.networks == ("generator",)
    task = make_task(GAN, (8, 8, 1))
    template = jax.eval_shape(task.init, jax.random.key(0))
    weights = fit_weights(source.tensors, template, source.origin.networks, "source")
    state = jax.jit(task.init)(jax.random.key(5), dict(weights))
    drawn = jax.jit(task.init)(jax.random.key(5))
    assert_same(state.discriminator, drawn.discriminator)


def test_a_flow_gains_an_input_for_lengths_that_starts_at_zero():
    """Of what else it lacks, it is told."""
    flow, mean_flow = (
        Config(data=DigitsData(), model=model, objective=objective, discriminator=None)
        for model, objective in (
            (FlowMlp((5,), 4), FlowMatching()),
            (FlowMlp((5,), 4, average_velocity=True), MeanFlow()),
        )
    )
    before, after = (
        jax.eval_shape(make_task(e, (8, 8, 1)).init, jax.random.key(0)) for e in (flow, mean_flow)
    )
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), before.average[0])
    tensors = named_weights({"generator": NetworkWeights(params, {})})
    origin = Origin("flow", "", 7, ("generator",), "")
    experiment = dataclasses.replace(mean_flow, origin=origin)
    check_origin(experiment, after, tensors)
    added = added_weights(experiment)
    found = fit_weights(tensors, after, ("generator",), "flow", added)["generator"].params
    assert not np.any(found.pop("length")["kernel"])
    assert_same(found, jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params))
    del tensors["generator/params/image/kernel"]
    with pytest.raises(InputError, match=r"it lacks \['generator/params/image/kernel'\]"):
        check_origin(experiment, after, tensors)


FLAGS = (
    "--steps 4 --log-every 2 --sample-every 4 --checkpoint-every 2 --batch-size 16 "
    "--generator.penalty l0 --generator.penalty.strength 1e-3"
).split()


@pytest.fixture(scope="module")
def begun(runs, tmp_path_factory):
    """A run that began from another, whose experiment it took over."""
    folder = tmp_path_factory.mktemp("begun")
    shutil.copytree(runs[0] / "gan", folder / "source")
    flags = ["--from", str(folder / "source"), "--workdir", str(folder / "run"), *FLAGS]
    assert train.main(flags) == 0
    return folder, flags


@pytest.mark.slow
def test_the_experiment_is_that_of_the_source_with_the_flags_on_top(begun):
    folder, _ = begun
    config = read_config(folder / "run")
    assert config.model == GAN.model
    assert type(config.generator.penalty).__name__ == "L0"
    assert config.origin.source == str(folder / "source")
    assert config.origin.step == 7
    assert config.origin.networks == ("generator", "discriminator")
    assert len(config.origin.fingerprint) == 64


@pytest.mark.slow
def test_the_same_command_resumes_without_the_source(begun, tmp_path, capsys):
    folder, flags = begun
    shutil.copytree(folder, tmp_path / "moved")
    shutil.rmtree(tmp_path / "moved" / "run" / "checkpoints" / "4")
    flags = [flag.replace(str(folder), str(tmp_path / "moved")) for flag in flags]
    config = (tmp_path / "moved" / "run" / "config.json").read_text()
    (tmp_path / "moved" / "run" / "config.json").write_text(
        config.replace(str(folder), str(tmp_path / "moved"))
    )
    shutil.rmtree(tmp_path / "moved" / "source")
    # The fingerprint of the data in the checkpoint is that of the digits; the run goes on.
    assert train.main(flags) == 0
    assert "from step 2" in capsys.readouterr().out
    digests = [
        json.loads((run / "checkpoints" / "4" / "meta" / "metadata").read_text())["digest"]
        for run in (folder / "run", tmp_path / "moved" / "run")
    ]
    assert digests[0] == digests[1]


@pytest.mark.slow
def test_a_run_that_began_from_other_weights_is_refused(begun):
    folder, flags = begun
    other = folder / "other"
    save_run(other, GAN, step=9, seed=5)
    words = r"began from .*/source at step 7 .*, and this one begins from .*/other at step 9"
    with pytest.raises(InputError, match=words):
        train.main([*flags, "--from", str(other)])
    write_config(other, GAN)
    words = r"began from weights that it drew, and this one begins from .*/source at step 7"
    with pytest.raises(InputError, match=words):
        train.main([*flags, "--workdir", str(other)])


@pytest.mark.slow
def test_a_damaged_copy_of_the_weights_is_told(begun, tmp_path):
    folder, _ = begun
    experiment = read_config(folder / "run")
    template = jax.eval_shape(make_task(experiment, (8, 8, 1)).init, jax.random.key(0))
    with pytest.raises(InputError, match=r"origin.safetensors is missing"):
        read_origin(tmp_path, experiment, template)
    source = open_source(Request(str(folder / "source")), print)
    changed = {**source.tensors, "generator/params/hidden_0/bias": np.zeros(6, np.float32)}
    write_origin(tmp_path, changed)
    with pytest.raises(InputError, match=r"does not hold the weights that config.json names"):
        read_origin(tmp_path, experiment, template)
    write_origin(tmp_path, source.tensors)
    read_origin(tmp_path, experiment, template)


@pytest.mark.slow
def test_the_origin_stands_in_the_report_and_the_model_card(begun, tmp_path):
    folder, _ = begun
    assert report.main(["--workdir", str(folder / "run")]) == 0
    page = (folder / "run" / "report.html").read_text()
    assert "It began from the generator and discriminator of source, step 7" in page
    assert f"--from {folder / 'source'} --from-step 7" in page
    output = tmp_path / "model"
    assert export.main(["--workdir", str(folder / "run"), "--output", str(output)]) == 0
    card = (output / "README.md").read_text()
    assert "begun from the generator and discriminator of source, step 7" in card
    assert str(folder) not in card
    # The folder that was just written is a source itself, of the generator alone.
    source = open_source(Request(str(output)), print)
    assert source.origin.networks == ("generator",)
    trained = load_run(folder / "run", None, print).state
    np.testing.assert_array_equal(
        source.tensors["generator/params/image/kernel"], trained.average.params["image"]["kernel"]
    )


REFUSED = {
    "nothing there": ("--from nowhere", r"`--from` \(=nowhere\) must be a work directory, a model"),
    "empty": ("--from=", r"`--from` is empty"),
    "revision of a path": ("--from {gan} --from-revision v1", r"`--from-revision` \(=v1\) must be"),
    "step without a source": ("--from-step 3", r"`--from-step` \(=3\) needs --from"),
    "no such step": ("--from {gan} --from-step 3", r"`--from-step` \(=3\) must be one of .*7"),
    "latents": (
        "--from {gan} --model.latent-size 5",
        r"has a latent size of 3, and this experiment has 5",
    ),
    "classes": (
        "--from {gan} --model.classes 10",
        r"has a number of classes of 0, and this experiment has 10",
    ),
    "images": (
        "--from {gan} --data.image-size 16",
        r"has an image shape of 8 × 8 × 1, and this experiment has 16 × 16 × 1",
    ),
    "range": (
        "--from {gan} --model.output sigmoid",
        r"has an image range of \(-1.0, 1.0\), and this experiment has \(0.0, 1.0\)",
    ),
    "shape": (
        "--from {gan} --model.generator-hidden 9",
        r"generator/params/hidden_0/kernel has the shape \(3, 6\) there, and \(3, 9\) in this",
    ),
    "layers": (
        "--from {gan} --model.generator-hidden 6 6",
        r"it lacks \[.*generator/params/hidden_1/kernel",
    ),
    "model": ("--from {vae} --config digits", r"is a Vae, and `model` of this experiment is a"),
    "text": (
        "--from {text} --config digits",
        r"is a model of text, and this experiment is one of images or points",
    ),
    "spectrogram": (
        "--from {sound} --data.hop 64",
        r"`data.hop` \(=64\) must be 128, that of the spectrograms of `--from`",
    ),
    "sound or image": (
        "--from {sound} --data digits --data.image-size 8",
        r"draws spectrograms, and this experiment images|has an image shape",
    ),
    "latents of examples": (
        "--from {dense} --seed 3",
        r"`seed` \(=3\) must be 0, that of `--from`",
    ),
    "generator untouched for too long": (
        "--from {gan} --discriminator-steps-first 4",
        r"`discriminator_steps_first` \(=4\) must be below `steps` \(=4\)",
    ),
    "no discriminator": (
        "--from {vae} --discriminator-steps-first 1",
        r"`discriminator_steps_first` \(=1\) must be 0 for `model` \(=Vae\)",
    ),
}


@pytest.mark.parametrize(("flags", "words"), REFUSED.values(), ids=REFUSED)
def test_refuses_in_one_sentence(flags, words, runs, tmp_path):
    names = {name: str(runs[0] / name) for name in ("gan", "vae", "text", "sound", "dense")}
    workdir = tmp_path / "run"
    with pytest.raises(InputError, match=words) as error:
        train.main([*flags.format(**names).split(), "--workdir", str(workdir)])
    assert "\n" not in str(error.value)
    assert not (workdir / "config.json").exists()


def test_weights_that_are_not_finite_are_refused(tmp_path):
    state = save_run(tmp_path / "run", GAN)
    params = jax.tree.map(lambda leaf: leaf * jnp.nan, state.average.params)
    bad = state._replace(average=state.average._replace(params=params))
    with closing(open_checkpoints(tmp_path / "run", GAN, "data", print)) as checkpoints:
        checkpoints.save(8, bad._replace(step=jnp.asarray(8, jnp.int32)), 0.0)
        checkpoints.wait()
    with pytest.raises(InputError, match="weights that are NaN or infinite at step 8"):
        open_source(Request(str(tmp_path / "run")), print)
    assert open_source(Request(str(tmp_path / "run"), step=7), print).origin.step == 7


def test_a_run_is_the_one_asked_for_wherever_its_branch_has_moved():
    commit = "a" * 40
    origin = Origin("owner/name", commit, 3, ("generator",), "f")
    assert is_asked_for(origin, Request("owner/name"))
    assert is_asked_for(origin, Request("owner/name", revision="main"))
    assert is_asked_for(origin, Request("owner/name", revision=commit))
    assert not is_asked_for(origin, Request("owner/name", revision="b" * 40))
    assert not is_asked_for(origin, Request("owner/other"))
    assert not is_asked_for(origin, Request("owner/name", step=4))


def test_every_strength_of_a_path_begins_from_the_source(runs, tmp_path, monkeypatch):
    """The path is not trained here: its first states are looked at."""
    seen = {}

    def look(run, stage):
        seen["states"] = run.replicas(len(stage.strengths)).init(np.asarray(stage.strengths))
        raise InputError("enough")

    monkeypatch.setattr("l1jax.selection.schedule.run_stage", look)
    folder, states = runs
    flags = ["--from", str(folder / "vae"), "--workdir", str(tmp_path / "path"), "--folds", "2"]
    with pytest.raises(InputError, match="enough"):
        select.main([*flags, "--strengths", "1e-3,1e-2"])
    trained = states["vae"].average.params
    for leaf, wanted in zip(
        jax.tree.leaves(seen["states"].generator.params), jax.tree.leaves(trained), strict=True
    ):
        np.testing.assert_array_equal(leaf, np.broadcast_to(wanted, leaf.shape))
    recorded = json.loads((tmp_path / "path" / "selection.json").read_text())
    assert recorded["experiment"]["origin"]["step"] == 7
    assert (tmp_path / "path" / "origin.safetensors").is_file()


def test_an_experiment_with_an_origin_asks_for_its_networks(tmp_path):
    file = tmp_path / "again.py"
    file.write_text(
        "from l1jax.config import Config, Origin\n"
        "def get_config():\n    return Config(origin=Origin('/gone', step=3))\n"
    )
    with pytest.raises(InputError, match=r"`origin` \(=/gone\) of this experiment .* give --from"):
        train.main(["--config", str(file), "--workdir", str(tmp_path / "run")])


def test_a_compact_model_is_refused_with_what_to_do(tmp_path, monkeypatch):
    for name in ("model.safetensors", "config.json"):
        (tmp_path / name).write_text("{}")
    compact = SimpleNamespace(layout={"nodes": [["input"]]})
    monkeypatch.setattr("l1jax.serialization.trained_source.read_model", lambda path: compact)
    with pytest.raises(InputError, match=r"is a compact model, .* begin from the run that it was"):
        open_source(Request(str(tmp_path)), print)
    (tmp_path / "model.onnx").write_text("")
    with pytest.raises(InputError, match="a program alone cannot be trained"):
        open_source(Request(str(tmp_path / "model.onnx")), print)
