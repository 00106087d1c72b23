"""From a training run to every format and back to the same images."""

import dataclasses
import importlib
import json
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absent import hide
from card_code import run_card
from generators import experiment, generator, images_of, inputs

import l1jax
from l1jax import evaluate, export, sample, train
from l1jax.config import ImageData, InputError, Origin
from l1jax.extras import MissingExtraError
from l1jax.serialization.loaded_generator import LoadedGenerator
from l1jax.serialization.model_folder import read_model, write_model
from l1jax.serialization.onnx_metadata import describe_generator
from l1jax.serialization.onnx_program import export_onnx
from l1jax.training.state import Average

pytestmark = pytest.mark.usefixtures("one_device")

EVALUATION = {
    "step": 20,
    "protocol": {"real": "64 training images", "generated": "64 of the averaged generator"},
    "features": {
        "pixels": {
            "protocol": "pixels in [-1, 1]",
            "real_against_real": {"kernel_distance": 0.25},
            "kernel_distance": {"mean": 0.875, "deviation": None, "each": [0.875]},
        }
    },
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A conditional run of a few steps, with an evaluation of it."""
    workdir = tmp_path_factory.mktemp("runs") / "digits"
    flags = [
        "--steps=20",
        "--log-every=20",
        "--model.classes=10",
        "--generator.penalty.strength=1e-2",
        "--objective.r1=0",
        "--objective.r2=0",
    ]
    flags += ["--model.generator-hidden", "16", "--model.discriminator-hidden", "8"]
    assert train.main([f"--workdir={workdir}", *flags]) == 0
    (workdir / "evaluation.json").write_text(json.dumps(EVALUATION))
    return workdir


@pytest.fixture(scope="module")
def model(run):
    """The run in every format."""
    folder = run.parent / "model"
    flags = ["--stablehlo", "--onnx", "--licence=apache-2.0"]
    assert export.main([f"--workdir={run}", f"--output={folder}", *flags]) == 0
    return folder


def drawn(tmp_path, *arguments):
    output = tmp_path / "images.npz"
    assert sample.main([*map(str, arguments), "--count=12", "--seed=3", f"--output={output}"]) == 0
    return np.load(output)["images"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_images(run, model, tmp_path):
    for flags in ([], ["--class", "4"]):
        wanted = drawn(tmp_path, "--workdir", run, *flags)
        for where in (
            ["--workdir", model],
            ["--model", model],
            ["--model", model / "model.safetensors"],
        ):
            np.testing.assert_array_equal(drawn(tmp_path, *where, *flags), wanted)
        for name in ("model.stablehlo", "model.onnx"):
            found = drawn(tmp_path, "--model", model / name, *flags)
            assert (
                np.abs(found.astype(int) - wanted).max() <= 1
            )  # where rounding to 256 values decides


@pytest.mark.slow
def test_the_card_runs_as_it_is_written(model, tmp_path, monkeypatch):
    folder = shutil.copytree(model, tmp_path / "model")
    python, line, stablehlo, graph, again = run_card(folder, monkeypatch)
    assert python["images"].shape == (64, 8, 8, 1)
    assert (folder / "grid.png").exists()
    assert not line
    np.testing.assert_array_equal(stablehlo["latents"], graph["latents"])
    np.testing.assert_allclose(stablehlo["images"], graph["images"], atol=1e-5)
    generator = python["model"].generator
    wanted, _ = generator.network.apply(
        python["model"].params,
        python["model"].batch_stats,
        jnp.asarray(graph["latents"]),
        False,
        jnp.asarray(graph["label"]),
    )
    np.testing.assert_allclose(graph["images"], wanted, atol=1e-5)
    assert again["get_config"]() == python["model"].experiment
    assert "independent standard normal numbers" in (folder / "README.md").read_text()


@pytest.mark.slow
def test_the_card_has_the_runs_evaluation(run, model):
    card = (model / "README.md").read_text()
    assert "| kernel ↓ | 0.875 | 0.25 |" in card
    assert "Real: 64 training images." in card
    assert "license: apache-2.0" in card
    assert str(run) not in card


@pytest.mark.slow
def test_the_graph_says_what_it_is(model):
    onnx = importlib.import_module("onnx")
    graph = onnx.load(model / "model.onnx")
    found = {entry.key: entry.value for entry in graph.metadata_props}
    assert json.loads(found.pop("experiment"))["model"]["generator_hidden"] == [16]
    latents = "float32 [batch, 64], independent standard normal numbers"
    assert found == {
        "description": graph.doc_string,
        "latents": latents,
        "label": "int32 [batch], from 0 to 9",
        "images": "float32 [batch, 8, 8, 1], channels last, from -1 (black) to 1 (white)",
        "image_range": "-1 1",
        "producer": "l1jax",
        "version": l1jax.__version__,
        "step": "20",
        "licence": "apache-2.0",
    }
    assert graph.doc_string.startswith("A generator of 10 classes of 8×8×1 images from 64 ")
    assert (graph.producer_name, graph.producer_version) == ("l1jax", l1jax.__version__)


def test_the_graph_of_private_data_names_no_folder():
    own = dataclasses.replace(experiment("dcgan"), data=ImageData("/home/me/photos", image_size=8))
    own = dataclasses.replace(own, origin=Origin("/home/me/runs/dense"))
    about = describe_generator(own, generator("dcgan").generator, 1, None)
    assert "licence" not in about
    assert "/home" not in about["experiment"]
    data = json.loads(about["experiment"])["data"]
    assert data["path"] == "photos"


@pytest.mark.slow
def test_an_evaluation_of_another_step_is_left_out_and_so_are_paths(run):
    written = run / "evaluation.json"
    flags = {"real": "/home/me/photos"}
    written.write_text(
        json.dumps({**EVALUATION, "protocol": EVALUATION["protocol"] | {"flags": flags}})
    )
    for step, wanted in ((20, EVALUATION), (3, None)):
        opened = LoadedGenerator(
            experiment("mlp"), generator("mlp").generator, Average({}, {}), step, {}
        )
        assert export.notes(opened, run, export.ExportOptions()).get("evaluation") == wanted


@pytest.mark.slow
def test_a_folder_is_evaluated_as_the_run_is(tmp_path):
    workdir, folder = tmp_path / "points", tmp_path / "model"
    small = ["--model.generator-hidden", "8", "--model.discriminator-hidden", "8"]
    flags = ["--config=gaussians", "--steps=2", "--log-every=2", "--data.count=500", *small]
    assert train.main([f"--workdir={workdir}", *flags]) == 0
    assert export.main([f"--workdir={workdir}", f"--output={folder}", "--onnx"]) == 0
    found = {}
    for name, place in {"run": workdir, "model": folder, "onnx": folder / "model.onnx"}.items():
        output = tmp_path / f"{name}.json"
        assert (
            evaluate.main([f"--model={place}", "--samples=100", "--seeds=1", f"--output={output}"])
            == 0
        )
        found[name] = json.loads(output.read_text())
    for name in ("model", "run"):
        del found[name]["protocol"]["flags"]
    assert found["model"] == found["run"]
    assert found["onnx"]["modes"] == found["run"]["modes"]
    assert evaluate.main([f"--model={folder / 'model.onnx'}", "--samples=100", "--seeds=1"]) == 0
    assert json.loads((folder / "evaluation.json").read_text())["modes"] == found["run"]["modes"]


@pytest.mark.slow
def test_a_folder_is_exported_again_in_fewer_bytes(model, tmp_path, capsys):
    flags = ["--encoding=sparse", "--values=int8"]
    assert export.main([f"--model={model}", f"--output={tmp_path / 'small'}", *flags]) == 0
    said = capsys.readouterr().out
    assert re.search(r"rounded +images: by up to [\d.e-]+, [\d.e-]+ of the L2 norm", said)
    sizes = [
        (folder / "model.safetensors").stat().st_size for folder in (model, tmp_path / "small")
    ]
    assert sizes[1] < sizes[0] / 2
    first, second = read_model(model), read_model(tmp_path / "small")
    assert second.notes["evaluation"] == first.notes["evaluation"]
    assert second.notes["licence"] == "apache-2.0"
    kernel = first.params["image"]["kernel"]
    np.testing.assert_allclose(
        second.params["image"]["kernel"], kernel, atol=np.abs(kernel).max() / 254 * 1.001
    )


@pytest.mark.slow
def test_a_bfloat16_model_becomes_a_graph_in_float32(tmp_path):
    own = experiment("mlp")
    own = dataclasses.replace(own, model=dataclasses.replace(own.model, dtype="bfloat16"))
    write_model(tmp_path / "narrow", generator("mlp"), own, 1, {})
    assert (
        export.main([f"--model={tmp_path / 'narrow'}", f"--output={tmp_path / 'model'}", "--onnx"])
        == 0
    )
    given = inputs(generator("mlp"))
    narrow, graph = (
        read_model(tmp_path / "model" / name) for name in ("model.safetensors", "model.onnx")
    )
    rounded, exact = (
        own.generator.network.apply(*own[1:3], *given, False)[0] for own in (narrow, graph)
    )
    np.testing.assert_allclose(exact, images_of(generator("mlp"), *given), atol=1e-6)
    assert 1e-6 < np.abs(rounded - exact).max() < 0.05


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--output=new"],
            "Missing from python -m l1jax.export: --workdir of a training run, or --model",
        ),
        (
            ["--workdir=RUN", "--model=MODEL", "--output=new"],
            "name two generators: give one of them",
        ),
        (["--workdir=RUN"], "`--output` is empty"),
        (["--workdir=RUN", "--output=MODEL"], "must be a new or an empty folder"),
        (["--workdir=nowhere", "--output=new"], "must hold a training run"),
        (["--model=nowhere", "--output=new"], "does not exist"),
        (["--model=MODEL", "--step=3", "--output=new"], "must be left out for an exported model"),
        (["--model=MODEL/model.onnx", "--output=new"], "a program cannot be exported again"),
        (
            ["--workdir=RUN", "--output=new", "--licence=my own"],
            "must be a name such as apache-2.0",
        ),
        (["--workdir=RUN", "--output=new", "--values=int4"], "--values"),
        (["--workdir=RUN", "--output=new", "--upload=digits"], "must be owner/name"),
    ],
)
def test_wrong_flags_are_refused(run, model, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    arguments = [
        argument.replace("RUN", str(run)).replace("MODEL", str(model)) for argument in arguments
    ]
    with pytest.raises(InputError, match=re.escape(words)):
        export.main(arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_program_with_other_images_is_not_written(run, tmp_path, monkeypatch):
    def other(generator, params, *others):
        return export_onnx(generator, jax.tree.map(lambda leaf: leaf * 1.01, params), *others)

    monkeypatch.setattr(export, "export_onnx", other)
    with pytest.raises(
        InputError, match=r"`model.onnx` draws other images \(off by up to .*\): it was not written"
    ):
        export.main([f"--workdir={run}", f"--output={tmp_path / 'model'}", "--onnx"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_folder_is_uploaded_as_it_is(model, monkeypatch, capsys):
    sent = []

    class Client:
        def create_repo(self, **arguments):
            return f"https://hub.example/{arguments['repo_id']}?private={arguments['private']}"

        def upload_folder(self, **arguments):
            sent.append(arguments["folder_path"])

    monkeypatch.setattr(export, "open_hub", Client)
    assert export.main([f"--model={model}", "--upload=me/digits"]) == 0
    assert sent == [model]
    assert "uploaded    https://hub.example/me/digits?private=True" in capsys.readouterr().out


@pytest.mark.slow
def test_an_upload_that_fails_says_where_the_model_is_and_how_to_try_again(model, monkeypatch):
    class Client:
        def create_repo(self, **_):
            raise ConnectionError("no network")

    monkeypatch.setattr(export, "open_hub", Client)
    with pytest.raises(
        InputError, match=r"did not succeed: no network; the model is in "
    ) as caught:
        export.main([f"--model={model}", "--upload=me/digits", "--public"])
    assert f"-m l1jax.export --model {model} --upload me/digits --public` tries again." in str(
        caught.value
    )


@pytest.mark.slow
def test_a_missing_extra_is_said_before_the_work(run, tmp_path, monkeypatch, capsys):
    hide(monkeypatch, "onnxruntime")
    with pytest.raises(MissingExtraError, match=r"onnxruntime.*'l1jax\[onnx\]'"):
        export.main([f"--workdir={run}", f"--output={tmp_path / 'new'}", "--stablehlo", "--onnx"])
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []
