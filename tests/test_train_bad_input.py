import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from l1jax import sample, train
from l1jax.cli.experiment_file import load_experiment
from l1jax.config import Config, InputError, MlpGan, to_json
from l1jax.training.workdir import open_workdir, write_config

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def contents(folder):
    """Every path below a folder, with its bytes."""
    return {
        path: path.read_bytes() if path.is_file() else None
        for path in sorted(Path(folder).rglob("*"))
    }


def refusal(main, *arguments):
    """The one sentence of a refusal that writes and overwrites nothing."""
    before = contents(".")
    with pytest.raises(InputError) as caught:
        main([str(argument) for argument in arguments])
    assert contents(".") == before
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def run_of(experiment, workdir="run"):
    """What a run of this experiment leaves, without its checkpoints."""
    workdir = Path(workdir)
    (workdir / "checkpoints").mkdir(parents=True)
    (workdir / "samples").mkdir()
    (workdir / "metrics.jsonl").write_text('{"step": 1}\n')
    write_config(workdir, experiment)
    return workdir


@pytest.mark.parametrize(
    ("size", "nearest"), [(60, 64), (1, 8), (12, 16), (57, 56), (65, 64)]
)  # of the eight devices that conftest.py makes
def test_batch_that_devices_cannot_share(size, nearest):
    assert refusal(train.main, "--batch-size", size, "--workdir", "run") == (
        f"`batch_size` (={size}) must be divisible by the number of devices (=8); the nearest "
        f"that is: {nearest}."
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "`data.path` is empty"),
        (["--data.path", "nowhere"], "(No such file or directory)"),
        (["--data.path", "empty"], "`data.path` (='empty') holds no images"),
        (["--data.path", "text.txt"], "neither a folder nor a tar nor a zip"),
        (["--data.path", "cut.tar.xz"], "damaged or incomplete"),
        (["--data.path", "damaged"], "'bad.png'"),
    ],
)
def test_data_that_cannot_be_read(arguments, words):
    Path("empty").mkdir()
    Path("damaged").mkdir()
    Path("damaged/bad.png").write_bytes(b"no image")
    Path("text.txt").write_text("text")
    Path("cut.tar.xz").write_bytes(b"\xfd7zXZ\x00\x00\x04")
    assert words in refusal(train.main, "--data", "image", *arguments, "--workdir", "run")


def test_data_folder_without_permission(monkeypatch):
    Path("closed").mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save("closed/a.png")
    scandir = os.scandir

    def refuse(path="."):  # root, who may run the tests, may read everything
        if Path(os.fsdecode(path)).name == "closed":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(
        InputError, match=r"`data.path` \(='closed'\) cannot be read .*Permission denied"
    ):
        train.main(["--data", "image", "--data.path", "closed", "--workdir", "run"])
    assert not Path("run").exists()


def test_pattern_that_matches_no_parameter():
    message = refusal(train.main, "--generator.penalised", "kernal", "--workdir", "run")
    assert "'kernal'" in message
    assert "hidden_0/kernel" in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--model", "dcgan", "--data.image-size", "30"],
            "`image_shape` (=(30, 30, 1)) must be square with a side of 4",
        ),
        (
            ["--model", "dense-generator"],
            "`objective` (=Adversarial) does not go with `model` (=DenseGenerator)",
        ),
        (
            ["--objective", "reconstruction"],
            "`objective` (=Reconstruction) does not go with `model` (=MlpGan)",
        ),
    ],
)
def test_parts_that_do_not_go_together(arguments, words):
    assert words in refusal(train.main, *arguments, "--workdir", "run")


def test_another_experiment_in_the_work_directory():
    run_of(load_experiment("digits"))
    message = refusal(
        train.main, "--workdir", "run", "--seed", "3", "--generator.penalty.strength", "1"
    )
    assert message.startswith(
        "run belongs to another experiment (generator.penalty.strength: 0.0004 → 1.0; seed: "
        "0 → 3): give another"
    )


def test_another_model_in_the_work_directory_is_named_once():
    run_of(load_experiment("digits"))
    assert "(model.kind: MlpGan → Dcgan)" in refusal(
        train.main, "--workdir", "run", "--model", "dcgan"
    )


def test_no_resume_needs_an_empty_directory_or_overwrite():
    run_of(load_experiment("digits"))
    message = refusal(train.main, "--workdir", "run", "--no-resume")
    assert "run holds config.json, metrics.jsonl, checkpoints, samples: add --overwrite" in message


