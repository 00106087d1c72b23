"""What commands say about the folders of a run's images, and which are an error."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from image_files import encode, input_error, write_folder

from l1jax import evaluate, train
from l1jax.data.batches import shuffled_indices
from l1jax.training import run_inputs

pytestmark = pytest.mark.usefixtures("one_device")

TINY = (
    "--model.generator-hidden 8 --model.discriminator-hidden 8 --model.latent-size 4 "
    "--batch-size 8 --log-every 2 --sample-every 2 --checkpoint-every 2 --no-cache "
    "--data image --data.image-size 8 --data.channels 1 --objective.r1 0 --objective.r2 0"
).split()


def images(*folders, each=8):
    return {
        f"{folder}/{i}.png": encode(np.full((8, 8), 20 * i + offset, np.uint8))
        for offset, folder in enumerate(folders)
        for i in range(each)
    }


def run_training(steps, path, workdir, *more):
    return train.main(
        [*TINY, f"--steps={steps}", f"--data.path={path}", f"--workdir={workdir}", *more]
    )


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("folders", [("train", "test"), ("00000", "01000")])
def test_folders_that_may_not_be_classes_are_an_error_before_anything_is_written(folders):
    write_folder(Path("d"), images(*folders))
    input_error(
        lambda: run_training(2, "d", "run"), "`data.path` (='d')", folders[0], "--data.labels none"
    )
    assert not Path("run").exists()


@pytest.mark.slow
def test_a_run_inside_its_data_folder_resumes_and_reports_its_classes(monkeypatch, capsys):
    """Also if it was started before such folders were an error."""
    write_folder(Path(), images("train", "test"))
    with monkeypatch.context() as before:
        before.setattr(run_inputs, "check_labels", lambda *_: None)
        assert run_training(2, ".", "runs/a") == 0
    output = capsys.readouterr().out
    assert "2 classes, with their counts of images: 0 test 8, 1 train 8" in output
    assert "16 images of 8 × 8 × 1" in output
    assert Path("runs/a/samples/step_000002.png").exists()
    assert json.loads(Path("runs/a/classes.json").read_text()) == [
        {"label": 0, "name": "test", "count": 8}, {"label": 1, "name": "train", "count": 8}
    ]  # fmt: skip
    assert run_training(4, ".", "runs/a") == 0
    output = capsys.readouterr().out
    assert "resuming runs/a from step 2" in output
    assert "16 images of 8 × 8 × 1" in output
    assert "the work directory 'runs/a'" in output
    assert evaluate.main(["--workdir=runs/a", "--seeds=1", "--samples=20"]) == 0
    assert "classes, which are in doubt" in re.sub(r"\s+", " ", capsys.readouterr().out)
    result = json.loads(Path("runs/a/evaluation.json").read_text())
    assert list(result["features"]) == ["pixels", "random"]  # no classifier of train against test
    ambiguity, count, *_ = result["remarks"]
    assert ambiguity.endswith(
        "--data.subfolder and --data.labels are flags of python -m l1jax.train."
    )
    assert count.startswith(
        "20 generated images of each seed are compared with all 16 training images"
    )


@pytest.mark.slow
def test_evaluate_names_its_flags_for_data():
    names = sorted(write_folder(Path("d"), images("a", "b", each=12)).rglob("*.png"))
    assert run_training(2, "d", "run") == 0
    (unseen, *_) = set(range(24)) - set(shuffled_indices(0, 0, 16, 24).tolist())
    content = names[unseen].read_bytes()
    names[unseen].write_bytes(b"no image")  # which the classifier alone would see
    output = input_error(
        lambda: evaluate.main(["--workdir=run", "--samples=16"]), "`data.path` (='", "give --path"
    )
    assert "--data.on-error is a flag of python -m l1jax.train" in output
    names[unseen].write_bytes(content)
    Path("d").rename("elsewhere")
    input_error(lambda: evaluate.main(["--workdir=run"]), "`data.path` (='", "give --path")
    input_error(lambda: evaluate.main(["--workdir=run", "--path=nowhere"]), "`--path` (='nowhere')")