def test_files_of_someone_else():
    Path("run/samples").mkdir(parents=True)
    Path("run/samples/mine.wav").write_text("music")
    assert "run holds samples but no config.json" in refusal(train.main, "--workdir", "run")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "run/config.json cannot be read as an experiment ("),
        ("", "run/config.json cannot be read as an experiment ("),
        ("\xff", "run/config.json cannot be read as an experiment ("),
        (
            "[1]",
            "run/config.json is not an experiment of this l1jax: `config` (=[1]) must be of type "
            "Config",
        ),
        (json.dumps(to_json(Config()) | {"steps": "x"}), "`steps` (='x') must be of type int"),
        (json.dumps(to_json(Config()) | {"new": 1}), "`new` is not a field of Config"),
    ],
)
def test_broken_config_json(text, words):
    run_of(Config())
    Path("run/config.json").write_bytes(text.encode("latin-1"))
    assert words in refusal(train.main, "--workdir", "run")
    said = refusal(sample.main, "--workdir", "run")
    assert words in said
    assert said.endswith("--overwrite is a flag of python -m l1jax.train.") == (
        "--overwrite" in said
    )


def test_workdir_is_a_file():
    Path("file").write_text("precious")
    assert (
        refusal(train.main, "--workdir", "file")
        == "`--workdir` (=file) must be a directory, and file is none."
    )
    below = refusal(train.main, "--workdir", "file/run")
    assert (
        below
        == f"`--workdir` (=file/run) must be a directory, and {Path('file').absolute()} is none."
    )


def test_workdir_without_permission(monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    message = refusal(train.main, "--workdir", "a/b")
    assert (
        message == f"`--workdir` (=a/b) must be writable: no permission to write in {Path.cwd()}."
    )


@pytest.mark.parametrize("workdir", ["", "x" * 300])
def test_workdir_that_cannot_be(workdir):
    refusal(train.main, "--workdir", workdir)
    refusal(sample.main, "--workdir", workdir)


def test_second_process_in_the_same_directory():
    with open_workdir(Path("run"), load_experiment("digits"), overwrite=False):
        message = refusal(train.main, "--workdir", "run", "--overwrite")
    assert (
        message == "`--workdir` (=run) is in use by another process: wait for it or give another."
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--workdir", "nowhere"], "`--workdir` (=nowhere) must hold a training run"),
        (["--workdir", "empty"], "`--workdir` (=empty) must hold a training run"),
        (["--workdir", "file"], "`--workdir` (=file) must hold a training run"),
        (["--workdir", "run"], "`--workdir` (=run) must hold a good checkpoint; it has none yet."),
        (["--workdir", "run", "--step", "5"], "`--step` (=5) must be one of the checkpoints: []."),
        (["--workdir", "run", "--count", "0"], "`--count` (=0) must be at least 1."),
        (["--workdir", "run", "--count", "-3"], "`--count` (=-3) must be at least 1."),
        (["--workdir", "run", "--count", "few"], "Error parsing --count"),
        (
            ["--workdir", "run", "--seed", "-1"],
            "`--seed` (=-1) must be at least 0 and below 2**32.",
        ),
        (["--workdir", "run", "--columns", "-1"], "`--columns` (=-1) must be at least 0."),
        (
            ["--workdir", "run", "--output", "grid.jpg"],
            "`--output` (=grid.jpg) must end in .png or .npz, or in / for a folder.",
        ),
        (
            ["--workdir", "run", "--output", "no/grid.png"],
            "`--output` (=no/grid.png) must be in a folder that exists",
        ),
        (
            ["--workdir", "run", "--output", "run"],
            "`--output` (=run) must be a new or an empty folder",
        ),
        (
            ["--workdir", "run", "--output", "file"],
            "`--output` (=file) must be a new or an empty folder",
        ),
        (
            ["--workdir", "run", "--output", "folder.png"],
            "`--output` (=folder.png) must not be a folder",
        ),
        (["--workdir", "run", "--output", ""], "`--output` is empty"),
        ([], "Missing from python -m l1jax.sample: --workdir"),
        (["--wokdir", "run"], "`--wokdir` is not a flag here; the nearest: --workdir"),
    ],
)
def test_sample_refuses(arguments, words):
    run_of(load_experiment("digits"))
    Path("empty").mkdir()
    Path("folder.png").mkdir()
    Path("file").write_text("precious")
    assert words in refusal(sample.main, *arguments)


@pytest.mark.parametrize(
    ("module", "arguments", "words"),
    [
        ("l1jax.train", ["--config", "own.py"], "`steps` (='many') must be of type int."),
        pytest.param(
            "l1jax.train",
            ["--workdir", "run"],
            "(model.generator_hidden: [8] → [256, 256])",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "l1jax.sample",
            ["--workdir", "empty"],
            "`--workdir` (=empty) must hold a training run",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_shell_sees_status_2_and_one_line(module, arguments, words):
    Path("own.py").write_text(
        "from l1jax.config import Config\ndef get_config():\n    return Config(steps='many')\n"
    )
    Path("empty").mkdir()
    experiment = load_experiment("digits")
    run_of(
        Config(
            **vars(experiment)
            | {"model": MlpGan(generator_hidden=(8,), discriminator_hidden=(256, 256))}
        )
    )
    before = contents(".")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert contents(".") == before
